"""Preparing the databases: roles, tables, types and the web user; each made once, and left alone when it is there."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Literal

import psycopg2
from werkzeug.security import check_password_hash, generate_password_hash

from headlines.postgres_address import is_local
from retraining.local import LocalError, airflow, model_server, postgres, secrets, standing, supervisor
from retraining.places.relocation import settle_places
from retraining.settings import BASE, Settings
from retraining.workers import sharing

STEP_SECONDS = 240
"""The longest a step may take, on a machine busy with other things."""

Report = Callable[[str], None]
Database = Literal["airflow", "mlmd"]


class PreparationError(LocalError):
    """A database cannot be reached or prepared; the message says why and what to do."""


_STEPS = {
    "store": "creating ML Metadata's tables and types",
    "migrate": "creating Airflow's tables",
    "admin": "creating the web user",
    "fernet": "encrypting Airflow's connections and variables by the new key",
}


def init(settings: Settings, report: Report) -> Settings:
    """Prepares servers of one's own, once, before anything runs: roles, databases, tables, types and the web user.

    Roles and databases are made only when `POSTGRES_PASSWORD` is set. TensorFlow Serving gets its version policy,
    without which it does not start.

    Returns:
      The settings with the secrets made on the way.

    Raises:
      PreparationError: it is for other servers than the embedded one, or a step failed.
    """
    if settings.postgres_embedded:
        raise PreparationError(
            "the embedded Postgres is prepared by `retraining up`; for another set POSTGRES_EMBEDDED=false"
        )
    may_make_databases = settings.postgres_password is not None
    settings = secrets.make_missing(settings)
    environment = airflow.environment(settings)
    model_server.prepare(settings)
    model_server.write_policy(settings)
    if may_make_databases:
        report("making roles and databases")
        if not superuser_answers(settings):
            raise PreparationError(
                f"the Postgres server {settings.postgres_host}:{settings.postgres_port} does not answer; "
                "start it, or correct POSTGRES_HOST and POSTGRES_PORT"
            )
        postgres.make_databases(settings)
    with preparing(settings, environment, report):
        make_admin(settings, environment)
        publish_shared(settings)
    return settings


def find_database_problem(settings: Settings, which: Database) -> str | None:
    """Why one of the two databases does not let its role in and what to do, or None when it does."""
    place = settings.database("mlmd" if which == "mlmd" else "airflow_db")
    try:
        psycopg2.connect(**place.arguments).close()
    except psycopg2.OperationalError as error:
        return place.explain(error)
    return None


def describe_encryption(settings: Settings, which: Database) -> str:
    """How psycopg2's connections to a database that lets its role in are encrypted, as libpq sees its own end.

    Postgres' `pg_stat_ssl` would tell of the last leg alone, such as the one from PgBouncer.
    """
    place = settings.database("mlmd" if which == "mlmd" else "airflow_db")
    with closing(psycopg2.connect(**place.arguments)) as connection:
        if connection.info.ssl_in_use:
            checked = "" if settings.postgres_sslmode.startswith("verify") else ", its server not checked"
            return f"by {connection.info.ssl_attribute('protocol')}{checked}"
    if is_local(place.host):
        return "in clear, within this machine"
    return f"IN CLEAR to {place.host}"


def superuser_answers(settings: Settings) -> bool:
    """Whether the server answers to its superuser.

    Raises:
      PreparationError: it does, and refuses the password.
    """
    try:
        postgres.connect_superuser(settings).close()
    except psycopg2.OperationalError as error:
        if "authentication failed" in str(error):
            if postgres.follow_superuser_password(settings):
                return True
            advice = "correct it"
            if settings.postgres_embedded:
                advice = (
                    f"bring {settings.secrets_dir / 'postgres_password'} back, or move "
                    f"{postgres.data_dir(settings).parent} away to start with empty databases"
                )
            raise PreparationError(
                f"the server's superuser has another password than POSTGRES_PASSWORD; {advice}"
            ) from None
        return False
    return True


@contextmanager
def preparing(settings: Settings, environment: dict[str, str], report: Report) -> Iterator[None]:
    """Makes Airflow's tables and, from then until the end of the block at the latest, those of ML Metadata.

    Raises:
      StandingError: there are tables already that would have to be migrated, or are of newer programs.
      PreparationError: a database does not answer, or a step failed.
    """
    _check_databases(settings)
    if standing.check(settings):
        standing.stamp(settings)
    elif note := standing.tell_other_version(settings):
        report(note)
    # Before anything of the service reads a path of lineage.
    settle_places(settings, report)
    report("preparing the databases of Airflow and ML Metadata")
    with _begun(settings, environment, "store", "retraining.pipelines.mlmd") as store:
        with _begun(settings, environment, "migrate", "airflow", "db", "migrate") as migrate:
            _finish(settings, "migrate", migrate)
        yield
        _finish(settings, "store", store)


def migrate(settings: Settings, environment: dict[str, str], report: Report) -> None:
    """Migrates what the databases hold to what Airflow and ML Metadata here work with; the caller has made a copy.

    Nothing of the service may run meanwhile, as Airflow's own manual says of its part:
    https://airflow.apache.org/docs/apache-airflow/2.11.2/installation/upgrading.html.

    Raises:
      PreparationError: a database does not answer, or a step failed.
    """
    _check_databases(settings)
    report("migrating Airflow's database")
    with _begun(settings, environment, "migrate", "airflow", "db", "migrate") as process:
        _finish(settings, "migrate", process)
    report("migrating ML Metadata's database, and making the types that came since")
    with _begun(settings, environment, "store", "retraining.pipelines.mlmd", "--migrate") as process:
        _finish(settings, "store", process)


def _check_databases(settings: Settings) -> None:
    for which in ("airflow", "mlmd"):
        if problem := find_database_problem(settings, which):
            raise PreparationError(problem)


def make_admin(settings: Settings, environment: dict[str, str]) -> None:
    """Makes the web user, or gives it the password of the settings if it has another."""
    password = settings.secret("airflow_admin_password")
    place = settings.database("airflow_db")
    with closing(psycopg2.connect(**place.arguments)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SELECT password FROM ab_user WHERE username = %s", [airflow.ADMIN])
        row = cursor.fetchone()
        if row is not None and not check_password_hash(row[0], password):
            # Airflow's own `users reset-password` fails here: its second look at the user has lost its session
            # (apache/airflow#63830).
            hashed = generate_password_hash(password)
            cursor.execute("UPDATE ab_user SET password = %s WHERE username = %s", [hashed, airflow.ADMIN])
    if row is None:
        command = ["airflow", "users", "create", "--username", airflow.ADMIN, "--role", "Admin"]
        names = ["--firstname", "Admin", "--lastname", "Admin", "--email", "admin@localhost"]
        # Asked for twice; as an argument every user of this machine could read it.
        answer = f"{password}\n{password}\n"
        with _begun(settings, environment, "admin", *command, *names, answer=answer) as process:
            _finish(settings, "admin", process)


def encrypt_anew(settings: Settings, environment: dict[str, str]) -> None:
    """Encrypts what Airflow keeps by the key that is to follow, if there is one; nothing of Airflow may run yet."""
    if not secrets.is_following(settings, "airflow_fernet_key"):
        return
    # One transaction, and what is by the new key already is read by it too: it may be done again.
    with _begun(settings, environment, "fernet", "airflow", "rotate-fernet-key") as process:
        _finish(settings, "fernet", process)
    secrets.finish(settings, "airflow_fernet_key")


def publish_shared(settings: Settings) -> None:
    """Writes down what the machines of workers are to share, where there are any; Airflow's tables must be there."""
    if settings.executor == "celery":
        sharing.publish(settings)


@contextmanager
def _begun(
    settings: Settings, environment: dict[str, str], name: str, *module: str, answer: str = ""
) -> Iterator["subprocess.Popen[bytes]"]:
    """Runs a module beside this process, and ends it if it still runs at the end of the block."""
    path = supervisor.log_path(settings, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *module],
            cwd=BASE,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            # An interrupt from the terminal is for this command alone, which then ends what it began.
            start_new_session=True,
        )
    try:
        if process.stdin is not None:
            process.stdin.write(answer.encode())
            process.stdin.close()
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _finish(settings: Settings, name: str, process: "subprocess.Popen[bytes]") -> None:
    path = supervisor.log_path(settings, name)
    try:
        code = process.wait(timeout=STEP_SECONDS)
    except subprocess.TimeoutExpired:
        raise PreparationError(f"{_STEPS[name]} took longer than {STEP_SECONDS} s; see {path}") from None
    if code:
        raise PreparationError(f"{_STEPS[name]} failed; {path} ends with:\n{supervisor.last_lines(path)}")
