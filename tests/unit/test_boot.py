"""The systemd unit: what it says, and what is refused before it is written."""

import grp
import os
import pwd
import sys
from pathlib import Path
from unittest.mock import create_autospec

import pytest
from typer.testing import CliRunner

from retraining.boot import installing, unit
from retraining.boot.unit import Account, UnitError, write_unit
from retraining.cli.main import app
from retraining.settings import BASE, CHECKOUT, Settings

_ENTRY = next(entry for entry in pwd.getpwall() if entry.pw_uid not in (0, 65534))
ACCOUNT = Account(_ENTRY.pw_name, grp.getgrgid(_ENTRY.pw_gid).gr_name)
"""An ordinary user that is there; Debian's `daemon`."""
FLEETING = unit._FLEETING


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    # The checkout that is tested may lie in /tmp.
    monkeypatch.setattr(unit, "_FLEETING", ())
    return Settings.from_env(state_dir="/srv/head lines/var", drops_dir="/data/drops", scores_dir="/data/scores")


@pytest.fixture
def units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "units"
    monkeypatch.setattr(installing, "SYSTEM_UNITS", folder)
    return folder


def read(text: str) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for line in text.splitlines():
        if "=" in line and not line.startswith("#"):
            name, value = line.split("=", 1)
            values.setdefault(name, []).append(value)
    return values


def test_a_system_unit_drops_privileges_and_may_write_only_where_a_night_does(settings: Settings) -> None:
    found = read(write_unit(settings, "system", ACCOUNT))
    assert (found["User"], found["Group"]) == ([ACCOUNT.user], [ACCOUNT.group])
    assert found["ReadWritePaths"] == ['/data/scores "/srv/head lines/var"']
    assert found["RequiresMountsFor"][0].startswith('/data/drops /data/scores "/srv/head lines/var"')
    assert found["WorkingDirectory"] == [str(BASE)]
    assert found["ExecStart"] == [f"{sys.executable} -m retraining up --foreground"]
    assert found["Environment"] == ["RETRAINING_UNIT=headline-retraining.service"]
    assert found["WantedBy"] == ["multi-user.target"]
    assert found["CapabilityBoundingSet"] == [""]
    # What is not healthy is told, and does not stop what is; what ends is started again however often.
    assert (found["Type"], found["Restart"], found["StartLimitIntervalSec"]) == (["notify"], ["on-failure"], ["0"])
    assert found["OOMPolicy"] == ["continue"]


def test_homes_are_out_of_sight_unless_something_of_the_service_is_in_one(settings: Settings) -> None:
    at_home = settings.model_copy(update={"state_dir": Path("/home/ana/var")})
    is_at_home = any(str(BASE).startswith(home) or sys.prefix.startswith(home) for home in ("/home/", "/root/"))
    assert read(write_unit(settings, "system", ACCOUNT))["ProtectHome"] == ["read-only" if is_at_home else "yes"]
    assert read(write_unit(at_home, "system", ACCOUNT))["ProtectHome"] == ["read-only"]


def test_a_unit_of_ones_own_has_what_needs_no_privilege(settings: Settings) -> None:
    found = read(write_unit(settings, "user"))
    assert found["WantedBy"] == ["default.target"]
    assert found["NoNewPrivileges"] == ["yes"]
    assert found["SystemCallFilter"] == ["@system-service"]
    assert not {"User", "ProtectSystem", "CapabilityBoundingSet", "After"} & found.keys()


def test_what_only_a_shell_sets_is_in_the_unit_as_systemd_reads_it(settings: Settings) -> None:
    given = {"SCHEDULE": "0 3 * * *", "SLICE_PATTERNS": '{"a": "100 %\\d$"}'}
    lines = read(write_unit(settings, "system", ACCOUNT, given))["Environment"]
    assert lines[:2] == ['"SCHEDULE=0 3 * * *"', '"SLICE_PATTERNS={\\"a\\": \\"100 %%\\\\d$\\"}"']


@pytest.mark.parametrize("path", ["/tmp/state", "/dev/shm/state", '/srv/a "state"', "/srv/a\nstate"])
def test_a_folder_that_does_not_outlive_a_boot_or_that_no_unit_can_hold_is_refused(
    settings: Settings, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unit, "_FLEETING", FLEETING)
    with pytest.raises(UnitError, match=r"does not outlive a restart|a unit cannot hold"):
        write_unit(settings.model_copy(update={"state_dir": Path(path)}), "system", ACCOUNT)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (None, "name it by --run-as"),
        ("root", "root is root; what trains on delivered files"),
        ("nobody", "may be anyone"),
        ("no-such-user", "there is no user no-such-user; to make one: `useradd --system"),
    ],
)
def test_a_system_unit_runs_as_an_ordinary_user_that_is_there(name: str | None, why: str) -> None:
    with pytest.raises(UnitError) as refused:
        installing.find_account(name)
    assert why in str(refused.value)


@pytest.mark.parametrize(
    ("user", "asked", "answer"),
    [
        (0, None, "system"),
        (0, "user", "would run everything as root"),
        (1000, None, "user"),
        (1000, "system", "a system unit is root's to write"),
    ],
)
def test_root_writes_a_system_unit_and_everybody_else_one_of_their_own(
    user: int, asked: unit.Kind | None, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installing.os, "geteuid", create_autospec(os.geteuid, return_value=user))
    try:
        assert installing.choose_kind(asked) == answer
    except UnitError as error:
        assert answer in str(error)


def test_a_unit_is_written_anew_and_removed_and_anothers_is_left_alone(
    settings: Settings, units: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [Path("/data/scores"), Path("/srv/head lines/var")]
    monkeypatch.setattr(installing, "find_written", create_autospec(installing.find_written, return_value=[]))
    path, commands = installing.install(settings, "system", None)
    assert path == units / "headline-retraining.service"
    assert commands == ["systemctl daemon-reload", "systemctl enable --now headline-retraining"]
    assert path.stat().st_mode & 0o777 == 0o644
    assert not any(place.exists() for place in places)
    installing.install(settings, "system", None)
    link = units / "multi-user.target.wants" / path.name
    link.parent.mkdir()
    link.symlink_to(path)
    assert installing.uninstall("system") == (path, ["systemctl stop headline-retraining", "systemctl daemon-reload"])
    assert not path.exists() and not link.is_symlink()
    with pytest.raises(UnitError, match="nothing is started at boot by that name"):
        installing.uninstall("system")
    for text, why in {
        "[Unit]\n": "is another's",
        f"{unit.HEADER}\n[Service]\nWorkingDirectory=/a\n": "another checkout",
    }.items():
        path.write_text(text)
        for act in (lambda: installing.install(settings, "system", None), lambda: installing.uninstall("system")):
            with pytest.raises(UnitError, match=why):
                act()
        assert path.read_text() == text


def test_a_user_who_could_not_run_the_service_is_refused_with_what_to_do(
    tmp_path: Path, units: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings.from_env(state_dir=tmp_path / "var", drops_dir=tmp_path / "drops")
    settings.state_dir.mkdir()
    owner = f"{ACCOUNT.user}:{ACCOUNT.group}"
    monkeypatch.setattr(unit, "_FLEETING", ())
    allowed = {"x", "w", "r"}

    def may(account: Account, what: str, path: Path) -> bool:
        return what in allowed

    monkeypatch.setattr(installing, "_may", create_autospec(installing._may, side_effect=may))
    allowed.remove("x")
    with pytest.raises(UnitError, match=rf"{ACCOUNT.user} cannot enter .*move it to a place that others may enter"):
        installing.install(settings, "system", ACCOUNT)
    allowed.add("x")
    allowed.remove("w")
    with pytest.raises(UnitError, match=rf"{ACCOUNT.user} may not write to .*var, .*`chown -R {owner} '.*var'`"):
        installing.install(settings, "system", ACCOUNT)
    allowed.add("w")
    settings.secrets_dir.mkdir()
    if settings.secrets_dir.stat().st_uid != _ENTRY.pw_uid:
        with pytest.raises(UnitError, match=r"secrets is another user's than .*: `retraining down`, then `chown -R"):
            installing.install(settings, "system", ACCOUNT)
    assert not units.exists()


def test_a_secret_of_the_shell_is_not_written_where_everybody_may_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.given_by_environment():
        monkeypatch.delenv(name)
    monkeypatch.setenv("SCHEDULE", "0 3 * * *")
    monkeypatch.setenv("SERVING_REQUEST_LOG", "")
    assert installing.find_given() == {"SCHEDULE": "0 3 * * *"}
    monkeypatch.setenv("MLMD_PASSWORD", "secret")
    with pytest.raises(UnitError, match=r"MLMD_PASSWORD is set in this shell only, .* write it into .*\.env"):
        installing.find_given()


def test_the_unit_is_shown_as_it_would_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.given_by_environment():
        monkeypatch.delenv(name)
    monkeypatch.setenv("STATE_DIR", "/srv/var")
    monkeypatch.setattr(unit, "_FLEETING", ())
    shown = CliRunner().invoke(app, ["service", "show", "--system", "--run-as", ACCOUNT.user])
    assert shown.exit_code == 0, shown.output
    expected = write_unit(Settings.from_env(), "system", ACCOUNT, {"STATE_DIR": "/srv/var"})
    assert shown.output == expected
    assert str(CHECKOUT) in shown.output
