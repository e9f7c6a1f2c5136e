"""A state folder that cannot be made or used: whatever the command, one line that says what to do."""

import errno
import os
import sys
from pathlib import Path
from unittest.mock import create_autospec

import pytest

from retraining.cli import main as command
from retraining.settings import Settings, SettingsError

COMMANDS = ["up", "up --foreground", "down", "init", "watch", "serve", "demo", "run --night 2022-02-01"]


def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], words: str) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["retraining", *words.split()])
    with pytest.raises(SystemExit) as ended:
        command.main()
    shown = capfd.readouterr()
    return int(ended.value.code or 0), shown.out + shown.err


@pytest.fixture(autouse=True)
def no_env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("retraining.settings.ENV_FILE", tmp_path / ".env")
    monkeypatch.setenv("POSTGRES_EMBEDDED", "false")


@pytest.mark.parametrize("words", COMMANDS)
def test_a_file_in_the_way_is_one_line(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STATE_DIR", str(tmp_path / "a file" / "state"))
    (tmp_path / "a file").touch()
    code, shown = run(monkeypatch, capfd, words)
    assert code == 1
    if words.startswith("run"):
        assert "is not set; run `" in shown
    else:
        expected = f"{tmp_path / 'a file'} is a file where a folder should be; move it away, or set S"
        assert expected in " ".join(shown.split())
    assert "Traceback" not in shown


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (errno.EACCES, "this user may not use {place}; give it the right, run this as who may, or set STATE_DIR to"),
        (errno.EPERM, "this user may not use {place}; give it the right"),
        (errno.EROFS, "is mounted read-only, so {place} cannot be written; set STATE_DIR to a folder of your own"),
        (errno.ENOSPC, "{place} cannot be written: there was no space left on the disk at "),
        (errno.EIO, "{place} cannot be used: Input/output error; mend that, or set STATE_DIR to"),
    ],
)
def test_what_keeps_the_folder_from_being_made_is_told_by_its_kind(
    number: int, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "state"
    settings = Settings.from_env(state_dir=place)
    refused = OSError(number, os.strerror(number), str(place))
    monkeypatch.setattr(Path, "mkdir", create_autospec(Path.mkdir, side_effect=refused))
    with pytest.raises(SettingsError) as told:
        settings.make_state_dir()
    assert str(told.value).startswith(f"STATE_DIR='{place}': ")
    assert why.format(place=place) in str(told.value)
    assert "\n" not in str(told.value)


def test_a_folder_that_may_not_even_be_looked_at_is_told_when_settings_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIR", str(tmp_path / "others"))
    refused = PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "others" / "secrets"))
    monkeypatch.setattr(Path, "is_dir", create_autospec(Path.is_dir, side_effect=refused))
    with pytest.raises(SettingsError, match=r"STATE_DIR='.*others.*': this user may not use .*secrets; give it"):
        Settings.from_env()


def test_a_file_of_another_setting_is_told_with_its_name_and_any_other_is_not_explained(tmp_path: Path) -> None:
    settings = Settings.from_env(state_dir=tmp_path / "state", drops_dir=tmp_path / "drops")
    told = settings.explain(PermissionError(errno.EACCES, "no", str(settings.serving_dir / "1")))
    assert str(told).startswith(f"SERVING_DIR='{settings.serving_dir}': this user may not use")
    told = settings.explain(PermissionError(errno.EACCES, "no", str(tmp_path / "drops" / "a")))
    assert str(told).startswith("DROPS_DIR=")
    assert settings.explain(FileNotFoundError(errno.ENOENT, "no", "/proc/nothing")) is None
    assert settings.explain(OSError("no name")) is None


def test_what_is_wrong_elsewhere_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    broken = create_autospec(command.app, side_effect=FileNotFoundError(errno.ENOENT, "no", "/proc/nothing"))
    monkeypatch.setattr(command, "app", broken)
    with pytest.raises(FileNotFoundError):
        command.main()
