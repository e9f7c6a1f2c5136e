"""Writes what an image is made of, as CycloneDX: its Python packages, its Debian packages and its Python.

An image's build runs it inside, with nothing but the standard library: `python scripts/image_sbom.py <name>`. Unlike
`make sbom`, which reads the locks, it reads what is installed.
"""

import importlib.metadata
import json
import platform
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

DEBIAN_STATUS = Path("/var/lib/dpkg/status")


def describe(name: str, debian_status: Path = DEBIAN_STATUS) -> dict[str, Any]:
    """The packages here, sorted, each with its Package URL, as a CycloneDX document.

    Args:
      name: what the image is called.
      debian_status: dpkg's list of packages.
    """
    components = [*_find_python_packages(), *_find_debian_packages(debian_status.read_text(encoding="utf-8"))]
    components.append(
        _component("python", platform.python_version(), f"pkg:generic/python@{platform.python_version()}")
    )
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "container", "bom-ref": f"image:{name}", "name": name}},
        "components": sorted(components, key=lambda component: str(component["purl"])),
    }


def _find_python_packages() -> Iterator[dict[str, Any]]:
    found: dict[str, importlib.metadata.Distribution] = {}
    for distribution in importlib.metadata.distributions():
        # The first on the path is the one that is imported.
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
        found.setdefault(name, distribution)
    for name, distribution in found.items():
        component = _component(name, distribution.version, f"pkg:pypi/{name}@{quote(distribution.version)}")
        # Only an SPDX expression is one; what older packages say is free text.
        for expression in distribution.metadata.get_all("License-Expression") or []:
            component["licenses"] = [{"expression": expression}]
        yield component


def _find_debian_packages(status: str) -> Iterator[dict[str, Any]]:
    for paragraph in status.split("\n\n"):
        fields = dict(re.findall(r"^([A-Z][\w-]*): (.*)$", paragraph, re.MULTILINE))
        if fields.get("Status") == "install ok installed":
            version = fields["Version"]
            purl = f"pkg:deb/debian/{quote(fields['Package'])}@{quote(version)}?arch={fields['Architecture']}"
            yield _component(fields["Package"], version, purl)


def _component(name: str, version: str, purl: str) -> dict[str, Any]:
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


if __name__ == "__main__":
    json.dump(describe(sys.argv[1]), sys.stdout, indent=2)
    print()
