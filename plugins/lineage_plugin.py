"""The pages about headlines in Airflow's web UI: the menu, where templates and scripts lie, a link on every task.

What they show is in retraining/web, which only the web server imports: Airflow loads plugins in all of its processes.
"""

from functools import cached_property
from pathlib import Path
from typing import Any

from airflow.models.baseoperator import BaseOperator
from airflow.models.baseoperatorlink import BaseOperatorLink
from airflow.models.taskinstancekey import TaskInstanceKey
from airflow.plugins_manager import AirflowPlugin

HERE = Path(__file__).resolve().parent
MENU = {
    "Now serving": "/headlines/",
    "Nights": "/headlines/nights",
    "Drift": "/headlines/drift",
    "Recall": "/headlines/recall",
    "Compare": "/headlines/compare",
    "Graph": "/headlines/graph",
    "Scoring": "/headlines/scores",
    "Tuning": "/headlines/tuning",
    "Notes": "/headlines/notes",
}
# What every node of a TFX pipeline is to Airflow.
_NODE = "AirflowComponent"


class LineageLink(BaseOperatorLink):
    """The button on a task that leads to what its newest attempt recorded in MLMD."""

    name = "Lineage"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """The address of the execution; empty for a task that is no node of a pipeline, such as a sensor."""
        from flask import url_for

        if operator.task_type != _NODE:
            return ""
        return url_for("HeadlinesView.task", dag_id=ti_key.dag_id, run_id=ti_key.run_id, node=ti_key.task_id)


class LineagePlugin(AirflowPlugin):
    """Registers the pages with Airflow."""

    name = "headlines"
    global_operator_extra_links = [LineageLink()]  # noqa: RUF012
    appbuilder_menu_items = [  # noqa: RUF012
        {"name": name, "href": address, "category": "Headlines"} for name, address in MENU.items()
    ]

    @cached_property
    def appbuilder_views(self) -> list[dict[str, Any]]:
        """The pages."""
        from retraining.web.views import HeadlinesView

        return [{"view": HeadlinesView()}]

    @cached_property
    def flask_blueprints(self) -> list[Any]:
        """Where Flask finds the templates, the style and the scripts."""
        from flask import Blueprint

        return [
            Blueprint(
                "headlines",
                __name__,
                template_folder=str(HERE / "templates"),
                static_folder=str(HERE / "static" / "headlines"),
                static_url_path="/headlines/static",
            )
        ]
