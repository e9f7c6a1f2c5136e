"""The locks: wheels alone, no address in them, and a package taken against the wish of another that does the same."""

import hashlib
import random
import tomllib
from pathlib import Path

import farmhash
import pytest
from fresh_checkout import CHECKOUT

LOCKS = [
    CHECKOUT / name
    for name in ("requirements.lock", "requirements-celery.lock", "requirements-dev.lock", "serving/requirements.lock")
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
