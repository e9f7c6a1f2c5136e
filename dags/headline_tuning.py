"""The tuning DAG: searches, every few weeks or on demand, for better hyperparameters on the newest night's window.

Schedule, parameters and Airflow's own operators only; what a search does is in retraining/pipelines/tuning.py. What it
finds counts from the night after its own.
"""

from datetime import timedelta

from tfx.orchestration.airflow.airflow_dag_runner import AirflowDagRunner

from headlines.names import CHOOSE_NIGHT, TUNER
from retraining.operators.arguments import dag_arguments, night_param, send_to_queues
from retraining.operators.choosing import ChooseNight
from retraining.pipelines.tuning import create_tuning_pipeline
from retraining.recording.launcher import airflow_pipeline_config
from retraining.settings import Settings

settings = Settings.from_env()
pipeline = create_tuning_pipeline(settings)

dag = AirflowDagRunner(
    airflow_pipeline_config(
        {
            **dag_arguments(settings),
            "description": "Searches for better hyperparameters, which nightly runs then use.",
            "doc_md": __doc__,
            "schedule": None if settings.tuning_schedule == "none" else settings.tuning_schedule,
            "is_paused_upon_creation": False,
            "params": {"night": night_param("Search on the window of this night instead of the newest, `YYYY-MM-DD`.")},
        },
        pipeline,
    )
).run(pipeline)

# No trial begins after the search's own time, and the last one may take as long as any task.
dag.get_task(TUNER).execution_timeout += timedelta(minutes=settings.tuning_minutes)
choose_night = ChooseNight(task_id=CHOOSE_NIGHT, night="{{ params.night }}", settings=settings, dag=dag)
choose_night >> [task for task in dag.roots if task is not choose_night]
send_to_queues(dag, settings)
