"""When Airflow makes runs of the nightly DAG by itself: as the cron expression says, from the first night on.

Registered with Airflow by plugins/timetable_plugin.py.
"""

from datetime import datetime
from typing import Any

import pendulum
from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction, Timetable
from airflow.timetables.interval import CronDataIntervalTimetable


class NightTimetable(CronDataIntervalTimetable):
    """Airflow's own timetable of a cron expression, which makes no run by itself before the first night.

    The `start_date` of a DAG does that too, but a run that somebody triggers before it gets no tasks, and so is called
    a success (`verify_integrity` in airflow/models/dagrun.py). With this one the DAG can begin long before the first
    night: a run before that has its tasks, and the first of them refuses it.
    """

    def __init__(self, cron: str, timezone: Any, first: pendulum.DateTime) -> None:
        """Takes what Airflow's takes, and the beginning of the first night."""
        super().__init__(cron, timezone)
        self._first = first

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """The run that is made after another."""
        if restriction.earliest is not None:
            restriction = restriction._replace(earliest=max(restriction.earliest, self._first))
        return super().next_dagrun_info(
            last_automated_data_interval=last_automated_data_interval, restriction=restriction
        )

    def serialize(self) -> dict[str, Any]:
        """What Airflow keeps of it in its database."""
        return {**super().serialize(), "first": self._first.isoformat()}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> Timetable:
        """Makes it from what Airflow has kept."""
        # Late, as Airflow's own does it.
        from airflow.serialization.serialized_objects import decode_timezone

        return cls(
            data["expression"],
            decode_timezone(data["timezone"]),
            pendulum.instance(datetime.fromisoformat(data["first"])),
        )
