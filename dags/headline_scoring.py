"""The scoring DAG: each push scores the unlabelled headlines that are new to it, `drops/<night>/unlabelled*.csv`.

Trigger, parameters and Airflow's own operators only; what scoring does is in retraining/scoring_pipeline.py.
"""

import pendulum
from airflow.models.param import Param
from tfx.orchestration.airflow.airflow_dag_runner import AirflowDagRunner

from retraining.launcher import airflow_pipeline_config
from retraining.operators.choosing import FindUnlabelled
from retraining.operators.notices import CHAMPION, task_defaults
from retraining.scoring_pipeline import create_scoring_pipeline
from retraining.settings import Settings

settings = Settings.from_env()

dag = AirflowDagRunner(
    airflow_pipeline_config(
        {
            "description": "Scores the unlabelled headlines of the drops with a newly pushed model.",
            "doc_md": __doc__,
            "schedule": [CHAMPION],
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
                    description="Score this night alone, `YYYY-MM-DD`, with the newest model there is.",
                ),
                "force": Param(
                    False, type="boolean", title="Force", description="Score again what this model has scored."
                ),
            },
            "default_args": task_defaults(settings),
        }
    )
).run(create_scoring_pipeline(settings))

find_unlabelled = FindUnlabelled(
    task_id="find_unlabelled", night="{{ params.night }}", force="{{ params.force }}", settings=settings, dag=dag
)
find_unlabelled >> [task for task in dag.roots if task is not find_unlabelled]
