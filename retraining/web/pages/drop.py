"""The rows of a drop, as they were delivered."""

from retraining.settings import Settings
from retraining.web import documents
from retraining.web.page import Page


def rows(settings: Settings, name: str, version: int, page: int, search: str) -> Page:
    """The rows of a version of a drop, as they were delivered."""
    lines = documents.drop_rows(settings.drops_dir, name, version)
    return {"night": name, "drop_version": version, **documents.select(lines, page, search)}
