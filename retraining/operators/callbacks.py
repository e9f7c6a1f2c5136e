"""Telling people and other DAGs: of a push, a failure, a change in the live traffic."""

from typing import Any

from airflow.datasets import Dataset
from airflow.exceptions import AirflowSkipException
from airflow.models.baseoperator import BaseOperator
from airflow.notifications.basenotifier import BaseNotifier
from airflow.utils.context import Context

import lineage
from headlines.errors import HeadlinesError
from headlines.names import ALARM, LIVE_TRAFFIC, NIGHTLY_DAG
from retraining.notices.telling import tell, tell_end
from retraining.recording.refusals import fail_at_once
from retraining.settings import Settings

# Other DAGs, such as one that scores headlines with the new model, are scheduled on it.
CHAMPION = Dataset("x-headlines://champion")


def tell_what_serves() -> str:
    """What goes on serving when a night comes to nothing, in a few words."""
    try:
        serving = lineage.serving_version(Settings.from_env())
    except HeadlinesError as error:
        # This is told of something else that went wrong, which must be told all the same.
        return f"what serves is not known ({error})"
    return f"version {serving.version} keeps serving" if serving else "nothing serves yet"


class AnnouncePush(BaseOperator):
    """Tells people, and through the Dataset other DAGs, that a new model serves; is skipped when none was pushed."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(outlets=[CHAMPION], **kwargs)

    @fail_at_once()
    def execute(self, context: Context) -> str:
        """Returns the pushed version."""
        settings = Settings.from_env()
        report = lineage.run_report(settings, context["dag_run"].run_id)
        if report.pushed_version is None:
            raise AirflowSkipException(f"night {report.night}: nothing pushed; {report.reason}")
        context["outlet_events"][CHAMPION].extra = {"version": report.pushed_version, "night": report.night}
        tell(
            settings,
            "pushed",
            f"night {report.night}: {report.reason}",
            fact=report.pushed_version,
            night=report.night,
            version=report.pushed_version,
        )
        return report.pushed_version


class FailureNotifier(BaseNotifier):
    """Tells of a failed task."""

    def notify(self, context: Context) -> None:
        """Sends what failed, why, and where its log is."""
        task_instance = context["task_instance"]
        what = f"{task_instance.dag_id} {task_instance.run_id} {task_instance.task_id}"
        is_nightly = task_instance.dag_id == NIGHTLY_DAG
        serving = f"; {tell_what_serves()}" if is_nightly else ""
        night = {"night": _find_night(context)} if is_nightly else {}
        tell(
            Settings.from_env(),
            "task failed",
            f"{what}: {context.get('exception')}{serving}",
            # Cleared, it may fail with another reason, which is news; with the same it is none.
            fact=f"{what}: {context.get('exception')}",
            task=f"{task_instance.dag_id}, {task_instance.task_id}",
            log_url=task_instance.log_url,
            **night,
        )


class HousekeepingNotifier(BaseNotifier):
    """Tells of housekeeping that failed, until it works again: what one task could not do is one fact."""

    def notify(self, context: Context) -> None:
        """Sends which task failed and why."""
        task_instance = context["task_instance"]
        tell(
            Settings.from_env(),
            "housekeeping failed",
            f"{task_instance.task_id}: {context.get('exception')}; without it disks fill up. "
            f"By hand, after what it says: `retraining exec airflow dags trigger {task_instance.dag_id}`",
            fact=task_instance.task_id,
            task=f"{task_instance.dag_id}, {task_instance.task_id}",
            log_url=task_instance.log_url,
        )


class HousekeepingEndNotifier(BaseNotifier):
    """Tells whoever was told that a task of housekeeping failed that it has succeeded."""

    def notify(self, context: Context) -> None:
        """Sends that it has."""
        task = context["task_instance"].task_id
        tell_end(Settings.from_env(), "housekeeping failed", f"{task} has succeeded", fact=task)


class TrafficNotifier(BaseNotifier):
    """Tells of what LiveTraffic found beyond its limits; called when that task has succeeded."""

    def notify(self, context: Context) -> None:
        """Sends the alarms of the run, if it has any."""
        settings = Settings.from_env()
        if settings.serving_request_log is None:
            return
        artifacts = lineage.artifacts_of_run(settings, context["dag_run"].run_id).outputs
        report = artifacts.get((LIVE_TRAFFIC, "report"))
        if report is not None and report.properties.get(ALARM):
            alarm = report.properties[ALARM]
            night = _find_night(context)
            tell(settings, "live traffic", alarm, fact=f"{night}: {alarm}", night=night)


def _find_night(context: Context) -> str:
    """The night that a run of the nightly DAG is for."""
    local = context["logical_date"].in_timezone(context["dag"].timezone)
    return str(context.get("params", {}).get("night") or local.strftime("%Y-%m-%d"))
