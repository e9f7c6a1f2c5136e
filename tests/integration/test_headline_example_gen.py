"""HeadlineExampleGen as TFX runs it: what it writes, what it records, and what it says about a drop it cannot read."""

import csv
import json
import os
import shutil
import time
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import tensorflow as tf
from airflow.exceptions import AirflowFailException
from launching import NAME, launch
from tfx.components.util import examples_utils
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.metadata import Metadata, sqlite_metadata_connection_config
from tfx.orchestration.pipeline import Pipeline
from tfx.types.artifact import Artifact
from tfx.types.artifact_utils import get_split_uri
from tfx.types.standard_artifacts import Examples

from headlines.drops import window
from headlines.drops.drops_folder import DropsFolder, GrowingDropError
from headlines.drops.rules import Rules
from headlines.drops.sources import fingerprint
from headlines.drops.version_folder import VersionFolder
from retraining.settings import Settings
from tfx_components.gate import read_figures
from tfx_components.headline_example_gen import driver
from tfx_components.headline_example_gen.component import HeadlineExampleGen, Quarantine
from tfx_components.headline_example_gen.driver import ChangedDropError, hash_window
from tfx_components.headline_example_gen.executor import Executor

Deliver = Callable[..., Path]
RECORDS = "data_tfrecord-00000-of-00001.gz"
FEATURES = (b"title", b"sentiment", b"night", b"weight")
FIRST_NIGHT = "Chove,negative\nSol,1\nOuro,positive\n"
# One row of each kind that is not used, beside two that are.
SECOND_NIGHT = (
    "Chove,neutral\nSol,neutral\nSol,neutral\n,neutral\nVento,bom\nVai, ou fica,neutral\nLua,neutral\n=1,neutral\n"
)


class Outputs(NamedTuple):
    examples: Artifact
    quarantine: Artifact

    def counts(self) -> dict[str, int]:
        names = ("rows_in", "rows_used", "rows_quarantined", "duplicates_folded")
        return {
            name: self.examples.get_int_custom_property(name)
            for name in (*names, *(f"night_{name}" for name in names), "nights", "train_rows", "eval_rows")
        }

    def rows(self, name: str = "quarantine.csv") -> list[dict[str, str]]:
        with (Path(self.quarantine.uri) / name).open(encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file))


Run = Callable[..., Outputs]


@pytest.fixture
def run(drops_dir: Path, tmp_path: Path, drop_rules: dict[str, Any]) -> Run:
    def run(night: str, place: str = "run", drops_dir: Path = drops_dir, **rules: Any) -> Outputs:
        component = HeadlineExampleGen(drops_dir=str(drops_dir), night=night, rules=Rules(**{**drop_rules, **rules}))
        outputs = Outputs(Examples(), Quarantine())
        outputs.examples.uri = str(tmp_path / place / "examples")
        outputs.quarantine.uri = str(tmp_path / place / "quarantine")
        Executor().Do(
            {}, {"examples": [outputs.examples], "quarantine": [outputs.quarantine]}, component.exec_properties
        )
        return outputs

    return run


def read_split(examples: Artifact, split: str) -> list[dict[str, Any]]:
    path = Path(get_split_uri([examples], split)) / RECORDS
    parsed = []
    for record in tf.data.TFRecordDataset(str(path), "GZIP").as_numpy_iterator():
        features = tf.train.Example.FromString(record).features.feature
        parsed.append(
            {
                name: value.float_list.value[0] if name == "weight" else value.bytes_list.value[0].decode()
                for name, value in features.items()
            }
        )
    return parsed


def test_the_records_hold_title_label_night_and_weight(deliver: Deliver, run: Run) -> None:
    deliver("2022-02-01", FIRST_NIGHT)
    deliver("2022-02-04", "Eleição no Pará,0\n")
    examples = run("2022-02-04").examples
    assert examples.splits == ["train", "eval", "fresh"]
    assert examples_utils.get_payload_format_string(examples) == "FORMAT_TF_EXAMPLE"
    # `test_window` fixes the split of each of these titles.
    assert read_split(examples, "train") == [
        {"title": "Sol", "sentiment": "neutral", "night": "2022-02-01", "weight": 0.5},
        {"title": "Ouro", "sentiment": "positive", "night": "2022-02-01", "weight": 0.5},
    ]
    assert read_split(examples, "eval") == [
        {"title": "Chove", "sentiment": "negative", "night": "2022-02-01", "weight": 0.5},
        {"title": "Eleição no Pará", "sentiment": "negative", "night": "2022-02-04", "weight": 1.0},
    ]


def test_fresh_are_the_headlines_for_evaluation_that_no_earlier_night_had(deliver: Deliver, run: Run) -> None:
    deliver("2022-02-01", FIRST_NIGHT)
    # `Chove` is known, `Sol` is for training.
    deliver("2022-02-02", "chove,negative\nSol,1\nEleição no Pará,0\n")
    examples = run("2022-02-02").examples
    assert [row["title"] for row in read_split(examples, "fresh")] == ["Eleição no Pará"]
    assert "Eleição no Pará" in [row["title"] for row in read_split(examples, "eval")]
    assert examples.get_int_custom_property("fresh_rows") == 1
    assert examples.get_int_custom_property("rows_used") == sum(
        examples.get_int_custom_property(f"{split}_rows") for split in ("train", "eval")
    )


def test_lineage_keeps_the_figures_of_every_night(run: Run, twelve_nights: Path, drop_rules: dict[str, Any]) -> None:
    examples = run("2022-02-05", drops_dir=twelve_nights).examples
    figures = read_figures(examples)
    rules = Rules(**drop_rules)
    assert figures == window.read_window(DropsFolder(twelve_nights), date(2022, 2, 5), rules).figures
    assert figures.titles > 300 and sum(figures.classes.values()) == figures.titles
    assert 0 < (figures.class_mix_shift or 0) < 0.2 and 0 < (figures.unseen_word_share or 0) < 0.3


def test_without_a_half_life_all_nights_weigh_the_same(deliver: Deliver, run: Run) -> None:
    deliver("2022-02-01", FIRST_NIGHT)
    deliver("2022-02-02", "São João,2\n")
    examples = run("2022-02-02", half_life_nights=0).examples
    assert {row["weight"] for split in ("train", "eval") for row in read_split(examples, split)} == {1.0}


def test_rows_in_are_the_rows_of_both_splits_and_of_both_files(deliver: Deliver, run: Run) -> None:
    deliver("2022-02-01", FIRST_NIGHT)
    deliver("2022-02-02", SECOND_NIGHT)
    outputs = run("2022-02-02")
    counts = outputs.counts()
    assert (counts["rows_in"], counts["night_rows_in"], counts["nights"]) == (11, 8, 2)
    assert counts["rows_in"] == counts["rows_used"] + counts["rows_quarantined"] + counts["duplicates_folded"]
    assert counts["train_rows"] == len(read_split(outputs.examples, "train"))
    assert counts["eval_rows"] == len(read_split(outputs.examples, "eval"))
    assert counts["rows_used"] == counts["train_rows"] + counts["eval_rows"] == 4
    assert len(outputs.rows()) == counts["rows_quarantined"] == outputs.quarantine.get_int_custom_property("rows") == 5
    assert len(outputs.rows("duplicates.csv")) == counts["duplicates_folded"] == 2
    assert counts["night_rows_quarantined"] == 4
    reasons = {
        name.removeprefix("reason:"): value.int_value
        for name, value in outputs.quarantine.mlmd_artifact.custom_properties.items()
        if name.startswith("reason:")
    }
    assert reasons == {
        "conflicting labels": 2,
        "missing or blank title": 1,
        "unknown label": 1,
        "wrong number of fields": 1,
    }


def test_the_quarantine_tells_a_person_where_each_bad_row_is(deliver: Deliver, run: Run) -> None:
    deliver("2022-02-01", FIRST_NIGHT)
    deliver("2022-02-02", SECOND_NIGHT)
    outputs = run("2022-02-02")
    for name in ("quarantine.csv", "duplicates.csv"):
        # Without the mark spreadsheets garble accents (no issue known).
        assert (Path(outputs.quarantine.uri) / name).read_bytes().startswith(b"\xef\xbb\xbfnight,version,file,line")
    rows = outputs.rows()
    assert [(row["night"], row["line"], row["reason"]) for row in rows] == [
        ("2022-02-02", "2", "conflicting labels"),
        ("2022-02-02", "5", "missing or blank title"),
        ("2022-02-02", "6", "unknown label"),
        ("2022-02-02", "7", "wrong number of fields"),
        ("2022-02-01", "2", "conflicting labels"),
    ]
    assert rows[2] == {
        "night": "2022-02-02",
        "version": "1",
        "file": "headlines.csv",
        "line": "6",
        "reason": "unknown label",
        "detail": "label 'bom'",
        "raw": "Vento,bom",
    }


def test_lineage_knows_every_drop_in_properties_that_mlmd_on_postgres_takes(
    deliver: Deliver, run: Run, drops_dir: Path
) -> None:
    deliver("2022-02-01", FIRST_NIGHT, 'a "b\\c.csv')
    deliver("2022-02-03", "Lua,bom\n", "v2/eleição.csv")
    outputs = run("2022-02-03")
    drops = json.loads((Path(outputs.examples.uri) / "drops.json").read_text(encoding="utf-8"))
    assert list(drops) == ["2022-02-01", "2022-02-03"]
    for night, drop in drops.items():
        recorded = json.loads(outputs.examples.get_string_custom_property(f"drop:{night}"))
        assert recorded == {name: value for name, value in drop.items() if name not in ("files", "passed_over")}
    first, second = drops.values()
    assert (first["version"], first["rows_in"], first["rows_used"]) == (1, 3, 3)
    assert (
        datetime.fromisoformat(second["delivered"])
        == VersionFolder.look_into(drops_dir / "2022-02-03" / "v2").delivered
    )
    assert (second["version"], second["rows_in"], second["rows_quarantined"]) == (2, 1, 1)
    [file] = second["files"]
    assert (file["name"], file["rows"], len(file["sha256"]), len(second["sha256"])) == ("eleição.csv", 1, 64, 64)
    assert first["files"][0]["name"] == 'a "b\\c.csv'
    assert outputs.examples.get_string_custom_property("missing_nights") == "2022-02-02"
    assert outputs.examples.get_string_custom_property("night") == "2022-02-03"
    for artifact in outputs:
        for name, value in artifact.mlmd_artifact.custom_properties.items():
            assert "\\" not in value.string_value and len(value.string_value) < 500, name


def test_what_was_passed_over_is_recorded_and_an_empty_part_is_no_fault(deliver: Deliver, run: Run) -> None:
    for name in ("b.txt", "V2/a.csv", "notas/a.csv", *(f"z{number}.txt" for number in range(9))):
        deliver("2022-02-01", FIRST_NIGHT, name)
    deliver("2022-02-01", FIRST_NIGHT, "a.csv")
    deliver("2022-02-01", b"", "empty.csv")
    deliver("2022-02-02", "Lua,1\n")
    outputs = run("2022-02-01")
    drop = json.loads((Path(outputs.examples.uri) / "drops.json").read_text(encoding="utf-8"))["2022-02-01"]
    strays = ["V2/", "b.txt", "notas/", *(f"z{number}.txt" for number in range(9))]
    assert drop["passed_over"] == [*strays, "empty.csv (no rows)"]
    assert [(file["name"], file["rows"]) for file in drop["files"]] == [("a.csv", 3), ("empty.csv", 0)]
    recorded = outputs.examples.get_string_custom_property("passed_over")
    assert recorded == "V2/, b.txt, notas/, z0.txt, z1.txt, z2.txt, z3.txt, z4.txt and 5 more"
    assert run("2022-02-02").examples.get_string_custom_property("passed_over") == ""


def test_a_drop_of_bad_rows_alone_still_succeeds_so_that_its_quarantine_is_kept(deliver: Deliver, run: Run) -> None:
    deliver("2022-02-01", "Vento,bom\n,neutral\n")
    outputs = run("2022-02-01")
    assert len(outputs.rows()) == 2
    assert read_split(outputs.examples, "train") == read_split(outputs.examples, "eval") == []


def test_the_same_window_gives_the_same_bytes(run: Run, twelve_nights: Path) -> None:
    one, two = (run("2022-02-12", place, twelve_nights) for place in ("one", "two"))
    for split in ("train", "eval"):
        first, second = (Path(get_split_uri([outputs.examples], split)) / RECORDS for outputs in (one, two))
        assert first.read_bytes() == second.read_bytes()
        # Another process would order the features otherwise, were their order left to chance.
        for record in tf.data.TFRecordDataset(str(first), "GZIP").take(20).as_numpy_iterator():
            places = [record.index(b"\n" + bytes([len(name)]) + name) for name in sorted(FEATURES)]
            assert places == sorted(places)
    assert one.counts() == two.counts()


def test_over_all_twelve_nights_no_title_trains_one_model_and_judges_another(run: Run, twelve_nights: Path) -> None:
    titles: dict[str, set[str]] = {"train": set(), "eval": set()}
    for number in range(1, 13):
        outputs = run(f"2022-02-{number:02}", f"night {number}", twelve_nights)
        counts = outputs.counts()
        assert counts["rows_in"] == counts["rows_used"] + counts["rows_quarantined"] + counts["duplicates_folded"]
        for split, seen in titles.items():
            rows = read_split(outputs.examples, split)
            assert {row["night"] for row in rows} == {f"2022-02-{night:02}" for night in range(1, number + 1)}
            seen |= {row["title"].casefold() for row in rows}
    assert not titles["train"] & titles["eval"]
    assert len(titles["eval"]) / (len(titles["train"]) + len(titles["eval"])) == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("headlines.csv", b"", "{file} is empty (0 bytes)"),
        ("headlines.csv", b"title,sentiment\n", "{file} has a header and no rows"),
        ("headlines.csv", b"titulo,rotulo\nOuro,2\n", "{file} line 1: the header must name"),
        (
            "headlines.csv",
            "title,sentiment\nEleição,1\n".encode("latin-1"),
            "{file} is not UTF-8 but perhaps Latin-1: line 2, byte 5",
        ),
        ("headlines.csv", b'title,sentiment\nSol,1\n"Ouro,2\n', "{file} line 3: the quotes of the row"),
        ("headlines.csv.tmp", b"title,sentiment\nOuro,2\n", "{folder} holds only temporary files (headlines.csv.tmp)"),
        ("notes.txt", b"later", "{folder} holds no CSV file, only notes.txt; deliver {folder}/headlines.csv"),
    ],
)
@pytest.mark.parametrize("run_night", ["2022-02-01", "2022-02-02"])
def test_a_drop_that_cannot_be_read_fails_with_one_clear_message(
    deliver: Deliver, run: Run, name: str, content: bytes, message: str, run_night: str
) -> None:
    """On its own night, and in the window of a later one."""
    file = deliver("2022-02-01", content, name)
    deliver("2022-02-02", "Ouro,2\n")
    with pytest.raises(ValueError) as caught:
        run(run_night)
    assert message.format(file=file, folder=file.parent) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_drop_and_a_night_that_is_no_date_fail_with_one_clear_message(deliver: Deliver, run: Run) -> None:
    deliver("2022-02-01", "Ouro,2\n")
    with pytest.raises(
        ValueError, match=r"^night 2022-02-02 has no drop: .*/2022-02-02 does not exist; deliver .*\.csv$"
    ):
        run("2022-02-02")
    with pytest.raises(ValueError, match=r"^night '\{\{ ds \}\}' is not a date; write it as YYYY-MM-DD"):
        run("{{ ds }}")


def test_a_row_that_gets_lost_fails_the_run(deliver: Deliver, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    deliver("2022-02-01", FIRST_NIGHT)
    sift = window.sift

    def lose_one(*arguments: Any) -> Any:
        sifted = sift(*arguments)
        del sifted.used[-1:]
        return sifted

    monkeypatch.setattr(window, "sift", lose_one)
    with pytest.raises(RuntimeError, match="lost or invented: 3 came in, but 2 used"):
        run("2022-02-01")


def test_the_fingerprint_changes_with_any_drop_of_the_window_and_no_other(
    drops_dir: Path, deliver: Deliver, drop_rules: dict[str, Any]
) -> None:
    def take() -> str:
        rules = Rules(**{**drop_rules, "window_nights": 2})
        return fingerprint(hash_window(HeadlineExampleGen(str(drops_dir), "2022-02-03", rules).exec_properties))

    assert take() == fingerprint([])
    for night in ("2022-02-01", "2022-02-02", "2022-02-03", "2022-02-04"):
        deliver(night, FIRST_NIGHT)
    first = take()
    deliver("2022-02-01", "Lua,1\n")
    deliver("2022-02-04", "Lua,1\n")
    assert take() == first != fingerprint([])
    deliver("2022-02-02", "Lua,1\n", "v2/headlines.csv")
    assert take() != first


def test_a_drop_that_arrives_while_the_window_is_read_fails_the_run(
    drops_dir: Path, deliver: Deliver, drop_rules: dict[str, Any]
) -> None:
    deliver("2022-02-02", FIRST_NIGHT)
    properties = HeadlineExampleGen(str(drops_dir), "2022-02-02", Rules(**drop_rules)).exec_properties
    seen = fingerprint(hash_window(properties))
    deliver("2022-02-01", "Lua,1\n")
    with pytest.raises(ValueError, match="changed or arrived while it was read; run the night again"):
        Executor().Do({}, {}, {**properties, "fingerprint": seen})


def test_under_airflow_s_launcher_a_version_that_changed_after_its_use_fails_the_run(
    settings: Settings, tmp_path: Path, deliver: Deliver, drop_rules: dict[str, Any]
) -> None:
    """Also in the window of another night, and in a folder whose name SQL and MLMD would trip over."""
    drops_dir = tmp_path / "drops"

    def run(night: str, drops_dir: Path = drops_dir) -> Artifact:
        node = HeadlineExampleGen(drops_dir=str(drops_dir), night=night, rules=Rules(**drop_rules))
        return launch(settings, node, f"run of {night} at {time.time_ns()}").output_dict["examples"][0]

    file = deliver("2022-02-01", FIRST_NIGHT)
    deliver("2022-02-02", "Lua,1\n")
    awkward = tmp_path / 'it\'s "100%"'
    shutil.copytree(drops_dir, awkward)
    first = run("2022-02-01")
    before = json.loads(first.get_string_custom_property("drop:2022-02-01"))["sha256"]
    run("2022-02-02")
    run("2022-02-01", awkward)
    original = file.read_bytes()
    for place in (drops_dir, awkward):
        (place / "2022-02-01" / "headlines.csv").write_bytes(original.replace(b"positive", b"negative"))
        with pytest.raises(AirflowFailException) as caught:
            run("2022-02-02", place)
        now = hash_window(HeadlineExampleGen(str(place), "2022-02-01", Rules(**drop_rules)).exec_properties)[0][1]
        assert str(caught.value).startswith(
            "version 1 of the drop of night 2022-02-01 was changed after the run of night 2022-02-01 had used it: "
            f"its SHA-256 was {before} and is {now} now."
        )
        assert "retraining drop FILE --night 2022-02-01 --correct" in str(caught.value)
    file.write_bytes(original)
    deliver("2022-02-01", "Lua,1\n", "v2/headlines.csv")
    run("2022-02-01")
    run("2022-02-02")


@pytest.mark.parametrize(("before", "after"), [("drops-a", "drops_a"), ("it's", 'it"s')])
def test_under_airflow_s_launcher_another_folder_of_a_name_alike_has_versions_of_its_own(
    settings: Settings, tmp_path: Path, deliver: Deliver, drop_rules: dict[str, Any], before: str, after: str
) -> None:
    def run(place: str) -> None:
        node = HeadlineExampleGen(drops_dir=str(tmp_path / place), night="2022-02-01", rules=Rules(**drop_rules))
        launch(settings, node, f"run at {time.time_ns()}")

    for place, rows in ((before, FIRST_NIGHT), (after, "Lua,1\n")):
        folder = tmp_path / place / "2022-02-01"
        folder.mkdir(parents=True)
        deliver("2022-02-01", rows).rename(folder / "headlines.csv")
    for place in (before, before, after, after):
        run(place)
    for place in (before, after):
        (tmp_path / place / "2022-02-01" / "headlines.csv").write_text("title,sentiment\nVento,1\n")
        with pytest.raises(AirflowFailException, match="version 1 of the drop of night 2022-02-01 was changed"):
            run(place)


def test_under_airflow_s_launcher_a_drop_that_settles_behind_the_check_for_changes_fails_the_run(
    settings: Settings,
    drops_dir: Path,
    deliver: Deliver,
    drop_rules: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    pass_time: Callable[[float], None],
) -> None:
    rules = drop_rules | {"drop_settle_seconds": 3600}
    node = HeadlineExampleGen(drops_dir=str(drops_dir), night="2022-02-01", rules=Rules(**rules))
    file = deliver("2022-02-01", FIRST_NIGHT)
    pass_time(7200)
    launch(settings, node, "first")
    deliver("2022-02-01", "Lua,1\n")
    os.utime(file, times=(time.time(),) * 2)

    def hash_and_let_settle(properties: dict[str, Any]) -> Any:
        contents = hash_window(properties)
        pass_time(7200)
        return contents

    monkeypatch.setattr(driver, "hash_window", hash_and_let_settle)
    with pytest.raises(GrowingDropError, match="changed or arrived while it was read; run the night again"):
        launch(settings, node, "second")
    with pytest.raises(AirflowFailException, match="was changed after the run of night"):
        launch(settings, node, "third")


def test_under_airflow_s_launcher_a_cached_run_notices_a_corrected_drop(
    settings: Settings, drops_dir: Path, deliver: Deliver, drop_rules: dict[str, Any]
) -> None:
    def rows_used(run: str) -> tuple[int, str]:
        node = HeadlineExampleGen(drops_dir=str(drops_dir), night="2022-02-01", rules=Rules(**drop_rules))
        [examples] = launch(settings, node, run, cache=True).output_dict["examples"]
        return examples.get_int_custom_property("rows_used"), examples.uri

    deliver("2022-02-01", FIRST_NIGHT)
    first = rows_used("run-1")
    assert first[0] == 3
    assert rows_used("run-2") == first
    deliver("2022-02-01", "Lua,1\n", "v2/headlines.csv")
    assert rows_used("run-3")[0] == 1


def test_it_runs_under_local_dag_runner(
    tmp_path: Path, drops_dir: Path, deliver: Deliver, drop_rules: dict[str, Any]
) -> None:
    deliver("2022-02-01", FIRST_NIGHT)
    node = HeadlineExampleGen(drops_dir=str(drops_dir), night="2022-02-01", rules=Rules(**drop_rules))
    connection = sqlite_metadata_connection_config(str(tmp_path / "mlmd.sqlite"))

    def run_it() -> None:
        LocalDagRunner().run(
            Pipeline(NAME, str(tmp_path / "root"), components=[node], metadata_connection_config=connection)
        )

    run_it()
    with Metadata(connection) as metadata:
        [examples] = metadata.store.get_artifacts_by_type("Examples")
        [quarantine] = metadata.store.get_artifacts_by_type("Quarantine")
        [execution] = metadata.store.get_executions()
    assert examples.custom_properties["rows_used"].int_value == 3
    assert (Path(quarantine.uri) / "quarantine.csv").is_file()
    assert len(execution.custom_properties["fingerprint"].string_value) == 64
    deliver("2022-02-01", FIRST_NIGHT + "Vento,2\n")
    with pytest.raises(ChangedDropError, match="version 1 of the drop of night 2022-02-01 was changed after"):
        run_it()
