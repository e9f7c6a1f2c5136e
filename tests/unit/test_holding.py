"""What one process holds, another waits for or is refused."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from headlines.holding import hold


@contextmanager
def held_by_another(path: Path, holder: str) -> Iterator[int]:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with hold(path, holder):
            os.write(writer, b"held")
            signal.pause()
    os.read(reader, 4)
    try:
        yield child
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_whoever_may_not_wait_is_told_by_whom_it_is_held(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text("a longer line that somebody left here")
    with (
        held_by_another(path, "7 retraining up"),
        pytest.raises(ValueError, match=r"^7 retraining up$"),
        hold(path, "8", refuse=ValueError),
    ):
        raise AssertionError("both hold it")


def test_what_a_killed_process_held_is_free_at_once(tmp_path: Path) -> None:
    with held_by_another(tmp_path / "lock", "7"):
        pass
    with hold(tmp_path / "lock", "8", refuse=ValueError):
        assert (tmp_path / "lock").read_text() == "8"


def test_a_folder_can_be_held_and_is_left_as_it_is(tmp_path: Path) -> None:
    with hold(tmp_path, is_folder=True):
        assert not list(tmp_path.iterdir())


def test_a_folder_in_the_place_of_a_file_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError), hold(tmp_path):
        raise AssertionError("a folder is held")
