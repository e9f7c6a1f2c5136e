"""The team deployment, as data: no Docker engine is needed to see that it fits the checkout."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from retraining.cli.main import app
from retraining.local import model_server
from retraining.settings import Settings
from serving.policy import Policy, read_policy
from serving.settings import PREFIX
from serving.settings import Settings as ServerSettings

CHECKOUT = Path(__file__).resolve().parent.parent.parent
TEXT = (CHECKOUT / "docker-compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
OURS = [name for name, service in COMPOSE["services"].items() if service.get("image", "").startswith("headline-ret")]
DOCKERFILES = ("Dockerfile", "serving/Dockerfile")
ENV_EXAMPLE = (CHECKOUT / ".env.example").read_text()


def test_the_file_fits_the_compose_schema() -> None:
    # The compose specification's own schema, Apache-2.0, from docker-compose 1.29.2.
    schema = json.loads((CHECKOUT / "tests" / "data" / "compose-spec.json").read_text())
    jsonschema.Draft201909Validator(schema).validate(COMPOSE)


def test_the_services_are_the_ones_a_team_needs() -> None:
    assert set(COMPOSE["services"]) == {
        *("postgres", "init", "scheduler", "triggerer", "webserver", "watch", "serving", "page"),
        *("prometheus", "grafana"),
        *("redis", "worker", "flower"),
    }
    assert set(OURS) == {"init", "scheduler", "triggerer", "webserver", "watch", "worker", "flower"}


@pytest.mark.parametrize("name", OURS)
def test_every_setting_that_a_service_is_given_exists(name: str) -> None:
    known = {field.upper() for field in Settings.model_fields}
    assert set(COMPOSE["services"][name]["environment"]) - {"HOME"} <= known


def test_every_setting_that_our_model_server_is_given_exists() -> None:
    known = {f"{PREFIX}{field.upper()}" for field in ServerSettings.model_fields}
    assert set(COMPOSE["services"]["page"]["environment"]) <= known


def test_both_model_servers_obey_the_version_policy_that_init_writes(tmp_path: Path) -> None:
    pushed = COMPOSE["services"]["scheduler"]["environment"]["SERVING_DIR"]
    settings = Settings.from_env(state_dir=tmp_path, serving_dir=tmp_path / "headlines")
    model_server.write_policy(settings)
    written = tmp_path / "models.config"
    assert read_policy(written, "headlines") == Policy(newest=2)
    assert f'base_path: "{tmp_path / "headlines"}"' in written.read_text()
    assert f"--model_config_file={Path(pushed).parent / written.name}" in COMPOSE["services"]["serving"]["command"]
    ours = ServerSettings(dir=COMPOSE["services"]["page"]["environment"]["SERVING_DIR"])
    assert ours.models_config_file == Path(pushed).parent / written.name

    pinned = re.sub(r"latest \{\s*num_versions: 2\s*\}", "specific { versions: 2022020101 }", written.read_text())
    written.write_text(pinned)
    model_server.write_policy(settings)
    assert read_policy(written, "headlines") == Policy(specific=(2022020101,)), "a rollback outlives another init"


def test_every_service_asks_the_model_server_of_the_deployment_what_it_answers_with() -> None:
    for name in OURS:
        address = COMPOSE["services"][name]["environment"]["SERVING_URLS"]
        assert address == "${SERVING_URLS:-http://serving:8501}"
    assert COMPOSE["services"]["serving"]["ports"][0].endswith(":8501")


def test_both_model_servers_speak_grpc_where_tensorflow_serving_has_it_on_ports_that_differ() -> None:
    published = {name: COMPOSE["services"][name]["ports"] for name in ("serving", "page")}
    inside = str(ServerSettings.model_fields["grpc_port"].default)
    assert [ports[1].rpartition(":")[2] for ports in published.values()] == [inside] * 2
    hosts = [port.removeprefix("127.0.0.1:").rpartition(":")[0] for ports in published.values() for port in ports]
    assert len(set(hosts)) == len(hosts)


def test_our_model_server_is_given_the_time_to_end() -> None:
    grace = COMPOSE["services"]["page"]["stop_grace_period"]
    assert float(grace.removesuffix("s")) > ServerSettings(dir=Path("/srv/models")).end_seconds + 1


def test_no_pid_file_outlives_a_web_server_that_was_killed() -> None:
    # gunicorn refuses to begin where one is of a process that seems to be there: gunicorn/pidfile.py.
    *_, option, place = COMPOSE["services"]["webserver"]["command"]
    assert (option, place.startswith("/tmp/")) == ("--pid", True)


def test_our_model_server_is_beside_the_default_one_only_when_asked_for() -> None:
    assert COMPOSE["services"]["page"]["profiles"] == ["page"]
    assert "profiles" not in COMPOSE["services"]["serving"]
    assert COMPOSE["services"]["page"]["build"]["dockerfile"] == "serving/Dockerfile"


def test_the_settings_of_the_services_are_valid(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("retraining.settings.ENV_FILE", tmp_path / ".env")
    for name, value in COMPOSE["services"]["webserver"]["environment"].items():
        monkeypatch.setenv(name, re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value))
    settings = Settings.from_env()
    assert settings.serving_urls == ("http://serving:8501",)
    assert (settings.mlmd_host, settings.mlmd_port) == ("postgres", 5432)
    assert (settings.airflow_db_host, settings.airflow_db_port) == ("postgres", 5432)


@pytest.mark.parametrize("name", OURS)
def test_every_entry_command_is_one_that_the_command_line_has(name: str) -> None:
    program, command, *_ = COMPOSE["services"][name]["command"]
    assert program == "retraining"
    assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0


def test_every_variable_that_the_file_takes_is_in_the_example() -> None:
    wanted = set(re.findall(r"\$\{([A-Z_]+)", TEXT))
    offered = set(re.findall(r"^#?\s?([A-Z_]+)=", ENV_EXAMPLE, re.MULTILINE))
    assert wanted <= offered


def test_every_variable_of_the_example_is_a_setting_or_is_used_by_the_compose_file() -> None:
    offered = set(re.findall(r"^#?\s?([A-Z_]+)=", ENV_EXAMPLE, re.MULTILINE))
    known = {field.upper() for field in Settings.model_fields} | set(re.findall(r"\$\{([A-Z_]+)", TEXT))
    assert offered <= known


def test_the_example_names_every_secret_that_the_containers_share() -> None:
    secrets = {
        name.upper()
        for name, field in Settings.model_fields.items()
        if "Made at first start" in (field.description or "")
    } - {"SUPERVISOR_PASSWORD", "SCHEDULED_FROM", "REDIS_PASSWORD"}
    assert secrets <= set(re.findall(r"^([A-Z_]+)=", ENV_EXAMPLE, re.MULTILINE))


def test_no_container_runs_as_root_and_every_long_running_one_has_a_healthcheck() -> None:
    for dockerfile in DOCKERFILES:
        assert re.findall(r"^USER (\w+)", (CHECKOUT / dockerfile).read_text(), re.MULTILINE)[-1] == "headlines"
    assert COMPOSE["services"]["serving"]["user"] == "1000:1000"
    for name, service in COMPOSE["services"].items():
        assert name == "init" or "healthcheck" in service, name


@pytest.mark.parametrize("name", sorted(COMPOSE["services"]))
def test_no_container_can_write_outside_its_volumes_or_come_to_more_rights(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"] and "cap_add" not in service and "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "/tmp" in service["tmpfs"]
    # What has no user here has one in its image, which is looked at above.
    assert service.get("user") not in ("root", "0", "0:0")
    assert "user" in service or "build" in service


def test_what_a_service_writes_is_in_a_volume_or_in_tmp() -> None:
    for name in OURS:
        service = COMPOSE["services"][name]
        places = [volume.split(":")[1] for volume in service["volumes"] if not volume.endswith(":ro")]
        places += service["tmpfs"]
        written = [service["environment"][setting] for setting in ("STATE_DIR", "SERVING_DIR", "HOME")]
        assert all(any(Path(path).is_relative_to(place) for place in places) for path in written), name


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_every_file_that_an_image_copies_exists_and_is_handed_to_its_build(dockerfile: str) -> None:
    rules = (CHECKOUT / ".dockerignore").read_text().splitlines()
    names = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    assert "*" in rules, "whatever is not named is left out"
    assert all((CHECKOUT / name).exists() for name in names)
    for line in re.findall(r"^COPY (?!--from)(.+)", (CHECKOUT / dockerfile).read_text(), re.MULTILINE):
        for source in map(Path, line.split()[:-1]):
            assert (CHECKOUT / source).exists(), source
            assert source == Path() or {f"{source}", *map(str, source.parents)} & names, source


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_an_image_s_base_is_an_argument_that_compose_gives_by_tag_or_digest(dockerfile: str) -> None:
    text = (CHECKOUT / dockerfile).read_text()
    [default] = re.findall(r"^ARG BASE=(\S+)", text, re.MULTILINE)
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) <= {"$BASE", "packages"}
    for name in ("scheduler", "page"):
        assert COMPOSE["services"][name]["build"]["args"] == {"BASE": f"${{PYTHON_IMAGE:-{default}}}"}


def test_tensorflow_without_cuda_is_of_the_version_that_it_takes_the_place_of() -> None:
    locks = [(CHECKOUT / place).read_text() for place in ("requirements-celery.lock", "serving/requirements.lock")]
    [[whole], [without]] = [
        re.findall(rf"^{name}==(\S+)", lock, re.MULTILINE)
        for name, lock in zip(("tensorflow", "tensorflow-cpu"), locks, strict=True)
    ]
    assert whole == without


def test_every_named_volume_is_declared_and_serving_cannot_write_models() -> None:
    named = {
        volume.split(":")[0]
        for service in COMPOSE["services"].values()
        for volume in service.get("volumes", [])
        if re.match(r"[a-z]", volume)
    }
    assert named == set(COMPOSE["volumes"])
    for name in ("serving", "page"):
        assert COMPOSE["services"][name]["volumes"] == ["models:/srv/models:ro"]


def test_only_loopback_is_published() -> None:
    published = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


@pytest.mark.parametrize("name", sorted(COMPOSE["services"]))
def test_a_health_check_in_python_imports_what_there_is(name: str) -> None:
    command = COMPOSE["services"][name].get("healthcheck", {}).get("test", [])
    if "-c" in command:
        imports = "; ".join(re.findall(r"(?:from|import) [^;]+", command[command.index("-c") + 1]))
        subprocess.run([sys.executable, "-c", imports], check=True, cwd=CHECKOUT)
