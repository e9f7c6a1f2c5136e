"""What a Celery worker's first process does: Celery imports this file before it forks those that run tasks."""

import sys

from airflow.listeners.listener import get_listener_manager
from celery.signals import heartbeat_sent

from retraining.settings import Settings
from retraining.workers import preloading
from retraining.workers.self_watch import SelfWatch

# Flower imports it as well (flower/app.py), and runs no task.
if sys.argv[1:3] == ["celery", "worker"]:
    # Plugins import code of the project, and `preload` lets go of what must be imported anew.
    get_listener_manager()
    _watch = SelfWatch(Settings.from_env())
    preloading.preload()
    # Every other second, in the first process alone: Heart in celery/worker/heartbeat.py.
    heartbeat_sent.connect(_watch.look, weak=False)
