"""A rehearsal: on a scratch service, with sample drops, the clock starts a night and its model is pushed and served.

It uses this checkout, this machine and the settings of `.env`, but ports, databases and folders of its own.
"""

import json
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from pydantic import SecretStr

import lineage
from headlines.drops.samples import write_samples
from headlines.names import NIGHTLY_DAG
from headlines.schedule import find_due, find_logical_date
from retraining.local import LocalError, lock, model_server, night_runs, service
from retraining.local.api import Api
from retraining.local.night_runs import Run
from retraining.local.preparation import Report
from retraining.settings import Settings

QUICK: dict[str, Any] = {
    "hyperparameters": {"epochs": 1, "min_steps": 30},
    "min_accuracy": 0.1,
    "min_macro_f1": 0.05,
    "min_recall": {},
    "max_accuracy_drop": 1.0,
    "max_macro_f1_drop": 1.0,
    "max_log_loss_rise": 100.0,
    "max_accuracy_below_baseline": 1.0,
    "max_macro_f1_below_baseline": 1.0,
    "max_log_loss_above_baseline": 100.0,
    "max_slice_drop": 1.0,
}
"""Small training, and a bar so low that every model is pushed: what is shown is the service, not the model."""

_LEAD = timedelta(seconds=45)
"""How long before the night the service begins to start; where that takes longer, the run begins late."""

_BEGIN_SECONDS, _WORD_SECONDS = 300, 120
"""The longest the scheduler may take to begin the run, and notices to come, on a machine busy with other things."""

_POLL_SECONDS = 0.5

_Answer = TypeVar("_Answer")


class RehearsalError(LocalError):
    """The clock started no night, or its model was not pushed and served; the message says where it stopped."""


_PLACES = ("serving_dir", "pipeline_root", "scores_dir", "notices_dir", "task_logs_dir")


@dataclass
class Heard:
    """What the service told whoever listens: the kinds of notices, and how many signs of life."""

    events: list[str] = field(default_factory=list)
    signs_of_life: int = 0


@dataclass(frozen=True)
class Rehearsal:
    """What was shown.

    Attributes:
      night: the night that the clock started.
      run_id: its run.
      late_seconds: how long after the scheduled moment Airflow made the run.
      version: pushed, and what the model server answers with.
      heard: what was told.
    """

    night: str
    run_id: str
    late_seconds: float
    version: str
    heard: Heard


def rehearse(settings: Settings, report: Report, show: Callable[[str, Iterable[Run]], Run]) -> Rehearsal:
    """Shows that the clock starts a night here, and that its model is pushed and served.

    Args:
      settings: of the service that is rehearsed for; it may be up.
      report: receives one short line per step.
      show: follows a night's run to its end, and returns its last look.

    Raises:
      LocalError: something did not come about; what the scratch service left is kept to be looked at.
    """
    place = settings.state_dir / "rehearsal"
    with _listening() as (address, heard):
        scratch = _prepare(settings, place, address)
        with lock.hold(scratch):
            service.down(scratch)
            try:
                rehearsal = _play(scratch, heard, report, show)
            except LocalError as error:
                raise RehearsalError(f"{error}\nWhat it left is in {scratch.state_dir}, its logs in logs/") from error
            finally:
                with service.uninterrupted():
                    report("stopping the scratch service")
                    service.down(scratch)
    shutil.rmtree(place)
    return rehearsal


def _prepare(settings: Settings, place: Path, address: str) -> Settings:
    """A scratch folder with the drop of the night that the next minute but one starts, and the settings for it."""
    shutil.rmtree(place, ignore_errors=True)
    tick = (datetime.now(ZoneInfo(settings.timezone)) + _LEAD + timedelta(minutes=1)).replace(second=0, microsecond=0)
    night = (tick - timedelta(days=1)).date()
    write_samples(place / "drops", nights=1, first_night=night)
    ports = ("postgres_port", "webserver_port", "supervisor_port", "serving_port", "serving_grpc_port")
    chosen = dict(zip(ports, _free_ports(len(ports)), strict=True))
    return Settings.from_env(
        state_dir=place / "state",
        drops_dir=place / "drops",
        **{name: place / name for name in _PLACES},
        # No broker of the service's: its workers would run what is rehearsed on its databases.
        executor="local",
        broker_url=None,
        serving_urls=(f"http://127.0.0.1:{chosen['serving_port']}",),
        serving_request_log=None,
        metrics_port=0,
        **chosen,
        postgres_embedded=True,
        **{f"{database}_port": chosen["postgres_port"] for database in ("mlmd", "airflow_db")},
        **dict.fromkeys(
            ("postgres_host", "mlmd_host", "airflow_db_host", "webserver_host", "serving_host"), "127.0.0.1"
        ),
        schedule=f"{tick.minute} {tick.hour} * * *",
        scheduled_from=night.isoformat(),
        start_date=night.isoformat(),
        catchup_mode="newest",
        tuning_schedule="none",
        notify=SecretStr(f"{address}/notice"),
        digest_schedule="none",
        web_address=None,
        heartbeat_url=SecretStr(f"{address}/alive"),
        **QUICK,
    )


def _play(settings: Settings, heard: Heard, report: Report, show: Callable[[str, Iterable[Run]], Run]) -> Rehearsal:
    settings = service.up(settings, report)
    [due] = find_due(settings, datetime.now(UTC) + timedelta(days=1))[:1]
    with closing(Api(settings, NIGHTLY_DAG)) as api:
        night_runs.unpause(api)
        report(f"waiting for the clock: night {due.night} is due at {due.starts_at:%H:%M}; nothing is triggered")
        logical_date = find_logical_date(settings, due.night)
        seconds = (due.starts_at - datetime.now(UTC)).total_seconds() + _BEGIN_SECONDS
        run = _wait_for(lambda: api.find_run(logical_date), seconds)
    begun_at = datetime.now(UTC)
    if run is None or run["run_type"] != "scheduled":
        reports = lineage.latest(settings, newest=1)
        raise RehearsalError(
            f"the clock began no run of night {due.night}: {reports[-1].reason if reports else 'it is not due'}"
        )
    show(due.night, night_runs.follow(settings, run["dag_run_id"]))
    report("waiting for the model server, the notice of the push and the sign of life")
    night = lineage.latest(settings, newest=1)[-1]
    version = night.pushed_version
    if version is None:
        raise RehearsalError(f"night {night.night} is {night.state}: {night.why}")
    if not _wait_for(lambda: model_server.find_version(settings) == version, _WORD_SECONDS):
        raise RehearsalError(f"the model server does not answer with {version}; its log is serving.log")
    if not _wait_for(lambda: heard.signs_of_life and "pushed" in heard.events, _WORD_SECONDS):
        raise RehearsalError(f"no notice of the push or no sign of life came: {heard}; the log is watch.log")
    return Rehearsal(due.night, night.run_id, (begun_at - due.starts_at).total_seconds(), version, heard)


def _wait_for(ask: Callable[[], _Answer], seconds: float) -> _Answer:
    """Asks until the answer is a good one, or the time is up; returns the last."""
    deadline = time.monotonic() + seconds
    while not (answer := ask()) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    return answer


@contextmanager
def _listening() -> Iterator[tuple[str, Heard]]:
    """Yields an address on this machine, and what was told there so far."""
    heard = Heard()

    class Listener(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.events.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["event"])
            self._thank()

        def do_GET(self) -> None:
            heard.signs_of_life += 1
            self._thank()

        def _thank(self) -> None:
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            """Says nothing on the terminal."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Listener) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", heard
        finally:
            server.shutdown()


def _free_ports(count: int) -> list[int]:
    """Ports that nobody has; held together while they are chosen, so that they differ."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
