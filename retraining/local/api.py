"""Airflow's REST API, as far as running nights needs it."""

from datetime import datetime
from typing import Any

import httpx

from headlines.names import REASON_EVENT
from retraining.local import LocalError, airflow
from retraining.settings import Settings

_PAGE = 100


class ApiError(LocalError):
    """Airflow refused or did not answer; the message says what was asked and what to do."""


class Api:
    """One DAG, seen through the web server's REST API."""

    def __init__(self, settings: Settings, dag_id: str) -> None:
        self._dag_id = dag_id
        self._client = httpx.Client(
            base_url=f"{airflow.web_address(settings)}/api/v1",
            auth=(airflow.ADMIN, settings.secret("airflow_admin_password")),
            timeout=30,
            trust_env=False,
        )

    def close(self) -> None:
        """Ends the connection."""
        self._client.close()

    def is_readable(self) -> bool:
        """Whether the scheduler has read the DAG, and its file as it is now without errors."""
        dag = self._ask("GET", "", missing_ok=True)
        return dag is not None and not dag["has_import_errors"]

    def find_import_errors(self) -> list[dict[str, Any]]:
        """What kept DAG files from being read: `filename`, `stack_trace`, `timestamp` of the newest attempt."""
        return list(self._ask_root("GET", "/importErrors")["import_errors"])

    def unpause(self) -> None:
        """Lets the DAG run."""
        self._ask("PATCH", "", json={"is_paused": False}, params={"update_mask": "is_paused"})

    def edges(self) -> dict[str, list[str]]:
        """Each task and those right after it."""
        return {task["task_id"]: task["downstream_task_ids"] for task in self._ask("GET", "/tasks")["tasks"]}

    def find_run(self, logical_date: datetime) -> dict[str, Any] | None:
        """The run of a logical date, if there is one."""
        moment = logical_date.isoformat()
        runs = self._ask("GET", "/dagRuns", params={"execution_date_gte": moment, "execution_date_lte": moment})
        return next(iter(runs["dag_runs"]), None)

    def find_active_runs(self) -> list[dict[str, Any]]:
        """The runs that are at work."""
        return list(self._ask("GET", "/dagRuns", params={"state": "running"})["dag_runs"])

    def get_run(self, run_id: str) -> dict[str, Any]:
        """A run by its id."""
        return dict(self._ask("GET", f"/dagRuns/{run_id}"))

    def get_tasks(self, run_id: str) -> list[dict[str, Any]]:
        """The task instances of a run."""
        return list(self._ask("GET", f"/dagRuns/{run_id}/taskInstances", params={"limit": _PAGE})["task_instances"])

    def find_reason(self, run_id: str, task: str) -> str:
        """What the newest attempt of a task that failed, was skipped or waits said of itself; empty for nothing."""
        asked = {"dag_id": self._dag_id, "run_id": run_id, "task_id": task, "event": REASON_EVENT}
        answer = self._ask_root("GET", "/eventLogs", params={**asked, "order_by": "-event_log_id", "limit": 1})
        return next((str(entry["extra"]) for entry in answer["event_logs"]), "")

    def create_run(self, logical_date: datetime, force: bool) -> dict[str, Any]:
        """Starts a run, with `force` also of a night that another run has finished."""
        request = {"logical_date": logical_date.isoformat(), "conf": {"force": force}}
        return dict(self._ask("POST", "/dagRuns", json=request))

    def clear_run(self, run_id: str) -> None:
        """Makes every task of a run start over."""
        self._ask("POST", f"/dagRuns/{run_id}/clear", json={"dry_run": False})

    def delete_run(self, run_id: str) -> None:
        """Forgets a run."""
        self._ask("DELETE", f"/dagRuns/{run_id}")

    def _ask(self, method: str, path: str, missing_ok: bool = False, **arguments: Any) -> Any:
        return self._ask_root(method, f"/dags/{self._dag_id}{path}", missing_ok, **arguments)

    def _ask_root(self, method: str, path: str, missing_ok: bool = False, **arguments: Any) -> Any:
        try:
            answer = self._client.request(method, path, **arguments)
        except httpx.HTTPError as error:
            raise ApiError(
                f"the web server at {self._client.base_url.host}:{self._client.base_url.port} does not answer "
                f"({error or type(error).__name__}); see `retraining status`, start it with `retraining up`"
            ) from None
        if answer.status_code == 404 and missing_ok:
            return None
        if answer.status_code in (401, 403):
            raise ApiError(
                f"the web server refuses the user {airflow.ADMIN}: AIRFLOW_ADMIN_PASSWORD is not the password it was "
                "made with; bring back the old one, or change it with `airflow users reset-password`"
            )
        if answer.is_error:
            raise ApiError(f"Airflow refused {method} {path}: {_detail(answer)}")
        return answer.json() if answer.content else None


def _detail(answer: httpx.Response) -> str:
    try:
        body = answer.json()
    except ValueError:
        return f"{answer.status_code} {answer.text[:300]}"
    return f"{answer.status_code} {body.get('title', '')}: {body.get('detail', '')}"
