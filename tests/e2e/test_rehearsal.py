"""`retraining rehearse`: the clock starts a night on a scratch service, which leaves nothing behind unless it fails."""

from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from driving import Service, make_environment


@pytest.fixture
def service(tmp_path: Path) -> Service:
    """Settings that a rehearsal must not touch: drops of their own, and addresses where nobody listens."""
    nobody = "http://127.0.0.1:9/"
    return Service(
        make_environment(
            tmp_path / "the state",
            tmp_path / "drops",
            FAILURE_WEBHOOK_URL=nobody,
            HEARTBEAT_URL=nobody,
            SCHEDULE="none",
            EXECUTOR="celery",
            BROKER_URL="redis://127.0.0.1:9/0",
            NOTICES_DIR=str(tmp_path / "notices"),
            TASK_LOGS_DIR=str(tmp_path / "logs"),
        )
    )


def test_the_clock_starts_a_night_and_its_model_is_pushed_served_and_told_of(service: Service) -> None:
    began = datetime.now(ZoneInfo("America/Sao_Paulo"))
    shown = service("rehearse").stdout
    # The minute after next may be tomorrow's.
    night = ((began + timedelta(minutes=2)) - timedelta(days=1)).date()
    assert f"The clock started night {night} as scheduled__" in shown
    assert f"Version {night:%Y%m%d}01 was pushed and served; 1 notices (pushed) and a sign of life came." in shown
    assert not (service.settings.state_dir / "rehearsal").exists()
    for place in (service.settings.drops_dir, service.settings.notices_dir, service.settings.task_logs_dir):
        assert not place.exists(), "it is of the service that is rehearsed for"
    assert service.find_processes() == []


@pytest.mark.long
def test_a_rehearsal_that_fails_says_why_and_keeps_what_it_left(service: Service, tmp_path: Path) -> None:
    dags = tmp_path / "dags"
    dags.mkdir()
    (dags / "headline_retraining.py").write_text("# airflow DAG\nimport no_such_module\n")
    service.environment["DAGS_DIR"] = str(dags)
    failed = service("rehearse", check=False)
    assert failed.returncode == 1
    assert "No module named 'no_such_module'" in failed.stderr
    left = service.settings.state_dir / "rehearsal" / "state"
    assert f"What it left is in {left}, its logs in logs/" in failed.stderr
    assert (left / "logs" / "scheduler.log").is_file()
    assert "Traceback" not in failed.stderr.replace("Traceback (most recent call last):\n  File", "", 1)
    assert service.find_processes() == []
