import shutil
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from headlines.pushes.champion import Rollback, find_withdrawn
from headlines.pushes.rollbacks import ConfigError, add, find_served, read, tell_servers
from serving.policy import Policy, read_policy

FIRST, SECOND, THIRD = 2022020101, 2022020201, 2022020301


@pytest.fixture
def serving_dir(tmp_path: Path) -> Path:
    # The model's name in the config file is its own, whatever the folder is called.
    folder = tmp_path / "pushed"
    for version in (FIRST, SECOND, THIRD):
        (folder / str(version)).mkdir(parents=True)
    return folder


def rollback(to: int, *withdrawn: int, identity: int = 1, night: str = "2022-02-04") -> Rollback:
    return Rollback(
        identity, max(withdrawn), to, "ana", "rótulos trocados", datetime(2022, 2, 4, 8, tzinfo=UTC), night, withdrawn
    )


def policy(serving_dir: Path) -> Policy:
    return read_policy(serving_dir.parent / "models.config", "headlines")


def test_without_a_rollback_the_newest_version_serves_and_servers_are_told_nothing(serving_dir: Path) -> None:
    tell_servers(serving_dir)
    assert find_served(serving_dir) == THIRD
    assert sorted(path.name for path in serving_dir.parent.iterdir()) == ["pushed"]


def test_servers_load_the_version_that_was_rolled_back_to_and_no_other(serving_dir: Path) -> None:
    add(serving_dir, rollback(FIRST, SECOND, THIRD))
    assert policy(serving_dir).specific == (FIRST,)
    assert find_served(serving_dir) == FIRST
    assert read(serving_dir) == [rollback(FIRST, SECOND, THIRD)]
    [model] = text_format.Parse(
        (serving_dir.parent / "models.config").read_text(), ModelServerConfig()
    ).model_config_list.config
    assert (model.base_path, model.model_platform) == (str(serving_dir), "tensorflow")


def test_a_newer_version_ends_the_rollback_for_servers_and_an_older_one_does_not(serving_dir: Path) -> None:
    add(serving_dir, rollback(SECOND, THIRD))
    (serving_dir / "2022013101").mkdir()
    tell_servers(serving_dir)
    assert policy(serving_dir).specific == (SECOND,)
    (serving_dir / "2022020401").mkdir()
    tell_servers(serving_dir)
    assert policy(serving_dir) == Policy(newest=2)
    assert find_served(serving_dir) == 2022020401


def test_a_second_rollback_goes_further_back_or_forward_again(serving_dir: Path) -> None:
    add(serving_dir, rollback(SECOND, THIRD, identity=1))
    add(serving_dir, rollback(FIRST, SECOND, THIRD, identity=2))
    assert policy(serving_dir).specific == (FIRST,)
    add(serving_dir, rollback(SECOND, THIRD, identity=3))
    assert policy(serving_dir).specific == (SECOND,)
    assert set(find_withdrawn(read(serving_dir))) == {THIRD}


def test_a_rollback_that_counts_for_later_nights_withdraws_nothing_before_them() -> None:
    history = [rollback(SECOND, THIRD, night="2022-02-04")]
    assert find_withdrawn(history, date(2022, 2, 3)) == {}
    assert set(find_withdrawn(history, date(2022, 2, 4))) == {THIRD}


def test_what_people_wrote_into_the_config_file_stays(serving_dir: Path) -> None:
    config = serving_dir.parent / "models.config"
    config.write_text(
        'model_config_list { config { name: "other" base_path: "/models/other" }\n'
        'config { name: "headlines" base_path: "/srv/models/headlines" model_platform: "tensorflow"\n'
        'version_labels { key: "stable" value: 2022020101 } model_version_policy { latest { num_versions: 3 } } } }'
    )
    add(serving_dir, rollback(FIRST, SECOND, THIRD))
    text = config.read_text()
    assert "/srv/models/headlines" in text
    assert "/models/other" in text
    assert policy(serving_dir) == Policy(specific=(FIRST,), labels={"stable": FIRST})


def test_a_policy_of_peoples_own_is_left_alone_when_no_version_is_withdrawn(serving_dir: Path) -> None:
    add(serving_dir, rollback(SECOND, THIRD))
    config = serving_dir.parent / "models.config"
    config.write_text(
        'model_config_list { config { name: "headlines" base_path: "/srv/headlines" model_platform: "tensorflow" '
        "model_version_policy { all {} } } }"
    )
    shutil.rmtree(serving_dir / str(THIRD))
    tell_servers(serving_dir)
    assert policy(serving_dir) == Policy(newest=0)


def test_a_config_file_that_is_none_is_told_before_anything_changes(serving_dir: Path) -> None:
    add(serving_dir, rollback(SECOND, THIRD))
    config = serving_dir.parent / "models.config"
    config.write_text("model_config_list { config {")
    with pytest.raises(ConfigError, match=r"models\.config is no model config .*; correct it, or remove it"):
        add(serving_dir, rollback(FIRST, SECOND, THIRD, identity=2))
    assert find_served(serving_dir) == SECOND
    config.unlink()
    add(serving_dir, rollback(FIRST, SECOND, THIRD, identity=2))
    assert policy(serving_dir).specific == (FIRST,)


def test_a_disk_that_takes_nothing_leaves_both_files_as_they_were(
    serving_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(serving_dir, rollback(SECOND, THIRD))
    before = {path.name: path.read_text() for path in serving_dir.parent.iterdir() if path.is_file()}

    def fail(descriptor: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space"):
        add(serving_dir, rollback(FIRST, SECOND, THIRD, identity=2))
    assert {name: (serving_dir.parent / name).read_text() for name in before} == before
