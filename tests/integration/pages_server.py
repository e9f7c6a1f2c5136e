"""Airflow's web application with the pages in it, in a process of its own, and a client that logs in there.

As a script it serves. Which database the pages read is looked up in a file each time, so that a test may change it.
"""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from retraining.settings import Settings

CHECKOUT = Path(__file__).resolve().parent.parent.parent
PASSWORD = "a-password-of-the-tests"
ROLES = {
    "admin": "Admin",
    "editor": "Headlines editor",
    "reader": "Headlines reader",
    "viewer": "Viewer",
    "newcomer": "Pages only",
    "visitor": "Menu only",
}
"""The users, each with a role: Airflow's own, those that come with the pages, and two that an administrator made."""

OWN_ROLES = {"Pages only": [("can_read", "Headlines")], "Menu only": [("menu_access", "Headlines")]}

PAGES = (
    "/headlines/",
    "/headlines/nights",
    "/headlines/nights?year=2019",
    "/headlines/night/2022-02-02",
    "/headlines/night/2022-02-03",
    "/headlines/night/2022-02-06",
    "/headlines/night/0001-01-01",
    "/headlines/night/9999-12-31",
    "/headlines/night/2022-02-02/quarantine",
    "/headlines/drop/2022-02-01/1",
    "/headlines/model/2022020702",
    "/headlines/model/2022-02-08",
    "/headlines/models",
    "/headlines/models?state=refused&search=2022-02&page=7",
    "/headlines/check/accuracy?nights=30",
    "/headlines/quality-bar",
    "/headlines/recall",
    "/headlines/recall?drop=2022-02-05:1",
    "/headlines/compare",
    "/headlines/compare?a=2022020101&b=2022020702",
    "/headlines/drift",
    "/headlines/drift?nights=3",
    "/headlines/scores",
    "/headlines/scores?night=2022-02-01",
    "/headlines/tuning",
    "/headlines/notes",
    "/headlines/graph",
    "/headlines/graph?night=2022-02-02&full=1",
    "/headlines/execution/3",
)
"""Every page of the story that whoever may read sees; each has a JSON twin."""

TITLE = "<script>alert('x')</script> & outros"
FORMULAS = ("=cmd|calc!A1", "+55 11 9", "-1+2", "@SUM(A1)")
"""Titles of the drop of 2022-02-01, which lies in the story's drops folder."""

# What Airflow itself knows of the story: one run of a DAG, with a node and a task that is none.
DAG = """
from airflow import DAG
from airflow.operators.empty import EmptyOperator
from pendulum import datetime

class AirflowComponent(EmptyOperator):
    pass

with DAG("story", schedule=None, start_date=datetime(2022, 2, 1)) as dag:
    EmptyOperator(task_id="wait_for_drop") >> AirflowComponent(task_id="Trainer")
with DAG("others", schedule=None, start_date=datetime(2022, 2, 1)):
    EmptyOperator(task_id="secret")
"""
RUN = "scheduled__2022-02-02"


class PagesServer:
    """A running web application."""

    def __init__(self, home: Path, port: int, pipeline: str = "story", **options: str) -> None:
        """Starts it for the lineage of a pipeline, with further variables, and waits until it answers."""
        self.url = f"http://127.0.0.1:{port}"
        self._told = home / "settings.json"
        self._told.write_text("{}")
        (home / "dags").mkdir()
        (home / "dags" / "story.py").write_text(DAG)
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(CHECKOUT / "plugins"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            # As the service has them.
            "AIRFLOW__API__AUTH_BACKENDS": "airflow.providers.fab.auth_manager.api.auth.backend.basic_auth,"
            "airflow.api.auth.backend.session",
            # Whoever would see a traceback if there were one.
            "AIRFLOW__WEBSERVER__EXPOSE_STACKTRACE": "True",
            "AIRFLOW__WEBSERVER__SECRET_KEY": "of the tests",
            "PYTHONPATH": str(CHECKOUT),
            "STATE_DIR": str(home / "state"),
            **options,
        }
        with (home / "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(port), str(self._told), pipeline],
                env=environment,
                cwd=CHECKOUT,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 240
        while True:
            try:
                httpx.get(f"{self.url}/health", timeout=60)
                return
            except httpx.TransportError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((home / "server.log").read_text()) from None
                time.sleep(0.2)

    def read(self, **settings: str) -> None:
        """From now on the pages read what these settings say."""
        self._told.write_text(json.dumps(settings))

    def log_in(self, user: str) -> httpx.Client:
        """A browser's worth of cookies."""
        client = httpx.Client(base_url=self.url, timeout=60)
        token = find_token(client.get("/login/").text)
        client.post("/login/", data={"username": user, "password": PASSWORD, "csrf_token": token})
        return client

    def ask(self, user: str, address: str, password: str = PASSWORD) -> httpx.Response:
        """Asks as a script does: with a password, and without a session."""
        return httpx.get(f"{self.url}{address}", auth=(user, password), timeout=60)

    def routes(self) -> list[dict[str, Any]]:
        """Of every address under /headlines its `rule`, `methods`, arguments in its `path`, and those `asked` for."""
        return list(httpx.get(f"{self.url}/routes", timeout=60).json())

    def make_roles(self, **change: str) -> dict[str, set[tuple[str, str]]]:
        """Makes the roles of the pages as at a start, after a change to one `role`: `add` or `remove` a permission.

        Returns:
          Action and resource of each permission, by role.
        """
        roles = httpx.get(f"{self.url}/roles", params=change, timeout=60).json()
        return {role: {(action, resource) for action, resource in pairs} for role, pairs in roles.items()}

    def modules(self) -> list[str]:
        """What the process has imported."""
        return list(httpx.get(f"{self.url}/modules").json())

    def stop(self) -> None:
        """Ends it."""
        self._process.terminate()
        self._process.wait(30)


def show(server: PagesServer, settings: "Settings") -> None:
    """Has the pages read what these settings say."""
    server.read(
        mlmd_host=settings.mlmd_host,
        mlmd_port=str(settings.mlmd_port),
        mlmd_database=settings.mlmd_database,
        mlmd_user=settings.mlmd_user,
        mlmd_password=settings.secret("mlmd_password"),
        drops_dir=str(settings.drops_dir),
        serving_dir=str(settings.serving_dir),
        serving_urls=settings.write("serving_urls") or "",
    )


def find_token(page: str) -> str:
    """The CSRF token of the form in a page."""
    found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page)
    assert found, page
    return found[1]


def serve(port: int, told: Path, pipeline: str) -> None:
    """Makes Airflow's tables and the users, and serves."""
    from airflow.models.dagbag import DagBag
    from airflow.utils.db import initdb
    from airflow.www.app import create_app

    from lineage import Names
    from retraining.settings import Settings
    from retraining.web import access, views

    def read_settings() -> Settings:
        settings: dict[str, Any] = json.loads(told.read_text())
        return Settings.from_env(**settings)

    views.read_settings = read_settings  # type: ignore[assignment]
    views.NAMES = Names(pipeline=pipeline)
    access.DAGS = (pipeline,)  # type: ignore[assignment]
    initdb()
    DagBag(told.parent / "dags", include_examples=False).sync_to_db()
    app = create_app()
    security = app.appbuilder.sm
    with app.app_context():
        security.sync_roles()
        security.bulk_sync_roles(
            [{"role": name, "perms": [*own, ("can_read", "Website")]} for name, own in OWN_ROLES.items()]
        )
        for user, role in ROLES.items():
            security.add_user(user, user, user, f"{user}@example.com", security.find_role(role), PASSWORD)
        _run_dag(app.dag_bag.get_dag("story"))
    app.add_url_rule("/modules", "modules", lambda: sorted({name.split(".")[0] for name in sys.modules}))
    app.add_url_rule("/roles", "roles", lambda: _make_roles(security))
    _tell_routes(app)
    app.run("127.0.0.1", port, threaded=True)


def _run_dag(dag: Any) -> None:
    from airflow.utils.state import DagRunState, TaskInstanceState
    from airflow.utils.types import DagRunType
    from pendulum import datetime

    night = datetime(2022, 2, 2)
    run = dag.create_dagrun(
        DagRunState.SUCCESS, night, RUN, run_type=DagRunType.SCHEDULED, data_interval=(night, night)
    )
    for task in run.get_task_instances():
        task.set_state(TaskInstanceState.SUCCESS)


def _make_roles(security: Any) -> Any:
    from flask import jsonify, request

    from retraining.web import access

    for kind, change in (("add", security.add_permission_to_role), ("remove", security.remove_permission_from_role)):
        if kind in request.args:
            action, _, resource = request.args[kind].partition(" on ")
            change(security.find_role(request.args["role"]), security.get_permission(action, resource))
    access.make_roles()
    return jsonify(
        {
            role.name: [(one.action.name, one.resource.name) for one in role.permissions]
            for role in security.get_all_roles()
        }
    )


def _tell_routes(app: Any) -> None:
    """Has the application tell which addresses it has under /headlines, and which arguments were asked for at each."""
    from flask import jsonify, request
    from werkzeug.datastructures import ImmutableMultiDict

    asked: dict[str, set[str]] = {}

    class Arguments(ImmutableMultiDict[str, str]):
        def get(self, key: str, *args: Any, **kwargs: Any) -> Any:
            asked.setdefault(str(request.endpoint), set()).add(key)
            return super().get(key, *args, **kwargs)

        def __contains__(self, key: object) -> bool:
            asked.setdefault(str(request.endpoint), set()).add(str(key))
            return super().__contains__(key)

    app.request_class = type("Request", (app.request_class,), {"parameter_storage_class": Arguments})
    app.add_url_rule(
        "/routes",
        "routes",
        lambda: jsonify(
            [
                {
                    "rule": rule.rule,
                    "methods": sorted(rule.methods),
                    "endpoint": rule.endpoint,
                    "path": sorted(rule.arguments),
                    "asked": sorted(asked.get(rule.endpoint, ())),
                }
                for rule in app.url_map.iter_rules()
                if rule.rule.startswith("/headlines/") and "/static/" not in rule.rule
            ]
        ),
    )


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
