"""The second source: Airflow's own database, which knows also the runs that MLMD never heard of.

A run that dies before its first TFX node, is skipped, or never begins leaves nothing in MLMD. What that means for a
night is said by standing.py.
"""

import json
import pickletools
from collections.abc import Collection
from contextlib import ExitStack, closing
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from itertools import pairwise
from zoneinfo import ZoneInfo

from headlines.names import NIGHT_PARAM, REASON_EVENT
from headlines.postgres_address import Postgres
from headlines.schedule import Schedule, find_due, find_newest_due
from lineage.database import Database, connect
from lineage.pipeline_names import Names
from lineage.records import Dispatch, ScheduledRun, ScheduledTask
from lineage.standing import Timetable, find_closed_pool, find_stop

_GRACE = timedelta(minutes=2)
"""How long the scheduler may take to begin a run that is due."""

_REASON_CHARACTERS = 600
_ACTIVE = ("queued", "running")
_TELLING = ("failed", "up_for_retry", "running", "queued", "scheduled", "deferred", "restarting")
_RUN = "SELECT id, run_id, run_type, state, execution_date, start_date, end_date FROM dag_run WHERE dag_id = :dag AND "


class Scheduling:
    """Airflow's view of one DAG, and the nights that its schedule asks for."""

    def __init__(self, database: Database, schedule: Schedule, names: Names) -> None:
        """Use `open_scheduling`."""
        self._now = datetime.now(UTC)
        self._rows = database.rows
        self._schedule = schedule
        self._names = names

    def timetable(self, first: str | None = None, last: str | None = None) -> Timetable:
        """What Airflow says of the nights of a range; None for no limit."""
        due = find_due(self._schedule, self._now - _GRACE, first or "")
        return Timetable(
            self.runs(first, last),
            {one.night: one for one in due if last is None or one.night <= last},
            due[-1].night if due else "",
            self.dispatch(),
            self._now,
        )

    def find_stop(self) -> str | None:
        """What keeps the next night from beginning or going on, with what to do; None where nothing does."""
        dispatch = self.dispatch()
        return find_stop(self._names, dispatch, self._now) or find_closed_pool(dispatch)

    def find_paused(self) -> list[str]:
        """The DAGs that are paused of those whose names begin as this one's does."""
        prefix = self._names.pipeline.partition("_")[0] + "_"
        rows = self._rows(
            "SELECT dag_id FROM dag WHERE is_active AND is_paused AND starts_with(dag_id, :prefix) ORDER BY dag_id",
            prefix=prefix,
        )
        return [dag for (dag,) in rows]

    def runs(self, first: str | None = None, last: str | None = None) -> dict[str, list[ScheduledRun]]:
        """The runs of each night, in the order in which Airflow made them.

        Runs of nights before the first start of the service count only when somebody asked for them: Airflow makes one
        by itself (apache/airflow#38168), which is skipped.
        """
        zone, day = ZoneInfo(self._schedule.timezone), timedelta(days=1)
        begin = datetime.fromisoformat(first or "1970-01-01").replace(tzinfo=zone)
        # The last year has a day that no other follows, and no runs.
        ends = last and last < "9999"
        end = (datetime.fromisoformat(str(last)) + day if ends else datetime(9999, 1, 1)).replace(tzinfo=zone)
        named = self._named_nights
        rows = self._rows(
            f"{_RUN} (execution_date >= :begin AND execution_date < :end OR run_id IN :named) ORDER BY id",
            dag=self._names.pipeline,
            begin=begin,
            end=end,
            named=list(named),
        )
        by_night: dict[str, list[ScheduledRun]] = {}
        for run in self._read(rows, named):
            is_asked_for = run.run_type != "scheduled" or run.night >= self._schedule.scheduled_from
            if (first or "") <= run.night <= (last or run.night) and is_asked_for:
                by_night.setdefault(run.night, []).append(run)
        return by_night

    def years(self) -> set[int]:
        """The years of the nights that have a run, and of the newest that is due."""
        zone = ZoneInfo(self._schedule.timezone)
        begin = datetime.fromisoformat(self._schedule.scheduled_from or "1970-01-01").replace(tzinfo=zone)
        rows = self._rows(
            "SELECT DISTINCT CAST(date_part('year', execution_date AT TIME ZONE :zone) AS INTEGER) FROM dag_run "
            "WHERE dag_id = :dag AND (run_type <> 'scheduled' OR execution_date >= :begin)",
            zone=self._schedule.timezone,
            dag=self._names.pipeline,
            begin=begin,
        )
        due = find_newest_due(self._schedule, self._now - _GRACE)
        named = [*self._named_nights.values(), *([due.night] if due else [])]
        return {year for (year,) in rows} | {int(night[:4]) for night in named}

    def find_last_successes(self, prefix: str) -> dict[str, datetime]:
        """When a run of each DAG whose id begins so last succeeded; none of a DAG that never did."""
        return dict(
            self._rows(
                "SELECT dag_id, max(end_date) FROM dag_run WHERE position(:prefix IN dag_id) = 1 "
                "AND state = 'success' AND end_date IS NOT NULL GROUP BY dag_id",
                prefix=prefix,
            )
        )

    def find_night(self, run_id: str) -> str | None:
        """The night of a run; None if Airflow has no such run."""
        rows = self._rows(f"{_RUN} run_id = :run", dag=self._names.pipeline, run=run_id)
        return next((run.night for run in self._read(rows, self._named_nights)), None)

    def active_runs(self, dags: Collection[str]) -> dict[tuple[str, str], str]:
        """The runs of some DAGs that have not ended, by DAG and run id; each with its night, where it is the nightly's.

        A run that waits for its drop, or for its turn, is one of them, and MLMD has not heard of it.
        """
        rows = self._rows(
            "SELECT dag_id, run_id FROM dag_run WHERE dag_id IN :dags AND state IN :active", dags=dags, active=_ACTIVE
        )
        nights = {run.run_id: run.night for run in self.dispatch().active}
        return {(dag, run_id): nights.get(run_id, "") if dag == self._names.pipeline else "" for dag, run_id in rows}

    def dispatch(self) -> Dispatch:
        """What decides whether runs begin and go on."""
        return self._dispatch

    # One transaction sees one moment, so that nothing need be asked twice in it.
    @cached_property
    def _dispatch(self) -> Dispatch:
        dag = self._names.pipeline
        dags = self._rows(
            "SELECT is_paused, max_active_runs, fileloc FROM dag WHERE dag_id = :dag AND is_active", dag=dag
        )
        is_paused, max_active_runs, file = dags[0] if dags else (False, 1, None)
        errors = self._rows("SELECT filename, stacktrace FROM import_error ORDER BY filename")
        import_error = next(
            (
                f"{name}: {trace.strip().splitlines()[-1]}"
                for name, trace in errors
                # Without the DAG nobody knows which file it was in.
                if name == file or file is None
            ),
            None,
        )
        rows = self._rows(f"{_RUN} state IN :active ORDER BY id", dag=dag, active=_ACTIVE)
        heartbeats = dict(
            self._rows(
                "SELECT job_type, max(latest_heartbeat) FROM job WHERE state = 'running' "
                "AND job_type IN :types GROUP BY job_type",
                types=["SchedulerJob", "TriggererJob"],
            )
        )
        pools = self._rows(
            "SELECT p.pool, p.slots FROM slot_pool p LEFT JOIN task_instance t ON t.pool = p.pool "
            "AND t.state IN :holding WHERE p.slots >= 0 GROUP BY p.pool, p.slots "
            "HAVING coalesce(sum(t.pool_slots), 0) >= p.slots",
            holding=["running", "queued"],
        )
        closed = self._rows(
            "WITH newest AS (SELECT DISTINCT pool FROM task_instance WHERE dag_id = :dag AND run_id = "
            "(SELECT run_id FROM dag_run WHERE dag_id = :dag ORDER BY id DESC LIMIT 1)), "
            "named AS (SELECT pool FROM newest UNION SELECT 'default_pool' WHERE NOT EXISTS (SELECT 1 FROM newest)) "
            "SELECT n.pool, p.pool IS NOT NULL FROM named n LEFT JOIN slot_pool p ON p.pool = n.pool "
            "WHERE coalesce(p.slots, 0) = 0 ORDER BY n.pool",
            dag=dag,
        )
        return Dispatch(
            bool(dags),
            is_paused,
            import_error,
            max_active_runs,
            tuple(self._read(rows, self._named_nights)),
            heartbeats.get("SchedulerJob"),
            heartbeats.get("TriggererJob"),
            dict(pools),
            dict(closed),
        )

    @cached_property
    def _named_nights(self) -> dict[str, str]:
        """The night of each run that was asked for one, and of each whose sensor has begun, as it was rendered.

        Airflow keeps the latter of the newest runs.
        """
        asked = self._rows(
            "SELECT run_id, conf FROM dag_run WHERE dag_id = :dag AND position(CAST(:name AS BYTEA) IN conf) > 0",
            dag=self._names.pipeline,
            name=NIGHT_PARAM,
        )
        nights = {run_id: night for run_id, conf in asked if (night := _read_night(bytes(conf)))}
        rows = self._rows(
            "SELECT run_id, rendered_fields FROM rendered_task_instance_fields WHERE dag_id = :dag "
            "AND task_id = :sensor",
            dag=self._names.pipeline,
            sensor=self._names.sensor or "",
        )
        named = ((run_id, json.loads(fields) if isinstance(fields, str) else fields) for run_id, fields in rows)
        return nights | {run_id: fields["night"] for run_id, fields in named if "night" in fields}

    def _read(
        self, rows: Collection[tuple[int, str, str, str, datetime, datetime, datetime]], named: dict[str, str]
    ) -> list[ScheduledRun]:
        zone = ZoneInfo(self._schedule.timezone)
        tasks = self._tasks([run_id for _, run_id, *_ in rows])
        return [
            ScheduledRun(
                named.get(run_id) or logical_date.astimezone(zone).date().isoformat(),
                run_id,
                run_type,
                state,
                begun,
                ended,
                tuple(tasks.get(run_id, ())),
            )
            for _, run_id, run_type, state, logical_date, begun, ended in rows
        ]

    def _tasks(self, runs: list[str]) -> dict[str, list[ScheduledTask]]:
        rows = self._rows(
            "SELECT t.run_id, t.task_id, t.state, t.try_number, coalesce(t.end_date, t.start_date, t.queued_dttm, "
            "t.updated_at), t.pool, (SELECT l.extra FROM log l WHERE l.dag_id = t.dag_id AND l.task_id = t.task_id "
            "AND l.run_id = t.run_id AND l.try_number = t.try_number AND l.event = :reason ORDER BY l.id DESC LIMIT 1) "
            "FROM task_instance t WHERE t.dag_id = :dag AND t.run_id IN :runs "
            "AND (t.state IN :telling OR t.task_id = :sensor) ORDER BY t.start_date, t.task_id",
            reason=REASON_EVENT,
            dag=self._names.pipeline,
            runs=runs,
            telling=_TELLING,
            sensor=self._names.sensor or "",
        )
        by_run: dict[str, list[ScheduledTask]] = {}
        for run_id, name, state, attempt, since, pool, reason in rows:
            # A gate's reason is a list on many lines; the whole of it is in the task's log.
            text = " ".join((reason or "").split())
            short = text if len(text) <= _REASON_CHARACTERS else f"{text[:_REASON_CHARACTERS]} ..."
            by_run.setdefault(run_id, []).append(ScheduledTask(name, state or "none", attempt or 0, since, pool, short))
        return by_run


def _read_night(conf: bytes) -> str:
    """The night that a run was asked for; empty for none. What is pickled is looked at, never made again."""
    values = [
        value
        for code, value, _ in pickletools.genops(conf)
        # Between a key and its value stands only that the key may be named again.
        if code.name not in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT")
    ]
    following = next((after for before, after in pairwise(values) if before == NIGHT_PARAM), None)
    try:
        return date.fromisoformat(following).isoformat() if isinstance(following, str) else ""
    except ValueError:
        return ""


def open_scheduling(stack: ExitStack, place: Postgres | None, schedule: Schedule, names: Names) -> Scheduling | None:
    """Opens a read-only transaction on Airflow's database.

    Args:
      stack: closes it.
      place: where it is; None where there is none.
      schedule: of the nights.
      names: what the DAG and its sensor are called.

    Returns:
      None without a place, or where Airflow has not made its tables yet.

    Raises:
      LineageError: the server does not answer.
    """
    if place is None:
        return None
    connection = stack.enter_context(closing(connect(place)))
    database = Database(stack.enter_context(connection.cursor()), str(place))
    # The last table of a migration that a start makes.
    if not database.rows("SELECT 1 FROM pg_tables WHERE tablename = 'rendered_task_instance_fields'"):
        return None
    return Scheduling(database, schedule, names)
