"""Waiting for the drop of a night, without a worker slot, and for one that is late."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import pendulum
from airflow.api.common.trigger_dag import trigger_dag
from airflow.exceptions import AirflowSkipException, DagRunAlreadyExists
from airflow.models.baseoperator import BaseOperator
from airflow.models.dagrun import DagRun
from airflow.sensors.base import BaseSensorOperator
from airflow.triggers.base import BaseTrigger, TriggerEvent
from airflow.utils.context import Context
from airflow.utils.state import TaskInstanceState

import lineage
from headlines import disk
from headlines.drops.drops_folder import DropError, DropsFolder, check_drop, find_problem
from headlines.names import LATE_DROPS_DAG, WAIT_FOR_DROP
from headlines.objects.addresses import to_path
from headlines.schedule import check_night
from retraining.notices.telling import tell
from retraining.operators.callbacks import tell_what_serves
from retraining.operators.reasons import record
from retraining.recording.refusals import fail_at_once
from retraining.settings import Settings
from retraining.watching import watch

log = logging.getLogger(__name__)
POLL_SECONDS = 30.0


class DropSensor(BaseSensorOperator):
    """Waits, without a worker slot, until the night's drop is complete.

    A scheduled run waits until its cut-off and is then skipped, not failed; with `LATE_DROPS=backfill` a run of the DAG
    for late drops waits on. With `CATCHUP_MODE=newest` it is skipped at once when a newer night is due as well, whose
    window holds this one's drop. A run by hand does not wait, but for files that changed a moment ago: it fails at once
    when the drop is not there, and for a night before START_DATE.

    Args:
      night: `YYYY-MM-DD`, templated.
      force: whether to run a night that was run before, templated.
    """

    template_fields: Sequence[str] = ("night", "force")

    def __init__(self, *, night: str, force: str, settings: Settings, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.night = night
        self.force = force
        self._schedule = settings
        self._drops_dir = str(settings.drops_dir)
        self._marker = settings.require_success_marker
        self._settle_seconds = settings.drop_settle_seconds
        self._wait = timedelta(minutes=settings.drop_wait_minutes)
        self._scheduled_from = settings.scheduled_from
        self._newest_only = settings.catchup_mode == "newest"
        self._backfills_late = settings.late_drops == "backfill"

    @fail_at_once()
    def execute(self, context: Context) -> None:
        """Returns when the drop is there, defers while it may still come, and says why when it may not."""
        check_night(self._schedule, self.night)
        _tell_of_silent_watch(self._schedule)
        dag_run = context["dag_run"]
        scheduled = dag_run.run_type == "scheduled"
        if scheduled and self.night < self._scheduled_from:
            _skip(
                context,
                f"night {self.night} ended before this service was first started ({self._scheduled_from}); "
                f"to run it all the same: `retraining run --night {self.night}`",
            )
        # A run that was cleared was asked for. Only a clear gives a task more attempts than its own; a retry does not.
        if context["ti"].max_tries <= self.retries:
            if scheduled and self._newest_only:
                self._leave_to_a_newer_night(context)
                self._tell_of_missed_nights()
            if self.force != "True":
                self._refuse_to_repeat(context)
        try:
            check_drop(
                self._drops_dir,
                self.night,
                require_success_marker=self._marker,
                settle_seconds=self._settle_seconds,
                wait_while_growing=not scheduled,
            )
        except DropError as error:
            if not scheduled:
                raise
            problem = str(error)
        else:
            self._check_room()
            log.info("The drop of night %s is complete.", self.night)
            return
        cut_off = dag_run.data_interval_end + self._wait
        if pendulum.now("UTC") >= cut_off:
            self._give_up(cut_off, problem, context)
        log.info("%s Waiting for it until %s.", problem, cut_off)
        record(context, f"{problem}; it is waited for until {cut_off}")
        self.defer(
            trigger=DropTrigger(self._drops_dir, self.night, self._marker, self._settle_seconds, cut_off),
            method_name="resume",
        )

    @fail_at_once()
    def resume(self, context: Context, event: dict[str, Any]) -> None:
        """Goes on after the wait."""
        if not event["complete"]:
            self._give_up(event["cut_off"], event["problem"], context)
        self._check_room()
        log.info("The drop of night %s is complete.", self.night)

    def _check_room(self) -> None:
        """Fails the night before it begins, and not in the middle, where a disk has less room than it needs.

        Raises:
          LowDiskError: one has; the message names it.
        """
        settings = self._schedule
        remedy = f"clear this task, or `retraining run --night {self.night} --force`"
        disk.check_room(settings.written_places, settings.min_free_gb, remedy)

    def _leave_to_a_newer_night(self, context: Context) -> None:
        """Skips the run when, after an outage or behind a long run, the schedule is a night further on already."""
        interval, newest = context["dag"].get_run_data_interval(context["dag_run"]), None
        while (following := context["dag"].next_dagrun_info(interval, restricted=False)) and (
            following.run_after <= pendulum.now("UTC")
        ):
            newest, interval = following.logical_date, following.data_interval
        if newest is None:
            return
        night = newest.in_timezone(context["dag"].timezone).strftime("%Y-%m-%d")
        message = (
            f"night {self.night} is left to night {night}, the newest that is due, whose window holds its drop "
            f"(CATCHUP_MODE=newest); to run it all the same: `retraining run --night {self.night}`"
        )
        tell(Settings.from_env(), "missed night", message, fact=self.night, night=self.night)
        _skip(context, message)

    def _tell_of_missed_nights(self) -> None:
        """Names the nights between the last one that was run and this one that were delivered and never run."""
        nights_run = {report.night for report in lineage.nights(Settings.from_env()) if report.night < self.night}
        delivered = map(str, DropsFolder(to_path(self._drops_dir)).nights)
        missed_nights = [night for night in delivered if nights_run and max(nights_run) < night < self.night]
        if missed_nights:
            subject = "1 night was" if len(missed_nights) == 1 else f"{len(missed_nights)} nights were"
            message = (
                f"{subject} missed ({missed_nights[0]} to {missed_nights[-1]}); as far as their drops are in the "
                f"window of night {self.night} it is trained on them too. To run each: "
                f"`retraining backfill {missed_nights[0]} {missed_nights[-1]}`"
            )
            span = f"{missed_nights[0]} to {missed_nights[-1]}" if len(missed_nights) > 1 else missed_nights[0]
            tell(Settings.from_env(), "missed night", message, fact=" ".join(missed_nights), night=span)

    def _refuse_to_repeat(self, context: Context) -> None:
        for report in lineage.runs_of_night(Settings.from_env(), self.night):
            if report.run_id != context["dag_run"].run_id and report.state in lineage.VERDICTS:
                _skip(
                    context,
                    f"night {self.night} was run before, as {report.run_id}: {report.reason}. To run it again, "
                    "clear that run, or trigger this one with `force`",
                )

    def _give_up(self, cut_off: object, problem: str, context: Context) -> NoReturn:
        message = f"no complete drop for night {self.night} by its cut-off {cut_off}: {problem}; {tell_what_serves()}. "
        if self._backfills_late:
            self._wait_on(context)
            message += "The night is run when its drop has come (LATE_DROPS=backfill)"
        else:
            message += f"When the drop has come: `retraining run --night {self.night}`"
        tell(Settings.from_env(), "late drop", message, fact=self.night, night=self.night)
        _skip(context, message)

    def _wait_on(self, context: Context) -> None:
        try:
            trigger_dag(
                LATE_DROPS_DAG,
                run_id=f"late__{self.night}",
                conf={"night": self.night},
                execution_date=context["logical_date"],
                replace_microseconds=False,
            )
        except DagRunAlreadyExists:
            log.info("A run of %s has waited for night %s before.", LATE_DROPS_DAG, self.night)


def _tell_of_silent_watch(settings: Settings) -> None:
    """Tells when the program that watches the nights has stopped looking: somebody must watch it, too."""
    if since := watch.find_silence(settings, datetime.now(UTC)):
        text = (
            f"the watch last looked at {since}: nobody will see a night that is overdue; see `retraining logs watch`, "
            "`retraining up` starts it"
        )
        tell(settings, watch.SILENT, text, fact=watch.SILENT, since=since)


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
        self._schedule = settings
        self._drops_dir = str(settings.drops_dir)
        self._marker = settings.require_success_marker
        self._settle_seconds = settings.drop_settle_seconds
        # A window of all nights so far has no end; a year is as good.
        self._wait = timedelta(days=settings.window_nights or 365)

    @fail_at_once()
    def execute(self, context: Context) -> None:
        """Defers."""
        check_night(self._schedule, self.night)
        cut_off = context["logical_date"] + self._wait
        self.defer(
            trigger=DropTrigger(self._drops_dir, self.night, self._marker, self._settle_seconds, cut_off),
            method_name="resume",
        )

    @fail_at_once()
    def resume(self, context: Context, event: dict[str, Any]) -> None:
        """Goes on when the drop has come and the night was not run or begun in another way meanwhile."""
        if not event["complete"]:
            raise AirflowSkipException(f"the drop of night {self.night} never came, and is in no window any more")
        runs = DagRun.find(dag_id=lineage.OURS.pipeline, execution_date=context["logical_date"])
        sensors = [sensor for run in runs if (sensor := run.get_task_instance(WAIT_FOR_DROP))]
        if any(sensor.state != TaskInstanceState.SKIPPED for sensor in sensors):
            raise AirflowSkipException(f"night {self.night} was begun by hand before its drop was found here")
        # Airflow forgets its runs (`airflow db clean`), lineage does not.
        finished = None if sensors else lineage.find_finished(Settings.from_env(), self.night)
        if finished:
            raise AirflowSkipException(f"night {self.night} was run before, as {finished.run_id}: {finished.reason}")
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
        """Yields one event: `complete` tells whether the drop came in time, `problem` why not."""
        while True:
            problem = await asyncio.to_thread(
                find_problem,
                self.drops_dir,
                self.night,
                require_success_marker=self.require_success_marker,
                settle_seconds=self.settle_seconds,
            )
            if problem is None or pendulum.now("UTC") >= self.cut_off:
                yield TriggerEvent({"complete": problem is None, "problem": problem, "cut_off": str(self.cut_off)})
                return
            await asyncio.sleep(POLL_SECONDS)


def _skip(context: Context, reason: str) -> NoReturn:
    """Ends a task that has nothing to do, and what follows it, and keeps the reason where people look."""
    record(context, reason)
    raise AirflowSkipException(reason)
