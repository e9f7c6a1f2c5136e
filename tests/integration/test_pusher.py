import errno
import json
import multiprocessing
import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import tensorflow as tf
from tfx.proto import pusher_pb2
from tfx.types import Artifact
from tfx.types.standard_artifacts import InfraBlessing, Model, ModelBlessing, PushedModel
from tfx.utils import proto_utils
from tiny_model import save_tiny_model

from headlines.pushes import removals, rollbacks
from headlines.pushes.champion import Rollback
from headlines.pushes.model_hash import hash_model
from headlines.pushes.publishing import PushError, publish
from headlines.pushes.versions import find_versions, kept_in
from serving.app import ABOUT
from serving.model import Model as ServedModel
from tfx_components.pusher import Executor
from tfx_components.related_index import Headline, RelatedHeadlines, write_index

NIGHT = date(2022, 2, 5)


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def other_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("other"), sure=1.0)


@pytest.fixture
def serving_dir(tmp_path: Path) -> Path:
    return tmp_path / "serving dir" / "headlines"


def versions(serving_dir: Path) -> list[str]:
    return sorted(path.name for path in serving_dir.iterdir() if path.name != ".push.lock")


def push(
    model_path: Path,
    serving_dir: Path,
    tmp_path: Path,
    night: str = "2022-02-05",
    champion: str = "",
    index: Path | None = None,
    **blessed: int,
) -> Artifact:
    model, verdict, infra, pushed = Model(), ModelBlessing(), InfraBlessing(), PushedModel()
    model.uri, model.id = str(model_path.parent), 42
    for name in ("code", "data", "settings"):
        model.set_string_custom_property(name, f"hash of {name}")
    pushed.uri = str(tmp_path / "pushed")
    verdict.uri, infra.uri = "verdict", "infra"
    verdict.set_int_custom_property("blessed", blessed.get("verdict", 1))
    verdict.set_string_custom_property("champion_version", champion)
    verdict.set_string_custom_property("reason", "refused: accuracy 0.571 is below its floor 0.600")
    verdict.set_string_custom_property("check:accuracy", '{"value": 0.571, "limit": 0.6, "passed": false}')
    infra.set_int_custom_property("blessed", blessed.get("infra", 1))
    infra.set_string_custom_property("reason", "refused: predict_text, emoji: no answer within 5 s")
    destination = pusher_pb2.PushDestination(
        filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=str(serving_dir))
    )
    inputs: dict[str, list[Artifact]] = {"model": [model], "model_blessing": [verdict], "infra_blessing": [infra]}
    if index is not None:
        related = RelatedHeadlines()
        related.uri = str(index)
        inputs["related_index"] = [related]
    Executor().Do(
        inputs, {"pushed_model": [pushed]}, {"push_destination": proto_utils.proto_to_json(destination), "night": night}
    )
    return pushed


def test_a_blessed_model_is_served_whole_and_recorded(model_path: Path, serving_dir: Path, tmp_path: Path) -> None:
    pushed = push(model_path, serving_dir, tmp_path)
    assert versions(serving_dir) == ["2022020501"]
    served = tf.saved_model.load(str(serving_dir / "2022020501")).signatures["predict_text"]
    assert served(title=tf.constant(["bom dia"]))["label"].numpy().tolist() == [b"positive"]
    assert pushed.get_int_custom_property("pushed") == 1
    assert pushed.get_string_custom_property("pushed_version") == "2022020501"
    assert pushed.get_string_custom_property("pushed_destination") == str(serving_dir / "2022020501")
    assert pushed.get_string_custom_property("night") == "2022-02-05"
    assert pushed.get_int_custom_property("model_id") == 42
    assert pushed.get_string_custom_property("reason") == "pushed as 2022020501"


def test_a_version_says_what_made_it_and_carries_the_headlines_that_taught_it(
    model_path: Path, serving_dir: Path, tmp_path: Path
) -> None:
    index = tmp_path / "index"
    write_index([Headline("Chuva forte no Rio", "negative", "2022-02-04")], index)
    push(model_path, serving_dir, tmp_path, index=index)
    # As the model server reads them.
    served = ServedModel(serving_dir / "2022020501", 2022020501)
    assert {name: served.about.get(name) for name in ABOUT if name != "pushed_at"} == {
        "model_id": 42,
        "code": "hash of code",
        "data": "hash of data",
        "settings": "hash of settings",
        "verdict": {
            "reason": "refused: accuracy 0.571 is below its floor 0.600",
            "checks": {"accuracy": {"value": 0.571, "limit": 0.6, "passed": False}},
        },
        "reason": "pushed as 2022020501",
    }
    assert served.about["version"] == "2022020501"
    assert served.night == "2022-02-05"
    assert served.related is not None
    [found] = served.related.find("chuva", 5)
    assert (found.title, found.label, found.night) == ("Chuva forte no Rio", "negative", "2022-02-04")


def test_what_the_push_added_to_a_version_does_not_make_it_another_model(
    model_path: Path, serving_dir: Path, tmp_path: Path
) -> None:
    index = tmp_path / "index"
    write_index([Headline("Chuva forte no Rio", "negative", "2022-02-04")], index)
    push(model_path, serving_dir, tmp_path, index=index)
    assert hash_model(serving_dir / "2022020501") == hash_model(model_path)
    about = (serving_dir / "2022020501" / "assets.extra" / "model.json").read_text()
    again = push(model_path, serving_dir, tmp_path, index=index)
    assert again.get_string_custom_property("pushed_version") == "2022020501"
    assert versions(serving_dir) == ["2022020501"]
    assert (serving_dir / "2022020501" / "assets.extra" / "model.json").read_text() == about
    assert json.loads(about)["pushed_at"]


@pytest.mark.parametrize(
    ("blessed", "reason"),
    [
        ({"verdict": 0}, "refused: accuracy 0.571 is below its floor 0.600"),
        ({"infra": 0}, "refused: predict_text, emoji: no answer within 5 s"),
        ({"verdict": 0, "infra": 0}, "refused: accuracy 0.571 is below its floor 0.600"),
    ],
)
def test_without_both_blessings_nothing_is_pushed(
    blessed: dict[str, int],
    reason: str,
    model_path: Path,
    serving_dir: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pushed = push(model_path, serving_dir, tmp_path, **blessed)
    assert not serving_dir.exists()
    assert pushed.get_int_custom_property("pushed") == 0
    assert pushed.get_string_custom_property("pushed_version") == ""
    assert pushed.get_string_custom_property("night") == "2022-02-05"
    assert pushed.get_int_custom_property("model_id") == 42
    assert pushed.get_string_custom_property("reason") == reason
    assert [record.getMessage() for record in caplog.records if "Not pushed" in record.getMessage()] == [
        f"Not pushed: {reason}"
    ]


def test_the_same_model_again_is_not_pushed_twice(model_path: Path, serving_dir: Path, tmp_path: Path) -> None:
    push(model_path, serving_dir, tmp_path)
    before = (serving_dir / "2022020501").stat()
    pushed = push(model_path, serving_dir, tmp_path)
    assert versions(serving_dir) == ["2022020501"]
    assert (serving_dir / "2022020501").stat().st_ino == before.st_ino
    assert pushed.get_int_custom_property("pushed") == 1
    assert pushed.get_string_custom_property("pushed_version") == "2022020501"
    assert "kept 2022020501" in pushed.get_string_custom_property("reason")


def test_a_different_model_of_the_same_night_is_its_next_revision(
    model_path: Path, other_path: Path, serving_dir: Path
) -> None:
    assert publish(model_path, serving_dir, NIGHT).version == 2022020501
    second = publish(other_path, serving_dir, NIGHT)
    assert (second.version, second.reason) == (
        2022020502,
        "pushed as 2022020502: it differs from 2022020501 of the same night",
    )
    # Back to the first model: it is not what is served now, so it must become so again.
    assert publish(model_path, serving_dir, NIGHT).version == 2022020503
    assert versions(serving_dir) == ["2022020501", "2022020502", "2022020503"]
    assert hash_model(serving_dir / "2022020501") == hash_model(model_path)


def test_an_older_night_is_pushed_below_the_newer_one_and_says_so(
    model_path: Path, other_path: Path, serving_dir: Path
) -> None:
    publish(model_path, serving_dir, date(2022, 2, 12))
    older = publish(other_path, serving_dir, NIGHT)
    assert (older.version, older.reason) == (2022020501, "pushed as 2022020501; the newer 2022021201 keeps serving")
    assert versions(serving_dir) == ["2022020501", "2022021201"]
    assert hash_model(serving_dir / "2022021201") == hash_model(model_path)


def test_the_same_model_on_the_next_night_is_that_nights_version(model_path: Path, serving_dir: Path) -> None:
    publish(model_path, serving_dir, NIGHT)
    assert publish(model_path, serving_dir, date(2022, 2, 6), "2022020501").reason == "pushed as 2022020601"


def test_a_model_that_was_compared_with_an_outdated_champion_is_refused_with_the_reason(
    model_path: Path, other_path: Path, serving_dir: Path, tmp_path: Path
) -> None:
    publish(model_path, serving_dir, date(2022, 2, 3))
    publish(other_path, serving_dir, date(2022, 2, 3))
    for champion in ("", "2022020301"):
        pushed = push(model_path, serving_dir, tmp_path, champion=champion)
        assert pushed.get_int_custom_property("pushed") == 0
        reason = pushed.get_string_custom_property("reason")
        assert reason.startswith(f"refused: the model was compared with {f'champion {champion}' if champion else 'no'}")
        assert "the champion as of its night is 2022020302 by now; run the night again" in reason
    assert versions(serving_dir) == ["2022020301", "2022020302"]
    assert push(model_path, serving_dir, tmp_path, champion="2022020302").get_int_custom_property("pushed") == 1


def test_neither_a_later_night_nor_a_champion_that_was_cleaned_up_makes_a_comparison_outdated(
    model_path: Path, other_path: Path, serving_dir: Path
) -> None:
    publish(model_path, serving_dir, date(2022, 2, 12))
    assert publish(model_path, serving_dir, NIGHT, "2022020302").version == 2022020501
    assert publish(other_path, serving_dir, NIGHT, "2022020302").version == 2022020502


def test_a_night_with_no_revision_left_is_refused(model_path: Path, other_path: Path, serving_dir: Path) -> None:
    shutil.copytree(other_path, serving_dir / "2022020599")
    with pytest.raises(PushError, match="2022-02-05 has used up its revisions with 2022020599"):
        publish(model_path, serving_dir, NIGHT)
    assert versions(serving_dir) == ["2022020599"]


@contextmanager
def small_disk() -> Iterator[None]:
    """No file may grow past 1 kB, so that a real write fails midway, as on a full disk.

    For the call alone: the limit holds for the test runner's own output too.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def refuse_link(source: Path, target: Path) -> None:
    """As `link` does between two file systems."""
    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))


def test_a_model_and_its_version_are_stored_once_where_the_file_system_lets_them_be(
    model_path: Path, serving_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = model_path.parent / "index"
    index.mkdir()
    (index / "rows.json").write_text("[]")
    version = publish(model_path, serving_dir, NIGHT, related_index=index).path
    files = [path.relative_to(model_path) for path in model_path.rglob("*") if path.is_file()]
    assert files and all((model_path / name).samefile(version / name) for name in files)
    assert (version / "assets.extra" / "related" / "rows.json").samefile(index / "rows.json")
    monkeypatch.setattr(os, "link", refuse_link)
    copied = publish(model_path, serving_dir, date(2022, 2, 6), "2022020501").path
    assert not any((model_path / name).samefile(copied / name) for name in files)
    assert hash_model(copied) == hash_model(version) == hash_model(model_path)


def test_a_number_is_not_given_twice_also_when_the_version_that_had_it_was_removed(
    model_path: Path, other_path: Path, serving_dir: Path
) -> None:
    publish(model_path, serving_dir, NIGHT)
    publish(other_path, serving_dir, NIGHT)
    with kept_in(serving_dir).hold(serving_dir):
        hidden = removals.hide(serving_dir, [2022020501, 2022020502], datetime(2023, 5, 1, tzinfo=UTC), "retention")
    assert sorted(hidden) == [2022020501, 2022020502]
    assert find_versions(serving_dir) == []
    assert removals.read(serving_dir)[2022020502] == "removed on 2023-05-01 by retention"
    again = publish(model_path, serving_dir, NIGHT)
    assert (again.version, again.reason) == (2022020503, "pushed as 2022020503")


def test_a_full_disk_is_told_and_leaves_the_earlier_champion_as_it_was(
    model_path: Path, other_path: Path, serving_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(model_path, serving_dir, NIGHT)
    # What is linked takes no space.
    monkeypatch.setattr(os, "link", refuse_link)
    with small_disk(), pytest.raises(PushError) as caught:
        publish(other_path, serving_dir, date(2022, 2, 6), "2022020501")
    assert str(serving_dir) in str(caught.value)
    assert os.strerror(errno.EFBIG) in str(caught.value)
    assert "free space" in str(caught.value)
    assert versions(serving_dir) == ["2022020501"]
    assert hash_model(serving_dir / "2022020501") == hash_model(model_path)


def test_a_config_file_that_is_none_is_told_and_the_task_can_be_cleared(
    model_path: Path, other_path: Path, serving_dir: Path
) -> None:
    publish(model_path, serving_dir, NIGHT)
    undone = Rollback(1, 0, 2022020501, "ana", "to try it", datetime(2022, 2, 6, 8, tzinfo=UTC), "2022-02-06", ())
    rollbacks.add(serving_dir, undone)
    config = serving_dir.parent / "models.config"
    config.write_text("model_config_list { config {")
    with pytest.raises(PushError, match=r"models\.config is no model config .*, and clear this task"):
        publish(other_path, serving_dir, date(2022, 2, 6), "2022020501")
    config.unlink()
    assert publish(other_path, serving_dir, date(2022, 2, 6), "2022020501").version == 2022020601
    assert versions(serving_dir) == ["2022020501", "2022020601"]


def test_a_serving_dir_that_cannot_be_made_is_told(model_path: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PushError, match=r"could not be published in .*file"):
        publish(model_path, tmp_path / "file" / "headlines", NIGHT)


def test_what_a_killed_push_left_behind_is_swept_away_and_is_no_version(model_path: Path, serving_dir: Path) -> None:
    half = serving_dir / ".incoming-2022020501"
    half.mkdir(parents=True)
    (half / "saved_model.pb").write_bytes(b"half")
    assert publish(model_path, serving_dir, NIGHT).version == 2022020501
    assert versions(serving_dir) == ["2022020501"]
    assert hash_model(serving_dir / "2022020501") == hash_model(model_path)


def _watch(serving_dir: str, ready, seen) -> None:
    name = Path(serving_dir) / "2022020501"
    ready.set()
    while not name.exists():
        pass
    seen.put(sorted(path.relative_to(name).as_posix() for path in name.rglob("*")))


def test_a_version_is_complete_from_the_moment_it_can_be_seen(
    model_path: Path, serving_dir: Path, tmp_path: Path
) -> None:
    big = tmp_path / "big"
    shutil.copytree(model_path, big)
    for index in range(50):
        (big / f"extra-{index}").write_bytes(os.urandom(100_000))
    serving_dir.mkdir(parents=True)
    context = multiprocessing.get_context("fork")
    ready, seen = context.Event(), context.Queue()
    watcher = context.Process(target=_watch, args=(str(serving_dir), ready, seen))
    watcher.start()
    ready.wait()
    publish(big, serving_dir, NIGHT)
    added = {"assets.extra", "assets.extra/model.json"}
    assert seen.get(timeout=20) == sorted({path.relative_to(big).as_posix() for path in big.rglob("*")} | added)
    watcher.join()


def test_a_night_that_was_never_rendered_is_refused(model_path: Path, serving_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\{\{ ds \}\}"):
        push(model_path, serving_dir, tmp_path, night="{{ ds }}")
    assert not serving_dir.exists()
