"""A backup as a file: whole or not at all, and checked before anything is taken from it."""

import gzip
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from retraining.upkeep import archive
from retraining.upkeep.archive import BackupError, Manifest

MANIFEST = Manifest(
    archive.FORMAT, "2022-02-01T00:00:00+00:00", "1.0", "1.0", {"mlmd": 18}, 10, {}, {}, {}, True, False
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file, an empty folder, and one file under two names."""
    folder = tmp_path / "models"
    (folder / "1" / "empty").mkdir(parents=True)
    (folder / "1" / "weights").write_bytes(b"0123456789" * 1000)
    (folder / "2").mkdir()
    (folder / "2" / "weights").hardlink_to(folder / "1" / "weights")
    return folder


def write(target: Path, folder: Path, manifest: Manifest = MANIFEST) -> None:
    with archive.written(target) as (writer, finish):
        writer.add("models", folder)
        finish(manifest)


def test_what_was_written_comes_back_and_a_file_of_two_names_is_kept_once(tmp_path: Path, folder: Path) -> None:
    target, back = tmp_path / "backup.tar.gz", tmp_path / "back"
    write(target, folder)
    assert target.stat().st_mode & 0o777 == 0o600
    assert set(archive.check(target).files) == {"models/1/weights", "models/2/weights"}
    archive.extract(target, lambda name: None if name.name == "manifest.json" else back / name)
    assert (back / "models/2/weights").read_bytes() == (folder / "2/weights").read_bytes()
    assert (back / "models/2/weights").samefile(back / "models/1/weights")
    assert (back / "models/1/empty").is_dir()


def test_a_backup_that_fails_leaves_the_earlier_file_and_nothing_beside_it(tmp_path: Path, folder: Path) -> None:
    target = tmp_path / "backup.tar.gz"
    target.write_text("the earlier one")

    def fail() -> None:
        with archive.written(target) as (writer, _):
            writer.add("models", folder)
            raise BackupError("no")

    with pytest.raises(BackupError, match="no"):
        fail()
    assert target.read_text() == "the earlier one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup.tar.gz", "models"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(BackupError, match=r"nowhere/backup\.tar\.gz could not be written: .*; free space or"):
        write(tmp_path / "nowhere" / "backup.tar.gz", folder)


def test_what_was_cut_off_or_is_none_is_refused(tmp_path: Path, folder: Path) -> None:
    target = tmp_path / "backup.tar.gz"
    write(target, folder)
    whole = target.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:-4], b"", b"text", gzip.compress(b"text")):
        target.write_bytes(damaged)
        with pytest.raises(BackupError, match=r"backup\.tar\.gz (is no backup|has no manifest)"):
            archive.check(target)
    with pytest.raises(BackupError, match="there is no file"):
        archive.check(tmp_path / "other")


def test_a_part_that_is_not_what_the_manifest_says_is_named(tmp_path: Path, folder: Path) -> None:
    target = tmp_path / "backup.tar.gz"
    write(target, folder)
    with tarfile.open(target) as tar:
        manifest = tar.extractfile("manifest.json")
        assert manifest
        said = manifest.read()
    (folder / "1" / "weights").write_bytes(b"others")
    with tarfile.open(target, "w:gz") as tar:
        tar.add(folder / "1" / "weights", "models/1/weights")
        (tmp_path / "manifest.json").write_bytes(said)
        tar.add(tmp_path / "manifest.json", "manifest.json")
    with pytest.raises(
        BackupError, match="is damaged: 2 of its parts are not what its manifest says, models/1/weights"
    ):
        archive.check(target)


def test_a_member_that_leads_out_of_the_backup_is_refused(tmp_path: Path, folder: Path) -> None:
    target = tmp_path / "backup.tar.gz"
    with tarfile.open(target, "w:gz") as tar:
        tar.add(folder / "1" / "weights", "../weights")
    with pytest.raises(BackupError, match="leads out of it"):
        archive.check(target)


def test_a_newer_format_is_left_to_the_version_that_made_it(tmp_path: Path, folder: Path) -> None:
    write(tmp_path / "backup.tar.gz", folder, replace(MANIFEST, format=archive.FORMAT + 1, project="9.9"))
    with pytest.raises(BackupError, match=r"made by version 9\.9"):
        archive.check(tmp_path / "backup.tar.gz")
