"""What an image is made of, as its build writes it: it fits the schema, and names what is installed."""

import importlib.metadata
import json
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from test_audit import load

image_sbom = load("image_sbom")

STATUS = """\
Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9+deb12u10
Description: GNU C Library
 Version: is no field here

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1
"""


def test_python_packages_and_debian_s_are_listed_and_fit_the_schema(tmp_path: Path) -> None:
    (tmp_path / "status").write_text(STATUS)
    document = image_sbom.describe("service", tmp_path / "status")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document)) is None
    listed = {component["purl"] for component in document["components"]}
    assert f"pkg:pypi/typing-extensions@{importlib.metadata.version('typing-extensions')}" in listed
    assert [purl for purl in listed if purl.startswith("pkg:deb/")] == [
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64"
    ]
