"""The command line: help with examples, and errors that say what to do."""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from typer.testing import CliRunner

from retraining.cli.main import app
from retraining.cli.service_commands import print_addresses
from retraining.local import secrets
from retraining.settings import CHECKOUT, Settings
from retraining.version import VERSION

COMMANDS = (
    *(
        "up",
        "down",
        "init",
        "exec",
        "status",
        "run",
        "backfill",
        "doctor",
        "logs",
        "demo",
        "drop",
        "serve",
        "rollback",
        "upgrade",
    ),
    *("note", "upgrade"),
    "schema propose",
    *(
        f"lineage {question}"
        for question in ("serving", "model", "drop", "recall", "night", "compare", "history", "gaps", "graph")
    ),
    *(f"lineage {question}" for question in ("drift", "scores", "tuning", "notes")),
)


@pytest.fixture(autouse=True)
def service_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("retraining.settings.ENV_FILE", tmp_path / ".env")
    monkeypatch.setenv("STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("DROPS_DIR", str(tmp_path / "drops"))
    for name in ("POSTGRES_PORT", "WEBSERVER_PORT", "SUPERVISOR_PORT", "SERVING_PORT", "SERVING_GRPC_PORT"):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            monkeypatch.setenv(name, str(probe.getsockname()[1]))


@pytest.fixture
def taken_port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port: int = taken.getsockname()[1]
        monkeypatch.setenv("WEBSERVER_PORT", str(port))
        yield port


def retraining(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "retraining", *arguments], capture_output=True, text=True, cwd=CHECKOUT, check=False
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_that_flows_with_an_example_of_itself(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = CliRunner().invoke(app, [*command.split(), "--help"])
    for line, following in pairwise(shown.output.partition("╭")[0].splitlines()):
        if line.strip() and following.strip():
            assert len(line.rstrip()) + len(following.split()[0]) >= 79, line
    assert shown.exit_code == 0
    assert re.search(rf"Example: (\S*/)?retraining {command}", " ".join(shown.output.split()))


def test_the_help_lists_every_command() -> None:
    shown = CliRunner().invoke(app, ["--help"]).output
    assert all(f" {command.split()[0]} " in shown for command in COMMANDS)


def test_the_model_server_is_shown_with_its_port_for_grpc_unless_it_speaks_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SERVING_GRPC_PORT", "8777")
    print_addresses(Settings.from_env())
    assert ", gRPC on port 8777\n" in capsys.readouterr().out
    monkeypatch.setenv("SERVING_GRPC_PORT", "0")
    print_addresses(Settings.from_env())
    assert "gRPC" not in capsys.readouterr().out


def test_a_night_that_is_no_date_is_refused_with_how_to_write_it() -> None:
    shown = CliRunner().invoke(app, ["run", "--night", "yesterday"])
    assert shown.exit_code == 2
    assert "2022-02-01" in shown.output


def test_a_wrong_setting_is_one_message_and_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_PORT", "many")
    done = retraining("status")
    assert done.returncode == 1
    assert "POSTGRES_PORT='many'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_without_the_service_says_how_to_start_it() -> None:
    secrets.make_missing(Settings.from_env())
    done = retraining("run", "--night", "2022-02-01")
    assert done.returncode == 1
    assert "retraining up" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_status_of_a_service_that_is_down_exits_with_1_and_says_how_to_start_it() -> None:
    shown = CliRunner().invoke(app, ["status"])
    assert shown.exit_code == 1
    assert "retraining up" in shown.output


def test_the_status_as_json_is_alone_on_standard_output_also_when_everything_is_down() -> None:
    done = retraining("status", "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert (told["version"], told["is_well"], told["programs"]) == (1, False, {})
    assert set(told) == {
        *(
            "version",
            "is_well",
            "programs",
            "addresses",
            "observed",
            "nights",
            "obstacle",
            "overdue",
            "problem",
            "unsent",
            "strays",
            "alarms",
            "paused",
        )
    }
    assert set(told["addresses"]) == {"airflow", "model_server"}
    assert "retraining up" in told["problem"]


def test_a_backfill_of_nights_without_drops_names_the_folder(tmp_path: Path) -> None:
    done = retraining("backfill", "2022-02-01", "2022-02-05")
    assert done.returncode == 1
    assert str(tmp_path / "drops") in done.stderr


def test_a_demo_on_a_folder_of_ones_own_that_holds_no_night_writes_nothing_into_it(tmp_path: Path) -> None:
    done = retraining("demo")
    assert done.returncode == 1
    assert "DROPS_DIR" in done.stderr
    assert not (tmp_path / "drops").exists()


def test_init_is_refused_for_the_embedded_server() -> None:
    done = retraining("init")
    assert done.returncode == 1
    assert "POSTGRES_EMBEDDED=false" in done.stderr


def test_exec_runs_a_command_with_the_settings_as_its_environment(tmp_path: Path) -> None:
    secrets.make_missing(Settings.from_env())
    code = "import os; print(os.environ['STATE_DIR'], os.environ['AIRFLOW__CORE__EXECUTOR'])"
    done = retraining("exec", "python", "-c", code)
    assert done.stdout.split() == [str(tmp_path / "state"), "LocalExecutor"]


def test_exec_of_an_unknown_command_says_so() -> None:
    secrets.make_missing(Settings.from_env())
    done = retraining("exec", "no-such-command")
    assert done.returncode == 1
    assert "no-such-command" in done.stderr


def test_logs_of_an_unknown_name_say_where_to_look() -> None:
    done = retraining("logs", "nobody")
    assert done.returncode == 1
    assert "retraining logs" in done.stderr


def test_the_doctor_finds_nothing_wrong_with_a_free_machine_and_changes_nothing(tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["doctor"])
    assert shown.exit_code == 0, shown.output
    assert not (tmp_path / "state").exists()


def test_the_doctor_names_the_setting_and_the_process_of_a_taken_port(taken_port: int) -> None:
    shown = CliRunner().invoke(app, ["doctor"])
    assert shown.exit_code == 1
    assert f"port {taken_port} is taken" in shown.output
    assert f"process {os.getpid()}" in shown.output
    assert "WEBSERVER_PORT" in shown.output


def test_the_doctor_finds_a_secret_that_others_can_read(tmp_path: Path) -> None:
    settings = secrets.make_missing(Settings.from_env())
    (settings.secrets_dir / "mlmd_password").chmod(0o644)
    shown = CliRunner().invoke(app, ["doctor"])
    assert shown.exit_code == 1
    assert "others can read mlmd_password" in shown.output


def test_the_doctor_reports_what_is_not_as_the_lock_pins_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "requirements.lock").write_text("typer==0.0.1 \\\n    --hash=sha256:00\nno-such-package==1.0\n")
    monkeypatch.setattr("retraining.upkeep.pins.LOCK", tmp_path / "requirements.lock")
    shown = CliRunner().invoke(app, ["doctor"])
    assert shown.exit_code == 1
    assert "pinned 0.0.1" in shown.output
    assert "no-such-package is missing" in shown.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("replay --night 2022-02-30", "2022-02-30"),
        ("replay --night 2022-02-01", "`.*retraining up`"),
        ("run --night 2022-02-01 --local", "2022-02-01"),
        ("run --night 20220201 --local", "such as 2022-02-01"),
        ("schema propose --night 2022-02-01", "2022-02-01"),
        ("schema propose --night 2022-02-01 --output /no/such/folder/x", "no folder /no/such/folder"),
        ("drop absent.csv --night 2022-02-01", "absent.csv"),
        ("rollback --reason ' '", "needs a reason"),
        ("rollback --reason why", "nothing to roll back"),
        ("backfill 2022-02-05 2022-02-01", "2022-02-05, is after the last, 2022-02-01"),
        ("lineage gaps --from 2022-02-05 --to 2022-02-01", "is after the last"),
        ("lineage night 20220201", "such as 2022-02-01"),
        ("lineage --sqlite absent.sqlite serving", "absent.sqlite"),
    ],
)
def test_what_is_wrong_is_said_before_anything_heavy_is_loaded(arguments: str, told: str) -> None:
    """Arguments, folders and lineage are looked at first: TensorFlow alone takes ten seconds and more."""
    code = """
import sys
from retraining.cli.main import main
sys.argv = ["retraining", *sys.argv[1:]]
try:
    main()
finally:
    print("LOADED", *{name.split(".")[0] for name in sys.modules} & {"tensorflow", "tfx", "apache_beam", "keras"})
"""
    secrets.make_missing(Settings.from_env())
    done = subprocess.run(
        [sys.executable, "-c", code, *shlex.split(arguments)], capture_output=True, text=True, cwd=CHECKOUT, check=False
    )
    assert done.returncode in (1, 2), done.stderr
    assert done.stdout.splitlines()[-1].split() == ["LOADED"]
    assert re.search(told, " ".join((done.stdout + done.stderr).replace("│", "").split()))
    assert "Traceback" not in done.stderr


def test_version_is_that_of_the_package() -> None:
    shown = CliRunner().invoke(app, ["--version"])
    assert (shown.exit_code, shown.output) == (0, f"retraining {VERSION}\n")
