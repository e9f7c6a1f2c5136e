"""The plain Airflow parts beside the TFX nodes: waiting for a drop, choosing what to run on, announcing and telling.

No TFX and no rule about data here.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pendulum
from airflow.api.common.trigger_dag import trigger_dag
from airflow.datasets import Dataset
from airflow.exceptions import AirflowFailException, AirflowSkipException, DagRunAlreadyExists
from airflow.models.baseoperator import BaseOperator
from airflow.models.dagrun import DagRun
from airflow.notifications.basenotifier import BaseNotifier
from airflow.sensors.base import BaseSensorOperator
from airflow.triggers.base import BaseTrigger, TriggerEvent
from airflow.utils.context import Context
from airflow.utils.state import TaskInstanceState

from retraining import lineage
from retraining.scoring import find_pending
from retraining.settings import Settings
from tfx_components.headline_example_gen import drop

log = logging.getLogger(__name__)
# Other DAGs, such as one that scores headlines with the new model, are scheduled on it.
CHAMPION = Dataset("x-headlines://champion")
POLL_SECONDS = 30.0
SENSOR = "wait_for_drop"
LATE_DROPS = "headline_late_drops"
"""The DAG whose runs wait for the drops that missed their cut-off."""


class DropSensor(BaseSensorOperator):
    """Waits, without a worker slot, until the night's drop is complete.

    A scheduled run waits until its cut-off and is then skipped, not failed; with `LATE_DROPS=backfill` a run of the DAG
    for late drops waits on. With `CATCHUP_MODE=newest` it is skipped at
    once when a newer night is due as well, whose window holds this one's drop. A run by hand does not wait, but for
    files that changed a moment ago: it fails at once when the drop is not there.

    Args:
      night: `YYYY-MM-DD`, templated.
      force: whether to run a night that was run before, templated.
    """

    template_fields: Sequence[str] = ("night", "force")

    def __init__(self, *, night: str, force: str, settings: Settings, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.night = night
        self.force = force
        self._drops_dir = str(settings.drops_dir)
        self._marker = settings.require_success_marker
        self._settle_seconds = settings.drop_settle_seconds
        self._wait = timedelta(minutes=settings.drop_wait_minutes)
        self._scheduled_from = settings.scheduled_from
        self._newest_only = settings.catchup_mode == "newest"
        self._backfills_late = settings.late_drops == "backfill"

    def execute(self, context: Context) -> None:
        """Returns when the drop is there, defers while it may still come, and says why when it may not."""
        dag_run = context["dag_run"]
        scheduled = dag_run.run_type == "scheduled"
        if scheduled and self.night < self._scheduled_from:
            raise AirflowSkipException(
                f"night {self.night} ended before this service was first started ({self._scheduled_from}); "
                f"to run it all the same: retraining run --night {self.night}"
            )
        # A run that was cleared was asked for.
        if context["ti"].try_number == 1:
            if scheduled and self._newest_only:
                self._leave_to_a_newer_night(context)
                self._tell_of_missed_nights()
            if self.force != "True":
                self._refuse_to_repeat(dag_run.run_id)
        problem = drop.find_problem(
            self._drops_dir,
            self.night,
            require_success_marker=self._marker,
            settle_seconds=self._settle_seconds,
            wait_while_growing=not scheduled,
        )
        if problem is None:
            log.info("The drop of night %s is complete.", self.night)
            return
        if not scheduled:
            raise AirflowFailException(problem)
        cut_off = dag_run.data_interval_end + self._wait
        if pendulum.now("UTC") >= cut_off:
            self._skip(cut_off, context)
        log.info("%s Waiting for it until %s.", problem, cut_off)
        self.defer(
            trigger=DropTrigger(self._drops_dir, self.night, self._marker, self._settle_seconds, cut_off),
            method_name="resume",
        )

    def resume(self, context: Context, event: dict[str, Any]) -> None:
        """Goes on after the wait."""
        if not event["complete"]:
            self._skip(event["cut_off"], context)
        log.info("The drop of night %s is complete.", self.night)

    def _leave_to_a_newer_night(self, context: Context) -> None:
        """Skips the run when, after an outage or behind a long run, the schedule is a night further on already."""
        interval, newest = context["dag_run"].data_interval, None
        while (following := context["dag"].next_dagrun_info(interval, restricted=False)) and (
            following.run_after <= pendulum.now("UTC")
        ):
            newest, interval = following.logical_date, following.data_interval
        if newest is None:
            return
        night = newest.in_timezone(context["dag"].timezone).strftime("%Y-%m-%d")
        message = (
            f"night {self.night} is left to night {night}, the newest that is due, whose window holds its drop "
            f"(CATCHUP_MODE=newest); to run it all the same: retraining run --night {self.night}"
        )
        notify("missed night", message)
        raise AirflowSkipException(message)

    def _tell_of_missed_nights(self) -> None:
        """Names the nights between the last one that was run and this one that were delivered and never run."""
        run = {report.night for report in lineage.nights(Settings.from_env()) if report.night < self.night}
        delivered = map(str, drop.list_nights(Path(self._drops_dir)))
        missed = [night for night in delivered if run and max(run) < night < self.night]
        if missed:
            message = (
                f"{len(missed)} nights were missed ({missed[0]} to {missed[-1]}); as far as their drops are in the "
                f"window of night {self.night} it is trained on them too. To run each: "
                f"retraining backfill {missed[0]} {missed[-1]}"
            )
            log.warning("%s", message)
            notify("missed night", message)

    def _refuse_to_repeat(self, run_id: str) -> None:
        for report in lineage.runs_of_night(Settings.from_env(), self.night):
            if report.run_id != run_id and report.state in ("pushed", "refused"):
                raise AirflowSkipException(
                    f"night {self.night} was run before, as {report.run_id}: {report.reason}. To run it again, "
                    "clear that run, or trigger this one with `force`"
                )

    def _skip(self, cut_off: object, context: Context) -> None:
        message = f"no complete drop for night {self.night} by its cut-off {cut_off}; the champion keeps serving. "
        if self._backfills_late:
            self._wait_on(context)
            message += "The night is run when its drop has come (LATE_DROPS=backfill)"
        else:
            message += f"When the drop has come: retraining run --night {self.night}"
        notify("late drop", message)
        raise AirflowSkipException(message)

    def _wait_on(self, context: Context) -> None:
        try:
            trigger_dag(
                LATE_DROPS,
                run_id=f"late__{self.night}",
                conf={"night": self.night},
                execution_date=context["logical_date"],
                replace_microseconds=False,
            )
        except DagRunAlreadyExists:
            log.info("A run of %s has waited for night %s before.", LATE_DROPS, self.night)


class LateDropWait(BaseOperator):
    """Waits, without a worker slot, for a drop that missed its cut-off, as long as it would be in a newer window.

    It is skipped when the night was run, or begun, by hand meanwhile. Its run has the logical date of the run that was
    skipped for want of the drop.

    Args:
      night: `YYYY-MM-DD`, templated.
    """

    template_fields: Sequence[str] = ("night",)

    def __init__(self, *, night: str, settings: Settings, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.night = night
        self._drops_dir = str(settings.drops_dir)
        self._marker = settings.require_success_marker
        self._settle_seconds = settings.drop_settle_seconds
        # A window of all nights so far has no end; a year is as good.
        self._wait = timedelta(days=settings.window_nights or 365)

    def execute(self, context: Context) -> None:
        """Defers."""
        cut_off = context["logical_date"] + self._wait
        self.defer(
            trigger=DropTrigger(self._drops_dir, self.night, self._marker, self._settle_seconds, cut_off),
            method_name="resume",
        )

    def resume(self, context: Context, event: dict[str, Any]) -> None:
        """Goes on when the drop has come and the night's run is still the one that was skipped."""
        if not event["complete"]:
            raise AirflowSkipException(f"the drop of night {self.night} never came, and is in no window any more")
        runs = DagRun.find(dag_id=lineage.OURS.pipeline, execution_date=context["logical_date"])
        sensors = [run.get_task_instance(SENSOR) for run in runs]
        if [sensor.state for sensor in sensors if sensor] != [TaskInstanceState.SKIPPED]:
            raise AirflowSkipException(f"night {self.night} was begun by hand before its drop was found here")
        log.info("The drop of night %s has come: its run begins anew.", self.night)


class DropTrigger(BaseTrigger):
    """Looks for the night's drop in the triggerer until it is complete or its cut-off has passed."""

    def __init__(
        self, drops_dir: str, night: str, require_success_marker: bool, settle_seconds: float, cut_off: datetime
    ) -> None:
        super().__init__()
        self.drops_dir = drops_dir
        self.night = night
        self.require_success_marker = require_success_marker
        self.settle_seconds = settle_seconds
        self.cut_off = cut_off

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The trigger's class and arguments, as the triggerer makes it anew."""
        names = ("drops_dir", "night", "require_success_marker", "settle_seconds", "cut_off")
        return f"{__name__}.{type(self).__name__}", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yields one event: `complete` tells whether the drop came in time."""
        while True:
            problem = await asyncio.to_thread(
                drop.find_problem,
                self.drops_dir,
                self.night,
                require_success_marker=self.require_success_marker,
                settle_seconds=self.settle_seconds,
            )
            if problem is None or pendulum.now("UTC") >= self.cut_off:
                yield TriggerEvent({"complete": problem is None, "cut_off": str(self.cut_off)})
                return
            await asyncio.sleep(POLL_SECONDS)


class AnnouncePush(BaseOperator):
    """Tells other DAGs, through the Dataset, that a new model serves; is skipped when none was pushed.

    Its log's last line is the run's verdict.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(outlets=[CHAMPION], **kwargs)

    def execute(self, context: Context) -> str:
        """Returns the pushed version."""
        report = lineage.run_report(Settings.from_env(), context["dag_run"].run_id)
        if report.pushed_version is None:
            raise AirflowSkipException(f"night {report.night}: nothing pushed; {report.reason}")
        context["outlet_events"][CHAMPION].extra = {"version": report.pushed_version, "night": report.night}
        log.info("Night %s: version %s is pushed; %s", report.night, report.pushed_version, report.reason)
        return report.pushed_version


class ChooseNight(BaseOperator):
    """Returns the night to search on: the one that was asked for, or the newest with a complete drop when it is due.

    Args:
      night: `YYYY-MM-DD`, or empty or `None` for the newest; templated.
    """

    template_fields: Sequence[str] = ("night",)

    def __init__(self, *, night: str, settings: Settings, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.night = night
        self._settings = settings

    def execute(self, context: Context) -> str:
        """Returns the night."""
        if self.night not in ("", "None"):
            return self.night
        run = context["dag_run"]
        scheduled = run.run_type == "scheduled"
        today = pendulum.instance(run.data_interval_end if scheduled else run.logical_date)
        today = today.in_timezone(self._settings.timezone).date()
        # Airflow makes up for the last date of the schedule as soon as it is started.
        if scheduled and str(today) <= self._settings.scheduled_from:
            raise AirflowSkipException(
                f"this search was due on {today}, before the day after the service was first started "
                f"({self._settings.scheduled_from}); to search now: retraining exec airflow dags trigger "
                f"{context['dag'].dag_id}"
            )
        for night in reversed(drop.list_nights(self._settings.drops_dir)):
            if (
                night <= today
                and drop.find_problem(
                    str(self._settings.drops_dir),
                    night.isoformat(),
                    require_success_marker=self._settings.require_success_marker,
                    settle_seconds=self._settings.drop_settle_seconds,
                )
                is None
            ):
                log.info("Searching on the window of night %s.", night)
                return night.isoformat()
        raise (AirflowSkipException if scheduled else AirflowFailException)(
            f"no night up to {today} has a complete drop in {self._settings.drops_dir}; deliver one, or name a night"
        )


class FindUnlabelled(BaseOperator):
    """Returns the `nights` to score and the `version` to score them with; is skipped when there is nothing new.

    The version is that of the push which triggered the run, the greatest of several; of a run by hand, the greatest
    there is.

    Args:
      night: `YYYY-MM-DD` of the only night to look at, or empty or `None` for all; templated.
      force: whether to score again what is scored, templated.
    """

    template_fields: Sequence[str] = ("night", "force")

    def __init__(self, *, night: str, force: str, settings: Settings, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.night = night
        self.force = force
        self._settings = settings

    def execute(self, context: Context) -> dict[str, str]:
        """Returns what to score, and with what."""
        night = None if self.night in ("", "None") else self.night
        version = self._find_version(context)
        nights = find_pending(self._settings, version, night, self.force == "True")
        if not nights:
            raise AirflowSkipException(
                f"nothing new to score with version {version}: {self._settings.drops_dir}/{night or '<night>'}/ holds "
                f"no unlabelled*.csv that is newer than its scores in {self._settings.scores_dir}. To score a night "
                "again, trigger this with `night` and `force`"
            )
        log.info("Version %s scores %s.", version, ", ".join(nights))
        return {"nights": ",".join(nights), "version": version}

    def _find_version(self, context: Context) -> str:
        events = context["triggering_dataset_events"].get(CHAMPION.uri, [])
        if versions := [str(event.extra["version"]) for event in events if "version" in event.extra]:
            return max(versions)
        # By hand.
        served = Path(str(self._settings.serving_dir))
        versions = [path.name for path in served.glob("*") if path.name.isdecimal()]
        if not versions:
            raise AirflowSkipException(f"nothing is pushed to {served} yet, so there is no model to score with")
        return max(versions)


class FailureNotifier(BaseNotifier):
    """Tells of a failed task: always in the log, and at `FAILURE_WEBHOOK_URL` when it is set."""

    def notify(self, context: Context) -> None:
        """Sends what failed, why, and where its log is."""
        task_instance = context["task_instance"]
        notify(
            "task failed",
            f"{task_instance.dag_id} {task_instance.run_id} {task_instance.task_id}: {context.get('exception')}",
            log_url=task_instance.log_url,
        )


class TrafficNotifier(BaseNotifier):
    """Tells of what LiveTraffic found beyond its limits; called when that task has succeeded."""

    def notify(self, context: Context) -> None:
        """Sends the alarms of the run, if it has any."""
        settings = Settings.from_env()
        if settings.serving_request_log is None:
            return
        made = lineage.artifacts_of_run(settings, context["dag_run"].run_id).outputs
        report = made.get(("LiveTraffic", "report"))
        if report is not None and report.properties.get("alarm"):
            notify("live traffic", report.properties["alarm"])


def task_defaults(settings: Settings) -> dict[str, Any]:
    """What every task of every DAG has unless it says otherwise, as `default_args`."""
    return {
        "owner": "headlines",
        "retries": settings.retries,
        "retry_delay": timedelta(seconds=settings.retry_delay_seconds),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=15),
        "execution_timeout": timedelta(minutes=settings.task_timeout_minutes),
        "on_failure_callback": FailureNotifier(),
    }


def notify(event: str, message: str, **more: str) -> None:
    """Posts a JSON notice to `FAILURE_WEBHOOK_URL` when it is set; a notice that cannot be sent never fails a run."""
    url = Settings.from_env().failure_webhook_url
    if url is None:
        return
    try:
        httpx.post(
            url.get_secret_value(), json={"event": event, "text": message, **more}, timeout=10
        ).raise_for_status()
    except httpx.HTTPError as error:
        log.warning("The notice %r could not be sent: %s. Check FAILURE_WEBHOOK_URL.", event, error)
