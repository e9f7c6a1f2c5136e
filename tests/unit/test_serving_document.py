"""docs/serving.md and the documents around it: its settings are the model server's, and what is linked is there."""

import re
from pathlib import Path

import pytest

from retraining.settings import CHECKOUT
from serving.settings import PREFIX, Settings

DOCUMENTS = sorted([*(CHECKOUT / "docs").rglob("*.md"), CHECKOUT / "README.md", CHECKOUT / "CONTRIBUTING.md"])
_FENCED = re.compile(r"```.*?```", re.DOTALL)


def read_settings_table() -> dict[str, str]:
    """The default of every setting in the table, where a name such as `_BYTES` begins like the first of its row."""
    text = (CHECKOUT / "docs" / "serving.md").read_text(encoding="utf-8")
    rows = text.split("\n## Settings\n")[1].split("\n## ")[0].splitlines()
    defaults: dict[str, str] = {}
    for row in rows:
        if row.startswith("| `"):
            names, values = (re.findall(r"`([^`]+)`", cell) or [cell.strip()] for cell in row.split("|")[1:3])
            stem = names[0].rpartition("_")[0]
            whole = [name if name.startswith(PREFIX) else stem + name for name in names]
            defaults |= dict(zip(whole, values, strict=True))
    return defaults


def test_the_settings_table_of_the_model_server_is_its_settings() -> None:
    expected = {
        PREFIX + name.upper(): "must be set; the service sets it"
        if field.is_required()
        else "none"
        if field.default is None
        else str(field.default)
        if isinstance(field.default, Path)
        else f"{field.default:.0f}"
        for name, field in Settings.model_fields.items()
        if name != "host"
    }
    assert read_settings_table() == {**expected, "SERVING_HOST": Settings.model_fields["host"].default}


def anchors(text: str) -> set[str]:
    """Where links can lead inside a document, as GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", _FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_every_link_between_documents_leads_somewhere(document: Path) -> None:
    text = _FENCED.sub("", document.read_text(encoding="utf-8"))
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        if "://" in link:
            continue
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            wrong.append(link)
    assert wrong == []
