"""What a text in lineage says once folders have moved."""

import json

import pytest

from retraining.places.moves import Move, Moves

MOVED = Moves([Move("/a/var", "/b/state")])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/a/var", "/b/state"),
        ("/a/var/pipelines/Trainer/model/7", "/b/state/pipelines/Trainer/model/7"),
        # Whole components only, and only where a path begins.
        ("/a/variant/pipelines", "/a/variant/pipelines"),
        ("/x/a/var/pipelines", "/x/a/var/pipelines"),
        ("/a", "/a"),
        ("", ""),
        # A foreign pipeline's, and what is no path.
        ("/mnt/others/model/7", "/mnt/others/model/7"),
        ("the disk of /a/var was full", "the disk of /a/var was full"),
        (
            '{"filesystem": {"base_directory": "/a/var/serving/headlines"}}',
            '{"filesystem": {"base_directory": "/b/state/serving/headlines"}}',
        ),
        ('["/a/var", "/a/variant", "not /a/var/x"]', '["/b/state", "/a/variant", "not /a/var/x"]'),
    ],
)
def test_a_path_in_a_folder_that_has_moved_is_rewritten_and_nothing_else(text: str, expected: str) -> None:
    assert MOVED.rewrite(text) == expected


@pytest.mark.parametrize("odd", ["/a/100%_of (it)", "/a/ção", "/a/.*"])
def test_a_folder_of_any_name_is_taken_as_it_is(odd: str) -> None:
    moves = Moves([Move(odd, "/b/új")])
    assert moves.rewrite(f"{odd}/model") == "/b/új/model"
    assert moves.rewrite("/a/100XYof (it)/model") == "/a/100XYof (it)/model"
    # As TFX writes JSON, and as MLMD keeps a backslash.
    stored = json.dumps({"base_directory": f"{odd}/model"}).replace("\\", "\u29f5")
    assert json.loads(moves.rewrite(stored).replace("\u29f5", "\\")) == {"base_directory": "/b/új/model"}


def test_the_innermost_folder_decides_and_a_path_is_rewritten_once() -> None:
    swapped = Moves([Move("/a", "/b"), Move("/b", "/a"), Move("/a/kept", "/a/kept"), Move("/a/out", "/c")])
    texts = ("/a/x", "/b/x", "/a/kept/x", "/a/out/x")
    assert [swapped.rewrite(text) for text in texts] == ["/b/x", "/a/x", "/a/kept/x", "/c/x"]
    assert str(swapped) == "/b to /a, /a to /b, /a/out to /c"


def test_a_folder_that_stays_is_no_move() -> None:
    assert not Moves([Move("/a", "/a")])
    assert Moves([Move("/a", "/a"), Move("/b", "/c")])
