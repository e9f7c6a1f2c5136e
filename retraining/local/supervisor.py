"""The process supervisor: its configuration, its start and stop, and talking to it over XML-RPC on loopback."""

import http.client
import os
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

from retraining.local import LocalError
from retraining.local.processes import PROGRAM_MARK
from retraining.settings import Settings

_CONFIGURATION = """\
; Made anew at every start. Everything is relative to this folder or comes from the environment,
; because a path may hold what this format reads as its own: %, ; and #.
[supervisord]
logfile=logs/supervisor.log
pidfile={pid_file}
nodaemon=true
silent=true
{user}
[inet_http_server]
port=127.0.0.1:%(ENV_SUPERVISOR_PORT)s
username=supervisor
password=%(ENV_SUPERVISOR_PASSWORD)s

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""

_PROGRAM = """
[program:{name}]
command=python -m retraining.local.succession {name} {command}
environment={mark}="{name}"
priority={priority}
autostart=false
autorestart=true
startsecs={start_seconds}
startretries={retries}
stopsignal={stop_signal}
stopasgroup={stop_group}
killasgroup=true
stopwaitsecs={stop_seconds}
redirect_stderr=true
stdout_logfile=logs/{name}.log
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=3
"""


PID_FILE = "supervisor.pid"
"""Its file in the state folder, which it removes at an orderly end."""

START_SECONDS = 60
"""A program that ends sooner is started again after a wait, one second longer at each time; a later end is followed by
a start at once (`change_state` and `finish` in supervisor/process.py)."""

_WITHOUT_END = 2**31 - 1
"""How often a program is started again; after a day of trying the wait is seven minutes, after a month forty."""


RUNS = ("RUNNING", "STARTING")
"""The states of a program that has a process; `STARTING` says only that it is younger than START_SECONDS."""


class SupervisorError(LocalError):
    """The supervisor or one of its programs does not run; the message says why and where its log is."""


@dataclass(frozen=True)
class Program:
    """A process to keep running.

    Attributes:
      name: what users call it, and the name of its log.
      command: run in `state_dir`, with the environment given at start; must hold no path (see above). Whatever an
        earlier process of the program has left is ended first (succession.py).
      priority: lower starts first and stops last.
      stop_signal: what ends it in an orderly way.
      stop_group: whether its children get the signal too.
      stop_seconds: how long it may take before it is killed.
    """

    name: str
    command: str
    priority: int
    stop_signal: str = "TERM"
    stop_group: bool = True
    stop_seconds: int = 10


def log_path(settings: Settings, name: str) -> Path:
    """The log of a program, or of `supervisor` itself."""
    return settings.state_dir / "logs" / f"{name}.log"


def last_lines(path: Path, count: int = 15) -> str:
    """The end of a log; empty if there is none."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 400 * count))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-count:])


def start(settings: Settings, programs: list[Program], environment: dict[str, str]) -> None:
    """Starts the supervisor, detached from this terminal, with none of its programs running.

    Raises:
      SupervisorError: it did not answer within 15 s.
    """
    settings.state_dir.joinpath("logs").mkdir(parents=True, exist_ok=True)
    configuration = settings.state_dir / "supervisor.conf"
    # Silences its warning about root (Supervisor/supervisor#308), which speaks of its configuration search path; ours
    # is explicit.
    is_root = os.geteuid() == 0
    sections = [_CONFIGURATION.format(pid_file=PID_FILE, user="user=root\n" if is_root else "")]
    fixed = {"mark": PROGRAM_MARK, "start_seconds": START_SECONDS, "retries": _WITHOUT_END}
    sections += [
        _PROGRAM.format(**{**vars(program), **fixed, "command": program.command.replace("%", "%%")})
        for program in programs
    ]
    configuration.write_text("".join(sections))
    with log_path(settings, "supervisor").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "supervisor.supervisord", "-c", str(configuration)],
            cwd=settings.state_dir,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + 15
    while not is_running(settings):
        if process.poll() is not None or time.monotonic() > deadline:
            path = log_path(settings, "supervisor")
            raise SupervisorError(f"the supervisor did not start; {path} ends with:\n{last_lines(path)}")
        time.sleep(0.05)


@contextmanager
def connect(settings: Settings) -> Iterator[Any | None]:
    """Gives the RPC interface of the running supervisor of this state folder, or None."""
    if settings.supervisor_password is None:
        yield None
        return
    address = f"http://supervisor:{settings.secret('supervisor_password')}@127.0.0.1:{settings.supervisor_port}/RPC2"
    with xmlrpc.client.ServerProxy(address, _Transport()) as proxy:
        try:
            proxy.supervisor.getPID()
        except (OSError, xmlrpc.client.Error, http.client.HTTPException, ExpatError):
            # Nobody is there, or not our supervisor.
            rpc = None
        else:
            rpc = proxy.supervisor
        yield rpc


def find_pid(settings: Settings) -> int | None:
    """The process of the running supervisor of this state folder."""
    with connect(settings) as rpc:
        return None if rpc is None else int(rpc.getPID())


def is_running(settings: Settings) -> bool:
    """Whether the supervisor of this state folder runs."""
    with connect(settings) as rpc:
        return rpc is not None


def states(settings: Settings) -> dict[str, dict[str, Any]]:
    """What the supervisor knows of each program (`statename`, `pid`, `description`), by name; empty if it is down."""
    with connect(settings) as rpc:
        return {} if rpc is None else {info["name"]: info for info in rpc.getAllProcessInfo()}


def run(settings: Settings, name: str) -> None:
    """Starts a program unless it runs; one that waits for its next start is started at once.

    Raises:
      SupervisorError: the supervisor is gone.
    """
    with connect(settings) as rpc:
        if rpc is None:
            raise SupervisorError(f"the supervisor is gone; see {log_path(settings, 'supervisor')}")
        state = rpc.getProcessInfo(name)["statename"]
        if state == "BACKOFF":
            rpc.stopProcess(name)
        if state not in RUNS:
            rpc.startProcess(name, False)


def find_failing(settings: Settings) -> list[str]:
    """The programs that have ended within seconds and wait to be started again.

    Raises:
      SupervisorError: the supervisor itself is gone.
    """
    programs = states(settings)
    if not programs:
        raise SupervisorError(f"the supervisor is gone; see {log_path(settings, 'supervisor')}")
    return [name for name, info in programs.items() if info["statename"] in ("BACKOFF", "FATAL")]


def explain_failure(settings: Settings, name: str) -> str:
    """What is told of a program that does not run: where its log is and how it ends."""
    path = log_path(settings, name)
    return f"{name} does not run; {path} ends with:\n{last_lines(path)}"


class _Transport(xmlrpc.client.Transport):
    """Gives up soon on a port that something silent has taken."""

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = super().make_connection(host)
        connection.timeout = 5
        return connection
