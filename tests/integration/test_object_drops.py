"""Drops on object storage, on real servers of both kinds: delivered whole or not at all, and found by few requests."""

import os
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from headlines.drops import delivery
from headlines.drops.delivery import deliver, inspect
from headlines.drops.drops_folder import DropError, DropsFolder, GrowingDropError, check_drop, list_unlabelled
from headlines.drops.window import read_window
from headlines.objects.buckets import Entry, GoogleBucket, S3Bucket
from headlines.objects.paths import ObjectPath
from retraining.settings import Settings

TITLES = [f"Governo anuncia medida {number} para a economia" for number in range(60)]
Write = Callable[..., Path]


@pytest.fixture
def own(bucket: ObjectPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("STATE_DIR", str(tmp_path / "state"))
    for name, value in (("DROPS_DIR", bucket / "drops"), ("MIN_HEADLINES", 1), ("WINDOW_NIGHTS", 2)):
        monkeypatch.setenv(name, str(value))
    return Settings.from_env()


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str = "export.csv", titles: list[str] = TITLES) -> Path:
        rows = "".join(
            f"{title},{('neutral', 'neutral', 'negative')[number % 3]}\n" for number, title in enumerate(titles)
        )
        (tmp_path / name).write_text(f"title,sentiment\n{rows}")
        return tmp_path / name

    return write


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked of the bucket, in order."""
    asked: list[str] = []

    def note(kind: type, name: str) -> None:
        real = getattr(kind, name)

        def noting(self: object, key: str, *args: object, **kwargs: object) -> Iterator[Entry] | Entry | None:
            asked.append(f"{name} {key}")
            return real(self, key, *args, **kwargs)

        monkeypatch.setattr(kind, name, noting)

    for kind in (S3Bucket, GoogleBucket):
        for name in ("list", "find", "read", "write", "upload", "delete"):
            note(kind, name)
    return asked


def put(settings: Settings, file: Path, night: str, correct: bool = False) -> Path:
    return deliver(settings, inspect(settings, file, date.fromisoformat(night), correct).version)


def test_a_setting_that_is_an_address_leads_there_and_is_written_as_it_was(own: Settings, bucket: ObjectPath) -> None:
    assert own.drops_dir == bucket / "drops"
    assert own.to_environment()["DROPS_DIR"] == f"{bucket}/drops"
    assert Settings.from_env(scores_dir=f"{bucket}/scores").scores_dir == bucket / "scores"


def test_a_file_is_delivered_marked_corrected_and_read_in_a_window(own: Settings, write: Write) -> None:
    target = put(own, write(), "2022-02-01")
    assert str(target) == f"{own.drops_dir}/2022-02-01/export.csv"
    check_drop(str(own.drops_dir), "2022-02-01", require_success_marker=True, settle_seconds=600)
    with pytest.raises(DropError, match="has version 1 of its drop already"):
        put(own, write(), "2022-02-01")
    correction = put(own, write(titles=[*TITLES, "Mais uma"]), "2022-02-01", correct=True)
    assert correction.parent.name == "v2"
    put(own, write(titles=[f"{title}, outra vez" for title in TITLES]), "2022-02-02")
    drops = DropsFolder(own.drops_dir)
    assert drops.nights == [date(2022, 2, 1), date(2022, 2, 2)]
    window = read_window(drops, date(2022, 2, 2), own.drop_rules)
    assert [(drop.version.night.isoformat(), drop.version.number, drop.rows_in) for drop in window.drops] == [
        ("2022-02-01", 2, 61),
        ("2022-02-02", 1, 60),
    ]


def test_what_others_deliver_without_a_marker_waits_until_it_has_been_left_alone(own: Settings, write: Write) -> None:
    (own.drops_dir / "2022-02-01/headlines.csv").write_bytes(write().read_bytes())
    with pytest.raises(GrowingDropError, match="may still be growing"):
        check_drop(str(own.drops_dir), "2022-02-01", settle_seconds=600)
    check_drop(str(own.drops_dir), "2022-02-01", settle_seconds=0)
    with pytest.raises(DropError, match="has no _SUCCESS file"):
        check_drop(str(own.drops_dir), "2022-02-01", require_success_marker=True)
    with pytest.raises(DropError, match="night 2022-02-03 has no drop"):
        check_drop(str(own.drops_dir), "2022-02-03")


def test_of_two_that_deliver_a_night_at_once_one_is_refused(
    own: Settings, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = inspect(own, write("a.csv"), date(2022, 2, 1), False).version
    second = inspect(own, write("b.csv"), date(2022, 2, 1), False).version
    # Both have looked, and neither has put anything yet.
    monkeypatch.setattr(delivery, "choose_version", lambda *_: second)
    put_objects = delivery._put_objects

    def be_late(*args: object) -> None:
        monkeypatch.setattr(delivery, "_put_objects", put_objects)
        monkeypatch.setattr(delivery, "choose_version", lambda *_: first)
        deliver(own, first)
        put_objects(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(delivery, "_put_objects", be_late)
    with pytest.raises(DropError, match="_SUCCESS was delivered meanwhile; nothing was overwritten"):
        deliver(own, second)
    assert sorted(path.name for path in (own.drops_dir / "2022-02-01").iterdir()) == ["_SUCCESS", "a.csv"]


def test_a_marker_of_a_delivery_that_was_killed_marks_nothing_and_is_taken_over_when_it_is_old(
    own: Settings, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own.drops_dir / "2022-02-01/_SUCCESS").write_text("{}")
    with pytest.raises(DropError, match="holds no CSV file"):
        check_drop(str(own.drops_dir), "2022-02-01")
    with pytest.raises(DropError, match="delivered meanwhile"):
        put(own, write(), "2022-02-01")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 1000)
    put(own, write(), "2022-02-01")
    check_drop(str(own.drops_dir), "2022-02-01", require_success_marker=True)


def test_of_two_that_take_the_same_old_marker_over_the_first_is_refused(
    own: Settings, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = own.drops_dir / "2022-02-01/_SUCCESS"
    marker.write_text("{}")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 1000)
    first = inspect(own, write("a.csv"), date(2022, 2, 1), False).version
    second = inspect(own, write("b.csv"), date(2022, 2, 1), False).version
    upload = ObjectPath.upload

    def be_overtaken(path: ObjectPath, *args: Any, **kwargs: Any) -> None:
        upload(path, *args, **kwargs)
        if path.name == "a.csv":
            # It has seen the old marker, too, and takes for it what is there by now.
            monkeypatch.setattr(time, "time", lambda: now + 2000)
            delivery._put_objects(*second.files, marker.with_name("b.csv"), marker, {})

    monkeypatch.setattr(ObjectPath, "upload", be_overtaken)
    with pytest.raises(DropError, match="_SUCCESS was delivered meanwhile; nothing was overwritten"):
        deliver(own, first)
    assert sorted(path.name for path in marker.parent.iterdir()) == ["_SUCCESS", "b.csv"]


def test_a_delivery_that_fails_leaves_nothing(own: Settings, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    version = inspect(own, write(), date(2022, 2, 1), False).version

    def fail(*_: object, **__: object) -> None:
        raise OSError(5, "the network is down", "there")

    monkeypatch.setattr(ObjectPath, "upload", fail)
    with pytest.raises(DropError, match="cannot be delivered: the network is down"):
        deliver(own, version)
    assert not own.drops_dir.exists()


def test_a_year_of_nights_takes_one_listing_and_a_look_at_one_night_another(own: Settings, requests: list[str]) -> None:
    for month in range(1, 4):
        for day in range(1, 10):
            (own.drops_dir / f"2022-{month:02}-{day:02}/headlines.csv").write_text("title,sentiment\na,neutral\n")
    (own.drops_dir / "2022-05-01/unlabelled.csv").write_text("title\na\n")
    requests.clear()
    drops = DropsFolder(own.drops_dir)
    assert len(drops.nights) == 27
    assert drops.find_version(date(2022, 3, 9)).number == 1
    assert list(list_unlabelled(own.drops_dir)) == [date(2022, 5, 1)]
    assert len([one for one in requests if one.startswith("list")]) == 2
    requests.clear()
    check_drop(str(own.drops_dir), "2022-02-03", settle_seconds=0)
    # The listing, and whether a marker says label codes.
    assert [one.partition(" ")[0] for one in requests][:1] == ["list"] and len(requests) <= 2


def test_a_bucket_that_is_gone_is_told_by_the_name_of_the_setting(
    own: Settings, bucket: ObjectPath, write: Write
) -> None:
    gone = own.model_copy(update={"drops_dir": type(bucket)(f"{bucket.scheme}://no-such-bucket-of-ours/drops")})
    with pytest.raises(DropError, match=r"there is no such bucket\); correct DROPS_DIR"):
        put(gone, write(), "2022-02-01")
    with pytest.raises(OSError) as caught:
        (gone.drops_dir / "x").write_text("x")
    told = gone.explain(caught.value)
    assert told is not None and told.startswith(f"DROPS_DIR='{gone.drops_dir}': ") and "docs/object-storage.md" in told
    assert not os.path.lexists(f"{bucket.scheme}:")
