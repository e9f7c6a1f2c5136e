"""Databases written to files and read from them again, by Postgres' own programs."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from headlines.postgres_address import Postgres
from retraining.local import LocalError, postgres

_DEBIAN = Path("/usr/lib/postgresql")
# What pg_restore writes for its own version and an older server does not know (Postgres 17's release notes).
_TOO_NEW = "SET transaction_timeout = 0;"


class DumpError(LocalError):
    """A database could not be written to a file or read from one; the message says why and what to do."""


def dump(place: Postgres, target: Path, snapshot: str, server_major: int) -> None:
    """Writes a database to a file, as it was when a snapshot was taken, while others go on writing to it.

    Args:
      place: the database.
      target: the file; made with mode 0600.
      snapshot: as `pg_export_snapshot()` named it, in a transaction that is still open.
      server_major: the major version of the server.

    Raises:
      DumpError: there is no pg_dump that is new enough, or it failed.
    """
    target.touch(mode=0o600)
    program = find_program("pg_dump", server_major)
    options = ("--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot}", f"--file={target}")
    _run([str(program), *options, f"--dbname={place.name}"], place)


def load(place: Postgres, source: Path) -> None:
    """Reads a database from a file into an empty one, whole or not at all; the server may be newer or older.

    Raises:
      DumpError: it failed; the database is as it was.
    """
    script = [str(find_program("pg_restore", 0)), "--no-owner", "--no-privileges", "--file=-", str(source)]
    psql = [str(find_program("psql", 0)), "--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1"]
    with (
        subprocess.Popen(script, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as reader,
        subprocess.Popen(
            [*psql, f"--dbname={place.name}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=_environment(place),
        ) as writer,
    ):
        assert reader.stdout and reader.stderr and writer.stdin and writer.stderr
        try:
            for line in _adapt(reader.stdout):
                writer.stdin.write(line)
            if reader.wait():
                # Not the end of the input, which would commit what came so far.
                writer.kill()
            writer.stdin.close()
        except BrokenPipeError:
            reader.kill()
        problem = (writer.stderr.read() or reader.stderr.read()).decode(errors="replace")
        if writer.wait() or reader.wait():
            raise DumpError(f"{source.name} could not be read into the database {place}: {_shorten(problem)}")


def find_program(name: str, major: int) -> Path:
    """A program of Postgres that is as new as a server or newer: an older pg_dump refuses a newer server.

    Raises:
      DumpError: there is none.
    """
    candidates = [postgres.find_binaries() / name]
    if found := shutil.which(name):
        candidates.append(Path(found))
    candidates += sorted(_DEBIAN.glob(f"*/bin/{name}"))
    majors = {path: _find_major(path) for path in candidates if path.is_file()}
    usable = [path for path, has in majors.items() if has >= major]
    if not usable:
        there = ", ".join(f"{path} is {has}" for path, has in majors.items()) or "there is none"
        raise DumpError(
            f"the server is Postgres {major}, which takes a {name} of that version or a newer one, and {there}; "
            f"install postgresql-client-{major}"
        )
    return usable[0]


def _find_major(program: Path) -> int:
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"\(PostgreSQL\) (\d+)", version)
    return int(found[1]) if found else 0


def _adapt(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Leaves out what an older server does not know; only before the first rows, which may hold any text."""
    is_head = True
    for line in lines:
        is_head = is_head and not line.startswith((b"COPY ", b"CREATE "))
        if not (is_head and line.strip() == _TOO_NEW.encode()):
            yield line


def _run(command: list[str], place: Postgres) -> None:
    done = subprocess.run(command, env=_environment(place), capture_output=True, text=True, check=False)
    if done.returncode:
        raise DumpError(f"{Path(command[0]).name} failed on the database {place}: {_shorten(done.stderr)}")


def _environment(place: Postgres) -> dict[str, str]:
    # As an argument every user of this machine could read the password; and no variable of libpq's leads elsewhere.
    return {
        "PATH": os.defpath,
        "PGHOST": place.host,
        "PGPORT": str(place.port),
        "PGUSER": place.user,
        "PGPASSWORD": place.password or "",
        "PGCONNECT_TIMEOUT": "10",
    }


def _shorten(text: str) -> str:
    return " ".join(text.split())[:600]
