"""A model of `modules/`, trained once for all the tests that ask it something."""

from pathlib import Path

import pytest
from transformed_headlines import HEADLINES, run_trainer, transform


@pytest.fixture(scope="session")
def transformed_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("transformed")
    transform(HEADLINES, folder)
    return folder


@pytest.fixture(scope="session")
def exported_model(transformed_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_trainer(transformed_folder, tmp_path_factory.mktemp("trained"))
