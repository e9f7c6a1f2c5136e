import os
from pathlib import Path

import pytest

from retraining.cli import doctor
from retraining.local import airflow
from retraining.settings import CHECKOUT, Settings, SettingsError


@pytest.fixture(autouse=True)
def away_from_the_users_own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("retraining.settings.ENV_FILE", tmp_path / ".env")
    monkeypatch.setenv("STATE_DIR", str(tmp_path / "state"))


SECRETS = {f"{name}_password": name for name in ("mlmd", "airflow_db", "airflow_admin", "postgres", "supervisor")} | {
    "airflow_fernet_key": "f",
    "airflow_secret_key": "s",
}


def write_secret(tmp_path: Path, name: str, value: str) -> None:
    folder = tmp_path / "state" / "secrets"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(value)


def test_places_follow_the_state_dir(tmp_path: Path) -> None:
    settings = Settings.from_env()
    assert settings.serving_dir == tmp_path / "state" / "serving" / "headlines"
    assert settings.pipeline_root == tmp_path / "state" / "pipelines"


def test_a_relative_path_counts_from_the_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DROPS_DIR", "my drops")
    assert Settings.from_env().drops_dir == CHECKOUT / "my drops"


def test_both_databases_are_on_the_embedded_port_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_PORT", "16000")
    monkeypatch.setenv("MLMD_PORT", "5432")
    settings = Settings.from_env()
    assert (settings.mlmd_port, settings.airflow_db_port) == (5432, 16000)


def test_the_environment_wins_over_the_env_file_and_both_over_what_was_made_at_first_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_secret(tmp_path, "mlmd_password", "made")
    assert Settings.from_env().secret("mlmd_password") == "made"
    (tmp_path / ".env").write_text("MLMD_PASSWORD=file\nWINDOW_NIGHTS=5\n")
    assert Settings.from_env().secret("mlmd_password") == "file"
    monkeypatch.setenv("MLMD_PASSWORD", "environment")
    assert Settings.from_env().secret("mlmd_password") == "environment"
    assert Settings.from_env().window_nights == 5


def test_an_empty_value_means_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINDOW_NIGHTS", "")
    assert Settings.from_env().window_nights == 12


def test_label_codes_and_beam_arguments_are_read_from_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABEL_CODES", "-1=negative, 0=neutral, 1=positive")
    monkeypatch.setenv("BEAM", "args")
    monkeypatch.setenv("BEAM_RUNNER_ARGS", "--runner=FlinkRunner --parallelism=4")
    settings = Settings.from_env()
    assert settings.label_codes == {"-1": "negative", "0": "neutral", "1": "positive"}
    assert settings.beam_runner_args == ("--runner=FlinkRunner", "--parallelism=4")


@pytest.mark.parametrize(
    ("text", "read", "written"),
    [
        ("http://a:8501/, https://b/models http://a:8501", ("http://a:8501", "https://b/models"), None),
        ("none", (), "none"),
        (" ", None, ""),
    ],
)
def test_model_servers_are_addresses_or_none_or_the_service_s_own(
    monkeypatch: pytest.MonkeyPatch, text: str, read: tuple[str, ...] | None, written: str | None
) -> None:
    monkeypatch.setenv("SERVING_URLS", text)
    settings = Settings.from_env()
    assert settings.serving_urls == read
    assert (settings.write("serving_urls") or "") == ("http://a:8501 https://b/models" if written is None else written)


def test_servers_behind_a_name_are_asked_without_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVING_URLS", "dns+http://model-servers:8501/ http://a:8501")
    settings = Settings.from_env()
    assert settings.serving_urls == ("dns+http://model-servers:8501", "http://a:8501")
    assert settings.write("serving_urls") == "dns+http://model-servers:8501 http://a:8501"
    monkeypatch.setenv("SERVING_URLS", "dns+https://model-servers:8501")
    with pytest.raises(SettingsError, match=r"SERVING_URLS.*use dns\+http://"):
        Settings.from_env()


def test_hyperparameters_are_read_from_json_and_bad_json_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPERPARAMETERS", '{"epochs": 1, "calibrate": false, "dropout": 0.5}')
    read = Settings.from_env().hyperparameters
    assert read == {"epochs": 1, "calibrate": False, "dropout": 0.5}
    assert [type(value) for value in read.values()] == [int, bool, float]
    monkeypatch.setenv("HYPERPARAMETERS", "epochs=1")
    with pytest.raises(SettingsError, match=r"HYPERPARAMETERS='epochs=1': it is not JSON"):
        Settings.from_env()


def test_the_processes_of_the_service_read_the_settings_it_was_started_with(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.from_env(
        hyperparameters={"epochs": 1, "calibrate": False, "dropout": 0.5}, min_recall={}, **SECRETS
    )
    for name, value in airflow.environment(settings).items():
        monkeypatch.setenv(name, value)
    assert Settings.from_env() == settings


def test_a_command_that_trains_computes_as_the_processes_of_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    # In another order of additions the weights would differ in their last bits.
    inherited = {"TF_ENABLE_ONEDNN_OPTS": "0", "TF_NUM_INTRAOP_THREADS": "8", "OMP_NUM_THREADS": "8"}
    monkeypatch.setattr("os.environ", dict(inherited))
    airflow.compute_as_the_service()
    for environment in (os.environ, airflow.environment(Settings.from_env(**SECRETS))):
        assert {name: environment[name] for name in inherited} == dict.fromkeys(inherited, "1")


def test_a_wrong_value_is_named_with_its_setting_and_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBSERVER_PORT", "99999")
    with pytest.raises(SettingsError, match=r"WEBSERVER_PORT='99999': .*correct it in \.env"):
        Settings.from_env()


def test_a_password_that_mlmd_cannot_use_is_refused_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLMD_PASSWORD", "top secret")
    with pytest.raises(SettingsError, match="MLMD_PASSWORD: MLMD cannot use") as caught:
        Settings.from_env()
    assert "top secret" not in str(caught.value)


def test_a_missing_secret_says_what_to_do() -> None:
    with pytest.raises(SettingsError, match=r"MLMD_PASSWORD is not set; .*copy \.env\.example to \.env"):
        Settings.from_env().secret("mlmd_password")


def test_settings_do_not_show_secrets_and_do_not_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLMD_PASSWORD", "hunter2")
    settings = Settings.from_env()
    assert "hunter2" not in repr(settings)
    with pytest.raises(ValueError, match="frozen"):
        settings.window_nights = 3


def test_every_setting_is_documented() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_a_past_day_ends_where_the_schedule_lives() -> None:
    def known_on(text: str) -> str:
        return Settings.from_env(as_known_on=text, timezone="America/Sao_Paulo").as_known_on

    assert known_on("") == ""
    assert known_on("2022-02-01") == "2022-02-01T23:59:59.999999-03:00"
    assert known_on("2022-02-01T12:00:00+00:00") == "2022-02-01T12:00:00+00:00"
    with pytest.raises(SettingsError, match="AS_KNOWN_ON='yesterday'"):
        known_on("yesterday")


def test_what_env_says_to_the_model_server_alone_is_kept_for_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    env = tmp_path / ".env"
    env.write_text("SERVING_MAX_BODY_BYTES=2048\nSERVING_PORT=8600\nSERVING_TIMEOUT_SECONDS=\nWINDOW_NIGHTS=3\n")
    monkeypatch.setattr("retraining.settings.ENV_FILE", env)
    settings = Settings.from_env()
    assert settings.server_options == {"SERVING_MAX_BODY_BYTES": "2048"}
    assert settings.serving_port == 8600


def test_the_request_log_counts_from_the_checkout_like_every_place() -> None:
    assert Settings.from_env(serving_request_log="var/requests.jsonl").serving_request_log == (
        CHECKOUT / "var" / "requests.jsonl"
    )


def test_hyperparameters_come_from_a_file_and_those_that_are_named_win(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert Settings.from_env().given_hyperparameters == {"HYPERPARAMETERS_FILE": {}, "HYPERPARAMETERS": {}}
    file = tmp_path / "hyperparameters.json"
    monkeypatch.setenv("HYPERPARAMETERS_FILE", str(file))
    monkeypatch.setenv("HYPERPARAMETERS", '{"epochs": 2}')
    # As a person writes it, and as keras-tuner does.
    for content in ('{"epochs": 9, "dropout": 0.1}', '{"space": [], "values": {"epochs": 9, "dropout": 0.1}}'):
        file.write_text(content)
        given = Settings.from_env().given_hyperparameters
        assert list(given.items()) == [
            ("HYPERPARAMETERS_FILE", {"epochs": 9, "dropout": 0.1}),
            ("HYPERPARAMETERS", {"epochs": 2}),
        ]


@pytest.mark.parametrize("content", [None, "[1]", "epochs: 2", "7"])
def test_a_file_of_hyperparameters_that_cannot_be_used_is_named(
    content: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "hyperparameters.json"
    if content:
        file.write_text(content)
    monkeypatch.setenv("HYPERPARAMETERS_FILE", str(file))
    with pytest.raises(SettingsError, match=f"HYPERPARAMETERS_FILE={file}: .*correct the file, or unset it"):
        _ = Settings.from_env().given_hyperparameters


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("TIMEZONE", "Mars/X", "there is no such time zone"),
        ("TIMEZONE", "../etc/passwd", "there is no such time zone"),
        ("SCHEDULE", "at two", "no cron expression"),
        ("SCHEDULE", "61 2 * * *", "no cron expression"),
        ("SCHEDULE", "0 2 30 2 *", "that ever comes"),
        ("SCHEDULE", "0 0 2 * * *", "five fields"),
        ("TUNING_SCHEDULE", "@sometimes", "no cron expression"),
        ("START_DATE", "2022-02-31", "write it as YYYY-MM-DD"),
        ("START_DATE", "20220201", "write it as YYYY-MM-DD"),
        ("SCHEDULED_FROM", "yesterday", "write it as YYYY-MM-DD"),
        ("LABEL_CODES", "0=bad", "bad is no label; the labels are negative, neutral, positive"),
        ("LABEL_CODES", "0", "write name=value pairs"),
        ("LABEL_CODES", "neg=negative,NEG=neutral", "code NEG is both negative and neutral"),
        ("LABEL_CODES", '"0"=negative', "a code has a quote, a backslash or a control character"),
        ("LABEL_CODES", "1=negative,1=neutral", "1 is given twice, as negative and as neutral"),
        ("LABEL_CODES", "negative=neutral,neutral=negative", "negative is a label, not a code"),
        ("LABEL_CODES", ",", "or none for none"),
        ("MIN_RECALL", "positive=0.1,positive=0.2", "positive is given twice, as 0.1 and as 0.2"),
        ("SLICE_PATTERNS", '{"digits": "[0-9]", "digits": "[1-9]"}', "digits is given twice, as [0-9] and as [1-9]"),
        ("EXPECTED_CLASS_MIX", "good=0.5", "good is no label"),
        ("MIN_RECALL", "negative=2", "of negative='2': Input should be less than or equal to 1"),
        ("JUDGED_SLICES", "night, colour", "there is no slice colour; there are sentiment, night, length, digits"),
        ("SLICE_PATTERNS", '{"odd": "("}', "no regular expression"),
        ("BEAM_RUNNER_ARGS", "--runner=FlinkRunner parallelism=4", "'parallelism=4' is no argument"),
        *(
            (name, address, "only a path of this machine")
            for name in ("STATE_DIR", "DAGS_DIR", "NOTICES_DIR", "TASK_LOGS_DIR")
            for address in ("gs://bucket/folder", "s3://bucket/folder", "hdfs://name/folder", "file:///folder")
        ),
        *(
            (name, address, "write it as s3://bucket/folder or gs://bucket/folder")
            for name in ("DROPS_DIR", "SCORES_DIR", "SERVING_DIR", "PIPELINE_ROOT")
            for address in ("s3:/bucket", "gs://bucket", "hdfs://name/folder", "file:///folder", "https://host/folder")
        ),
        ("DROPS_DIR", "~nobody-of-this-name/drops", "write the path out"),
        ("STATE_DIR", "  ", "it is blank"),
        ("HYPERPARAMETERS_FILE", "https://example.org/best.json", "only a path of this machine"),
        ("SERVING_REQUEST_LOG", "gs://bucket/log", "only a path of this machine"),
        ("SERVING_URLS", "http://a:8501 b:8501", "begins with http:// or https://"),
        ("SERVING_URLS", "http://user:password@a:8501", "is shown on pages"),
    ],
)
def test_a_setting_with_a_grammar_is_refused_by_name_when_it_is_read(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, reason: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        Settings.from_env()
    [line] = str(refused.value).splitlines()
    assert line.startswith((f"{name}={value!r}: ", f"{name} of "))
    assert reason in line and line.endswith("; correct it in .env or in the environment")


@pytest.mark.parametrize("name", ["HEARTBEAT_URL"])
def test_an_address_to_be_told_at_is_one_and_is_never_shown(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "hooks.example.org/secret-token")
    with pytest.raises(SettingsError, match=f"^{name}: it is no address that begins with http") as refused:
        Settings.from_env()
    assert "secret-token" not in str(refused.value)
    monkeypatch.setenv(name, "https://hooks.example.org:99999/secret-token")
    with pytest.raises(SettingsError, match=name):
        Settings.from_env()
    monkeypatch.setenv(name, "https://hooks.example.org/secret-token")
    assert Settings.from_env().write(name.lower()) == "https://hooks.example.org/secret-token"


def test_a_schedule_may_be_none_or_a_name_that_airflow_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("none", "@daily", "*/15 8-18 * * 1-5"):
        monkeypatch.setenv("SCHEDULE", value)
        assert Settings.from_env().schedule == value


def test_slices_of_ones_own_need_no_list_of_those_that_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLICE_PATTERNS", '{"sport": "futebol"}')
    settings = Settings.from_env()
    assert settings.judged_slices == Settings.model_fields["judged_slices"].default
    assert settings.bar_limits.slice_patterns == {"sport": "futebol"}


def test_several_wrong_settings_are_all_named_and_none_for_what_follows_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TIMEZONE", "Mars/X")
    monkeypatch.setenv("POSTGRES_PORT", "99999")
    monkeypatch.setenv("AS_KNOWN_ON", "2022-02-01")
    with pytest.raises(SettingsError) as refused:
        Settings.from_env()
    assert [line.partition("=")[0] for line in str(refused.value).splitlines()] == ["TIMEZONE", "POSTGRES_PORT"]


def test_rules_are_the_domains_own_and_no_setting_of_theirs_is_missing() -> None:
    settings = Settings.from_env(window_nights=5, max_swap_evidence=0.4, min_accuracy=0.6)
    assert settings.drop_rules.window_nights == 5
    assert settings.alarm_limits.max_swap_evidence == 0.4
    assert settings.bar_limits.min_accuracy == 0.6
    assert type(settings.bar_limits).from_json(settings.bar_limits.to_json()) == settings.bar_limits


def test_doctor_names_each_setting_that_cannot_be_used_and_looks_at_what_needs_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TIMEZONE", "Mars/X")
    monkeypatch.setenv("SCHEDULE", "at two")
    findings = {(one.subject, one.level): one.text for one in doctor.examine()}
    assert {subject for subject, _ in findings} == {"Python", "packages", "settings"}
    texts = [one.text for one in doctor.examine() if one.subject == "settings"]
    assert [text.partition("=")[0] for text in texts] == ["SCHEDULE", "TIMEZONE"]


@pytest.mark.parametrize("name", ["NOTIFY", "FAILURE_WEBHOOK_URL"])
def test_addresses_of_notices_are_read_by_either_name_checked_and_never_shown(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "https://hooks.example.org/a hooks.example.org/secret-token")
    with pytest.raises(SettingsError, match=r"^NOTIFY \(or FAILURE_WEBHOOK_URL, as it was called\): address 2 is none"):
        Settings.from_env()
    with pytest.raises(SettingsError) as refused:
        Settings.from_env()
    assert "secret-token" not in str(refused.value)
    monkeypatch.setenv(name, "warning|slack://a/b/c https://hooks.example.org/secret-token")
    settings = Settings.from_env()
    assert settings.write("notify") == "warning|slack://a/b/c https://hooks.example.org/secret-token"
    assert "secret-token" not in repr(settings)
    assert settings.to_environment()["NOTIFY"] == settings.write("notify")


def test_the_new_name_of_a_setting_wins_over_the_old_one_unless_it_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAILURE_WEBHOOK_URL", "https://old.example.org")
    monkeypatch.setenv("NOTIFY", "https://new.example.org")
    assert Settings.from_env().write("notify") == "https://new.example.org"
    monkeypatch.setenv("NOTIFY", "")
    assert Settings.from_env().write("notify") == "https://old.example.org"


def test_addresses_of_notices_may_be_lines_of_a_secret_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "notify").write_text("failure|pagerduty://a@b\nhttps://hooks.example.org\n")
    assert str(Settings.from_env().write("notify")).split() == ["failure|pagerduty://a@b", "https://hooks.example.org"]


@pytest.mark.parametrize("wrong", ["airflow.example.org", "https://u:p@airflow.example.org", "https://a.org/?x=1"])
def test_the_address_of_the_web_ui_has_nothing_that_people_should_not_see(
    monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.setenv("WEB_ADDRESS", wrong)
    with pytest.raises(SettingsError, match=r"^WEB_ADDRESS"):
        Settings.from_env()
    monkeypatch.setenv("WEB_ADDRESS", "https://airflow.example.org/headlines/")
    assert Settings.from_env().web_address == "https://airflow.example.org/headlines"


def test_airflow_answers_below_the_address_by_which_people_reach_it() -> None:
    settings = Settings.from_env(web_address="https://airflow.example.org/x", **SECRETS)
    environment = airflow.environment(settings)
    assert environment["AIRFLOW__WEBSERVER__BASE_URL"] == "https://airflow.example.org/x"
    assert environment["AIRFLOW__WEBSERVER__ENABLE_PROXY_FIX"] == "True"
    assert airflow.web_address(settings) == "http://127.0.0.1:8080/x"
    plain = airflow.environment(Settings.from_env(**SECRETS))
    assert plain["AIRFLOW__WEBSERVER__BASE_URL"] == "http://127.0.0.1:8080"
    assert plain["AIRFLOW__WEBSERVER__ENABLE_PROXY_FIX"] == "False"
