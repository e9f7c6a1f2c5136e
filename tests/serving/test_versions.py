"""Which versions are loaded: with a loader that only notes what it is asked, so that every order can be seen."""

import errno
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest
from waiting import wait_until

from serving.errors import ServingError
from serving.folder import PushedFolder, look_into
from serving.model import LoadError, Model
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
        source = PushedFolder(folder, config)
        return Versions(source, "headlines", keep, poll_seconds, load=loader, load_seconds=load_seconds)

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


def test_the_states_of_long_gone_versions_are_forgotten(tmp_path: Path, make: Callable[..., Versions]) -> None:
    versions = make()
    for version in range(1, 150):
        path = put(tmp_path, version)
        versions.update()
        if version > 1:
            shutil.rmtree(path.with_name(str(version - 1)))
    assert len(states(versions)) <= 102
    assert versions.loaded == [149]


def tell(caplog: pytest.LogCaptureFixture, part: str) -> int:
    """How many lines of the log hold a text; those that say that something is over only if it says so, too."""
    over = "this is over: "
    messages = [record.getMessage() for record in caplog.records]
    return sum(part in message and message.startswith(over) == part.startswith(over) for message in messages)


def spoil_config(tmp_path: Path) -> None:
    (tmp_path / "models.config").write_text("model_config_list { confg {} }")


def test_a_typo_in_a_pin_changes_nothing_and_is_told_once(
    tmp_path: Path, make: Callable[..., Versions], caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, 1)
    put(tmp_path, 2)
    configure(tmp_path, "specific { versions: 1 }", 'version_labels { key: "stable" value: 1 }')
    versions = make()
    versions.update()
    assert versions.problems == ()
    for policy in ("specfic { versions: 1 }", "specific {}"):
        configure(tmp_path, policy)
        for _ in range(3):
            versions.update()
        assert versions.loaded == [1]
        assert versions.labels == {"stable": 1}
        [problem] = versions.problems
        assert f"{tmp_path / 'models.config'} is not used, the policy stays: " in problem
    assert tell(caplog, "is not used, the policy stays") == 2
    (tmp_path / "models.config").unlink()
    versions.update()
    assert versions.loaded == [1], "a file that is gone un-pins nothing"
    assert "models.config is gone, and what it said last is followed" in versions.problems[0]
    configure(tmp_path, "latest {}")
    versions.update()
    assert (versions.loaded, versions.problems) == ([2], ())


def test_a_server_that_starts_on_a_broken_config_file_serves_nothing_and_says_why(
    tmp_path: Path, make: Callable[..., Versions], loader: Loader
) -> None:
    put(tmp_path, 1)
    put(tmp_path, 2)
    spoil_config(tmp_path)
    versions = make()
    versions.update()
    assert (versions.loaded, loader.asked) == ([], [])
    assert "is not used, nothing is loaded, for it may take a version back" in versions.problems[0]
    configure(tmp_path, "specific { versions: 1 }")
    versions.update()
    assert (versions.loaded, loader.asked, versions.problems) == ([1], [1], ())


def test_what_the_config_file_names_and_is_not_there_is_told(
    tmp_path: Path, make: Callable[..., Versions], caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, 1)
    put(tmp_path, 2, "broken")
    labels = 'version_labels { key: "stable" value: 1 } version_labels { key: "canary" value: 8 }'
    configure(tmp_path, "specific { versions: 1 versions: 2 versions: 9 }", labels)
    versions = make()
    for _ in range(3):
        versions.update()
    assert versions.loaded == [1]
    config, folder = tmp_path / "models.config", tmp_path / "headlines"
    assert versions.problems == (
        f"{config} asks for version 9, which is not in {folder}",
        f"{config} gives the label 'canary' to version 8, which is not loaded",
        "version 2 cannot be served, others serve on: 2 is broken",
    )
    assert [tell(caplog, problem) for problem in versions.problems] == [1, 1, 1]
    put(tmp_path, 9)
    with caplog.at_level("INFO"):
        versions.update()
    assert versions.loaded == [9, 1]
    assert tell(caplog, "this is over: ") == 1


def test_a_base_path_of_another_name_is_told_and_no_hindrance(
    tmp_path: Path, make: Callable[..., Versions], caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, 1)
    put(tmp_path, 2)
    configure(tmp_path, "specific { versions: 1 }")
    config = tmp_path / "models.config"
    config.write_text(config.read_text().replace("/srv/headlines", "/models/titulos"))
    versions = make()
    for _ in range(3):
        versions.update()
    assert versions.loaded == [1]
    assert tell(caplog, "has the base_path /models/titulos, where TensorFlow Serving looks") == 1


def test_a_wrong_folder_is_told_once_and_again_when_it_changes(
    tmp_path: Path, make: Callable[..., Versions], caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "headlines"
    versions = make()
    for _ in range(3):
        versions.update()
    assert versions.is_lost
    assert tell(caplog, f"SERVING_DIR={folder} does not exist") == 1
    folder.mkdir()
    for _ in range(3):
        versions.update()
    assert not versions.is_lost
    assert tell(caplog, f"SERVING_DIR={folder} holds no version") == 1
    put(tmp_path, 1)
    versions.update()
    assert versions.problems == ()
    shutil.rmtree(folder)
    versions.update()
    assert (versions.loaded, versions.is_lost) == ([1], False)
    assert f"SERVING_DIR={folder} does not exist" in versions.problems[0]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.EIO, "Input/output error"), "UNAVAILABLE"),
        (OSError(errno.ESTALE, "Stale file handle"), "UNAVAILABLE"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "RESOURCE_EXHAUSTED"),
        (MemoryError(), "RESOURCE_EXHAUSTED"),
        (PermissionError(errno.EACCES, "Permission denied"), "PERMISSION_DENIED"),
    ],
)
def test_what_may_pass_by_itself_is_tried_again_after_waits_that_grow(
    tmp_path: Path,
    make: Callable[..., Versions],
    loader: Loader,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    code: str,
) -> None:
    now = 1000.0
    clock = create_autospec(time)
    clock.monotonic.side_effect = lambda: now
    monkeypatch.setattr("serving.refusals.time", clock)
    put(tmp_path, 1)

    def fail(_: int) -> None:
        raise error

    loader.while_loading = fail
    versions = make()
    tried = []
    for _ in range(1000):
        versions.update()
        if len(loader.asked) > len(tried):
            tried.append(now - 1000)
        now += 1
    assert tried == [0, 5, 15, 35, 75, 155, 315, 615, 915]
    assert versions.states("headlines", 1)[0].error_code == code
    assert tell(caplog, "version 1 cannot be served") == 1
    loader.while_loading = lambda _: None
    now += 300
    versions.update()
    assert versions.loaded == [1]


def test_files_that_change_while_they_are_loaded_are_loaded_again_once_they_rest(
    tmp_path: Path, make: Callable[..., Versions], loader: Loader
) -> None:
    path = put(tmp_path, 1)
    loader.while_loading = lambda version: (path / "more").write_text("x" * len(loader.asked))
    versions = make()
    versions.update()
    assert versions.loaded == []
    assert "its files changed while it was loaded" in versions.problems[0]
    loader.while_loading = lambda version: None
    versions.update()
    versions.update()
    assert (versions.loaded, loader.asked) == ([1], [1, 1])


def test_a_slow_load_is_waited_for_no_more_and_serves_once_it_ends(
    tmp_path: Path, make: Callable[..., Versions], loader: Loader
) -> None:
    put(tmp_path, 1)
    put(tmp_path, 2)
    go_on = threading.Event()
    loader.while_loading = lambda version: None if version == 1 else assert_true(go_on.wait(30))
    versions = make(poll_seconds=0.01, load_seconds=0.1)
    versions.update()
    assert versions.loaded == [1], "the one before serves meanwhile"
    [state, _] = versions.states("headlines")
    assert (state.version, state.error_code) == (2, "DEADLINE_EXCEEDED")
    assert "version 2 cannot be served, others serve on: its load takes longer than 0.1 s" in versions.problems[0]
    versions.update()
    assert loader.asked == [2, 1], "it is under load, and is not loaded a second time"
    [load] = versions.unfinished
    go_on.set()
    assert load.wait(30)
    versions.update()
    assert (versions.loaded, versions.problems, versions.unfinished) == ([2], (), [])


def assert_true(value: bool) -> None:
    assert value


def test_a_rollback_does_not_wait_for_the_load_of_what_it_takes_back(
    tmp_path: Path, make: Callable[..., Versions], loader: Loader
) -> None:
    put(tmp_path, 1)
    put(tmp_path, 2)
    go_on = threading.Event()

    def hold(version: int) -> None:
        if version == 2:
            configure(tmp_path, "specific { versions: 1 }")
            assert go_on.wait(30)

    loader.while_loading = hold
    versions = make(poll_seconds=0.01)
    versions.update()
    assert versions.loaded == [1]
    [load] = versions.unfinished
    go_on.set()
    assert load.wait(30)
    versions.update()
    assert (versions.loaded, states(versions)[2]) == ([1], "END")


def test_a_version_that_is_pushed_amid_a_load_is_not_kept_waiting_nor_is_what_serves_dropped(
    tmp_path: Path, make: Callable[..., Versions], loader: Loader
) -> None:
    put(tmp_path, 1)
    versions = make(keep=2, poll_seconds=0.01)
    versions.update()
    go_on = threading.Event()

    def hold(version: int) -> None:
        if version == 2:
            put(tmp_path, 3)
            assert go_on.wait(30)

    loader.while_loading = hold
    put(tmp_path, 2)
    versions.update()
    assert versions.loaded == [3, 1]
    [load] = versions.unfinished
    go_on.set()
    assert load.wait(30)
    versions.update()
    assert versions.loaded == [3, 2]


def test_loads_that_hang_after_each_mend_come_to_an_end(
    tmp_path: Path, make: Callable[..., Versions], loader: Loader
) -> None:
    path = put(tmp_path, 1)
    go_on = threading.Event()
    loader.while_loading = lambda version: assert_true(go_on.wait(60))
    versions = make(poll_seconds=0.01, load_seconds=0.02)
    for number in range(8):
        (path / "mended").write_text("x" * number)
        for _ in range(2):
            versions.update()
    assert len(loader.asked) == 4
    go_on.set()


def test_a_look_that_fails_each_time_is_logged_once_and_told(
    tmp_path: Path, make: Callable[..., Versions], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, 1)
    looks = []

    def fail(folder: Path) -> Any:
        # Servers of other tests look on.
        if folder != tmp_path / "headlines":
            return look_into(folder)
        looks.append(1)
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("serving.folder.look_into", fail)
    versions = make(poll_seconds=0.01)
    versions.start()
    wait_until(lambda: len(looks) > 3)
    assert versions.is_watching
    assert versions.problems == (f"{tmp_path / 'headlines'} could not be looked at: ZeroDivisionError: by zero",)
    versions.stop()
    assert tell(caplog, "could not be looked at") == 1


def test_a_folder_that_does_not_answer_is_told_and_holds_up_no_end(
    tmp_path: Path, make: Callable[..., Versions], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    go_on = threading.Event()
    monkeypatch.setattr("serving.versions._LOOK_SECONDS", 0.1)
    monkeypatch.setattr("serving.versions._STOP_SECONDS", 0.1)

    def hang(folder: Path) -> Any:
        return look_into(folder) if folder != tmp_path / "headlines" else assert_true(go_on.wait(30))

    monkeypatch.setattr("serving.folder.look_into", hang)
    versions = make(poll_seconds=0.01)
    versions.start()
    wait_until(lambda: "has not answered for" in "".join(versions.problems))
    versions.stop()
    assert tell(caplog, "the server ends, and no longer waits for") == 1
    go_on.set()
