"""What a systemd unit of the service says, and why each line: data, which nothing here writes anywhere.

The directives are those of systemd 252, Debian 12's (systemd.service(5), systemd.exec(5), systemd.unit(5)).
"""

import shlex
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from headlines.disk import is_on_disk
from retraining.local import LocalError, preparation, roster, service
from retraining.settings import BASE, CHECKOUT, Settings

NAME = "headline-retraining"
HEADER = "# Written by `retraining service install`, which writes it anew; changes belong into: systemctl edit"
Kind = Literal["system", "user"]

_SPARE_STOP_SECONDS = 60
"""Beyond what the programs may take to stop: the supervisor's own end, and what is left is ended."""
_START_SECONDS = 3 * preparation.STEP_SECONDS + 2 * service.START_SECONDS + service.LOAD_SECONDS + 60
"""Longer than all steps of a start may take together, each of which has an end of its own."""

_HOMES = tuple(map(Path, ("/home", "/root", "/run/user")))
_FLEETING = tuple(map(Path, ("/tmp", "/var/tmp", "/dev/shm", "/run")))

# What needs no privilege, so that a user's own manager can do it too.
_FILTERS = {
    "NoNewPrivileges": "yes",
    "LockPersonality": "yes",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "RestrictNamespaces": "yes",
    # AF_NETLINK is how the C library learns which addresses a machine has.
    "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    "SystemCallArchitectures": "native",
    "SystemCallFilter": "@system-service",
    "SystemCallErrorNumber": "EPERM",
    "KeyringMode": "private",
}
# No MemoryDenyWriteExecute: TensorFlow and Postgres compile as they run. No ProcSubset=pid: psutil reads /proc/meminfo.
# No PrivateNetwork: that is what the service is for. No RemoveIPC: it would take the shared memory of another Postgres
# of the same user (https://www.postgresql.org/docs/current/kernel-resources.html).
_SANDBOX = {
    "ProtectSystem": "strict",
    # Beside it Beam's and Postgres' shared memory in /dev/shm stays: systemd binds it into the private /dev.
    "PrivateDevices": "yes",
    "PrivateTmp": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectControlGroups": "yes",
    "ProtectClock": "yes",
    "ProtectHostname": "yes",
    "ProtectProc": "invisible",
    "CapabilityBoundingSet": "",
    "AmbientCapabilities": "",
    "DevicePolicy": "closed",
}


class UnitError(LocalError):
    """The service cannot be started at boot as it is; the message says what stands in the way and what to do."""


@dataclass(frozen=True)
class Account:
    """Whom a system unit runs as.

    Attributes:
      user: the user's name.
      group: the name of the user's own group.
    """

    user: str
    group: str


def write_unit(
    settings: Settings,
    kind: Kind,
    account: Account | None = None,
    given: Mapping[str, str] | None = None,
    name: str = NAME,
) -> str:
    """The text of the unit.

    Args:
      settings: of the service.
      kind: of the system's manager, or of a user's own.
      account: whom a system unit runs as.
      given: the settings that this command's environment gives and a start at boot would lack, by their variables.
      name: of the unit.

    Raises:
      UnitError: a path is one that does not outlive a restart, or that a unit cannot hold.
    """
    needed = find_needed(settings)
    for path in needed:
        _check_path(path)
    environment = {**(given or {}), service.UNIT_MARK: f"{name}.service"}
    unit = {
        "Description": f"Nightly retraining of the headline model in {_escape(str(settings.state_dir))}",
        "RequiresMountsFor": _join(needed),
        # However often it fails, it is started again: what is full or not there yet may be mended at any hour.
        "StartLimitIntervalSec": "0",
    }
    if kind == "system":
        unit |= {"Wants": "network-online.target", "After": "network-online.target time-sync.target"}
    run = {
        # It says itself when it is ready, and how it is (foreground.py): a fork would leave systemd with a process id
        # in a file, and no word on what is not healthy.
        "Type": "notify",
        "NotifyAccess": "main",
        **({"User": account.user, "Group": account.group} if account else {}),
        "WorkingDirectory": _escape(str(BASE)),
        "ExecStart": _command([sys.executable, "-m", "retraining", "up", "--foreground"]),
        "TimeoutStartSec": str(_START_SECONDS),
        "TimeoutStopSec": str(roster.find_stop_seconds(settings) + _SPARE_STOP_SECONDS),
        # The first process ends the others in order; what is left then is killed.
        "KillMode": "mixed",
        "Restart": "on-failure",
        "RestartSec": "30",
        # The supervisor starts what the kernel kills for want of memory; the rest goes on.
        "OOMPolicy": "continue",
    }
    hardening = dict(_FILTERS)
    if kind == "system":
        is_in_a_home = any(path.is_relative_to(home) for path in needed for home in _HOMES)
        hardening |= _SANDBOX | {
            "ReadWritePaths": _join(find_written(settings)),
            "ProtectHome": "read-only" if is_in_a_home else "yes",
        }
    lines = [HEADER, "[Unit]", *_lines(unit), "", "[Service]", *_lines(run)]
    lines += [f"Environment={_quote(f'{variable}={value}')}" for variable, value in environment.items()]
    lines += [*_lines(hardening), "", "[Install]"]
    lines += [f"WantedBy={wanted_by(kind)}"]
    return "\n".join(lines) + "\n"


def wanted_by(kind: Kind) -> str:
    """The target with which a unit is started."""
    return "multi-user.target" if kind == "system" else "default.target"


def find_needed(settings: Settings) -> list[Path]:
    """Every folder that the service must get to, without those below another."""
    given = [settings.dags_dir, settings.drops_dir, settings.hyperparameters_file, Path(sys.prefix)]
    on_disk = [place for place in given if place and is_on_disk(place)]
    return _outermost([BASE, CHECKOUT, *on_disk, *find_written(settings)])


def find_written(settings: Settings) -> list[Path]:
    """Every folder that the service writes to, without those below another."""
    log = settings.serving_request_log
    # The folder for temporary files is the unit's own.
    lasting = [place for place in settings.written_places if place != Path(tempfile.gettempdir())]
    return _outermost([*lasting, *([log.parent] if log else [])])


def _command(command: Iterable[str]) -> str:
    """A command line as systemd reads it, which takes `$` and `%` for its own in quotes, too."""
    return " ".join(_quote(word).replace("$", "$$") for word in command)


def _outermost(paths: Iterable[Path]) -> list[Path]:
    chosen: list[Path] = []
    for path in sorted(set(paths)):
        if not any(path.is_relative_to(one) for one in chosen):
            chosen.append(path)
    return chosen


def _check_path(path: Path) -> None:
    if any(path.is_relative_to(place) for place in _FLEETING):
        raise UnitError(
            f"{path} does not outlive a restart of this machine; set STATE_DIR and the other folders to lasting ones, "
            "and install the checkout there"
        )
    if set(str(path)) & set("\"'\\\n"):
        raise UnitError(f"a unit cannot hold the path {path}, for its quotes or backslashes; rename the folder")


def _join(paths: Iterable[Path]) -> str:
    return " ".join(_quote(str(path)) for path in paths)


def _quote(text: str) -> str:
    escaped = _escape(text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n"))
    return f'"{escaped}"' if escaped != shlex.quote(escaped) or "%" in escaped else escaped


def _escape(text: str) -> str:
    return text.replace("%", "%%")


def _lines(directives: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in directives.items()]
