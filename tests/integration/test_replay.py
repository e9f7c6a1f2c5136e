"""A past night run again beside the service: the same once more, or what differs and why."""

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from airflow.exceptions import AirflowFailException
from launching import launch, launch_all
from refused_nights import SWAPPED, Nights, data_nodes
from refused_nights import name as night_of
from tfx.orchestration.data_types import PipelineInfo
from tiny_model import save_tiny_model, write_examples

import lineage
from headlines.drops.rules import Rules
from headlines.names import NIGHTLY_DAG
from lineage import ArtifactRecord
from retraining.nights.in_process import TakenError, hold_place, run_locally
from retraining.nights.past import EXAMPLES, ReplayError, stage_drops
from retraining.nights.rehearsal import QUICK
from retraining.nights.replay import MODEL, STEPS, compare, explain, replay, stage_window
from retraining.pipelines.mlmd import initialise
from retraining.pipelines.nightly import create_pipeline
from retraining.recording.acceptances import accept_drop
from retraining.recording.advisory_locks import hold_night
from retraining.recording.store import connection_config
from retraining.settings import Settings

NIGHTS = ("2022-02-01", "2022-02-02")


def run_night(settings: Settings, night: str, run: str) -> None:
    launch_all(settings, create_pipeline(settings, night), run)


@pytest.fixture
def service(settings: Settings, twelve_nights: Path, drops_dir: Path) -> Settings:
    """Settings under which a night is quick, with the drops of two nights."""
    for night in NIGHTS:
        shutil.copytree(twelve_nights / night, drops_dir / night)
    return settings.model_copy(
        update={
            **QUICK,
            "drops_dir": drops_dir,
            "drop_settle_seconds": 0.0,
            "hyperparameters": {"epochs": 1, "min_steps": 20},
            "max_quarantined_share": 0.5,
        }
    )


@pytest.mark.long
def test_a_night_replayed_after_its_drop_was_corrected_is_identical_and_touches_nothing(service: Settings) -> None:
    for night in NIGHTS:
        run_night(service, night, f"scheduled__{night}")
    [report] = lineage.runs_of_night(service, NIGHTS[1])
    assert report.state == "pushed"
    corrected = service.drops_dir / NIGHTS[1] / "v2" / "headlines.csv"
    corrected.parent.mkdir()
    corrected.write_text("title,sentiment\nfoi bom,positive\n")
    made = sorted(path for path in service.serving_dir.rglob("*"))
    # Of the champion only the pushed copy is left.
    shutil.rmtree(lineage.artifacts_of_run(service, f"scheduled__{NIGHTS[0]}").outputs[MODEL].uri)

    done = replay(service, NIGHTS[1])
    assert [(c.name, c.identical, c.detail) for c in done.comparisons if not c.identical] == []
    assert [c.name for c in done.comparisons] == ["examples", "vocabulary", "weights", "verdict"]
    assert done.causes == ()
    verdict = next((done.place / "pipelines").glob("Evaluator/evaluation/*/verdict.json"))
    assert json.loads(verdict.read_text())["champion_version"] == "2022020101"
    assert sorted(path for path in service.serving_dir.rglob("*")) == made
    assert [run.run_id for run in lineage.runs_of_night(service, NIGHTS[1])] == [f"scheduled__{NIGHTS[1]}"]

    model = lineage.artifacts_of_run(service, f"scheduled__{NIGHTS[1]}").outputs[MODEL]
    assert model.properties["night"] == NIGHTS[1]
    assert model.properties.keys() >= {"code", "data", "settings"}
    # The wide path is scikit-learn's and SciPy's, and p-values of the verdict are those of statsmodels.
    assert {name.removeprefix("library:") for name in model.properties if name.startswith("library:")} == {
        *("python", "tensorflow", "keras", "tfx", "tensorflow-transform", "numpy", "scikit-learn", "scipy"),
        "statsmodels",
    }


def test_a_replay_leaves_out_what_the_night_left_out_and_reads_each_version_with_the_codes_of_its_first_use(
    service: Settings, twelve_nights: Path, tmp_path: Path, drop_rules: dict[str, Any]
) -> None:
    old = {"negative": "0", "neutral": "1", "positive": "2"}
    nights = Nights(twelve_nights, tmp_path / "coded", drop_rules)
    nights.deliver(1, old)
    nights.deliver(2, SWAPPED)
    nights.deliver(3)
    coded = service.model_copy(update={"drops_dir": nights.drops_dir, "drop_settle_seconds": 0})

    def run_data_nodes(number: int) -> None:
        for node in data_nodes(coded, nights.drops_dir, night_of(number), Rules(**drop_rules)):
            info = PipelineInfo(NIGHTLY_DAG, str(coded.pipeline_root), f"run {number}")
            launch(coded, node, pipeline_info=info)

    run_data_nodes(1)
    with pytest.raises(AirflowFailException, match="look swapped"):
        run_data_nodes(2)
    # Since then the codes mean something else.
    drop_rules["label_codes"] = {"1": "negative", "0": "neutral", "2": "positive"}
    run_data_nodes(3)
    then = lineage.artifacts_of_run(coded, "run 3").outputs[EXAMPLES]
    # Accepted only now: then it was not.
    time.sleep(1)
    accept_drop(coded, night_of(2), "after all", "ana")

    again = Nights(service.drops_dir, tmp_path / "again", drop_rules)
    stage_window(coded, again.place, night_of(3), then, again.drops_dir)
    assert again.run(3) == ""
    assert again.window() == nights_of(then) == ([1, 3], [2])
    now = read_properties(again.newest_examples())
    assert {name: now[name] for name in now if name.startswith(("drop:", "left_out:"))} == {
        name: value for name, value in then.properties.items() if name.startswith(("drop:", "left_out:"))
    }
    assert "label_codes" in now[f"drop:{night_of(1)}"]

    # Its own night passes as it did: accepted.
    run_data_nodes(2)
    own = Nights(service.drops_dir, tmp_path / "own", drop_rules)
    stage_window(
        coded, own.place, night_of(2), lineage.artifacts_of_run(coded, "run 2").outputs[EXAMPLES], own.drops_dir
    )
    assert own.run(2) == ""


def nights_of(examples: ArtifactRecord) -> tuple[list[int], list[int]]:
    read, left_out = (
        sorted(int(name[-2:]) for name in examples.properties if name.startswith(prefix))
        for prefix in ("drop:", "left_out:")
    )
    return read, left_out


def read_properties(artifact: Any) -> dict[str, str]:
    return {name: value.string_value for name, value in artifact.custom_properties.items()}


def test_a_night_that_never_finished_cannot_be_replayed(settings: Settings) -> None:
    initialise(settings, [])
    with pytest.raises(ReplayError, match="night 2022-02-01 has no finished run to replay"):
        replay(settings, "2022-02-01")


def examples(**drops: tuple[int, str]) -> ArtifactRecord:
    properties = {
        f"drop:{night.replace('_', '-').removeprefix('n')}": json.dumps({"version": version, "sha256": sha256})
        for night, (version, sha256) in drops.items()
    }
    return ArtifactRecord(1, "", properties)


def test_the_versions_that_were_used_and_those_they_replaced_are_staged_and_no_later_ones(
    drops_dir: Path, tmp_path: Path
) -> None:
    for name in ("2022-02-01", "2022-02-02", "2022-02-02/v2", "2022-02-02/v3", "2022-02-03"):
        (drops_dir / name).mkdir()
        (drops_dir / name / "headlines.csv").write_text(name)
    stage_drops(drops_dir, examples(n2022_02_01=(1, "a"), n2022_02_02=(2, "b")), tmp_path / "staged")
    staged = sorted(path.relative_to(tmp_path / "staged").as_posix() for path in (tmp_path / "staged").rglob("*.csv"))
    assert staged == ["2022-02-01/headlines.csv", "2022-02-02/headlines.csv", "2022-02-02/v2/headlines.csv"]


def test_a_version_that_is_gone_is_named(drops_dir: Path, tmp_path: Path) -> None:
    (drops_dir / "2022-02-01").mkdir()
    with pytest.raises(ReplayError, match=r"version 2 of the drop of night 2022-02-01, .* is not in"):
        stage_drops(drops_dir, examples(n2022_02_01=(2, "a")), tmp_path / "staged")


def test_what_was_different_is_told_by_name() -> None:
    before = {
        MODEL: ArtifactRecord(1, "", {"code": "aa", "settings": "bb", "library:keras": "3.1", "flavour": "vanilla"}),
        EXAMPLES: examples(n2022_02_01=(1, "a"), n2022_02_02=(1, "b")),
    }
    after = {
        MODEL: ArtifactRecord(2, "", {"code": "aa", "settings": "cc", "library:keras": "3.2", "data": "dd"}),
        EXAMPLES: examples(n2022_02_01=(1, "a"), n2022_02_02=(1, "c")),
    }
    assert [cause.partition(":")[0] for cause in explain(before, after)] == [
        "data",
        "library",
        "settings",
        "drop of night 2022-02-02",
    ]
    assert list(explain(before, before)) == []


def test_a_night_that_is_being_trained_is_neither_replayed_nor_run_locally(settings: Settings) -> None:
    with (
        hold_night(connection_config(settings), "2022-02-01", "process 7, run scheduled__1"),
        pytest.raises(TakenError, match=r"night 2022-02-01 is being trained .*process 7"),
    ):
        run_locally(settings, "2022-02-01")


def test_two_processes_never_run_a_night_in_the_same_folder(tmp_path: Path) -> None:
    with (
        hold_place(tmp_path / "local"),
        pytest.raises(TakenError, match=rf"process {os.getpid()} runs a night in .*local"),
        hold_place(tmp_path / "local"),
    ):
        pytest.fail("two hold the folder")
    with hold_place(tmp_path / "local"):
        pass


@pytest.mark.parametrize("changed", ["", "examples", "vocabulary", "weights", "verdict"])
def test_what_differs_is_told_by_its_content(changed: str, tmp_path: Path) -> None:
    def make(place: Path, changed: str) -> dict[tuple[str, str], ArtifactRecord]:
        folders = {step: place / step[0] for step in STEPS}
        examples, graph, model, evaluation = folders.values()
        write_examples(examples, [("foi bom" if changed == "examples" else "foi ruim", "negative", "2022-02-01")])
        assets = graph / "transform_fn" / "assets"
        assets.mkdir(parents=True)
        (assets / "words").write_text("ruim\n" + "bom\n" * (changed == "vocabulary"))
        save_tiny_model(model, sure=2.0 if changed == "weights" else 3.0)
        evaluation.mkdir()
        checks = [{"name": "accuracy", "value": 0.8, "limit": 0.9, "passed": changed == "verdict"}]
        (evaluation / "verdict.json").write_text(json.dumps({"checks": checks}))
        return {step: ArtifactRecord(1, str(folder), {}) for step, folder in folders.items()}

    comparisons = list(compare(make(tmp_path / "then", ""), make(tmp_path / "now", changed)))
    assert [c.name for c in comparisons if not c.identical] == ([changed] if changed else [])
    assert all((" then, " in c.detail) != c.identical for c in comparisons)
