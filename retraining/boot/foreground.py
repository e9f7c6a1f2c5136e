"""The service in the foreground: the process that systemd starts, asks and stops."""

import contextlib
import logging
from collections.abc import Callable

import psutil
from gunicorn.systemd import sd_notify

from retraining.local import lock, service, supervisor
from retraining.local.preparation import Report
from retraining.local.service import ServiceError
from retraining.settings import Settings

log = logging.getLogger(__name__)
_LOOK_SECONDS = 30.0


def keep(settings: Settings, report: Report, show: Callable[[Settings], None] = lambda settings: None) -> None:
    """Starts the service and stays with it until it ends; whatever ends this process stops it in order.

    systemd is told when it is ready, which it also is when not all of it is healthy after a patient wait: it is what
    nights need. How it is at each moment is its status there.

    Args:
      settings: the settings to run with.
      report: receives one short line per step, and how things stand when that changes.
      show: called when it has started.

    Raises:
      ServiceError: it runs already, or its supervisor ended without being asked to.
      LocalError: it cannot be started.
    """

    def tell(line: str) -> None:
        report(line)
        _notify(f"STATUS={line.splitlines()[0]}")

    with lock.hold(settings):
        if supervisor.is_running(settings):
            raise ServiceError("the service runs already, started elsewhere; stop it first: `retraining down`")
        try:
            settings = service.up(settings, tell)
        except service.UnhealthyError as error:
            tell(str(error))
    try:
        pid = supervisor.find_pid(settings)
        if pid is None:
            raise ServiceError(f"the supervisor is gone; see {supervisor.log_path(settings, 'supervisor')}")
        _notify("READY=1")
        show(settings)
        _stay(settings, psutil.Process(pid), tell)
    except BaseException:
        _notify("STOPPING=1")
        with service.uninterrupted():
            report("stopping the service")
            service.down(settings)
        raise
    # It removes its file when it is asked to end.
    if (settings.state_dir / supervisor.PID_FILE).exists():
        raise ServiceError("the supervisor ended by itself; see `retraining logs supervisor`")
    report("the service was stopped")


def _stay(settings: Settings, process: psutil.Process, tell: Callable[[str], None]) -> None:
    """Waits for the end of the supervisor, and says meanwhile how the service is."""
    last = ""
    while process.is_running():
        health = service.health(settings)
        ill = [f"{name} is {state}" for name, state in health.programs.items() if state != "healthy"]
        now = f"not healthy: {', '.join(ill)}" if ill else "healthy"
        # A moment without an answer is its end, or none.
        if health.programs and now != last:
            tell(now)
            last = now
        with contextlib.suppress(psutil.TimeoutExpired):
            process.wait(timeout=_LOOK_SECONDS)


def _notify(state: str) -> None:
    """Tells systemd, where it has started this process (sd_notify(3))."""
    sd_notify(state, log)
