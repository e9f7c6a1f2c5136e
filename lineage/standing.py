"""How a night stands, in one word and one line, by what Airflow says of its runs; and what to do where nothing goes on.

What MLMD says of a night that came to a verdict always stands.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from headlines.schedule import Due
from lineage.pipeline_names import Names
from lineage.records import Dispatch, NightState, ScheduledRun, ScheduledTask

Standing = tuple[NightState, str]
VERDICTS = ("pushed", "refused")

_SILENCE = timedelta(seconds=60)
"""A program of Airflow's that was last heard of longer ago is taken to be down."""

_PAUSE = timedelta(minutes=5)
"""How long nothing of a run may be at work before it is taken to be stuck."""


@dataclass(frozen=True)
class Timetable:
    """What Airflow says of a range of nights at one moment.

    Attributes:
      runs: by night, oldest first.
      due: the nights of the range that the schedule has asked for by now.
      newest_due: the newest night that it has asked for at all; empty for none.
      dispatch: what decides whether runs begin and go on.
      now: the moment.
    """

    runs: Mapping[str, Sequence[ScheduledRun]]
    due: Mapping[str, Due]
    newest_due: str
    dispatch: Dispatch
    now: datetime


def stand(
    names: Names, timetable: Timetable, night: str, by_mlmd: Standing | None, run_id: str | None
) -> Standing | None:
    """How a night stands.

    Args:
      names: what the nodes are called.
      timetable: what Airflow says of it.
      by_mlmd: how it stands by MLMD; None where MLMD knows no run of it.
      run_id: the run by which it does.

    Returns:
      None for a night of which there is nothing to tell.
    """
    if by_mlmd and by_mlmd[0] in VERDICTS:
        return by_mlmd
    runs, due = timetable.runs.get(night), timetable.due.get(night)
    if not runs:
        return by_mlmd or (_explain_absence(names, timetable, due) if due else None)
    run = runs[-1]
    if run.is_active:
        return explain_run(names, run, timetable.dispatch, timetable.now)
    if by_mlmd and run_id == run.run_id and by_mlmd[0] != "running":
        return by_mlmd
    if run.state == "failed":
        return _explain_failure(names, run)
    sensor = next((task for task in run.tasks if task.name == names.sensor), None)
    if sensor and sensor.state == "skipped":
        return "skipped", sensor.reason or f"{run.run_id} was skipped, and does not say why"
    if sensor is None and by_mlmd is None:
        return "missing", (
            f"{run.run_id} has ended in Airflow, which knows of no task of it, nor does lineage; to run the night: "
            f"`retraining run --night {night}`"
        )
    return "missing", f"{run.run_id} has ended in Airflow, and lineage has no verdict of it"


def explain_run(names: Names, run: ScheduledRun, dispatch: Dispatch, now: datetime) -> Standing:
    """How a run stands that has not ended."""
    if problem := find_stop(names, dispatch, now):
        return "stuck", problem
    if run.state == "queued":
        ahead = [other for other in dispatch.active if other.run_id != run.run_id]
        if len(ahead) >= dispatch.max_active_runs:
            _, why = explain_run(names, ahead[0], dispatch, now) if ahead[0].state == "running" else ("", "queued")
            return "waiting", f"it waits until {ahead[0].run_id} of night {ahead[0].night} has ended, which is: {why}"
        return "waiting", "it is queued, and begins within seconds"
    for task in run.tasks:
        if task.state == "deferred":
            if not _is_heard(dispatch.triggerer_seen, now):
                return "stuck", _tell_silence("triggerer", dispatch.triggerer_seen)
            return "waiting", task.reason or f"{task.name} waits"
    for task in run.tasks:
        if task.state in ("scheduled", "queued") and task.pool in dispatch.pools:
            slots = dispatch.pools[task.pool]
            state: NightState = "stuck" if not slots or _is_older(task, now) else "waiting"
            return state, (
                f"{task.name} waits for a slot of the pool {task.pool}, which has {slots}, none of them free; give it "
                f"more: `retraining exec airflow pools set {task.pool} <slots> ''`"
            )
    for task in run.tasks:
        if task.state in ("scheduled", "queued") and dispatch.closed_pools.get(task.pool) is False:
            return "stuck", f"{task.name} cannot begin: {find_closed_pool(dispatch)}"
    at_work = [task for task in run.tasks if task.state in ("running", "restarting")]
    if at_work:
        return "running", ", ".join(f"{task.name} since {_moment(task.since)}" for task in at_work)
    for task in run.tasks:
        if task.state == "up_for_retry":
            failure = f": {task.reason}" if task.reason else ""
            return "waiting", f"{task.name} failed at attempt {task.attempt} and is tried again{failure}"
    for task in run.tasks:
        if task.state in ("scheduled", "queued") and _is_older(task, now):
            return "stuck", (
                f"{task.name} is {task.state} since {_moment(task.since)} and was not begun; see "
                "`retraining logs scheduler`"
            )
    return "running", f"begun at {_moment(run.begun_at)}"


def _explain_absence(names: Names, timetable: Timetable, due: Due) -> Standing:
    dispatch, now = timetable.dispatch, timetable.now
    if due.night < timetable.newest_due:
        return "missing", (
            f"Airflow knows no run of it, which was due at {_moment(due.starts_at)}, and a later night is due by now; "
            f"to run it: `retraining run --night {due.night}`"
        )
    if not (problem := find_stop(names, dispatch, now)):
        problem = "Airflow does not record why; see `retraining logs scheduler`"
        if len(dispatch.active) >= dispatch.max_active_runs:
            ahead = dispatch.active[0]
            _, why = explain_run(names, ahead, dispatch, now)
            problem = f"one night runs at a time, and {ahead.run_id} of night {ahead.night} has not ended: {why}"
    return "missing", f"no run was begun when it was due, {_moment(due.starts_at)}: {problem}"


def find_stop(names: Names, dispatch: Dispatch, now: datetime) -> str | None:
    """What keeps every run of the DAG from beginning and going on, with what to do; None where nothing does."""
    if not _is_heard(dispatch.scheduler_seen, now):
        return _tell_silence("scheduler", dispatch.scheduler_seen)
    if dispatch.import_error:
        return f"Airflow cannot read {dispatch.import_error}; mend the file, Airflow looks again by itself"
    if not dispatch.is_known:
        return f"Airflow does not know the DAG {names.pipeline}: its file is not in DAGS_DIR, or was not read yet"
    if dispatch.is_paused:
        return (
            f"the DAG {names.pipeline} is paused; unpause it in the web UI, or: `retraining exec airflow dags unpause "
            f"{names.pipeline}`"
        )
    return None


def find_closed_pool(dispatch: Dispatch) -> str | None:
    """Which pool no task can begin in, with what to do; None where each has slots."""
    for pool, is_there in dispatch.closed_pools.items():
        problem = f"the pool {pool} has no slots" if is_there else f"there is no pool {pool}, which its tasks ask for"
        return f"{problem}, so none of them begins; give it some: `retraining exec airflow pools set {pool} <slots> ''`"
    return None


def _explain_failure(names: Names, run: ScheduledRun) -> Standing:
    failed = [task for task in run.tasks if task.state == "failed"]
    if not failed:
        return "failed", f"{run.run_id} is marked failed, and Airflow knows of no task of it that failed"
    reasons = "; ".join(
        f"{task.name}: {task.reason or f'it says no reason; see its log, `retraining logs {task.name}`'}"
        for task in failed
    )
    return ("blocked" if any(task.name == names.gate for task in failed) else "failed"), reasons


def _is_heard(seen: datetime | None, now: datetime) -> bool:
    return seen is not None and now - seen < _SILENCE


def _is_older(task: ScheduledTask, now: datetime) -> bool:
    return task.since is not None and now - task.since > _PAUSE


def _tell_silence(program: str, seen: datetime | None) -> str:
    last = f"was last heard of at {_moment(seen)}" if seen else "was never heard of"
    return (
        f"the {program} does not run: it {last}; `retraining status` shows what does, `retraining up` starts what does "
        f"not, `retraining logs {program}` says why"
    )


def _moment(moment: datetime | None) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if moment else "a moment ago"
