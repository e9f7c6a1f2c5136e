"""Which folders are versions, as TensorFlow Serving reads their names (file_system_storage_path_source.cc)."""

import os
from pathlib import Path

import pytest

from serving.folder import look_into, stamp


def put(folder: Path, name: str) -> Path:
    path = folder / name
    path.mkdir(parents=True)
    (path / "saved_model.pb").write_text("")
    return path


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("3", 3),
        ("00003", 3),
        ("0", 0),
        (" 3", 3),
        ("3\n", 3),
        # ParseTimestampedVersion in file_system_storage_path_source_test.cc.
        ("20170111173521", 20170111173521),
        (str(2**63 - 1), 2**63 - 1),
        ("0" * 50 + "3", 3),
    ],
)
def test_a_folder_that_is_named_by_a_number_is_a_version(tmp_path: Path, name: str, version: int) -> None:
    path = put(tmp_path, name)
    assert look_into(tmp_path).present == {version: path}


@pytest.mark.parametrize(
    "name", ["3.denied", "+3", "-3", "0x3", "3_0", "³", "٣", "1e3", "3 4", ".3", str(2**63), "9" * 200]
)
def test_any_other_name_is_none(tmp_path: Path, name: str) -> None:
    put(tmp_path, name)
    assert look_into(tmp_path).present == {}


def test_a_number_that_is_too_great_is_told(tmp_path: Path) -> None:
    put(tmp_path, "1")
    path = put(tmp_path, str(2**63))
    assert look_into(tmp_path).remarks == (f"{path} is no version: its number is greater than {2**63 - 1}",)


def test_of_two_folders_of_one_number_the_last_in_order_is_taken_and_the_other_told(tmp_path: Path) -> None:
    # DuplicateVersions in file_system_storage_path_source_test.cc; real_children, a std::set, puts 001 last.
    for name in ("001", "00001", "0001"):
        put(tmp_path, name)
    seen = look_into(tmp_path)
    assert seen.present == {1: tmp_path / "001"}
    assert [remark.split(" is passed over")[0] for remark in seen.remarks] == [
        str(tmp_path / "00001"),
        str(tmp_path / "0001"),
    ]


def test_a_link_to_a_version_is_one_and_a_file_or_a_dead_link_is_none(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "headlines", put(tmp_path, "elsewhere")
    folder.mkdir()
    (folder / "1").symlink_to(elsewhere)
    (folder / "2").symlink_to("nowhere")
    (folder / "3").write_text("")
    (folder / "4").mkdir()
    (folder / "5").symlink_to("5")
    assert look_into(folder).present == {1: folder / "1"}


def test_a_folder_that_cannot_be_the_one_that_is_meant_is_told_with_the_way_out(tmp_path: Path) -> None:
    missing, file, empty = tmp_path / "missing", tmp_path / "file", tmp_path / "empty"
    file.write_text("")
    empty.mkdir()
    seen = {path: look_into(path) for path in (missing, file, empty)}
    assert {path: one.is_read for path, one in seen.items()} == {missing: False, file: False, empty: True}
    assert seen[missing].problem.startswith(f"SERVING_DIR={missing} does not exist: make it, or set SERVING_DIR to")
    assert seen[file].problem.startswith(f"SERVING_DIR={file} is no folder: set SERVING_DIR to")
    assert seen[empty].problem == f"SERVING_DIR={empty} holds no version: push one, or correct SERVING_DIR"


def test_the_stamp_changes_with_what_may_change_whether_a_version_loads(tmp_path: Path) -> None:
    path = put(tmp_path, "1")
    graph, times = path / "saved_model.pb", (1, 1)
    (path / "round").symlink_to(path)
    stamps = [stamp(path)]
    assert stamp(path) == stamps[0]

    def note() -> None:
        stamps.append(stamp(path))

    graph.write_text("abc")
    note()
    os.utime(graph, ns=times)
    note()
    graph.chmod(0o600)
    note()
    path.chmod(0o700)
    note()
    (path / "variables").mkdir()
    note()
    graph.unlink()
    note()
    assert len(set(stamps)) == len(stamps)
