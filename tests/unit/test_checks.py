"""What each check says of itself, and that its words are those of the rule it was judged by."""

import pytest

from headlines.bar.checks import Check, explain_unjudged


@pytest.mark.parametrize(
    ("check", "rule", "note"),
    [
        (Check("accuracy", 0.81, 0.7, True, 0.79, 0.83), "at least 0.700", ""),
        (Check("accuracy", 0.61, 0.7, False, 0.59, 0.63), "at least 0.700", ""),
        (
            Check("recall_positive", 0.2, 0.3, True, 0.05, 0.41),
            "the upper end of its 95 % interval at least 0.300",
            "the value is below it, the interval is not: so few rows may show less by chance",
        ),
        (
            Check("recall_positive", None, 0.3, True),
            "the upper end of its 95 % interval at least 0.300",
            "no evaluation row is of this label",
        ),
        (
            Check("accuracy_change", -0.03, -0.02, True, -0.07, 0.01),
            "at most 0.020 below that of the champion; more is held to be chance if the 95 % interval reaches 0",
            "beyond it, but the interval reaches 0: this may be chance",
        ),
        (
            Check("log_loss_change", 0.01, 0.0, True, -0.01, 0.03),
            "not above that of the champion; more is held to be chance if the 95 % interval reaches 0",
            "beyond it, but the interval reaches 0: this may be chance",
        ),
        (
            Check("log_loss_vs_lr", -0.01, 0.02, True, -0.03, 0.01),
            "at most 0.020 above that of the LR baseline; more is held to be chance if the 95 % interval reaches 0",
            "",
        ),
        (
            Check("mcnemar_vs_lr", 0.01, 0.05, True),
            "p at least 0.050, or accuracy within its own margin",
            "p is below it, but accuracy is within its own margin",
        ),
        (
            Check("worst_slice_change", -0.1, -0.15, True, -0.3, 0.1),
            "at most 0.150 below that of the champion; more is held to be chance if the 95 % interval reaches 0",
            "",
        ),
        (Check("macro_f1", None, 0.4, False), "at least 0.400", "it could not be computed"),
    ],
    ids=lambda value: value.name if isinstance(value, Check) else "",
)
def test_a_check_says_in_which_direction_its_limit_lies_and_why_it_passed_beyond_it(
    check: Check, rule: str, note: str
) -> None:
    assert (check.rule, check.note) == (rule, note)
    assert check.title != check.name or check.name == "accuracy"
    assert check.meaning.endswith(".")


def test_a_recall_that_passed_below_its_floor_is_not_told_as_above_it() -> None:
    clause = Check("recall_positive", 0.2, 0.3, True, 0.05, 0.41).explain()
    assert clause.startswith(
        "recall_positive 0.200 is below its floor 0.300, the value is below it, the interval is not"
    )
    assert Check("accuracy", 0.8, 0.7, True).explain() == "accuracy 0.800 is not below its floor 0.700"


def test_a_check_that_we_do_not_know_is_still_told_with_its_limit() -> None:
    check = Check("fame", 0.8, 0.7, True)
    assert (check.title, check.rule, check.meaning) == ("fame", "at least 0.700", "")


def test_a_slice_says_why_it_is_not_judged() -> None:
    def explain(group: str, rows: float, is_compared: bool = True) -> str:
        return explain_unjudged(group, rows, ["night"], 30, is_compared)

    assert explain("night", 30) == ""
    assert explain("night", 29) == "it has fewer rows than MIN_SLICE_ROWS, 30"
    assert explain("length", 300) == "JUDGED_SLICES does not name the group length"
    assert explain("night", 300, is_compared=False) == "there was nothing to compare it with"
