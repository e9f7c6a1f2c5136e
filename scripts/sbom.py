"""Writes what the service and the model server are made of, as CycloneDX: a file of each lock in sbom/.

`make sbom`. cyclonedx-py reads the locks, with their hashes; licences are what the installed packages of the same
version declare.
"""

import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from license_expression import get_spdx_licensing

CHECKOUT = Path(__file__).resolve().parent.parent
LOCKS = {
    "service": "requirements.lock",
    "workers": "requirements-celery.lock",
    "model-server": "serving/requirements.lock",
}
_VERSION = SchemaVersion.V1_6
_LONGEST_NAME = 80


def describe(lock: Path) -> dict[str, Any]:
    """The components of a lock, as CycloneDX.

    Raises:
      ValueError: what came of it does not fit the schema.
    """
    command = [
        "requirements",
        str(lock),
        "--of",
        "JSON",
        "--sv",
        _VERSION.to_version(),
        "--output-reproducible",
        "--no-validate",
    ]
    finished = subprocess.run(
        [sys.executable, "-m", "cyclonedx_py", *command], capture_output=True, text=True, check=True
    )
    document: dict[str, Any] = json.loads(finished.stdout)
    for component in document["components"]:
        # Which line of the lock it is from tells nobody anything.
        component.pop("description", None)
        if licences := find_licences(component["name"], component["version"]):
            component["licenses"] = licences
    if problem := JsonStrictValidator(_VERSION).validate_str(json.dumps(document)):
        raise ValueError(f"{lock}: {problem}")
    return document


def find_licences(name: str, version: str) -> list[dict[str, Any]]:
    """What the installed package of that version declares; nothing where it is not installed, or declares nothing."""
    try:
        found = importlib.metadata.distribution(name).metadata
    except importlib.metadata.PackageNotFoundError:
        return []
    if found["Version"] != version:
        return []
    expression = _first(found.get_all("License-Expression"))
    if expression and not get_spdx_licensing().validate(expression).errors:
        return [{"expression": expression}]
    names = [
        classifier.split(" :: ")[-1]
        for classifier in found.get_all("Classifier") or ()
        if classifier.startswith("License ::") and not classifier.endswith("OSI Approved")
    ]
    text = " ".join(_first(found.get_all("License")).split())
    if not names and text and len(text) <= _LONGEST_NAME and not re.fullmatch("UNKNOWN", text, re.IGNORECASE):
        names = [text]
    return [{"license": {"name": name}} for name in dict.fromkeys(names)]


def _first(values: list[str] | None) -> str:
    return values[0] if values else ""


def main() -> None:
    """Writes the files, and says where they are and of how many packages the licence is known."""
    target = CHECKOUT / "sbom"
    target.mkdir(exist_ok=True)
    for name, lock in LOCKS.items():
        document = describe(CHECKOUT / lock)
        path = target / f"{name}.cdx.json"
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        components = document["components"]
        known = sum("licenses" in component for component in components)
        print(f"{path.relative_to(CHECKOUT)}: {len(components)} packages, {known} with a licence")


if __name__ == "__main__":
    main()
