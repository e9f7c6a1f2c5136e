"""What the service is made of, as CycloneDX: it fits the schema, and has hashes and licences."""

import importlib.metadata
from pathlib import Path

import pytest
from test_audit import load

CHECKOUT = Path(__file__).resolve().parent.parent.parent
sbom = load("sbom")


def test_the_components_of_a_lock_are_what_it_pins_with_hashes_and_licences() -> None:
    # It is held to CycloneDX' own schema on the way.
    document = sbom.describe(CHECKOUT / "serving" / "requirements.lock")
    components = {component["name"]: component for component in document["components"]}
    lock = (CHECKOUT / "serving" / "requirements.lock").read_text()
    assert all(f"{name}=={component['version']} \\\n" in lock for name, component in components.items())
    assert len(components) == lock.count("==")
    uvicorn = components["uvicorn"]
    assert uvicorn["purl"].startswith(f"pkg:pypi/uvicorn@{uvicorn['version']}")
    assert uvicorn["externalReferences"][0]["hashes"][0]["alg"] == "SHA-256"
    assert sum("licenses" in component for component in components.values()) > 0.8 * len(components)


def test_a_licence_is_told_of_the_pinned_version_alone() -> None:
    version = importlib.metadata.version("httpx")
    assert sbom.find_licences("httpx", version)
    assert sbom.find_licences("httpx", f"{version}.1") == []
    assert sbom.find_licences("no-such-package", "1") == []


def test_what_does_not_fit_the_schema_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sbom, "find_licences", lambda *_: [{"licence": "misspelt"}])
    with pytest.raises(ValueError, match=r"serving/requirements\.lock"):
        sbom.describe(CHECKOUT / "serving" / "requirements.lock")
