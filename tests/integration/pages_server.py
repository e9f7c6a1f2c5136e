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
from typing import Any

import httpx

CHECKOUT = Path(__file__).resolve().parent.parent.parent
PASSWORD = "a-password-of-the-tests"
ROLES = {"admin": "Admin", "reader": "Reader", "viewer": "Viewer"}
"""The users: all may do everything, see the pages, or only what Airflow's own role Viewer may."""


class PagesServer:
    """A running web application."""

    def __init__(self, home: Path, port: int, pipeline: str = "story") -> None:
        """Starts it for the lineage of a pipeline, and waits until it answers."""
        self.url = f"http://127.0.0.1:{port}"
        self._told = home / "settings.json"
        self._told.write_text("{}")
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(CHECKOUT / "plugins"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__WEBSERVER__SECRET_KEY": "of the tests",
            "PYTHONPATH": str(CHECKOUT),
            "STATE_DIR": str(home / "state"),
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

    def modules(self) -> list[str]:
        """What the process has imported."""
        return list(httpx.get(f"{self.url}/modules").json())

    def stop(self) -> None:
        """Ends it."""
        self._process.terminate()
        self._process.wait(30)


def find_token(page: str) -> str:
    """The CSRF token of the form in a page."""
    found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page)
    assert found, page
    return found[1]


def serve(port: int, told: Path, pipeline: str) -> None:
    """Makes Airflow's tables and the users, and serves."""
    from airflow.utils.db import initdb
    from airflow.www.app import create_app

    from lineage import Names
    from retraining.settings import Settings
    from retraining.web import views

    def read_settings() -> Settings:
        settings: dict[str, Any] = json.loads(told.read_text())
        return Settings.from_env(**settings)

    views.read_settings = read_settings  # type: ignore[assignment]
    views.NAMES = Names(pipeline=pipeline)
    initdb()
    app = create_app()
    security = app.appbuilder.sm
    with app.app_context():
        security.sync_roles()
        pages = [("can_read", "Headlines"), ("menu_access", "Headlines"), ("menu_access", "Nights")]
        security.bulk_sync_roles([{"role": "Reader", "perms": [*pages, ("can_read", "Website"), ("can_read", "DAGs")]}])
        for user, role in ROLES.items():
            security.add_user(user, user, user, f"{user}@example.com", security.find_role(role), PASSWORD)
    app.add_url_rule("/modules", "modules", lambda: sorted({name.split(".")[0] for name in sys.modules}))
    app.run("127.0.0.1", port, threaded=True)


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
