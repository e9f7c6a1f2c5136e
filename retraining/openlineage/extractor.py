"""What Airflow's OpenLineage provider asks about a task that is a node of a TFX pipeline.

The provider imports this file into the scheduler, whose tasks must import anew what decides what a model is. So what of
the project answers is imported when it is asked, in a process of its own that ends with the answer.
"""

from datetime import timedelta

from airflow.models.taskinstance import TaskInstance
from airflow.providers.openlineage.extractors.base import BaseExtractor, OperatorLineage

# MLMD counts in whole milliseconds, Airflow in microseconds.
_CLOCKS_DIFFER = timedelta(milliseconds=1)


class NodeExtractor(BaseExtractor):
    """Answers with what lineage says of the attempt: drops, artifacts with versions, checks, why it was refused."""

    @classmethod
    def get_operator_classnames(cls) -> list[str]:
        """TFX's operator, which every node becomes (tfx/orchestration/airflow/airflow_component.py)."""
        return ["AirflowComponent"]

    def _execute_extraction(self) -> OperatorLineage:
        # At its start a node has read and written nothing; which artifacts it takes is decided by its driver.
        return OperatorLineage()

    def extract_on_complete(self, task_instance: TaskInstance) -> OperatorLineage:
        """What the attempt that has ended read and wrote; also for one that failed, was retried, or was cleared."""
        from retraining.openlineage.attempts import tell_attempt
        from retraining.settings import Settings

        told = tell_attempt(
            Settings.from_env(),
            task_instance.dag_id,
            task_instance.run_id,
            task_instance.task_id,
            # `dag.test` gives its attempts none.
            task_instance.start_date and task_instance.start_date - _CLOCKS_DIFFER,
        )
        return OperatorLineage(inputs=told.inputs, outputs=told.outputs, run_facets=told.run_facets)
