"""The locks: wheels alone, no address in them, and a package taken against the wish of another that does the same."""

import hashlib
import random
import tomllib
from collections.abc import Iterator
from pathlib import Path

import farmhash
import pytest
from fresh_checkout import CHECKOUT

LOCKS = [
    CHECKOUT / name
    for name in (
        *("requirements.lock", "requirements-celery.lock", "requirements-dev.lock"),
        *("serving/requirements.lock", "serving/requirements-store.lock"),
    )
]


def test_what_would_have_to_be_compiled_is_refused_but_for_three_packages_that_are_python_alone() -> None:
    rule = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["uv"]["pip"]
    assert rule == {"only-binary": [":all:"], "no-binary": ["google-apitools", "python-nvd3", "rouge-score"]}


@pytest.mark.parametrize(
    ("file", "holds"),
    [("Dockerfile", "COPY requirements-celery.lock pyproject.toml ./"), ("serving/Dockerfile", "--only-binary :all:")],
)
def test_the_images_are_made_by_that_rule_too(file: str, holds: str) -> None:
    assert holds in (CHECKOUT / file).read_text()


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: str(lock.relative_to(CHECKOUT)))
def test_a_lock_names_no_place_that_packages_come_from(lock: Path) -> None:
    lines = [line for line in lock.read_text().splitlines() if not line.lstrip().startswith("#")]
    assert [line for line in lines if "/" in line or line.startswith("--")] == []


def test_farmhash_gives_the_fingerprints_of_the_version_that_data_validation_asks_for() -> None:
    # TFDV 1.16.1 asks for pyfarmhash below 0.4. The digest is what 0.3.2, built from its source, gave for these lines.
    chance = random.Random(0)
    texts = ["".join(chance.choices("abc xyzáçãõ ÉÍ 0123456789 “”🙂日本", k=length % 300)) for length in range(1000)]
    lines = "".join(f"{farmhash.fingerprint32(text)} {farmhash.fingerprint64(text)}\n" for text in texts)
    digest = hashlib.sha256(lines.encode()).hexdigest()
    assert digest == "af3bdf359b3e07d61bcfa28ff7558df0e7cf37279df9fd737a67ef7624a86520"


def test_the_model_server_asks_a_bucket_with_what_it_is_tested_with() -> None:
    files = ["requirements-dev.lock", "serving/requirements-store.lock", "serving/requirements.lock"]
    tested, store, plain = (dict(read_pins(CHECKOUT / name)) for name in files)
    assert {name: store[name] for name in CLIENTS} == {name: tested[name] for name in CLIENTS}
    assert plain == {name: store[name] for name in plain}, "with a bucket, nothing else is another version"
    assert not CLIENTS & plain.keys()


CLIENTS = {"botocore", "google-cloud-storage"}


def read_pins(lock: Path) -> Iterator[tuple[str, str]]:
    """The name and version of every package in a lock."""
    for line in lock.read_text().splitlines():
        if "==" in line and not line.startswith((" ", "#")):
            name, version = line.split(" ")[0].split("==")
            yield name, version
