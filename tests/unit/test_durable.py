"""Files are replaced whole or not at all."""

import os
import stat
from pathlib import Path

import pytest

from headlines.durable import copy_file, create_file, link_file, replace_file, stage


def test_a_file_is_replaced_in_one_step_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "rollbacks.json"
    replace_file(path, "é")
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("has_links", [True, False])
def test_a_file_is_made_once_also_where_no_file_can_have_a_second_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    if not has_links:
        monkeypatch.setattr(Path, "hardlink_to", refuse)
    path = tmp_path / "models.config"
    create_file(path, "é")
    with pytest.raises(FileExistsError):
        create_file(path, "another's")
    assert path.read_text(encoding="utf-8") == "é"
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_takes_nothing_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail(descriptor: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space"):
        replace_file(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_secret_is_never_readable_by_others_not_even_while_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []
    sync = os.fsync

    def look(descriptor: int) -> None:
        modes.extend(stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir())
        sync(descriptor)

    monkeypatch.setattr("os.fsync", look)
    replace_file(tmp_path / "password", "secret", mode=0o600)
    assert set(modes) == {0o600}


def test_what_was_staged_and_not_renamed_is_gone(tmp_path: Path) -> None:
    with stage(tmp_path / "scores.csv") as aside:
        assert aside.name.startswith(".scores.csv.") and aside.suffix == ".tmp"
        aside.write_text("half")
    assert not list(tmp_path.iterdir())


def test_a_copy_has_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\0\xff")
    copy_file(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"\0\xff"


def test_a_file_has_a_second_name_or_where_that_cannot_be_a_copy_and_none_is_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, linked, copied = (tmp_path / name for name in ("source", "linked", "copied"))
    source.write_bytes(b"weights")
    link_file(source, linked)
    assert linked.samefile(source)
    with pytest.raises(FileExistsError):
        link_file(source, linked)

    def refuse(*_: object) -> None:
        raise PermissionError("fs.protected_hardlinks")

    monkeypatch.setattr(os, "link", refuse)
    link_file(source, copied)
    assert copied.read_bytes() == b"weights"
    assert not copied.samefile(source)


def test_what_a_killed_process_left_is_swept_and_what_another_is_writing_is_not(tmp_path: Path) -> None:
    old, young = tmp_path / ".scores.csv.7.tmp", tmp_path / ".scores.csv.8.tmp"
    for path in (old, young):
        path.write_text("half")
    os.utime(old, (1, 1))
    replace_file(tmp_path / "scores.csv", "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [young.name, "scores.csv"]


def test_a_folder_that_cannot_be_synced_is_no_reason_to_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync = os.fsync

    def refuse_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError("Invalid argument")
        sync(descriptor)

    monkeypatch.setattr("os.fsync", refuse_folders)
    replace_file(tmp_path / "watch.json", "{}")
    assert (tmp_path / "watch.json").read_text() == "{}"


def test_what_another_process_has_just_renamed_is_none_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "glob", lambda path, pattern: iter([path / ".scores.csv.8.tmp"]))
    replace_file(tmp_path / "scores.csv", "whole")
    assert (tmp_path / "scores.csv").read_text() == "whole"
