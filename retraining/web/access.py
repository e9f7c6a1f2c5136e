"""Who may see the pages, change what serves, and follow a link from them into Airflow; the roles made for that."""

from airflow.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.providers.fab.auth_manager.fab_auth_manager import FabAuthManager
from airflow.security import permissions
from airflow.utils.airflow_flask_app import get_airflow_app
from airflow.www.extensions.init_auth_manager import get_auth_manager
from flask import Response, has_request_context
from flask.globals import request_ctx
from sqlalchemy.exc import IntegrityError

from headlines.names import HOUSEKEEPING_DAG, LATE_DROPS_DAG, NIGHTLY_DAG, SCORING_DAG, TUNING_DAG

RESOURCE = "Headlines"
"""What a role needs `can_read` on for the pages, `can_edit` for what they change, and `menu_access` for the menu."""

READER, EDITOR = "Headlines reader", "Headlines editor"

DAGS = (NIGHTLY_DAG, TUNING_DAG, SCORING_DAG, LATE_DROPS_DAG, HOUSEKEEPING_DAG)
"""The DAGs whose runs and logs the pages lead to."""

# What Airflow's backends ask for.
_SCHEMES = {"basic_auth": "Basic", "kerberos_auth": "Negotiate"}
_READ, _EDIT, _MENU = permissions.ACTION_CAN_READ, permissions.ACTION_CAN_EDIT, permissions.ACTION_CAN_ACCESS_MENU


def may(method: str) -> bool:
    """Whether whoever asks may read (`GET`) or change (`PUT`) what is called Headlines."""
    return bool(get_auth_manager().is_authorized_custom_view(method=method, resource_name=RESOURCE))


def may_read() -> bool:
    """Whether whoever asks may see the pages; for templates."""
    return may("GET")


def may_edit() -> bool:
    """Whether whoever asks may change what serves; for templates."""
    return may("PUT")


def may_see_run(dag_id: str) -> bool:
    """Whether Airflow shows whoever asks the runs of a DAG and their tasks; for templates."""
    return _may_see(dag_id, DagAccessEntity.TASK_INSTANCE)


def may_see_log(dag_id: str) -> bool:
    """Whether Airflow shows whoever asks the logs of a DAG's tasks, beside its runs; for templates."""
    return may_see_run(dag_id) and _may_see(dag_id, DagAccessEntity.TASK_LOGS)


def authenticate() -> list[str]:
    """Finds out who asks for JSON, by the backends that Airflow's own API takes (AIRFLOW__API__AUTH_BACKENDS).

    As airflow/api_connexion/security.py does it, but that no session is left behind by one who sends a password with
    every request: Airflow spares only its own API that (airflow/www/session.py).

    Returns:
      What to ask for, as headers `WWW-Authenticate`, should it be nobody who may have an answer.
    """
    app = get_airflow_app()
    challenges: list[str] = []
    try:
        for backend in app.api_auth:
            answer = backend.requires_authentication(Response)()
            if answer.status_code == 200:
                break
            challenges += answer.headers.getlist("WWW-Authenticate")
    finally:
        request_ctx.session = app.session_interface.make_null_session(app)
    # A backend lets anybody through who sends nothing where there is a public role, as there is by Airflow's defaults,
    # which may nothing.
    names = [backend.__name__.rpartition(".")[2] for backend in app.api_auth]
    return list(dict.fromkeys(challenges)) or [_SCHEMES[name] for name in names if name in _SCHEMES]


def make_roles() -> None:
    """Makes the roles that are not there yet; what an administrator made of one that is stays as it is.

    Where another auth manager than Airflow's default is set, roles are its affair.
    """
    manager = get_auth_manager()
    if not isinstance(manager, FabAuthManager):
        return
    security = manager.security_manager
    for name, pairs in _roles().items():
        if security.find_role(name) is not None:
            continue
        # All at once: a role that was left without its permissions would be taken for one that is as it should be.
        role = security.role_model()
        role.name = name
        role.permissions = [
            security.create_permission(*pair) or security.get_permission(*pair) for pair in dict.fromkeys(pairs)
        ]
        try:
            security.get_session.add(role)
            security.get_session.commit()
        except IntegrityError:
            # Another web server that starts just now has made it.
            security.get_session.rollback()


def hide_menu() -> None:
    """Leaves the menu out for whoever may not read the pages: Airflow only asks for `menu_access` (no issue known)."""
    menu = get_airflow_app().appbuilder.menu

    def get_list() -> list[object]:
        return [item for item in menu.menu if item.name != RESOURCE or not has_request_context() or may_read()]

    menu.get_list = get_list


def _may_see(dag_id: str, entity: DagAccessEntity) -> bool:
    return bool(get_auth_manager().is_authorized_dag(method="GET", access_entity=entity, details=DagDetails(id=dag_id)))


def _roles() -> dict[str, list[tuple[str, str]]]:
    """The permissions of each role, as action and resource."""
    reader = [
        (_READ, RESOURCE),
        (_MENU, RESOURCE),
        # What every user of Airflow's needs: the site itself, a profile and a password.
        (_READ, permissions.RESOURCE_WEBSITE),
        *((action, permissions.RESOURCE_MY_PROFILE) for action in (_READ, _EDIT)),
        *((action, permissions.RESOURCE_MY_PASSWORD) for action in (_READ, _EDIT)),
        # The runs and logs of our DAGs, and of no other: of those the role may not read the DAG.
        (_MENU, permissions.RESOURCE_DAG),
        *((_READ, permissions.resource_name(dag, permissions.RESOURCE_DAG)) for dag in DAGS),
        (_READ, permissions.RESOURCE_DAG_RUN),
        (_READ, permissions.RESOURCE_TASK_INSTANCE),
        (_READ, permissions.RESOURCE_TASK_LOG),
    ]
    return {READER: reader, EDITOR: [*reader, (_EDIT, RESOURCE)]}
