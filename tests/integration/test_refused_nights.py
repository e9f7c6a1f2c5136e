"""A drop that DropGate refuses is neither trained on nor compared with until it is corrected or accepted."""

import json
import random
import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from refused_nights import NAME, SWAPPED, Nights, name

from headlines.drops.alarms import find_alarms
from headlines.drops.drops_folder import DropsFolder
from headlines.drops.rules import Rules
from headlines.drops.rulings import Ruled
from headlines.drops.window import read_window
from retraining.settings import Settings
from tfx_components.headline_example_gen.driver import ChangedDropError
from tfx_components.rulings import now, put_ruling


@pytest.fixture
def nights(twelve_nights: Path, tmp_path: Path, drop_rules: dict[str, Any]) -> Nights:
    return Nights(twelve_nights, tmp_path, drop_rules)


@pytest.mark.parametrize("good", [0, 1, 3])
def test_the_same_swap_night_after_night_is_refused_each_time_and_the_first_right_drop_passes(
    nights: Nights, good: int
) -> None:
    for number in range(1, good + 1):
        nights.deliver(number)
        assert nights.run(number) == ""
    bad = range(good + 1, good + 4)
    for number in bad:
        nights.deliver(number, SWAPPED)
        told = nights.run(number)
        assert "the labels negative and neutral look swapped" in told
        assert f"retraining drop FILE --night {name(number)} --correct" in told
    assert nights.window() == ([*range(1, good + 1), good + 3], [good + 1, good + 2])
    nights.deliver(good + 4)
    assert nights.run(good + 4) == ""
    assert nights.window() == ([*range(1, good + 1), good + 4], list(bad))


def test_right_corrections_pass_in_whatever_order_they_come(nights: Nights) -> None:
    nights.deliver(1)
    assert nights.run(1) == ""
    for number in (2, 3, 4):
        nights.deliver(number, SWAPPED)
        assert nights.run(number)
    for number in (4, 3, 2):
        nights.deliver(number, version=2)
        assert nights.run(number) == ""
    assert nights.run(4) == ""
    assert nights.window() == ([1, 2, 3, 4], [])


def test_what_is_left_out_is_on_record_with_why(nights: Nights, caplog: pytest.LogCaptureFixture) -> None:
    nights.deliver(1)
    nights.run(1)
    nights.deliver(2, SWAPPED)
    nights.run(2)
    nights.deliver(3)
    caplog.clear()
    assert nights.run(3) == ""
    [refusal] = nights.rulings()
    assert (refusal.night, refusal.version, refusal.ruled) == (name(2), 1, "refused")
    assert refusal.by.startswith("DropGate in run ")
    assert "look swapped" in refusal.why
    examples = nights.newest_examples()
    assert examples.custom_properties[f"left_out:{name(2)}"].string_value == f"1 {refusal.why}"
    described = json.loads((Path(examples.uri) / "drops.json").read_text(encoding="utf-8"))
    assert list(described) == [name(1), name(2), name(3)]
    assert (described[name(2)]["sha256"], described[name(2)]["left_out"]) == (refusal.sha256, refusal.why)
    assert examples.custom_properties["missing_nights"].string_value == ""
    [told] = [record.getMessage() for record in caplog.records if "is left out" in record.getMessage()]
    assert f"version 1 of the drop of night {name(2)} is left out of the window: DropGate in run" in told
    assert f"retraining drop --accept {name(2)} --reason TEXT" in told


def test_left_out_nights_are_not_missing_but_their_headlines_are(nights: Nights) -> None:
    nights.rules["max_missing_nights"] = 0
    for number in (1, 2, 3):
        nights.deliver(number, SWAPPED)
        assert nights.run(number)
    nights.deliver(4)
    told = nights.run(4, min_headlines=1000)
    assert "usable headlines in the window of 1 night, at least 1000 are needed" in told
    # What is wrong with the window is not the drop's fault: it is not refused for it.
    assert "stays out of the windows of later nights" not in told
    assert {ruling.night for ruling in nights.rulings()} == {name(1), name(2), name(3)}
    assert nights.run(4) == ""


def test_a_rerun_that_passes_lifts_a_refusal_and_one_that_does_not_adds_nothing(nights: Nights) -> None:
    nights.deliver(1)
    nights.run(1)
    nights.deliver(2, SWAPPED)
    for _ in range(2):
        assert nights.run(2)
    assert [ruling.ruled for ruling in nights.rulings()] == ["refused"]
    lenient = {"max_swap_evidence": 9.0, "max_class_mix_shift": 1.0, "max_surprisal": 99.0}
    for _ in range(2):
        assert nights.run(2, **lenient) == ""
    assert [ruling.ruled for ruling in nights.rulings()] == ["refused", "passed"]
    nights.deliver(3)
    nights.run(3, **lenient)
    assert nights.window() == ([1, 2, 3], [])


def test_an_accepted_drop_passes_with_its_alarms_told_and_later_windows_take_it_in(
    nights: Nights, caplog: pytest.LogCaptureFixture
) -> None:
    nights.deliver(1)
    nights.run(1)
    nights.deliver(2, SWAPPED)
    nights.run(2)
    [refusal] = nights.rulings()
    accepted = replace(refusal, ruled=Ruled.ACCEPTED, why="the desk wants it so", by="ana", at=now())
    put_ruling(nights.store, accepted, NAME)
    caplog.clear()
    assert nights.run(2) == ""
    [told] = [record.getMessage() for record in caplog.records if "was accepted as it is" in record.getMessage()]
    assert "by ana on " in told and "the desk wants it so" in told and "look swapped" in told
    gate = max(nights.store.get_executions(), key=lambda one: int(one.id))
    assert "the desk wants it so" in gate.custom_properties["accepted"].string_value
    nights.deliver(3)
    nights.run(3)
    assert nights.window() == ([1, 2, 3], [])
    # Of the window's own faults it says nothing.
    assert "at least 10000 are needed" in nights.run(2, min_headlines=10_000)
    assert [ruling.ruled for ruling in nights.rulings()][:2] == ["refused", "accepted"]


def test_a_run_as_known_on_a_moment_knows_no_later_ruling(nights: Nights) -> None:
    nights.deliver(1)
    nights.run(1)
    nights.deliver(2, SWAPPED)
    nights.run(2)
    nights.deliver(3)
    for folder in nights.drops_dir.iterdir():
        (folder / "_SUCCESS").write_text('{"delivered": "2022-02-04T00:00:00+00:00"}')
    nights.rules["as_known_on"] = "2022-02-05T00:00:00+00:00"
    nights.run(3)
    assert nights.window() == ([1, 2, 3], [])
    nights.rules["as_known_on"] = "2122-02-05T00:00:00+00:00"
    nights.run(3)
    assert nights.window() == ([1, 3], [2])


def test_a_run_as_known_on_a_moment_decides_nothing_for_the_nights_to_come(nights: Nights) -> None:
    nights.deliver(1)
    nights.run(1)
    nights.deliver(2, SWAPPED)
    nights.rules["as_known_on"] = "2122-02-05T00:00:00+00:00"
    assert "look swapped" in nights.run(2)
    assert nights.rulings() == []
    nights.rules["as_known_on"] = ""
    assert "look swapped" in nights.run(2)
    assert [ruling.ruled for ruling in nights.rulings()] == ["refused"]


def test_a_drop_keeps_the_codes_it_was_delivered_or_first_read_with(
    nights: Nights, caplog: pytest.LogCaptureFixture
) -> None:
    """After a real change of codes the old nights are read as before, and the first new one passes."""
    old = {"negative": "0", "neutral": "1", "positive": "2"}
    new = {"negative": "1", "neutral": "0", "positive": "2"}
    nights.deliver(1, old)
    assert nights.run(1) == ""
    nights.rules["label_codes"] = {code: label for label, code in new.items()}
    nights.deliver(2, new)
    caplog.clear()
    assert nights.run(2) == ""
    assert nights.window() == ([1, 2], [])
    told = [record.getMessage() for record in caplog.records if "label codes" in record.getMessage()]
    assert told == [
        f"Night {name(2)}: the drop of night {name(1)} is read with the label codes 0=negative,1=neutral,"
        "2=positive, as when delivered or first used; LABEL_CODES=0=neutral,1=negative,2=positive is for new "
        "deliveries."
    ]
    # A correction in the old codes says so beside it, and is compared with what it corrects in its own.
    nights.deliver(2, old, version=2)
    marker = nights.drops_dir / name(2) / "v2" / "_SUCCESS"
    marker.write_text('{"label_codes": {"0": "negative", "1": "neutral", "2": "positive"}}')
    assert nights.run(2) == ""
    assert nights.newest_examples().custom_properties["relabelled"].string_value == "{}"
    marker.write_text('{"label_codes": {"1": "negative", "0": "neutral", "2": "positive"}}')
    with pytest.raises(ChangedDropError, match="read with the label codes 0=negative,1=neutral,2=positive, and its"):
        nights.run(2)


def test_codes_count_from_the_first_use_that_kept_them(nights: Nights) -> None:
    """Lineage from before codes were kept says nothing of them."""
    codes = {"negative": "0", "neutral": "1", "positive": "2"}
    nights.deliver(1, codes)
    for _ in range(2):
        assert nights.run(1) == ""
    oldest = min(nights.store.get_artifacts_by_type("Examples"), key=lambda one: int(one.id))
    described = json.loads(oldest.custom_properties[f"drop:{name(1)}"].string_value)
    del described["label_codes"]
    oldest.custom_properties[f"drop:{name(1)}"].string_value = json.dumps(described)
    nights.store.put_artifacts([oldest])
    nights.rules["label_codes"] = {"0": "neutral", "1": "negative", "2": "positive"}
    assert nights.run(1) == ""


@pytest.mark.parametrize("seed", range(3))
def test_no_night_is_refused_when_their_order_is_shuffled_within_a_week(
    nights: Nights, drop_rules: dict[str, Any], seed: int
) -> None:
    """By the same judgement, without a store: twelve runs of both components are slow."""
    order = [*random.Random(seed).sample(range(1, 8), 7), *random.Random(seed).sample(range(8, 13), 5)]
    for number, other in enumerate(order, 1):
        folder = nights.drops_dir / name(number)
        folder.mkdir(parents=True)
        shutil.copy(nights.right / name(other) / "headlines.csv", folder)
    limits = Settings.from_env().alarm_limits
    for number in range(1, 13):
        window = read_window(DropsFolder(nights.drops_dir), date.fromisoformat(name(number)), Rules(**drop_rules))
        assert list(find_alarms(window.figures, limits)) == []
