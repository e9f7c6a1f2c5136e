"""Running nights on the service: one run per night, begun, followed or done again."""

import graphlib
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lineage
from headlines.drops.drops_folder import DropError, find_problem
from headlines.names import NIGHTLY_DAG, WAIT_FOR_DROP
from headlines.schedule import check_night, find_logical_date
from retraining.local.api import Api, ApiError
from retraining.local.supervisor import last_lines
from retraining.settings import Settings

_POLL_SECONDS = 1.0
_TRACEBACK = "Traceback (most recent call last)"
# Airflow's words for a task that has ended one way or another.
_ENDED = ("success", "failed", "skipped", "upstream_failed", "removed")
_ACTIVE = ("queued", "running")
_DAG_SECONDS = 240
"""The longest the scheduler may take to read the DAG file, TFX's import on a busy machine included."""


@dataclass(frozen=True)
class Task:
    """One node of a run, as it was at one look.

    Attributes:
      name: the task's id.
      state: Airflow's word for it; empty while it waits for its turn.
      attempt: 1 for the first.
      seconds: how long the attempt has run, or ran.
    """

    name: str
    state: str
    attempt: int
    seconds: float


@dataclass(frozen=True)
class Run:
    """A run at one look; `tasks` are in the order in which data flows.

    Attributes:
      run_id: Airflow's id.
      state: queued, running, success or failed.
      tasks: its nodes.
      behind: the runs it waits for while it is queued.
    """

    run_id: str
    state: str
    tasks: tuple[Task, ...]
    behind: tuple[str, ...] = ()

    @property
    def is_done(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in ("success", "failed")

    @property
    def failed_tasks(self) -> tuple[Task, ...]:
        """The nodes that failed themselves, not those behind them."""
        return tuple(task for task in self.tasks if task.state == "failed")


@dataclass(frozen=True)
class Start:
    """What asking for a night came to: its run, and whether that is new, followed, begun again or long done."""

    run_id: str
    how: str


def begin(settings: Settings, night: str, force: bool = False) -> Start:
    """Sees to it that the night is run once.

    Args:
      settings: where the service is.
      night: `YYYY-MM-DD`.
      force: do it again although it succeeded.

    Returns:
      The run: `new`, `following` one that is at work, `again` after a failure or by force, or `done` before.

    Raises:
      ApiError: Airflow does not answer, cannot read the DAG, or refuses the night.
      DropError: the night has no complete drop, and no run that waits for it.
      LineageError: MLMD cannot be asked whether the night was run before.
      NightError: the night may not be run.
    """
    check_night(settings, night)
    problem = find_drop_problem(settings, night)
    with closing(Api(settings, NIGHTLY_DAG)) as api:
        logical_date = find_logical_date(settings, night)
        if problem and not (api.is_readable() and _is_active(api.find_run(logical_date))):
            raise DropError(problem)
        unpause(api)
        run = api.find_run(logical_date)
        if run is not None and _is_active(run):
            return Start(run["dag_run_id"], "following")
        # Airflow forgets its runs (`airflow db clean`), and calls one a success that did nothing; lineage knows.
        has_failed = run is not None and run["state"] == "failed"
        if not force and not has_failed and (finished := lineage.find_finished(settings, night)):
            return Start(finished.run_id, "done")
        if run is not None and not _has_begun(api, run["dag_run_id"]):
            # Its drop came too late for it: as a scheduled run it would be skipped again. One without tasks cannot even
            # be cleared.
            api.delete_run(run["dag_run_id"])
            run = None
        if run is None:
            return Start(api.create_run(logical_date, force)["dag_run_id"], "new")
        api.clear_run(run["dag_run_id"])
        return Start(run["dag_run_id"], "again")


def find_drop_problem(settings: Settings, night: str) -> str | None:
    """Why a night cannot be run for want of its drop; files that may still be growing are left to who reads them."""
    return find_problem(str(settings.drops_dir), night, require_success_marker=settings.require_success_marker)


def unpause(api: Api) -> None:
    """Lets the schedule and runs by hand begin, as soon as Airflow has read the DAG.

    Raises:
      ApiError: Airflow does not answer, or cannot read the DAG.
    """
    _wait_for_dag(api)
    api.unpause()


def follow(settings: Settings, run_id: str) -> Iterator[Run]:
    """Looks at a run, once a second, until it is done; the last look is at its end.

    A look costs the web server 0.1 s, most of it for the password, so what follows from the tasks is not asked for.
    """
    with closing(Api(settings, NIGHTLY_DAG)) as api:
        order = sort_nodes(api.edges())
        while True:
            instances = _find_tasks(api, run_id)
            state = "running"
            if not any(task["state"] and task["state"] not in _ENDED for task in instances.values()):
                state = api.get_run(run_id)["state"]
                # In this order: the tasks of a run that has ended have ended.
                instances = _find_tasks(api, run_id)
            active = api.find_active_runs() if state == "queued" else []
            tasks = tuple(_task(instances[name]) for name in order if name in instances)
            run = Run(run_id, state, tasks, tuple(other["dag_run_id"] for other in active))
            yield run
            if run.is_done:
                return
            time.sleep(_POLL_SECONDS)


def sort_nodes(edges: dict[str, list[str]]) -> list[str]:
    """Names in the order in which data flows; of those at the same depth the alphabet decides."""
    upstream: dict[str, set[str]] = {name: set() for name in edges}
    for name, later in edges.items():
        for downstream in later:
            upstream[downstream].add(name)
    sorter = graphlib.TopologicalSorter(upstream)
    sorter.prepare()
    order: list[str] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        order.extend(ready)
        sorter.done(*ready)
    return order


def find_task_log(settings: Settings, run_id: str | None, task: str) -> Path | None:
    """The log of a task's newest attempt, in one run or, with None, in the run that wrote last."""
    run = f"run_id={run_id}" if run_id else "run_id=*"
    logs = (settings.task_logs_dir / f"dag_id={NIGHTLY_DAG}").glob(f"{run}/task_id={task}/attempt=*.log")
    return max(logs, key=lambda path: path.stat().st_mtime, default=None)


def explain_failure(settings: Settings, run: Run) -> list[str]:
    """For each failed node its name, where its log is and, at the end, why it failed; nothing for a run that did not.

    Raises:
      ApiError: Airflow does not answer.
    """
    if run.state == "success" and run.tasks:
        return []
    if not run.failed_tasks:
        how = "was marked failed, and none of its tasks failed" if run.tasks else "ended without a task"
        return [f"run {run.run_id} {how}; see `retraining logs scheduler`"]
    explanations = []
    with closing(Api(settings, NIGHTLY_DAG)) as api:
        for task in run.failed_tasks:
            path = find_task_log(settings, run.run_id, task.name)
            reason = api.find_reason(run.run_id, task.name)
            end = _end_of_message(path) if path else ""
            if not path:
                lines = [f"{task.name} failed before it could write a log; see `retraining logs scheduler`"]
            elif reason and _TRACEBACK not in end:
                lines = [f"{task.name} failed at attempt {task.attempt}; its log is {path}"]
            else:
                lines = [f"{task.name} failed at attempt {task.attempt}; {path} ends with:", end]
            explanations.append("\n".join([*lines, *([reason] if reason else [])]))
    return explanations


def _end_of_message(path: Path, count: int = 15) -> str:
    """The last lines before Airflow's own closing remarks."""
    lines = last_lines(path, count=2 * count).splitlines()
    while lines and "} INFO - " in lines[-1]:
        lines.pop()
    return "\n".join(lines[-count:])


def _wait_for_dag(api: Api) -> None:
    asked, deadline = datetime.now(UTC), time.monotonic() + _DAG_SECONDS
    while not api.is_readable():
        for error in api.find_import_errors():
            # An older error may be of a file that has been mended since.
            if datetime.fromisoformat(error["timestamp"]) > asked:
                raise ApiError(f"Airflow cannot read {error['filename']}:\n{error['stack_trace'].strip()}")
        if time.monotonic() > deadline:
            raise ApiError(
                f"the scheduler has not read the DAG {NIGHTLY_DAG} within {_DAG_SECONDS} s; "
                "see `retraining logs scheduler`"
            )
        time.sleep(_POLL_SECONDS)


def _find_tasks(api: Api, run_id: str) -> dict[str, dict[str, Any]]:
    return {task["task_id"]: task for task in api.get_tasks(run_id)}


def _is_active(run: dict[str, Any] | None) -> bool:
    return run is not None and run["state"] in _ACTIVE


def _has_begun(api: Api, run_id: str) -> bool:
    """Whether a run that has ended came past its sensor; Airflow may have forgotten its tasks."""
    tasks = api.get_tasks(run_id)
    return bool(tasks) and not any(task["task_id"] == WAIT_FOR_DROP and task["state"] == "skipped" for task in tasks)


def _task(instance: dict[str, object]) -> Task:
    begun, ended = instance.get("start_date"), instance.get("end_date")
    seconds = 0.0
    if isinstance(begun, str):
        end = datetime.fromisoformat(ended) if isinstance(ended, str) else datetime.now().astimezone()
        seconds = max(0.0, (end - datetime.fromisoformat(begun)).total_seconds())
    return Task(str(instance["task_id"]), str(instance["state"] or ""), int(str(instance["try_number"] or 0)), seconds)
