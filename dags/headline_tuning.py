"""The tuning DAG: searches, every few weeks or on demand, for better hyperparameters on the newest night's window.

Schedule, parameters and Airflow's own operators only; what a search does is in retraining/tuning_pipeline.py. What it
finds counts from the night after its own.
"""

from datetime import timedelta

import pendulum
from airflow.models.param import Param
from tfx.orchestration.airflow.airflow_dag_runner import AirflowDagRunner

from retraining.launcher import airflow_pipeline_config
from retraining.operators.choosing import ChooseNight
from retraining.operators.notices import task_defaults
from retraining.settings import Settings
from retraining.tuning_pipeline import create_tuning_pipeline

settings = Settings.from_env()

dag = AirflowDagRunner(
    airflow_pipeline_config(
        {
            "description": "Searches for better hyperparameters, which nightly runs then use.",
            "doc_md": __doc__,
            "schedule": None if settings.tuning_schedule == "none" else settings.tuning_schedule,
            "start_date": pendulum.parse(settings.start_date, tz=settings.timezone),
            "catchup": False,
            "is_paused_upon_creation": False,
            "max_active_runs": 1,
            "tags": ["headlines", "tfx"],
            "params": {
                "night": Param(
                    None,
                    type=["null", "string"],
                    format="date",
                    title="Night",
                    description="Search on the window of this night instead of the newest, `YYYY-MM-DD`.",
                ),
            },
            "default_args": task_defaults(settings),
        }
    )
).run(create_tuning_pipeline(settings))

# No trial begins after the search's own time, and the last one may take as long as any task.
dag.get_task("Tuner").execution_timeout += timedelta(minutes=settings.tuning_minutes)
choose_night = ChooseNight(task_id="choose_night", night="{{ params.night }}", settings=settings, dag=dag)
choose_night >> [task for task in dag.roots if task is not choose_night]
