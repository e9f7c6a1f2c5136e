"""Starts tasks warm: the scheduler imports TFX once and every task it forks shares it.

Only imports may happen here: if the scheduler ran one TensorFlow operation, its forked tasks would hang
(tensorflow/tensorflow#8220). What of the project decides what a model is, is never imported ahead, so that an edit
takes effect at the next task.
"""

import gc
import importlib
import logging
import sys
import time

from airflow.jobs.job import Job
from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

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
# The first job, which forked tasks find here as well.
_seen: list[object] = []


@hookimpl
def on_starting(component: object) -> None:
    """Imports what the tasks need, when it is the scheduler that starts."""
    # Airflow calls this before a job knows its type (no issue known), and in every task forked from the scheduler again
    # (apache/airflow#27855).
    if sys.argv[1:2] != ["scheduler"] or not isinstance(component, Job) or _seen:
        return
    _seen.append(component)
    preload = Settings.from_env().preload
    for name in [name for name in sys.modules if name.split(".")[0] in ANEW]:
        # Settings are checked by the rules of the domain; every task imports those anew.
        del sys.modules[name]
    if not preload:
        return
    started = time.monotonic()
    for name in MODULES:
        importlib.import_module(name)
    # Frozen objects are not touched by the collector, so their pages stay shared with the tasks.
    gc.collect()
    gc.freeze()
    log.info("Preloaded %s in %.1f s; tasks start warm.", ", ".join(MODULES), time.monotonic() - started)


class PreloadPlugin(AirflowPlugin):
    """Registers the listener."""

    name = "preload"
    listeners = [sys.modules[__name__]]  # noqa: RUF012
