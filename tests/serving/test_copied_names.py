"""The model server imports nothing of ours; names that it must know, it copies: here copy and origin meet."""

from datetime import date
from pathlib import Path

import pytest

from headlines import names
from headlines.pushes import model_hash
from modules import features
from retraining.local import model_server
from serving import app, model, related, settings
from tfx_components import related_index

SERVER = settings.Settings(dir=Path("/models/headlines"))


@pytest.mark.parametrize(
    ("copy", "origin"),
    [
        (app.LABELS, features.LABELS),
        (app.TEXT_SIGNATURE, features.TEXT_SIGNATURE),
        (model.DEFAULT_SIGNATURE, features.DEFAULT_SIGNATURE),
        (settings.MODEL_NAME, features.MODEL_NAME),
        (SERVER.models_config_file.name, names.POLICY_FILE),
        (model.EXTRAS, model_hash.EXTRAS),
        (model.ABOUT_FILE, model_hash.ABOUT_FILE),
        (model.RELATED_FOLDER, model_hash.RELATED_FOLDER),
        (model._SAVED_MODEL_FILES[0], names.SAVED_MODEL_FILE),
        (related.FORMAT, related_index.FORMAT),
        (related.INDEX_FILE, related_index.INDEX_FILE),
        (related.ROWS_FILE, related_index.ROWS_FILE),
        (related.MATRIX_FILE, related_index.MATRIX_FILE),
        (f"{settings.PREFIX}DRAIN_SECONDS", model_server.DRAIN[0]),
        (SERVER.drain_seconds, model_server.DRAIN[1]),
        (f"{settings.PREFIX}TIMEOUT_SECONDS", model_server.TIMEOUT[0]),
        (SERVER.timeout_seconds, model_server.TIMEOUT[1]),
        (SERVER.end_seconds - SERVER.drain_seconds - SERVER.timeout_seconds, model_server.SPARE_SECONDS),
    ],
)
def test_a_copy_is_what_it_was_copied_from(copy: object, origin: object) -> None:
    assert copy == origin


def test_the_model_server_finds_the_night_in_a_version_as_the_push_put_it_there() -> None:
    for revision in (1, 99):
        assert str(names.version_of(date(2022, 2, 1), revision) // model._REVISIONS) == "20220201"
