"""What is counted, what is named, and what of a folder goes: without a database."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from headlines.display import tell_size
from retraining.retention.logs import plan_logs, remove_empty_folders
from retraining.retention.plan import Item, Sizes, Sum, find_own_folder, sum_up
from retraining.retention.removal import remove_files

NOW = datetime(2022, 3, 1, 12, tzinfo=UTC)


def write(path: Path, size: int = 10_000, age_days: float = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    moment = (NOW - timedelta(days=age_days)).timestamp()
    os.utime(path, (moment, moment))
    return path


def test_a_file_that_is_elsewhere_too_frees_its_bytes_with_its_last_name_alone(tmp_path: Path) -> None:
    model = write(tmp_path / "model" / "weights")
    (tmp_path / "version").mkdir()
    os.link(model, tmp_path / "version" / "weights")
    alone = Sizes()
    assert alone.measure(tmp_path / "model") == 0
    both = Sizes()
    assert [both.measure(tmp_path / name) for name in ("model", "version")] == [0, model.stat().st_blocks * 512]


def test_what_stays_of_a_folder_neither_counts_nor_goes(tmp_path: Path) -> None:
    folder = tmp_path / "evaluation" / "7"
    write(folder / "verdict.json")
    write(folder / "row_answers.json")
    write(folder / "deep" / "verdict.json")
    (folder / "empty").mkdir()
    (folder / "link").symlink_to(tmp_path)
    assert Sizes().measure(folder, {"verdict.json"}) >= 2 * 8192
    remove_files(folder, {"verdict.json"})
    assert [path.name for path in folder.rglob("*")] == ["verdict.json"]
    # What is gone already is no error, and what a link leads to is not below it.
    remove_files(folder, {"verdict.json"})
    assert tmp_path.is_dir()
    remove_files(folder)
    assert not folder.exists()
    remove_files(folder)


def test_what_cannot_be_removed_is_an_error_and_not_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    write(tmp_path / "folder" / "file")
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(PermissionError):
        remove_files(tmp_path / "folder")


@pytest.mark.parametrize(
    ("uri", "is_own"),
    [
        ("/state/pipelines/Trainer/model/12", True),
        ("/state/pipelines/Trainer/model/12/Format-Serving", True),
        ("/state/pipelines/Trainer/model", False),
        ("/state/pipelines/Trainer/model/newest", False),
        ("/state/pipelines/Trainer/model/12/../../../../etc", False),
        ("/state/serving/headlines/2022020101", False),
        ("/home/ana/model/x/12", False),
        ("gs://bucket/Trainer/model/12", False),
        ("", False),
    ],
)
def test_only_a_folder_as_tfx_lays_it_out_below_the_pipeline_root_is_the_service_s(uri: str, is_own: bool) -> None:
    assert (find_own_folder(uri, Path("/state/pipelines")) is not None) is is_own


def test_logs_go_by_the_day_they_were_last_written_with_the_folders_that_held_them(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    old = [
        write(logs / "scheduler" / "2022-01-01" / "headline_retraining.py.log", age_days=59),
        write(logs / "dag_processor_manager" / "dag_processor_manager.log.1", age_days=31),
        write(logs / "dag_id=headline_retraining" / "run_id=a" / "task_id=Trainer" / "attempt=1.log", age_days=40),
    ]
    young = [
        write(logs / "scheduler" / "2022-02-28" / "headline_retraining.py.log", age_days=1),
        write(logs / "dag_id=headline_retraining" / "run_id=b" / "task_id=Trainer" / "attempt=1.log", age_days=29),
    ]
    (logs / "scheduler" / "latest").symlink_to("2022-02-28")
    # Those of tasks may be apart, as several machines have them.
    apart = tmp_path / "shared"
    old.append(
        write(apart / "dag_id=headline_retraining" / "run_id=c" / "task_id=Pusher" / "attempt=1.log", age_days=40)
    )
    items = plan_logs((logs, apart), 30, Sizes(), NOW)
    assert {item.path for item in items} == set(old)
    assert {item.what for item in items} == {
        "logs of each reading of the DAG files",
        "logs of the DAG processor",
        "logs of tasks",
    }
    for item in items:
        remove_files(item.path)
    remove_empty_folders((logs, apart))
    assert list(apart.iterdir()) == []
    assert sorted(path for path in logs.rglob("*") if path.is_file() and not path.is_symlink()) == sorted(young)
    assert not (logs / "scheduler" / "2022-01-01").exists()
    assert not (logs / "dag_id=headline_retraining" / "run_id=a").exists()
    # Airflow writes there again.
    assert (logs / "dag_processor_manager").is_dir()
    assert (logs / "scheduler" / "latest").is_symlink()


def test_a_service_that_has_no_logs_yet_has_none_to_remove(tmp_path: Path) -> None:
    assert plan_logs([tmp_path / "logs"], 30, Sizes(), NOW) == []
    remove_empty_folders([tmp_path / "logs"])


def test_things_are_summed_up_by_what_they_are_and_why_the_largest_first() -> None:
    items = [Item("artifact", what, f"{what} {size}", why, Path("/x"), size) for what, why, size in (
        ("Model", "old", 5), ("Examples", "old", 40), ("Model", "old", 6), ("Model", "begun", 1),
    )]  # fmt: skip
    assert sum_up(items) == [Sum("Examples", "old", 1, 40), Sum("Model", "old", 2, 11), Sum("Model", "begun", 1, 1)]


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (12_345_678_901, "12.3 GB"),
    ],
)
def test_a_size_is_told_in_the_unit_that_fits(size: int, text: str) -> None:
    assert tell_size(size) == text
