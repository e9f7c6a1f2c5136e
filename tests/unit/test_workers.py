"""Workers: their queues, their command line, and what ends one whose code has changed."""

import json
import os
import signal
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from typer.testing import CliRunner

from retraining.cli.main import app
from retraining.local import airflow, ports, roster
from retraining.settings import Settings, SettingsError
from retraining.workers import command, self_watch
from retraining.workers.asking import Worker, find_queues_of_nobody
from retraining.workers.command import WorkerError


def test_a_worker_takes_tasks_from_all_queues_unless_it_is_told(tmp_path: Path) -> None:
    plain = Settings.from_env()
    assert (plain.queues, plain.queues_taken) == ({}, ("default",))
    with_gpu = Settings.from_env(queue="nights", queue_trainer="gpu", queue_tuner="gpu", queue_evaluator="nights")
    assert with_gpu.queues == {"Trainer": "gpu", "Tuner": "gpu"}
    assert with_gpu.queues_taken == ("nights", "gpu")
    assert Settings.from_env(queue_trainer="gpu", worker_queues="gpu").queues_taken == ("gpu",)


@pytest.mark.parametrize(
    ("name", "value"),
    [("QUEUE_TRAINER", "a queue"), ("BROKER_URL", "localhost:6379"), ("BROKER_URL", "sqs://a"), ("WORKERS", "0")],
)
def test_what_cannot_be_a_queue_or_a_broker_is_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"^{name}"):
        Settings.from_env()


def test_a_queue_from_which_nobody_takes_tasks_is_found() -> None:
    settings = Settings.from_env(queue_trainer="gpu", queue_tuner="tuning")
    workers = [Worker("worker@a", ("default", "scheduler"), 2), Worker("worker@b", ("default", "tuning"), 1)]
    assert find_queues_of_nobody(settings, workers) == ["gpu"]
    assert find_queues_of_nobody(settings, workers[1:]) == ["gpu", "scheduler"]
    assert find_queues_of_nobody(settings, []) == ["default", "gpu", "tuning", "scheduler"]


def test_a_worker_s_command_names_it_its_queues_and_its_slots(tmp_path: Path) -> None:
    settings = Settings.from_env(state_dir=tmp_path, worker_slots=3, queue_trainer="gpu")
    line = " ".join(command.build(settings, "worker-2", settings.queues_taken))
    assert line == (
        "airflow celery worker --celery-hostname worker-2@%h --queues default,gpu --concurrency 3 --skip-serve-logs"
    )
    assert "--skip-serve-logs" not in command.build(
        settings.model_copy(update={"worker_log_port": 8793}), "worker", ["default"]
    )


def test_the_service_runs_workers_and_a_redis_only_where_it_is_to() -> None:
    def names(**given: object) -> set[str]:
        return {program.name for program in roster.list_programs(Settings.from_env(**given))} - usual

    usual = {program.name for program in roster.list_programs(Settings.from_env())}
    assert not {name for name in usual if "worker" in name or "redis" in name}
    assert names(workers=2) == set()
    assert names(executor="celery", workers=2) == {"redis", "worker-1", "worker-2"}
    assert names(executor="celery", workers=1, broker_url="redis://broker") == {"worker-1"}
    assert "REDIS_PORT" in ports.of_service(Settings.from_env(executor="celery"))
    assert "REDIS_PORT" not in ports.of_service(Settings.from_env())


def test_packages_that_are_missing_are_told_with_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    command.check_packages()
    monkeypatch.setattr(command, "_PACKAGES", ("celery", "no-such-package"))
    with pytest.raises(WorkerError, match=r"needs no-such-package, .*make setup-celery"):
        command.check_packages()


@pytest.mark.parametrize("name", ["worker", "workers"])
def test_without_celery_there_are_no_workers_and_the_setting_is_named(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EXECUTOR", raising=False)
    done = CliRunner().invoke(app, [name])
    assert done.exit_code == 1
    assert "EXECUTOR=celery" in done.output


@pytest.fixture
def ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The signals that a worker sends itself; its code is in a folder of the test, and its databases answer."""
    monkeypatch.setattr(self_watch, "_SHARED", (tmp_path,))
    monkeypatch.setattr(self_watch, "_LOOK_SECONDS", 0)
    monkeypatch.setattr(self_watch, "_find_problem", lambda database: None)
    signals: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: signals.append((pid, number)))
    return signals


def make_watch() -> self_watch.SelfWatch:
    return self_watch.SelfWatch(Settings.from_env(airflow_db_password="x", mlmd_password="y"))


def test_a_worker_whose_code_has_changed_ends_itself_once(ended: list[tuple[int, int]], tmp_path: Path) -> None:
    (tmp_path / "settings.py").write_text("")
    watch = make_watch()
    watch.look()
    assert ended == []
    (tmp_path / "new.py").write_text("")
    watch.look()
    watch.look(sender=None)
    assert ended == [(os.getpid(), signal.SIGTERM)]


def test_a_worker_that_is_cut_off_from_a_database_ends_itself_and_one_that_missed_it_once_does_not(
    ended: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([None, "away", None, None, "away", "away"])
    monkeypatch.setattr(self_watch, "_find_problem", lambda database: next(answers))
    watch = make_watch()
    watch.look()
    assert ended == [], "ML Metadata's was away for a moment"
    watch.look()
    watch.look()
    assert ended == []
    watch.look()
    assert ended == [(os.getpid(), signal.SIGTERM)]


def test_a_look_is_not_taken_at_each_heartbeat(
    ended: list[tuple[int, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(self_watch, "_LOOK_SECONDS", 60)
    watch = make_watch()
    (tmp_path / "new.py").write_text("")
    watch.look()
    assert ended == []


def test_what_a_worker_imports_first_is_what_celery_is_told_beside_what_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = ("airflow_db_password", "airflow_fernet_key", "airflow_secret_key", "redis_password")
    settings = Settings.from_env(executor="celery", **dict.fromkeys(names, "x"))
    variable = "AIRFLOW__CELERY__EXTRA_CELERY_CONFIG"
    assert json.loads(airflow.environment(settings)[variable]) == {"imports": ["retraining.workers.celery_start"]}
    assert (Path(self_watch.__file__).parent / "celery_start.py").is_file()
    monkeypatch.setenv(variable, '{"imports": ["ours"], "worker_max_tasks_per_child": 9}')
    extended = airflow.environment(settings)[variable]
    assert json.loads(extended) == {
        "imports": ["retraining.workers.celery_start", "ours"],
        "worker_max_tasks_per_child": 9,
    }
    monkeypatch.setenv(variable, extended)
    assert airflow.environment(settings)[variable] == extended


def test_the_broker_s_address_takes_any_password_and_checks_whom_it_speaks_to() -> None:
    odd = Settings.from_env(executor="celery", redis_password="p@ss/w#1")
    assert urlsplit(odd.broker).hostname == "127.0.0.1"
    assert unquote(urlsplit(odd.broker).password or "") == "p@ss/w#1"
    assert Settings.from_env(broker_url="redis://:@redis:6379/0").broker == "redis://:@redis:6379/0"
    assert Settings.from_env(broker_url="rediss://a:1/0").broker == "rediss://a:1/0?ssl_cert_reqs=CERT_REQUIRED"
    chosen = "rediss://a:1/0?ssl_cert_reqs=CERT_NONE"
    assert Settings.from_env(broker_url=chosen).broker == chosen
