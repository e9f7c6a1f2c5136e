"""What a worker must share with the scheduler's machine, against a real database: what is seen when it does not."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy
from airflow.models.variable import Variable
from cryptography.fernet import Fernet
from postgres_server import Server, lend_database, query, share_with_airflow
from pydantic import SecretStr

from retraining.local import airflow_options
from retraining.settings import Settings
from retraining.workers import sharing
from retraining.workers.sharing import SharingError

KEY = Fernet.generate_key().decode()
FOLDERS = ("drops_dir", "pipeline_root", "serving_dir", "scores_dir", "notices_dir", "task_logs_dir")


@pytest.fixture
def scheduler(postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """The scheduler's machine; its database has the table that Airflow's own model describes."""
    monkeypatch.setattr("retraining.settings.ENV_FILE", tmp_path / ".env")
    with lend_database(postgres, tmp_path / "state") as lent:
        settings = share_with_airflow(lent).model_copy(
            update={
                "airflow_fernet_key": SecretStr(KEY),
                "executor": "celery",
                **{name: tmp_path / "shared" / name for name in FOLDERS},
            }
        )
        engine = sqlalchemy.create_engine(airflow_options.url(settings))
        Variable.__table__.create(engine)
        engine.dispose()
        yield settings


@pytest.fixture
def worker(scheduler: Settings, tmp_path: Path) -> Settings:
    """Another machine that shares everything, also the logs; what it is compared with is published."""
    sharing.publish(scheduler)
    return scheduler.model_copy(update={"state_dir": tmp_path / "another"})


def find_problems(settings: Settings) -> list[str]:
    with pytest.raises(SharingError) as found:
        sharing.check(settings)
    return str(found.value).splitlines()


def test_a_machine_that_shares_everything_has_nothing_to_mend(worker: Settings) -> None:
    assert sharing.check(worker) == []


def test_another_start_of_the_service_changes_no_token(scheduler: Settings, worker: Settings) -> None:
    [before] = query(scheduler, "SELECT count(*) FROM variable")
    sharing.publish(scheduler)
    assert sharing.check(worker) == []
    assert [before] == query(scheduler, "SELECT count(*) FROM variable") == [(1,)]


def test_a_folder_at_another_path_is_told_with_the_one_it_should_have(scheduler: Settings, worker: Settings) -> None:
    [problem] = find_problems(worker.model_copy(update={"pipeline_root": Path("/mnt/pipelines")}))
    assert problem.startswith(f"PIPELINE_ROOT=/mnt/pipelines, but {scheduler.pipeline_root} on ")
    assert problem.endswith("mount it there too")


@pytest.mark.parametrize("content", [None, "of another service\n"])
def test_a_folder_of_the_same_path_that_is_another_one_is_told(worker: Settings, content: str | None) -> None:
    token = worker.serving_dir / ".headlines-service"
    token.unlink()
    if content:
        token.write_text(content)
    [problem] = find_problems(worker)
    assert problem.startswith(f"SERVING_DIR={worker.serving_dir} is another folder than on ")
    assert ("it has another" if content else "it has no") in problem


def test_logs_that_are_kept_apart_are_told_unless_the_web_server_asks_for_them(
    scheduler: Settings, worker: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    apart = worker.model_copy(update={"task_logs_dir": tmp_path / "logs of this machine"})
    [problem] = find_problems(apart)
    assert problem.startswith(f"TASK_LOGS_DIR={apart.task_logs_dir} is another folder than on ")
    sharing.publish(scheduler.model_copy(update={"worker_log_port": 8793}))
    assert sharing.check(apart.model_copy(update={"worker_log_port": 8793})) == []
    sharing.publish(scheduler)
    monkeypatch.setenv("AIRFLOW__LOGGING__REMOTE_LOGGING", "True")
    assert sharing.check(apart) == []


def test_a_setting_that_decides_what_a_task_does_must_be_the_same_and_one_of_the_machine_need_not(
    scheduler: Settings, worker: Settings
) -> None:
    own = {"worker_slots": 7, "worker_queues": ("gpu",), "webserver_port": 1, "postgres_port": 2, "preload": False}
    assert sharing.check(worker.model_copy(update=own)) == []
    other = {"seed": 1, "timezone": "UTC", "notify": SecretStr("https://user:word@example.org")}
    notify, seed, zone = sorted(find_problems(worker.model_copy(update=other)))
    assert (notify[:6], "word" in notify) == ("NOTIFY", False)
    assert seed.endswith(f", {scheduler.seed} there and 1 here; set it to the same")
    assert zone.startswith("TIMEZONE is another than on ")


def test_what_a_file_of_hyperparameters_says_counts_and_not_where_it_is(worker: Settings, tmp_path: Path) -> None:
    file = tmp_path / "epochs.json"
    file.write_text('{"epochs": 3}')
    [problem] = find_problems(worker.model_copy(update={"hyperparameters_file": file}))
    assert problem.startswith("HYPERPARAMETERS_FILE is another than on ")


def test_another_database_of_lineage_is_told(postgres: Server, worker: Settings, tmp_path: Path) -> None:
    with lend_database(postgres, tmp_path / "other") as other:
        names = ("mlmd_database", "mlmd_user", "mlmd_password")
        [problem] = find_problems(worker.model_copy(update={name: getattr(other, name) for name in names}))
    assert problem.startswith("MLMD_HOST and MLMD_DATABASE name another database than on ")


def test_model_servers_must_be_named_for_a_machine_that_has_none(
    worker: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing.socket, "gethostname", lambda: "elsewhere")
    [problem] = find_problems(worker)
    assert problem.startswith("SERVING_URLS is not set")


def test_only_a_machine_with_the_scheduler_s_state_folder_does_what_only_that_one_can(
    scheduler: Settings, worker: Settings
) -> None:
    assert sharing.shares_state(scheduler)
    assert not sharing.shares_state(worker)
    # As containers have it, at whatever path.
    worker.state_dir.symlink_to(scheduler.state_dir)
    assert sharing.shares_state(worker)


def test_an_edit_is_published_by_the_watch_so_that_a_worker_starts_with_it(
    scheduler: Settings, worker: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "hash_code", lambda: "0123456789abcdef")
    assert len(find_problems(worker)) == 1
    sharing.keep_published(scheduler)
    assert sharing.check(worker) == []


def test_drops_that_the_service_cannot_write_to_cannot_be_compared_and_that_is_said(
    scheduler: Settings, worker: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    (scheduler.drops_dir / ".headlines-service").unlink()
    scheduler.drops_dir.rmdir()
    scheduler.drops_dir.symlink_to("/proc/1")
    sharing.publish(scheduler)
    [sentence] = sharing.check(worker)
    assert sentence.startswith(f"DROPS_DIR={worker.drops_dir}: ")
    assert "nobody knows whether it is the same folder" in sentence


def test_a_folder_that_a_worker_may_not_write_to_is_told(worker: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        if path.parent == worker.scores_dir:
            raise PermissionError(13, "Permission denied", str(path))

    # Root may write everywhere.
    monkeypatch.setattr(Path, "touch", refuse)
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    [problem] = find_problems(worker)
    assert (
        problem
        == f"SCORES_DIR={worker.scores_dir} cannot be written to: Permission denied; give this user the right to"
    )


def test_another_key_database_code_or_clock_is_told(
    scheduler: Settings, worker: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    [problem] = find_problems(
        worker.model_copy(update={"airflow_fernet_key": SecretStr(Fernet.generate_key().decode())})
    )
    assert problem.startswith("AIRFLOW_FERNET_KEY is another one than the scheduler's")
    [problem] = find_problems(worker.model_copy(update={"airflow_db_password": SecretStr("wrong")}))
    assert "AIRFLOW_DB_PASSWORD" in problem
    with monkeypatch.context() as patch:
        patch.setattr(sharing, "hash_code", lambda: "0123456789abcdef")
        [problem] = find_problems(worker)
        assert problem.startswith("the code here is 0123456789abcdef, and ")
    with monkeypatch.context() as patch:
        real = sharing.time.time
        patch.setattr(sharing.time, "time", lambda: real() + 90)
        [problem] = find_problems(worker)
        assert problem.startswith("the clock of this machine is 90 s ahead of the database's")
    query(scheduler, "DELETE FROM variable RETURNING key")
    [problem] = find_problems(worker)
    assert problem.startswith("the service was never started with EXECUTOR=celery: `retraining up`")


def test_the_key_that_follows_reads_what_the_one_before_wrote(worker: Settings) -> None:
    both = f"{Fernet.generate_key().decode()},{KEY}"
    assert sharing.check(worker.model_copy(update={"airflow_fernet_key": SecretStr(both)})) == []
