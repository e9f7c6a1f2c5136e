"""The systemd unit as systemd reads it: it takes every line, and rates it as well locked up."""

import shutil
import subprocess
from pathlib import Path

import pytest

from retraining.boot import unit
from retraining.boot.unit import Account, Kind, write_unit
from retraining.settings import Settings

ACCOUNT = Account("daemon", "daemon")
MAX_EXPOSURE = 25
"""Tenths of systemd's exposure of 0 to 10; a unit without hardening has 96, and 25 is well inside its `OK`."""


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    # The checkout that is tested may lie in /tmp.
    monkeypatch.setattr(unit, "_FLEETING", ())
    return Settings.from_env(state_dir="/srv/head lines/var", drops_dir="/data/drops", scores_dir="/data/scores")


def analyze(*arguments: str) -> "subprocess.CompletedProcess[str]":
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.fail("systemd-analyze is missing, by which units are tested; on Debian: apt-get install systemd")
    return subprocess.run([tool, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("kind", ["system", "user"])
def test_systemd_takes_the_unit_without_a_word(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    file = tmp_path / "headline-retraining.service"
    given = {"SLICE_PATTERNS": '{"a": "100 %\\d$"}'}
    file.write_text(write_unit(settings, kind, ACCOUNT if kind == "system" else None, given))
    manager = ["--user"] if kind == "user" else []
    # Where a user's own manager would keep its socket.
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    done = analyze("verify", "--man=no", "--recursive-errors=no", *manager, str(file))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    # It would say so.
    file.write_text(file.read_text().replace("KillMode=mixed", "KillMode=gently"))
    assert "kill mode" in analyze("verify", "--man=no", *manager, str(file)).stderr


def test_systemd_rates_the_system_unit_as_well_locked_up(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "headline-retraining.service"
    file.write_text(write_unit(settings, "system", ACCOUNT))
    rated = analyze("security", "--offline=true", "--no-pager", f"--threshold={MAX_EXPOSURE}", str(file))
    assert rated.returncode == 0, rated.stdout[-400:]
    assert "exposure level" in rated.stdout
