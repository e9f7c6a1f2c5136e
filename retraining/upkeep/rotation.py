"""Passwords and keys that are changed: which of them this command changes, and how the others are, by hand."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import lineage
from retraining.local import LocalError, secrets, service, supervisor
from retraining.local.preparation import Report
from retraining.settings import Settings
from retraining.watching import deadlines

_BY_HAND = {
    "postgres_password": "`psql` as postgres: \\password postgres; then set POSTGRES_PASSWORD where it stands",
    "mlmd_password": "`psql` as the server's administrator: \\password {mlmd_user} (letters and digits alone); then "
    "set MLMD_PASSWORD where it stands, and restart what reads it",
    "airflow_db_password": "`psql` as the server's administrator: \\password {airflow_db_user}; then set "
    "AIRFLOW_DB_PASSWORD where it stands, and restart Airflow",
    "airflow_fernet_key": "set AIRFLOW_FERNET_KEY to the new key, a comma and the old one; restart Airflow; "
    "`retraining exec airflow rotate-fernet-key`; then set the new one alone and restart Airflow again",
    "airflow_secret_key": "set AIRFLOW_SECRET_KEY to another and restart the web server: everybody logs in again",
    "airflow_admin_password": "set AIRFLOW_ADMIN_PASSWORD to another; `retraining up`, for a team `retraining init`",
    "supervisor_password": "set SUPERVISOR_PASSWORD to another; `retraining up`",
    "redis_password": "set REDIS_PASSWORD to another; `retraining up`",
    "serving_token": "set SERVING_TOKEN to another, restart the model servers, and give it to whoever asks them",
}
# On the embedded server each start gives its two roles the passwords of the settings.
_BY_START = {
    name: f"set {name.upper()} to another where it stands; `retraining up` gives it to the embedded Postgres"
    for name in ("mlmd_password", "airflow_db_password")
}
_OF_SERVER = ("postgres_password", "mlmd_password", "airflow_db_password")


class RotationError(LocalError):
    """Secrets cannot be rotated now or by that name; the message says why and what to do."""


@dataclass(frozen=True)
class Plan:
    """What becomes of each secret that was asked for.

    Attributes:
      renewed: those that are changed here.
      by_hand: of each other one, what is to be done, without its value.
    """

    renewed: tuple[str, ...]
    by_hand: dict[str, str]


def plan(settings: Settings, names: Sequence[str]) -> Plan:
    """Decides what is changed here: what was made at first start, on a server that is ours.

    Args:
      settings: those the service runs with.
      names: of secrets, in small letters or large; none for all there are.

    Raises:
      RotationError: a name is of no secret.
    """
    known = {*secrets.NAMES, "serving_token"}
    wanted = [name.lower() for name in names]
    if unknown := sorted(set(wanted) - known):
        raise RotationError(f"{', '.join(unknown)}: no secret of that name; there are {', '.join(sorted(known))}")
    if not wanted:
        wanted = [name for name in sorted(known) if getattr(settings, name) is not None]
    if missing := [name for name in wanted if getattr(settings, name) is None]:
        raise RotationError(f"{', '.join(map(str.upper, missing))}: not set, so there is nothing to rotate")
    renewed = tuple(
        name
        for name in wanted
        if secrets.is_ours(settings, name) and (settings.postgres_embedded or name not in _OF_SERVER)
    )
    hand = _BY_HAND | (_BY_START if settings.postgres_embedded else {})
    by_hand = {name: hand[name].format(**vars(settings)) for name in wanted if name not in renewed}
    return Plan(renewed, by_hand)


def rotate(settings: Settings, names: Sequence[str], report: Report, interrupt: bool = False) -> bool:
    """Makes new secrets, and has a service that runs start anew with them; the caller holds the lock.

    The new ones are on the disk before anything else happens; from then on every `retraining up`, whatever stopped the
    one before it, ends with them in use.

    Args:
      settings: those the service runs with.
      names: those of a plan that are changed here.
      report: receives one short line per step.
      interrupt: also while a night runs, whose tasks are then tried again.

    Returns:
      Whether they are in use; otherwise the service does not run, and its next start uses them.

    Raises:
      RotationError: a night runs.
      ServiceError, PreparationError, PostgresError, SupervisorError: the service did not come up again.
    """
    is_running = supervisor.is_running(settings)
    if is_running and not interrupt:
        _refuse_during_a_night(settings)
    secrets.stage_next(settings, names)
    if is_running:
        service.up(settings, report)
    return is_running


def _refuse_during_a_night(settings: Settings) -> None:
    try:
        nights = deadlines.survey(settings, datetime.now(UTC), newest=3).nights
    except lineage.LineageError:
        # Nothing can run that could not be asked for.
        return
    if running := [night.night for night in nights if night.state == "running"]:
        raise RotationError(
            f"the night {running[0]} runs, and everything is started anew with new secrets; wait for its end, or "
            "interrupt it, after which its tasks are tried again: `retraining rotate-secrets --now`"
        )
