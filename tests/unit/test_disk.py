"""Which disk is named: that of the file that could not be written, or the fullest of those it may have been."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from headlines import disk
from headlines.disk import Disk, LowDiskError

SHM = Path("/dev/shm")


def no_space(name: str | None = None, second: str | None = None) -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name, None, second)


def test_a_disk_has_the_name_of_where_it_is_mounted_and_of_its_device(tmp_path: Path) -> None:
    found = disk.find_disk(SHM / "not there yet" / "nor this")
    assert found.mount == SHM
    assert found.device in Path("/proc/self/mounts").read_text()
    assert found.device
    assert found.free_bytes == shutil.disk_usage(SHM).free
    own = disk.find_disk(tmp_path)
    assert os.path.ismount(own.mount)
    assert tmp_path.is_relative_to(own.mount)


def test_a_link_leads_to_the_disk_that_it_points_at(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(SHM)
    assert disk.find_disk(tmp_path / "link" / "file").mount == SHM


def test_a_mount_whose_name_holds_a_blank_is_found_as_the_kernel_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text("/dev/sda1 / ext4 rw 0 0\n/dev/sdb1 /my\\040disk xfs rw 0 0\n/dev/sdc1 /my\\040disk xfs rw 0 0\n")
    monkeypatch.setattr(disk, "_MOUNTS", mounts)
    assert disk._find_device(Path("/my disk")) == "/dev/sdc1"
    assert disk._find_device(Path("/other")) == ""


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (Disk(Path("/data"), "/dev/sdb1", 2**50, 3 * 2**20, 10), "3 MB free on the disk at /data (/dev/sdb1)"),
        (Disk(Path("/"), "", 2**50, 3 * 2**30, None), "3.0 GB free on the disk at /"),
        (Disk(Path("/data"), "data", 2**50, 3 * 2**30, 0), "not one file free on the disk at /data (data)"),
    ],
)
def test_a_disk_tells_what_of_it_is_free(found: Disk, text: str) -> None:
    assert str(found) == text


def test_the_disk_of_the_file_that_could_not_be_written_is_named_and_not_another(tmp_path: Path) -> None:
    own, shm = disk.find_disk(tmp_path).name, disk.find_disk(SHM).name
    assert own != shm
    # What was written there is removed again, its folder with it; the source of a copy stands first.
    gone = str(SHM / "gone" / "weights")
    for error in (no_space(gone), no_space(str(tmp_path), gone), OSError(str(no_space(str(tmp_path), gone)))):
        assert f"there was no space left on {shm}, of which " in disk.tell_full(error, [tmp_path])
    assert own in disk.tell_full(no_space(str(tmp_path / "file")), [SHM])
    wrapped = RuntimeError("the node failed")
    wrapped.__cause__ = no_space(str(tmp_path / "file"))
    assert own in disk.tell_full(wrapped, [SHM])
    assert shm in disk.tell_full(ValueError(f"{gone}; {os.strerror(errno.ENOSPC)}"), [tmp_path])


def test_where_no_file_is_named_it_is_the_fullest_of_those_that_were_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {
        Path("/a"): Disk(Path("/a"), "", 2**50, 5, 10),
        Path("/b"): Disk(Path("/b"), "", 2**50, 3, 10),
        Path("/c"): Disk(Path("/c"), "", 2**50, 2**40, 0),
    }
    monkeypatch.setattr(disk, "find_disk", places.__getitem__)
    assert "the disk at /b," in disk.tell_full(no_space(), [Path("/a"), Path("/b")])
    assert "the disk at /c, of which not one file is free" in disk.tell_full(no_space(), list(places))


def test_what_was_full_elsewhere_is_not_said_to_be_a_disk_of_ours(tmp_path: Path) -> None:
    full = os.strerror(errno.ENOSPC)
    told = disk.tell_full(ValueError(f'could not extend file "base/16384/2619": {full}'), [tmp_path])
    assert told == "the disk of the Postgres server was full"
    told = disk.tell_full(ValueError(f'could not resize shared memory segment "/PostgreSQL.1": {full}'), [tmp_path])
    assert "no space left on the disk at /dev/shm" in told
    quota = OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), str(tmp_path / "file"))
    assert disk.tell_full(quota, [SHM]).startswith(f"a quota was used up on {disk.find_disk(tmp_path).name}")
    assert disk.tell_full(PermissionError(errno.EACCES, "no"), [tmp_path]) == ""


def test_a_disk_with_less_room_than_a_night_needs_is_refused_once_by_its_name(tmp_path: Path) -> None:
    disk.check_room([tmp_path, SHM], 0.0, "run it again")
    with pytest.raises(LowDiskError) as refused:
        disk.check_room([tmp_path, tmp_path / "more"], 2.0**30, "`retraining run --night 2022-02-01`")
    text = str(refused.value)
    assert text.count(disk.find_disk(tmp_path).name) == 1
    assert "less than MIN_FREE_GB=1.07374e+09; free some there, then `retraining run --night 2022-02-01`" in text
    assert not refused.value.may_pass
