from datetime import UTC, datetime

from headlines.pushes.champion import Rollback
from lineage import Happening
from retraining.web.charts import chart

BACK = Rollback(9, 2, 1, "ana", "a bad drop", datetime(2022, 2, 4, tzinfo=UTC), "2022-02-04", (2,))


def test_pushes_refusals_and_rollbacks_are_marked_each_by_a_shape_of_its_own_where_the_first_line_is() -> None:
    nights = ["2022-02-01", "2022-02-02", "2022-02-03", "2022-02-04", "2022-02-05"]
    happenings = [
        Happening(blessed=True, is_refused=False, pushed_version=2022020101, rollbacks=()),
        Happening(blessed=False, is_refused=True, pushed_version=None, rollbacks=()),
        Happening(blessed=True, is_refused=False, pushed_version=2022020301, rollbacks=(BACK,)),
        Happening(blessed=None, is_refused=False, pushed_version=None, rollbacks=()),
        # Judged, while its Pusher has not answered yet, or failed.
        Happening(blessed=False, is_refused=False, pushed_version=None, rollbacks=()),
    ]
    lines = [("a", [0.1, None, 0.3, 0.4, 0.5], "#000000", []), ("b", [0.9, 0.8, 0.7, 0.6, 0.5], "#111111", [2, 2]),
             ("empty", [None] * 5, "#222222", [])]  # fmt: skip
    drawn = chart(nights, lines, happenings)
    assert [line["label"] for line in drawn["lines"]] == ["a", "b"]
    assert {mark["label"]: mark["values"] for mark in drawn["marks"]} == {
        "pushed": [0.1, None, 0.3, None, None],
        "refused": [None, 0.8, None, None, None],
        "rolled back after it": [None, None, 0.3, None, None],
    }
    assert len({mark["style"] for mark in drawn["marks"]}) == 3


def test_what_never_happened_has_no_mark() -> None:
    nothing = Happening(blessed=None, is_refused=False, pushed_version=None, rollbacks=())
    assert chart(["2022-02-01"], [("a", [0.1], "#000000", [])], [nothing])["marks"] == []
