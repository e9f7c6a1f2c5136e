"""A setting of an old name goes on to work, is told, and gets its new name in `.env`."""

from pathlib import Path

import pytest

from retraining import renamed_settings
from retraining.renamed_settings import Renamed
from retraining.settings import Settings, SettingsError


@pytest.fixture(autouse=True)
def env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A `.env` of its own, where two settings of today were called otherwise once, and one is gone."""
    path = tmp_path / ".env"
    monkeypatch.setattr("retraining.settings.ENV_FILE", path)
    renamed = {"NIGHTS_IN_WINDOW": Renamed("WINDOW_NIGHTS"), "HALF_LIFE_WEEKS": Renamed("HALF_LIFE_NIGHTS", in_nights)}
    monkeypatch.setattr(renamed_settings, "RENAMED", renamed)
    monkeypatch.setattr(renamed_settings, "GONE", {"USE_MAGIC": "nothing took its place; remove it"})
    return path


def in_nights(weeks: str) -> str:
    return str(float(weeks) * 7)


def test_an_old_name_counts_in_the_environment_and_in_the_file(monkeypatch: pytest.MonkeyPatch, env_file: Path) -> None:
    env_file.write_text("HALF_LIFE_WEEKS=2\n")
    monkeypatch.setenv("nights_in_window", "5")
    settings = Settings.from_env()
    assert (settings.window_nights, settings.half_life_nights) == (5, 14.0)


def test_the_new_name_wins_wherever_it_is_and_an_argument_over_both(
    monkeypatch: pytest.MonkeyPatch, env_file: Path
) -> None:
    env_file.write_text("WINDOW_NIGHTS=7\n")
    monkeypatch.setenv("NIGHTS_IN_WINDOW", "5")
    assert Settings.from_env().window_nights == 7
    assert Settings.from_env(window_nights=3).window_nights == 3
    [sentence] = Settings.find_old_names()
    assert sentence == (
        "NIGHTS_IN_WINDOW in the environment is not read, since WINDOW_NIGHTS, its name now, is set too; remove it"
    )


def test_an_empty_old_name_says_nothing(monkeypatch: pytest.MonkeyPatch, env_file: Path) -> None:
    env_file.write_text("NIGHTS_IN_WINDOW=\n")
    monkeypatch.setenv("HALF_LIFE_WEEKS", "")
    assert Settings.from_env().window_nights == Settings.model_fields["window_nights"].default
    assert Settings.find_old_names() == []


def test_old_names_and_names_that_went_away_are_told_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, env_file: Path
) -> None:
    env_file.write_text("NIGHTS_IN_WINDOW=5\nUSE_MAGIC=true\n")
    monkeypatch.setenv("HALF_LIFE_WEEKS", "1")
    assert Settings.find_old_names() == [
        "HALF_LIFE_WEEKS in the environment is called HALF_LIFE_NIGHTS now, and still works; rename it there",
        f"NIGHTS_IN_WINDOW in {env_file} is called WINDOW_NIGHTS now, and still works; `retraining upgrade` renames it",
        f"USE_MAGIC in {env_file} is no setting any more: nothing took its place; remove it",
    ]


def test_a_wrong_value_under_an_old_name_is_refused_as_under_the_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTS_IN_WINDOW", "many")
    with pytest.raises(SettingsError, match=r"WINDOW_NIGHTS='many' \(or NIGHTS_IN_WINDOW, as it was called\)"):
        Settings.from_env()


def test_the_file_gets_the_new_names_and_stays_as_it_is_otherwise(env_file: Path, tmp_path: Path) -> None:
    before = (
        "# NIGHTS_IN_WINDOW=1 is a comment\n"
        "  export NIGHTS_IN_WINDOW = '5'\r\n"
        'HALF_LIFE_WEEKS="2"\n'
        "\n"
        "SCHEDULE=0 2 * * *\n"
        "USE_MAGIC=true"
    )
    env_file.write_bytes(before.encode())
    env_file.chmod(0o640)
    copy = tmp_path / "env"
    assert renamed_settings.rewrite_file(env_file, copy)
    assert env_file.read_bytes().decode() == (
        "# NIGHTS_IN_WINDOW=1 is a comment\n"
        "  export WINDOW_NIGHTS = '5'\r\n"
        'HALF_LIFE_NIGHTS="14.0"\n'
        "\n"
        "SCHEDULE=0 2 * * *\n"
        "USE_MAGIC=true"
    )
    assert (copy.read_bytes().decode(), copy.stat().st_mode & 0o777) == (before, 0o600)
    assert env_file.stat().st_mode & 0o777 == 0o640
    assert not renamed_settings.rewrite_file(env_file, copy)
    assert Settings.from_env().half_life_nights == 14.0


def test_a_file_with_both_names_is_left_to_whoever_wrote_it(env_file: Path, tmp_path: Path) -> None:
    env_file.write_text("NIGHTS_IN_WINDOW=5\nWINDOW_NIGHTS=7\n")
    assert not renamed_settings.rewrite_file(env_file, tmp_path / "env")
    assert not (tmp_path / "env").exists()


def test_every_new_name_is_a_setting_and_no_old_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    names = {name.upper() for name in Settings.model_fields}
    assert {new.name for new in renamed_settings.RENAMED.values()} <= names
    assert not names & (renamed_settings.RENAMED.keys() | renamed_settings.GONE.keys())
