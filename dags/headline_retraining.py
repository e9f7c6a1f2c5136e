"""The nightly DAG: TFX's pipeline, run by Airflow, behind a sensor that waits for the night's drop.

Schedule, parameters and Airflow's own operators only; what a night does is in retraining/pipelines/nightly.py.
"""

from airflow.models.param import Param
from tfx.orchestration.airflow.airflow_dag_runner import AirflowDagRunner

from headlines.names import ANNOUNCE_PUSH, LIVE_TRAFFIC, PUSHER, WAIT_FOR_DROP
from retraining.operators.arguments import dag_arguments, night_param, nightly_schedule, send_to_queues
from retraining.operators.callbacks import AnnouncePush, TrafficNotifier
from retraining.operators.waiting import DropSensor
from retraining.pipelines.nightly import NIGHT, create_pipeline
from retraining.recording.launcher import airflow_pipeline_config
from retraining.settings import Settings

settings = Settings.from_env()
pipeline = create_pipeline(settings)

dag = AirflowDagRunner(
    airflow_pipeline_config(
        {
            **dag_arguments(settings),
            "description": "Retrains the headline model on the night's drop, judges it, and pushes it if it wins.",
            "doc_md": f"{__doc__}\nHow its nights stand: [Headlines, Nights](/headlines/nights)",
            "schedule": nightly_schedule(settings),
            "catchup": settings.catchup_mode == "each",
            "params": {
                "night": night_param("Train for this night instead of the run's own, `YYYY-MM-DD`."),
                "force": Param(
                    False, type="boolean", title="Force", description="Run although this night was run before."
                ),
            },
        },
        pipeline,
    )
).run(pipeline)

wait_for_drop = DropSensor(
    task_id=WAIT_FOR_DROP, night=NIGHT, force="{{ params.force }}", settings=settings, execution_timeout=None, dag=dag
)
wait_for_drop >> [task for task in dag.roots if task is not wait_for_drop]
dag.get_task(LIVE_TRAFFIC).on_success_callback = TrafficNotifier()
dag.get_task(PUSHER) >> AnnouncePush(task_id=ANNOUNCE_PUSH, dag=dag)
send_to_queues(dag, settings)
