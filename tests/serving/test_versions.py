"""Which versions are loaded: with a loader that only notes what it is asked, so that every order can be seen."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from serving.errors import ServingError
from serving.model import LoadError, Model
from serving.policy import Policy, read_policy
from serving.versions import Versions


class UnloadedModel(Model):
    """Only its version: no SavedModel is loaded."""

    def __init__(self, version: int) -> None:
        self.version = version


class Loader:
    """Loads a folder whose file `saved_model.pb` says `good`."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.while_loading: Callable[[int], None] = lambda version: None

    def __call__(self, path: Path, version: int) -> Model:
        self.asked.append(version)
        self.while_loading(version)
        if (path / "saved_model.pb").read_text() != "good":
            raise LoadError("DATA_LOSS", f"{version} is broken")
        return UnloadedModel(version)


@pytest.fixture
def loader() -> Loader:
    return Loader()


@pytest.fixture
def make(tmp_path: Path, loader: Loader) -> Callable[..., Versions]:
    def make(keep: int = 1, poll_seconds: float = 60, load_seconds: float = 60) -> Versions:
        folder, config = tmp_path / "headlines", tmp_path / "models.config"
        return Versions(folder, "headlines", keep, config, poll_seconds, load=loader, load_seconds=load_seconds)

    return make


def put(tmp_path: Path, version: int | str, content: str = "good") -> Path:
    path = tmp_path / "headlines" / str(version)
    path.mkdir(parents=True, exist_ok=True)
    (path / "saved_model.pb").write_text(content)
    return path


def configure(tmp_path: Path, policy: str, labels: str = "") -> None:
    (tmp_path / "models.config").write_text(
        f'model_config_list {{ config {{ name: "headlines" base_path: "/srv/headlines" model_platform: "tensorflow" '
        f"model_version_policy {{ {policy} }} {labels} }} }}"
    )


def states(versions: Versions) -> dict[int, str]:
    return {state.version: state.state for state in versions.states("headlines")}


def test_the_newest_version_is_served_and_older_ones_are_not_loaded(
    tmp_path: Path, make: Callable[..., Versions], loader: Loader
) -> None:
    for version in (3, 1, 20):
        put(tmp_path, version)
    versions = make()
    versions.update()
    assert versions.find("headlines").version == 20
    assert loader.asked == [20]


def test_a_new_version_is_loaded_before_the_old_one_goes(
    tmp_path: Path, make: Callable[..., Versions], loader: Loader
) -> None:
    put(tmp_path, 1)
    versions = make()
    versions.update()
    seen = {}
    loader.while_loading = lambda version: seen.update(served=versions.find("headlines").version, **states_of(versions))
    put(tmp_path, 2)
    versions.update()
    assert seen == {"served": 1, "1": "AVAILABLE", "2": "LOADING"}
    assert states(versions) == {2: "AVAILABLE", 1: "END"}
    assert versions.loaded == [2]


def states_of(versions: Versions) -> dict[str, str]:
    return {str(version): state for version, state in states(versions).items()}


def test_a_version_in_use_is_unloading_until_it_is_let_go(tmp_path: Path, make: Callable[..., Versions]) -> None:
    put(tmp_path, 1)
    versions = make()
    versions.update()
    held = versions.find("headlines")
    put(tmp_path, 2)
    versions.update()
    assert states(versions) == {2: "AVAILABLE", 1: "UNLOADING"}
    del held
    versions.update()
    assert states(versions) == {2: "AVAILABLE", 1: "END"}


def test_the_newest_few_are_kept(tmp_path: Path, make: Callable[..., Versions]) -> None:
    for version in (1, 2, 3):
        put(tmp_path, version)
    versions = make(keep=2)
    versions.update()
    assert versions.loaded == [3, 2]
    with pytest.raises(ServingError, match=r"Servable not found for request: Specific\(headlines, 1\)"):
        versions.find("headlines", 1)


def test_what_is_no_finished_version_is_ignored(tmp_path: Path, make: Callable[..., Versions], loader: Loader) -> None:
    put(tmp_path, 1)
    for name in (".incoming-2", "2.tmp", "-3", "³", "latest"):
        put(tmp_path, name)
    (tmp_path / "headlines" / "4" / "variables").mkdir(parents=True)
    (tmp_path / "headlines" / "5").write_text("a file")
    versions = make()
    versions.update()
    assert loader.asked == [1]
    assert states(versions) == {1: "AVAILABLE"}


def test_a_version_that_does_not_load_is_refused_and_the_old_one_serves_on(
    tmp_path: Path, make: Callable[..., Versions], loader: Loader
) -> None:
    put(tmp_path, 1)
    versions = make()
    versions.update()
    put(tmp_path, 2, "broken")
    for _ in range(3):
        versions.update()
    assert versions.find("headlines").version == 1
    assert loader.asked == [1, 2]
    refused, serving = versions.states("headlines")
    assert refused.to_json() == {
        "version": "2",
        "state": "END",
        "status": {"error_code": "DATA_LOSS", "error_message": "2 is broken"},
    }
    assert serving.state == "AVAILABLE"


def test_a_server_that_starts_on_a_broken_newest_version_serves_the_one_before(
    tmp_path: Path, make: Callable[..., Versions]
) -> None:
    put(tmp_path, 1)
    put(tmp_path, 2, "broken")
    versions = make()
    versions.update()
    assert versions.find("headlines").version == 1


def test_a_version_whose_load_fails_unforeseen_is_refused_as_well(
    tmp_path: Path, make: Callable[..., Versions], loader: Loader
) -> None:
    put(tmp_path, 1)
    put(tmp_path, 2)

    def fail(version: int) -> None:
        if version == 2:
            raise ZeroDivisionError("by zero")

    loader.while_loading = fail
    versions = make()
    for _ in range(3):
        versions.update()
    assert versions.find("headlines").version == 1
    assert loader.asked == [2, 1]
    assert versions.states("headlines", 2)[0].to_json() == {
        "version": "2",
        "state": "END",
        "status": {"error_code": "INTERNAL", "error_message": "ZeroDivisionError: by zero"},
    }


def test_a_refused_version_is_tried_again_once_it_changes(
    tmp_path: Path, make: Callable[..., Versions], loader: Loader
) -> None:
    put(tmp_path, 1)
    path = put(tmp_path, 2, "half")
    versions = make()
    versions.update()
    assert versions.loaded == [1]
    (path / "saved_model.pb").write_text("good")
    os.utime(path / "saved_model.pb", ns=(1, 1))
    versions.update()
    assert versions.loaded == [1], "its files may be about to change again"
    versions.update()
    assert versions.loaded == [2]
    assert loader.asked == [2, 1, 2]


def test_removing_the_newest_version_rolls_back(tmp_path: Path, make: Callable[..., Versions]) -> None:
    put(tmp_path, 1)
    put(tmp_path, 2)
    versions = make()
    versions.update()
    shutil.rmtree(tmp_path / "headlines" / "2")
    versions.update()
    assert versions.find("headlines").version == 1
    assert states(versions) == {2: "END", 1: "AVAILABLE"}


@pytest.mark.parametrize("lost", ["emptied", "removed"])
def test_losing_the_folder_takes_no_model_away(tmp_path: Path, make: Callable[..., Versions], lost: str) -> None:
    put(tmp_path, 1)
    versions = make()
    versions.update()
    shutil.rmtree(tmp_path / "headlines" / "1" if lost == "emptied" else tmp_path / "headlines")
    versions.update()
    assert versions.find("headlines").version == 1


def test_the_config_file_pins_a_version_and_gives_it_back(tmp_path: Path, make: Callable[..., Versions]) -> None:
    put(tmp_path, 1)
    put(tmp_path, 2)
    versions = make()
    versions.update()
    configure(tmp_path, "specific { versions: 1 }")
    versions.update()
    assert versions.find("headlines").version == 1
    assert versions.loaded == [1]
    configure(tmp_path, "latest { num_versions: 1 }")
    versions.update()
    assert versions.find("headlines").version == 2


def test_pinning_a_version_that_is_not_there_changes_nothing(
    tmp_path: Path, make: Callable[..., Versions], caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, 1)
    versions = make()
    versions.update()
    configure(tmp_path, "specific { versions: 9 }")
    versions.update()
    versions.update()
    assert versions.find("headlines").version == 1
    assert [record.getMessage() for record in caplog.records if "asks for version 9" in record.getMessage()] != []


def test_labels_name_versions(tmp_path: Path, make: Callable[..., Versions]) -> None:
    put(tmp_path, 1)
    put(tmp_path, 2)
    configure(tmp_path, "all {}", 'version_labels { key: "stable" value: 1 }')
    versions = make()
    versions.update()
    assert versions.find("headlines", label="stable").version == 1
    with pytest.raises(ServingError, match="Unrecognized servable version label: canary"):
        versions.find("headlines", label="canary")


def test_a_broken_config_file_leaves_the_policy_as_it_was(tmp_path: Path, make: Callable[..., Versions]) -> None:
    put(tmp_path, 1)
    put(tmp_path, 2)
    configure(tmp_path, "specific { versions: 1 }")
    versions = make()
    versions.update()
    (tmp_path / "models.config").write_text("model_config_list {{{")
    versions.update()
    assert versions.loaded == [1]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("latest { num_versions: 3 }", Policy(newest=3)),
        ("latest {}", Policy(newest=1)),
        ("", Policy(newest=1)),
        ("all {}", Policy(newest=0)),
        ("specific { versions: 4 versions: 2 }", Policy(specific=(4, 2))),
    ],
)
def test_tensorflow_serving_s_policies_are_read(tmp_path: Path, policy: str, expected: Policy) -> None:
    configure(tmp_path, policy)
    assert read_policy(tmp_path / "models.config", "headlines") == expected


def test_a_config_file_without_the_model_is_refused(tmp_path: Path) -> None:
    configure(tmp_path, "all {}")
    with pytest.raises(ValueError, match="no model 'other'"):
        read_policy(tmp_path / "models.config", "other")


def test_the_states_of_long_gone_versions_are_forgotten(tmp_path: Path, make: Callable[..., Versions]) -> None:
    versions = make()
    for version in range(1, 150):
        path = put(tmp_path, version)
        versions.update()
        if version > 1:
            shutil.rmtree(path.with_name(str(version - 1)))
    assert len(states(versions)) <= 102
    assert versions.loaded == [149]
