"""What the tasks import, imported once ahead: by the scheduler that runs them itself, or by a worker's first process.

Only imports may happen there: if the process that forks tasks ran one TensorFlow operation, they would hang
(tensorflow/tensorflow#8220). What of the project decides what a model is, is never imported ahead, so that an edit
takes effect at the next task.
"""

import gc
import importlib
import logging
import sys
import time

from retraining.settings import Settings

# What the tasks of the DAGs import.
MODULES = (
    "tfx.v1",
    "tfx.orchestration.airflow.airflow_dag_runner",
    "tensorflow_model_analysis",
    "tensorflow_data_validation",
    "tensorflow_transform",
    "keras",
    "keras_tuner",
    "apache_beam.runners.portability.fn_api_runner",
    "airflow.api.common.trigger_dag",
    "airflow.notifications.basenotifier",
    "airflow.operators.python",
    "airflow.sensors.base",
    "airflow.serialization.serialized_objects",
    # What the check of a DAG's params and the notices need: 0.6 s of every parse.
    "jsonschema",
    "httpx",
    "sklearn.linear_model",
    "sklearn.feature_extraction.text",
    "sklearn.neighbors",
    "statsmodels.stats.contingency_tables",
    "statsmodels.stats.proportion",
)
# What decides what a model is: an edit counts from the next task on.
ANEW = ("headlines", "modules", "tfx_components")
log = logging.getLogger(__name__)


def preload() -> None:
    """Imports what the tasks need, unless PRELOAD is false."""
    wanted = Settings.from_env().preload
    for name in [name for name in sys.modules if name.split(".")[0] in ANEW]:
        # Settings are checked by the rules of the domain; every task imports those anew.
        del sys.modules[name]
    if not wanted:
        return
    started = time.monotonic()
    for name in MODULES:
        importlib.import_module(name)
    # Frozen objects are not touched by the collector, so their pages stay shared with the tasks.
    gc.collect()
    gc.freeze()
    log.info("Preloaded %s in %.1f s; tasks start warm.", ", ".join(MODULES), time.monotonic() - started)
