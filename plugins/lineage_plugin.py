"""The pages about headlines in Airflow's web UI: the menu, where templates and scripts lie, links on every task.

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
# What every node of a TFX pipeline is to Airflow.
_NODE = "AirflowComponent"


def _may_follow() -> bool:
    """Whether whoever asks for a button may open the page behind it; outside a web server nobody is asked."""
    from airflow.www.extensions.init_auth_manager import is_auth_manager_initialized

    from retraining.web.access import may_read

    return not is_auth_manager_initialized() or may_read()


class LineageLink(BaseOperatorLink):
    """The button on a task that leads to what its newest attempt recorded in MLMD."""

    name = "Lineage"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """The address of the execution; empty, which shows the button as a dead one, where there is nothing to see.

        That is a task that is no node of a pipeline, such as a sensor, and whoever may not read the pages.
        """
        from flask import url_for

        if operator.task_type != _NODE or not _may_follow():
            return ""
        return url_for("HeadlinesView.task", dag_id=ti_key.dag_id, run_id=ti_key.run_id, node=ti_key.task_id)


class NightLink(BaseOperatorLink):
    """The button on a task that leads to the night its run is for: Airflow 2 lets plugins put none on a run itself."""

    name = "Night"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """The address of the night; empty for a task of a DAG whose runs are for none, and whoever may not read it."""
        from flask import url_for

        from headlines.names import NIGHTLY_DAG, SCORING_DAG, TUNING_DAG

        if ti_key.dag_id not in (NIGHTLY_DAG, TUNING_DAG, SCORING_DAG) or not _may_follow():
            return ""
        return url_for("HeadlinesView.run", dag_id=ti_key.dag_id, run_id=ti_key.run_id)


class LineagePlugin(AirflowPlugin):
    """Registers the pages with Airflow."""

    name = "headlines"
    global_operator_extra_links = [LineageLink(), NightLink()]  # noqa: RUF012

    @cached_property
    def appbuilder_menu_items(self) -> list[dict[str, Any]]:
        """The menu: all of it by one name, and so by one permission, with the pages themselves."""
        from retraining.web.access import RESOURCE
        from retraining.web.menu import MENU

        return [
            {"name": RESOURCE, "label": label, "href": f"HeadlinesView.{view}", "category": RESOURCE}
            for label, view in MENU.items()
        ]

    @cached_property
    def appbuilder_views(self) -> list[dict[str, Any]]:
        """The pages."""
        from retraining.web.views import HeadlinesView

        return [{"view": HeadlinesView()}]

    @cached_property
    def flask_blueprints(self) -> list[Any]:
        """Where Flask finds the templates, the style and the scripts; with it come roles, menu and headers."""
        from flask import Blueprint

        from retraining.web import access, headers
        from retraining.web.views import FILTERS

        pages = Blueprint(
            "headlines",
            __name__,
            template_folder=str(HERE / "templates"),
            static_folder=str(HERE / "static" / "headlines"),
            static_url_path="/headlines/static",
        )
        for tell in (access.may_read, access.may_edit, access.may_see_run, access.may_see_log, headers.under_policy):
            pages.add_app_template_global(tell)
        for name, filter_moment in FILTERS.items():
            pages.add_app_template_filter(filter_moment, f"headlines_{name}")
        # When Airflow registers it with its application, once the menu and the pages are there.
        pages.record_once(lambda state: headers.protect(state.app))
        pages.record_once(lambda _: access.make_roles())
        pages.record_once(lambda _: access.hide_menu())
        return [pages]
