"""The end of a task that was skipped, which Airflow 2 tells no listener of."""

from airflow.utils.context import Context


def tell_of_skip(context: Context) -> None:
    """Sends the end of the attempt; a callback of the task.

    The provider has what is to be sent and asks Airflow 3 to call it (`_on_task_instance_skipped` in
    airflow/providers/openlineage/plugins/listener.py); in 2.11 there is no such hook
    (airflow/listeners/spec/taskinstance.py), and the run would go on for ever in a catalogue.
    """
    # Airflow reads this file with every DAG; the provider is there only where it is used.
    from airflow.providers.openlineage import conf

    if conf.is_disabled():
        return
    from airflow.providers.openlineage.plugins.listener import get_openlineage_listener

    attempt = context["ti"]
    get_openlineage_listener()._on_task_instance_skipped(attempt, attempt.task.dag, attempt.get_dagrun(), attempt.task)
