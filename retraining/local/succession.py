"""How a program takes the place of the one before: it first ends what that one has left, then becomes the program.

The supervisor runs `python -m retraining.local.succession NAME COMMAND...` in the state folder for each of its
programs, at every start. Nothing has to survive for that: whatever was killed, this command included, the next start
ends what is left. (PR_SET_PDEATHSIG would reach children only, not theirs, and a subreaper dies with its own process.)

Light, since every start of a program waits for it: it imports psutil and nothing of the service's.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path

import psutil

from retraining.local import processes


def take_over(state_dir: Path, program: str) -> None:
    """Ends what an earlier process of a program has left, and removes what keeps a new one from starting."""
    processes.end_predecessors(state_dir, program, _report)
    if program == processes.POSTGRES:
        _settle_postmaster_file(processes.data_dir(state_dir).resolve())
    # A process id of before a restart of this machine may be another's now, and Airflow then takes itself to be running
    # (`check_if_pidfile_process_is_running` in airflow/utils/process_utils.py).
    for file in (state_dir / "airflow").glob(f"airflow-{program}*.pid"):
        file.unlink(missing_ok=True)


def _settle_postmaster_file(data: Path) -> None:
    """Removes a `postmaster.pid` that names another's process.

    Postgres does so itself where no process has the number. Where any process has it, as after a restart of the
    machine, it takes that for a server and refuses to start (`CreateLockFile` in src/backend/utils/init/miscinit.c).
    """
    file = data / "postmaster.pid"
    try:
        pid = int(file.read_text().split("\n", 1)[0])
    except FileNotFoundError:
        return
    except ValueError:
        # Empty after a power cut: Postgres says so and what to do, as of a file that it cannot judge.
        if file.read_text().strip():
            return
        _report(f"removing {file}, which is empty")
        file.unlink()
        return
    try:
        process = psutil.Process(pid)
        is_server = process.name() == "postgres"
        with suppress(psutil.AccessDenied):
            is_server = processes.is_server_of(process, data)
    except psutil.NoSuchProcess:
        return
    if not is_server:
        _report(f"removing {file}: process {pid}, which it names, is no server of this folder by now")
        file.unlink()


def _report(line: str) -> None:
    print(f"retraining: {line}", flush=True)


def main() -> None:
    """Becomes the program; returns never."""
    program, *command = sys.argv[1:]
    # As the mark names it, and not as the kernel does, which knows no links.
    take_over(Path(psutil.Process().environ()[processes.MARK]), program)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
