"""The scoring DAG: each push scores the unlabelled headlines that are new to it, `drops/<night>/unlabelled*.csv`.

Trigger, parameters and Airflow's own operators only; what scoring does is in retraining/pipelines/scoring.py.
"""

from airflow.models.param import Param
from tfx.orchestration.airflow.airflow_dag_runner import AirflowDagRunner

from headlines.names import FIND_UNLABELLED
from retraining.operators.arguments import dag_arguments, night_param
from retraining.operators.callbacks import CHAMPION
from retraining.operators.choosing import FindUnlabelled
from retraining.pipelines.scoring import create_scoring_pipeline
from retraining.recording.launcher import airflow_pipeline_config
from retraining.settings import Settings

settings = Settings.from_env()
pipeline = create_scoring_pipeline(settings)

dag = AirflowDagRunner(
    airflow_pipeline_config(
        {
            **dag_arguments(settings),
            "description": "Scores the unlabelled headlines of the drops with a newly pushed model.",
            "doc_md": __doc__,
            "schedule": [CHAMPION],
            "is_paused_upon_creation": False,
            "params": {
                "night": night_param("Score this night alone, `YYYY-MM-DD`, with the model that serves."),
                "force": Param(
                    False, type="boolean", title="Force", description="Score again what this model has scored."
                ),
            },
        },
        pipeline,
    )
).run(pipeline)

find_unlabelled = FindUnlabelled(
    task_id=FIND_UNLABELLED, night="{{ params.night }}", force="{{ params.force }}", settings=settings, dag=dag
)
find_unlabelled >> [task for task in dag.roots if task is not find_unlabelled]
