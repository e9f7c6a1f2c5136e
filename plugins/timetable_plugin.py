"""The timetable of the nightly DAG, which Airflow reads from its database only where a plugin names its class."""

from airflow.plugins_manager import AirflowPlugin

from retraining.operators.timetable import NightTimetable


class TimetablePlugin(AirflowPlugin):
    """Registers the timetable."""

    name = "nights"
    timetables = [NightTimetable]  # noqa: RUF012
