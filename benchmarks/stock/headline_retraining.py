"""The nightly pipeline as TFX's own examples run it: `module_file`, and with it Beam's defaults and no preload.

The launcher is ours: TFX's own cannot record this pipeline, since MLMD on Postgres fails on its backslashes
(no issue known). Airflow reads this only in `make bench`, through DAGS_DIR.
"""

from functools import wraps
from typing import Any

import pendulum
from airflow.models.param import Param
from tfx import v1 as tfx
from tfx.orchestration.airflow.airflow_dag_runner import AirflowDagRunner

from headlines.names import FORCE_PARAM, NIGHT_PARAM
from retraining.pipelines.nightly import create_pipeline
from retraining.recording.launcher import airflow_pipeline_config
from retraining.settings import CHECKOUT, Settings


def with_module_file(component: Any, function: str) -> Any:
    """A maker of the component that gives it its user code as a file, which TFX packs into a wheel at each parse."""

    @wraps(component)
    def make(**arguments: Any) -> Any:
        module, _, _ = arguments.pop(function).rpartition(".")
        return component(module_file=str(CHECKOUT / (module.replace(".", "/") + ".py")), **arguments)

    return make


tfx.components.Transform = with_module_file(tfx.components.Transform, "preprocessing_fn")
tfx.components.Trainer = with_module_file(tfx.components.Trainer, "run_fn")

settings = Settings.from_env()
pipeline = create_pipeline(settings)
dag = AirflowDagRunner(
    airflow_pipeline_config(
        {
            "schedule": None,
            "start_date": pendulum.parse(settings.start_date, tz=settings.timezone),
            "max_active_runs": 1,
            "params": {NIGHT_PARAM: Param(None, type=["null", "string"]), FORCE_PARAM: Param(False, type="boolean")},
        },
        pipeline,
    )
).run(pipeline)
