"""What of a past night is put where it is run again."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from headlines.drops.rulings import Precedents
from headlines.names import DROP_PREFIX, PUSHED_DESTINATION, SUCCESS_MARKER
from lineage import ArtifactRecord
from retraining.nights.past import find_champion, stage_drops

NIGHT = "2022-02-01"
CODES = {"7": "negative"}


@pytest.mark.parametrize(
    ("marker", "kept"),
    [("", {}), ("1", {}), ("[]", {}), ('{"label_codes": null, "delivered": "x"}', {"delivered": "x"})],
)
def test_the_codes_of_a_first_use_go_with_a_copy_whatever_its_marker_says(
    drops_dir: Path, deliver: Callable[..., Path], tmp_path: Path, marker: str, kept: dict[str, str]
) -> None:
    marked = deliver(NIGHT, "A,7\n").parent / SUCCESS_MARKER
    marked.write_text(marker)
    marked.chmod(0o444)
    examples = ArtifactRecord(1, "", {f"{DROP_PREFIX}{NIGHT}": '{"version": 1, "sha256": ""}'})
    stage_drops(drops_dir, examples, tmp_path / "copy", Precedents(codes={(NIGHT, 1): CODES}))
    assert json.loads((tmp_path / "copy" / NIGHT / SUCCESS_MARKER).read_text()) == {**kept, "label_codes": CODES}
    assert marked.read_text() == marker


def test_a_champion_is_taken_from_its_trainers_folder_or_else_as_it_was_pushed(tmp_path: Path) -> None:
    model = ArtifactRecord(1, str(tmp_path / "Trainer" / "model" / "7"), {})
    push = ArtifactRecord(2, "", {PUSHED_DESTINATION: str(tmp_path / "headlines" / "2022020101")})
    assert find_champion(model, push) is None
    assert find_champion(model, ArtifactRecord(2, "", {})) is None
    for place in (tmp_path / "headlines" / "2022020101", Path(model.uri) / "Format-Serving"):
        place.mkdir(parents=True)
        (place / "saved_model.pb").touch()
        assert find_champion(model, push) == place
