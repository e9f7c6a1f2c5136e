"""The processes of a service: how they are known, which have outlived their program, and how they are ended.

Every process carries two marks in its environment, which the kernel keeps as they were when it was started: the state
folder, and the program that it belongs to. A process without a parent is found by them, whoever has adopted it. The
supervisor's own tools do not reach that far: it signals the process group of a program that still runs, and tasks and
Postgres' backends each have a group of their own.
"""

import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

MARK = "RETRAINING_SERVICE_OF"
"""Set to the state folder in every process of a service."""

PROGRAM_MARK = "RETRAINING_PROGRAM"
"""Set to the name of the program in each process of one that the supervisor keeps running."""

POSTGRES = "postgres"

_TERM_SECONDS = 10
_FAST_SECONDS = 20
"""How long Postgres may take for a fast shutdown, which rolls transactions back and writes a checkpoint."""
_IMMEDIATE_SECONDS = 5
"""As long as Postgres itself waits in an immediate shutdown before it kills its own processes
(SIGKILL_CHILDREN_AFTER_SECS in src/backend/postmaster/postmaster.c)."""


@dataclass(frozen=True)
class Stray:
    """A process of the service that belongs to no running program.

    Attributes:
      pid: its process id.
      program: what it was started for; empty for a step of a start, or the supervisor.
      command: its command line.
      memory_mb: what it holds of memory, shared with others or not.
    """

    pid: int
    program: str
    command: str
    memory_mb: int


def data_dir(state_dir: Path) -> Path:
    """Where the embedded Postgres keeps its data."""
    return state_dir / "postgres" / "data"


def find_all(state_dir: Path) -> Iterator[tuple[psutil.Process, str]]:
    """Every process of the service of a state folder but this one, with its program; empty where it belongs to none."""
    data = data_dir(state_dir).resolve()
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        # What is gone meanwhile, or another user's, is not ours.
        with suppress(psutil.Error, OSError):
            if is_server_of(process, data):
                yield process, POSTGRES
                continue
            environment = process.environ()
            if environment.get(MARK) == str(state_dir):
                yield process, environment.get(PROGRAM_MARK, "")


def is_server_of(process: psutil.Process, data: Path) -> bool:
    """Whether a process is one of the Postgres server of a data folder, given without links.

    Backends write their title over the environment that others see (PS_USE_CLOBBER_ARGV in
    src/backend/utils/misc/ps_status.c), but all of them work in the data folder.

    Raises:
      psutil.Error: it is gone, or it may not be looked at.
    """
    return process.name() == "postgres" and process.cwd() == str(data)


def is_program() -> bool:
    """Whether this process was started as one of the programs that the supervisor keeps running."""
    return PROGRAM_MARK in psutil.Process().environ()


def find_strays(state_dir: Path, running: Mapping[str, int], others: Iterable[int] = ()) -> list[Stray]:
    """The processes of a service that belong to no running program.

    Args:
      state_dir: of the service.
      running: the process of each program that runs, by the program's name.
      others: processes that may have children without a program: the supervisor, a command that starts the service.
    """
    begun = {name: _begun_at(pid) for name, pid in running.items()}
    parents = set(others)
    strays = []
    for process, program in find_all(state_dir):
        with suppress(psutil.Error):
            if program:
                start = begun.get(program)
                # What an earlier process of the program has left was there before this one.
                is_stray = start is None or process.create_time() < start
            else:
                is_stray = parents.isdisjoint({process.pid, *(parent.pid for parent in process.parents())})
            if is_stray:
                memory_mb = process.memory_info().rss >> 20
                strays.append(Stray(process.pid, program, " ".join(process.cmdline()) or process.name(), memory_mb))
    return strays


def end_all(state_dir: Path) -> bool:
    """Ends every process of a service, Postgres last.

    Returns:
      Whether there was any.
    """
    found = [process for process, program in find_all(state_dir) if program != POSTGRES]
    _signal(found, signal.SIGTERM)
    _, alive = psutil.wait_procs(found, timeout=_TERM_SECONDS)
    _kill(alive)
    return end_postgres(state_dir) or bool(found)


def end_postgres(state_dir: Path, report: Callable[[str], None] = lambda line: None) -> bool:
    """Ends what runs of the embedded server, as Postgres does it, and returns when none of it is left.

    A server must never be started beside a backend of an earlier one, which goes on writing the same files. So they are
    asked first, and waited for as long as it takes; killed only when they do not hear what ends a server at once
    (https://www.postgresql.org/docs/current/server-shutdown.html).

    Args:
      state_dir: of the service.
      report: receives a line when it has to wait.

    Returns:
      Whether any of it ran.
    """
    steps = ((signal.SIGINT, _FAST_SECONDS), (signal.SIGQUIT, _IMMEDIATE_SECONDS), (signal.SIGKILL, _IMMEDIATE_SECONDS))
    has_run = False
    while found := [process for process, program in find_all(state_dir) if program == POSTGRES]:
        has_run = True
        for number, seconds in steps:
            _signal(found, number)
            _, found = psutil.wait_procs(found, timeout=seconds)
            if not found:
                break
            report(f"processes {', '.join(str(one.pid) for one in found)} of an earlier Postgres have not ended yet")
    return has_run


def end_predecessors(state_dir: Path, program: str, report: Callable[[str], None]) -> None:
    """Ends what earlier processes of the program that this one is to become have left; returns when none of it is left.

    They are killed: they have lost who gave them work, and a task that is asked to end reports a failure of the night,
    while one that is gone is begun anew without counting as a retry.

    Args:
      state_dir: of the service.
      program: its name.
      report: receives a line for what is ended.
    """
    if program == POSTGRES:
        end_postgres(state_dir, report)
        return
    # Again and again, since one that is killed may have forked a moment ago.
    while found := [process for process, owner in find_all(state_dir) if owner == program]:
        report(f"ending {len(found)} processes that an earlier {program} has left: {', '.join(map(_tell, found))}")
        _kill(found)


def _begun_at(pid: int) -> float | None:
    with suppress(psutil.Error):
        return psutil.Process(pid).create_time()
    return None


def _tell(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return f"{process.pid} ({' '.join(process.cmdline())[:60] or process.name()})"
    return str(process.pid)


def _kill(processes: list[psutil.Process]) -> None:
    _signal(processes, signal.SIGKILL)
    psutil.wait_procs(processes, timeout=5)


def _signal(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.Error):
            process.send_signal(number)
