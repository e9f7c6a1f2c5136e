"""Writing the unit where systemd reads it, once nothing stands in the way of a start by it."""

import os
import pwd
import subprocess
import sys
from grp import getgrgid
from pathlib import Path

from headlines.durable import replace_file
from retraining.boot.unit import (
    HEADER,
    NAME,
    Account,
    Kind,
    UnitError,
    find_needed,
    find_written,
    wanted_by,
    write_unit,
)
from retraining.settings import BASE, ENV_FILE, Settings

SYSTEM_UNITS = Path("/etc/systemd/system")


def choose_kind(kind: Kind | None) -> Kind:
    """The manager whose unit it is to be: the system's for root, a user's own for everybody else.

    Raises:
      UnitError: this user may not write that one.
    """
    is_root = os.geteuid() == 0
    if kind == "system" and not is_root:
        raise UnitError(
            "a system unit is root's to write: `sudo retraining service install --system --run-as USER`; or leave out "
            "--system for a unit of your own"
        )
    if kind == "user" and is_root:
        raise UnitError(
            "as root, a unit of one's own would run everything as root; install a system unit that runs as another "
            "user: `retraining service install --run-as USER`"
        )
    return kind or ("system" if is_root else "user")


def find_account(name: str | None) -> Account:
    """Whom a system unit runs as.

    Raises:
      UnitError: nobody was named, it is root, or there is no such user.
    """
    if name is None:
        raise UnitError(
            "a system unit runs as an ordinary user: name it by --run-as; to make one: "
            "`useradd --system --user-group --shell /usr/sbin/nologin headlines`"
        )
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise UnitError(
            f"there is no user {name}; to make one: `useradd --system --user-group --shell /usr/sbin/nologin {name}`"
        ) from None
    if entry.pw_uid == 0:
        raise UnitError(
            f"{name} is root; what trains on delivered files, and serves, needs no such rights: name another"
        )
    if name == "nobody":
        raise UnitError("nobody is whom whatever has no user of its own runs as, and may be anyone; name another")
    return Account(name, getgrgid(entry.pw_gid).gr_name)


def find_given() -> dict[str, str]:
    """The settings that only this command's environment gives, which a start at boot would lack without the unit.

    Raises:
      UnitError: a secret, or what may be one, is among them; everybody may read a unit.
    """
    given = Settings.given_by_environment()
    fields = {name: Settings.model_fields.get(name.lower()) for name in given}
    # Of Airflow's own variables nobody here knows which are.
    hidden = [
        name
        for name, field in fields.items()
        if name.startswith("AIRFLOW__") or (field and "Secret" in str(field.annotation))
    ]
    if hidden:
        raise UnitError(
            f"{', '.join(hidden)} is set in this shell only, and everybody may read a unit; write it into {ENV_FILE} "
            "(mode 600), and unset it here"
        )
    return given


def place_of(kind: Kind, name: str = NAME) -> Path:
    """Where systemd reads the unit."""
    folder = SYSTEM_UNITS if kind == "system" else Path.home() / ".config" / "systemd" / "user"
    return folder / f"{name}.service"


def install(settings: Settings, kind: Kind, account: Account | None, name: str = NAME) -> tuple[Path, list[str]]:
    """Writes the unit, after everything that would keep it from starting was looked at.

    Folders that the service writes to and that are not there yet are made, as the account's own.

    Args:
      settings: of the service.
      kind: of the system's manager, or of a user's own.
      account: whom a system unit runs as.
      name: of the unit.

    Returns:
      Where it is, and the commands that have systemd use it.

    Raises:
      UnitError: something stands in the way; nothing was written.
    """
    text = write_unit(settings, kind, account, find_given(), name)
    path = place_of(kind, name)
    _check_ours(path)
    missing = [folder for folder in find_written(settings) if not folder.exists()]
    if account:
        _check_access(settings, account, missing)
    try:
        for folder in missing:
            folder.mkdir(parents=True)
            if account:
                _give(folder, account)
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, text, mode=0o644)
    except OSError as error:
        raise UnitError(f"{error.filename or path} cannot be written: {error.strerror}") from None
    control = "systemctl" if kind == "system" else "systemctl --user"
    commands = [f"{control} daemon-reload", f"{control} enable --now {name}"]
    if kind == "user":
        # Without it a user's manager runs only while the user is logged in.
        commands.append(f"loginctl enable-linger {pwd.getpwuid(os.geteuid()).pw_name}")
    return path, commands


def uninstall(kind: Kind, name: str = NAME) -> tuple[Path, list[str]]:
    """Removes the unit, and the link by which it is started at boot.

    Returns:
      Where it was, and the commands that have systemd forget it.

    Raises:
      UnitError: there is none, or it is not one that `install` wrote.
    """
    path = place_of(kind, name)
    if not path.exists():
        raise UnitError(f"there is no {path}: nothing is started at boot by that name")
    _check_ours(path)
    try:
        (path.parent / f"{wanted_by(kind)}.wants" / path.name).unlink(missing_ok=True)
        path.unlink()
    except OSError as error:
        raise UnitError(f"{error.filename or path} cannot be removed: {error.strerror}") from None
    control = "systemctl" if kind == "system" else "systemctl --user"
    return path, [f"{control} stop {name}", f"{control} daemon-reload"]


def _check_ours(path: Path) -> None:
    if path.exists() and not path.read_text().startswith(HEADER.split(",")[0]):
        raise UnitError(f"{path} is another's: it does not begin as this command writes it; choose another --name")
    if path.exists() and f"\nWorkingDirectory={str(BASE).replace('%', '%%')}\n" not in path.read_text():
        raise UnitError(f"{path} is of another checkout than {BASE}; choose another --name for this one")


def _check_access(settings: Settings, account: Account, missing: list[Path]) -> None:
    """Has the account itself try what the service will need, whatever decides it: modes, lists, file systems."""
    for path in find_needed(settings):
        if path not in missing and not _may(account, "x", path):
            raise UnitError(
                f"{account.user} cannot enter {path}; move it to a place that others may enter, such as /srv, or let "
                f"the user in: `chmod o+x` on each folder above it"
            )
    for path in find_written(settings):
        if path not in missing and not _may(account, "w", path):
            raise UnitError(
                f"{account.user} may not write to {path}, which is another's: `retraining down`, then "
                f"`chown -R {account.user}:{account.group} '{path}'`"
            )
    # What an earlier start as another user has made: nothing would work, and half of it say why.
    for path in (settings.secrets_dir, settings.airflow_home, settings.state_dir / "postgres" / "data"):
        if path.exists() and path.stat().st_uid != pwd.getpwnam(account.user).pw_uid:
            raise UnitError(
                f"{path} is another user's than {account.user}: `retraining down`, then "
                f"`chown -R {account.user}:{account.group} '{settings.state_dir}'`"
            )
    if not _may(account, "x", Path(sys.executable)):
        raise UnitError(f"{account.user} cannot run {Path(sys.executable)}; make the environment where that user may")
    if ENV_FILE.exists() and not _may(account, "r", ENV_FILE):
        raise UnitError(
            f"{account.user} may not read {ENV_FILE}: `chgrp {account.group} '{ENV_FILE}'`, `chmod 640 '{ENV_FILE}'`"
        )


def _may(account: Account, what: str, path: Path) -> bool:
    command = ["setpriv", f"--reuid={account.user}", f"--regid={account.group}", "--init-groups", "test"]
    return subprocess.run([*command, f"-{what}", path], check=False).returncode == 0


def _give(folder: Path, account: Account) -> None:
    entry = pwd.getpwnam(account.user)
    os.chown(folder, entry.pw_uid, entry.pw_gid)
