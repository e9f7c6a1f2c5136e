"""What nights are measured by, told alike by lineage, the pages' documents and the command; no browser is needed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from lineage_story import NAMES, Story
from measured_nights import CLEARED, FEW, FIRST, SWAPPED, MeasuredNights
from postgres_server import Server, lend_database
from typer.testing import CliRunner

import lineage
from lineage import Reader, open_lineage
from retraining.cli import lineage_commands as commands
from retraining.settings import Settings
from retraining.web import pages


@pytest.fixture(scope="module")
def measured(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Nights of the pipeline `story`, the first of which recorded nothing but its class mix."""
    place = tmp_path_factory.mktemp("measured")
    with lend_database(postgres, place / "state") as settings:
        settings = settings.model_copy(update={"drops_dir": place / "drops", "min_headlines": 20})
        Story(settings).run("2022-02-01", {"2022-02-01": 1})
        MeasuredNights(settings).tell()
        yield settings


@pytest.fixture
def reader(measured: Settings) -> Reader:
    with open_lineage(measured, NAMES) as opened:
        yield opened


@pytest.fixture
def ask(measured: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setattr(commands.Settings, "from_env", classmethod(lambda cls: measured))
    monkeypatch.setattr(commands.lineage, "open_lineage", lambda source, names: open_lineage(source, NAMES))

    def run(*words: str) -> Result:
        return CliRunner().invoke(commands.app, list(words))

    return run


def test_the_drift_of_a_label_and_of_a_measure_is_told_night_by_night_with_the_limits_of_the_night(
    reader: Reader,
) -> None:
    answer = lineage.drift(reader)
    assert [night.night for night in answer.nights] == ["2022-02-01", FIRST, SWAPPED, CLEARED, FEW]
    first, swapped, cleared, few = answer.nights[1:]
    assert first.classes == pytest.approx({"negative": 0.25, "neutral": 0.65, "positive": 0.1})
    assert swapped.classes["negative"] == pytest.approx(0.65)
    assert swapped.values["class_mix_shift"] == pytest.approx(0.4)
    assert swapped.missed == ("class_surprisal", "expected_class_surprisal", "swap_evidence", "class_mix_shift")
    assert (swapped.limits["class_mix_shift"], cleared.limits["class_mix_shift"]) == (0.25, 1.0)
    assert cleared.missed == ()
    assert few.values["night_rows_in"] == 60
    assert 40 < first.values["mean_title_characters"] < 60
    assert first.traffic == {"requests": 240, "served_accuracy": 0.81, "skew:unseen_words": 0.31, "drift:label": 0.04}
    assert first.traffic_limits == {"served_accuracy": 0.7, "skew:unseen_words": 0.25, "drift:label": 0.25}
    # Its traffic raised an alarm; what is within its limit is not what did.
    assert first.traffic_missed == ("skew:unseen_words",)
    missed = {one.kind.name: one.missed for one in lineage.list_series(answer)}
    assert first.night in missed["skew:unseen_words"]
    assert (missed["drift:label"], missed["served_accuracy"]) == ((), ())


def test_a_night_before_the_measures_were_recorded_is_told_without_them(reader: Reader) -> None:
    [old] = lineage.drift(reader, last="2022-02-01").nights
    assert old.classes == pytest.approx({"negative": 20 / 90, "neutral": 70 / 90})
    assert (old.values, old.limits, old.missed) == ({}, {}, ())


def test_the_newest_nights_are_chosen_and_a_range_bounds_them(reader: Reader) -> None:
    assert [night.night for night in lineage.drift(reader, newest=2).nights] == [CLEARED, FEW]
    assert [night.night for night in lineage.drift(reader, SWAPPED, CLEARED).nights] == [SWAPPED, CLEARED]


def test_a_blocked_night_tells_the_measures_that_blocked_it_and_what_to_do(reader: Reader) -> None:
    gate = lineage.night_detail(reader, SWAPPED).gate
    assert gate is not None
    assert gate.state == "failed"
    assert "the labels negative and neutral look swapped" in (gate.error or "")
    missed = {one.kind.name: one for one in gate.measures if one.passed is False}
    assert missed.keys() == {"class_surprisal", "expected_class_surprisal", "swap_evidence", "class_mix_shift"}
    shift = missed["class_mix_shift"]
    assert (shift.shown, shift.rule, shift.verdict) == ("40.0%", "at most 25.0%", "missed")
    odds = missed["expected_class_surprisal"]
    assert (odds.shown, odds.rule, odds.verdict) == ("1 in 10^17", "no rarer than 1 in 10,000", "missed")
    assert shift.kind.advice == "Correct the labels, or raise MAX_CLASS_MIX_SHIFT"


def test_the_limits_that_count_are_those_of_the_gate_s_newest_attempt(reader: Reader) -> None:
    gate = lineage.night_detail(reader, CLEARED).gate
    assert gate is not None
    assert (gate.state, [one.kind.name for one in gate.measures if one.passed is False]) == ("complete", [])


def test_a_measure_that_so_few_titles_may_have_by_chance_is_not_judged_and_says_so(reader: Reader) -> None:
    gate = lineage.night_detail(reader, FEW).gate
    assert gate is not None
    by_name = {one.kind.name: one for one in gate.measures}
    assert by_name["class_mix_shift"].verdict == "not judged: of 60 titles, it may be chance"
    assert by_name["rows_used"].rule == "at least 20"
    assert by_name["rows_used"].passed is True


def test_a_night_that_never_came_to_the_gate_and_a_limit_that_was_not_recorded_are_told_as_such(reader: Reader) -> None:
    gate = lineage.night_detail(reader, "2022-02-01").gate
    assert gate is not None
    assert {(one.shown, one.rule) for one in gate.measures if one.kind.limit} == {
        ("not recorded", "limit not recorded")
    }
    assert {one.verdict for one in gate.measures} == {"not judged"}


def test_live_traffic_is_told_with_its_limits_and_its_alarm(reader: Reader) -> None:
    traffic = lineage.night_detail(reader, FIRST).traffic
    assert traffic is not None
    assert (traffic.requests, traffic.served_rows, traffic.served_accuracy) == (240, 120, 0.81)
    assert traffic.skew == {"unseen_words": 0.31}
    assert traffic.limits == {"max_skew": 0.25, "max_drift": 0.25, "min_served_accuracy": 0.7, "min_requests": 100}
    assert traffic.alarm.startswith("unseen_words")
    # The gate stopped the night before it.
    assert lineage.night_detail(reader, SWAPPED).traffic is None


def test_scores_tell_night_version_labels_and_the_rows_that_were_not_scored(reader: Reader) -> None:
    [scoring] = lineage.scores(reader)
    assert (scoring.version, scoring.pipeline, scoring.state) == ("2022020101", "story_scoring", "complete")
    [night] = scoring.nights
    assert (night.night, night.rows, night.quarantined, night.sources) == (FIRST, 5, 2, ("unlabelled.csv",))
    assert night.labels == {"positive": 2, "neutral": 3}
    assert night.file == f"/scores/{FIRST}/2022020101.csv"
    assert lineage.scores(reader, FIRST) == (scoring,)
    assert lineage.scores(reader, SWAPPED) == ()


def test_searches_tell_what_they_found_and_one_that_failed_why(reader: Reader) -> None:
    failed, found = lineage.searches(reader)
    assert (failed.state, failed.night) == ("failed", "")
    assert "none of 3 trials came to an end" in (failed.error or "")
    assert (found.night, found.trials, found.objective, found.score) == (FIRST, 2, "log_loss", 0.4321)
    assert found.hyperparameters == {"dropout": 0.25, "epochs": 7}
    page = pages.tuning(reader)
    assert page["chosen"] == found
    assert [trial["trial_id"] for trial in page["trials"]] == ["1", "0"]
    with pytest.raises(lineage.UnknownError, match=f"no search 999999; the newest are {failed.id}, {found.id}"):
        pages.tuning(reader, 999999)


def test_the_page_draws_a_line_for_each_label_and_the_limit_beside_each_measure(reader: Reader) -> None:
    chart = pages.drift(reader)["chart"]
    assert [line["label"] for line in chart["labels"]["lines"]] == ["negative", "neutral", "positive"]
    by_name = {one["kind"].name: one for one in chart["measures"]}
    shift = by_name["class_mix_shift"]
    value, limit = shift["data"]["lines"]
    assert shift["data"]["nights"] == ["2022-02-01", FIRST, SWAPPED, CLEARED, FEW]
    assert value["values"][0] is None
    assert limit["values"] == [None, 0.25, 0.25, 1.0, 0.15]
    assert shift["missed"] == (SWAPPED,)
    assert len(by_name["night_rows_in"]["data"]["lines"]) == 1
    assert by_name["skew:unseen_words"]["rule"] == "at most 0.250"


def test_the_command_says_of_each_measure_and_night_what_the_page_says(
    ask: Callable[..., Result], reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Wide enough that no cell is folded.
    monkeypatch.setattr(commands.console, "_width", 200)
    page = pages.drift(reader, 5000)
    told = json.loads(ask("drift", "--json").output)
    assert (told["question"], told["answer"]) == ("drift", lineage.to_json(page["drift"]))
    listed = ask("drift").output
    assert "at most 15.0%" in listed
    nights = {line.split()[0]: line for line in ask("drift", "class_mix_shift").output.splitlines() if "2022" in line}
    cells = {row["night"]: row["cells"] for row in page["chart"]["rows"]}
    column = page["chart"]["columns"].index("shift of the class mix")
    # The first night has no window that it could be shifted from.
    assert (cells[FIRST][column], "not recorded" in nights[FIRST]) == (("–", False), True)
    for night in (SWAPPED, CLEARED, FEW):
        shown, is_missed = cells[night][column]
        assert shown in nights[night]
        assert ("beyond" in nights[night]) == is_missed == (night == SWAPPED)
    assert "there are label:negative" in str(ask("drift", "no_such").exception)


@pytest.mark.parametrize("width", [60, 120])
def test_every_line_of_the_commands_fits_the_terminal(
    ask: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setattr(commands.console, "_width", width)
    for words in (["drift"], ["drift", "swap_evidence"], ["scores"], ["tuning"], ["notes"]):
        result = ask(*words)
        assert result.exit_code == 0, result.output
        assert max(map(len, result.output.splitlines())) <= width, words


def test_the_night_on_the_command_line_tells_what_the_drop_was_held_to(ask: Callable[..., Result]) -> None:
    shown = " ".join(ask("night", SWAPPED).output.split())
    assert "shift of the class mix 40.0% at most 25.0% missed" in shown
    assert "shift of the class mix: Correct the labels, or raise MAX_CLASS_MIX_SHIFT." in shown


def test_a_split_that_is_anomalous_as_a_whole_is_shown_as_the_gate_counts_it(tmp_path: Path) -> None:
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    from retraining.web import documents

    found = anomalies_pb2.Anomalies()
    found.dataset_anomaly_info.short_description = "Low num examples in dataset."
    (tmp_path / "Split-train").mkdir()
    (tmp_path / "Split-train" / "SchemaDiff.pb").write_bytes(found.SerializeToString())
    told = documents.anomalies(lineage.ArtifactRecord(1, str(tmp_path), {}))
    assert told is not None
    assert [one["feature"] for one in told["train"]] == ["the whole split"]
