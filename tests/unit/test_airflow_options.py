"""What Airflow is told: what variables of its own change, and what only the settings say."""

from pathlib import Path

import pytest

from retraining.local import airflow, airflow_options
from retraining.local.airflow_options import _decisions
from retraining.settings import CHECKOUT, Settings

SECRETS = {
    "airflow_db_password": "db",
    "airflow_fernet_key": "fernet",
    "airflow_secret_key": "key",
    "redis_password": "red",
}
PARALLELISM = "AIRFLOW__CORE__PARALLELISM"
EXECUTOR = "AIRFLOW__CORE__EXECUTOR"


@pytest.fixture(autouse=True)
def env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr("retraining.settings.ENV_FILE", tmp_path / ".env")
    return tmp_path / ".env"


def test_variables_of_airflow_s_own_are_passed_on_and_the_environment_wins_over_the_file(
    monkeypatch: pytest.MonkeyPatch, env_file: Path
) -> None:
    settings = Settings.from_env(**SECRETS)
    assert airflow.environment(settings)[PARALLELISM].isdecimal()
    env_file.write_text(f"{PARALLELISM}=7\nAIRFLOW__LOGGING__REMOTE_LOGGING=True\n")
    assert airflow.environment(settings)[PARALLELISM] == "7"
    monkeypatch.setenv(PARALLELISM, "9")
    environment = airflow.environment(settings)
    assert (environment[PARALLELISM], environment["AIRFLOW__LOGGING__REMOTE_LOGGING"]) == ("9", "True")
    assert airflow_options.find_unused(settings, settings.given_airflow_options()) == []


@pytest.mark.parametrize(
    ("variable", "why"),
    [
        (EXECUTOR, "EXECUTOR decides"),
        ("AIRFLOW__CORE__DAGS_FOLDER", "DAGS_DIR decides"),
        ("AIRFLOW__CORE__FERNET_KEY", "AIRFLOW_FERNET_KEY decides"),
        ("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "AIRFLOW_DB_HOST and the settings beside it decide"),
        ("AIRFLOW__WEBSERVER__BASE_URL", "WEB_ADDRESS decides"),
    ],
)
def test_what_only_the_settings_say_is_not_taken_from_a_variable_and_that_is_told(
    variable: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings.from_env(**SECRETS)
    decided = airflow.environment(settings)[variable]
    monkeypatch.setenv(variable, "of another Airflow")
    assert airflow.environment(settings)[variable] == decided
    [sentence] = airflow_options.find_unused(settings, settings.given_airflow_options())
    assert sentence == f"{variable} is not used: {why}"
    assert "of another Airflow" not in sentence, "it may be a password"


def test_what_the_service_itself_gives_to_its_processes_is_nothing_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.from_env(executor="celery", **SECRETS)
    for name, value in airflow.environment(settings).items():
        monkeypatch.setenv(name, value)
    assert airflow_options.find_unused(settings, settings.given_airflow_options()) == []


def test_the_executor_follows_the_setting_and_only_celery_has_a_broker() -> None:
    local = airflow.environment(Settings.from_env(**SECRETS))
    assert local[EXECUTOR] == "LocalExecutor"
    assert not [name for name in local if "CELERY" in name]
    celery = airflow.environment(Settings.from_env(executor="celery", queue="nights", worker_slots=3, **SECRETS))
    assert celery[EXECUTOR] == "CeleryExecutor"
    assert celery["AIRFLOW__CELERY__BROKER_URL"] == "redis://:red@127.0.0.1:16379/0"
    assert celery["AIRFLOW__CELERY__WORKER_CONCURRENCY"] == "3"
    assert celery["AIRFLOW__OPERATORS__DEFAULT_QUEUE"] == "nights"
    given = Settings.from_env(executor="celery", broker_url="redis://broker:6379/1", **SECRETS)
    assert airflow.environment(given)["AIRFLOW__CELERY__BROKER_URL"] == "redis://broker:6379/1"


def test_the_documentation_lists_what_is_decided() -> None:
    settings = Settings.from_env(executor="celery", **SECRETS)
    expected = [f"| `{section}.{option}` | {why} |" for (section, option), (_, why) in _decisions(settings).items()]
    table = (CHECKOUT / "docs/scaling.md").read_text().split("<!-- decided -->")[1].strip().splitlines()[2:]
    assert table == expected, "paste this into docs/scaling.md:\n" + "\n".join(expected)
