"""Versions in a bucket of a real store: which are copied, loaded and removed, and what is told when it does not answer.

A loader that only looks whether the files are there stands for TensorFlow, so that every order can be seen.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest
from object_stores import BUCKET, ObjectStore, S3Store
from waiting import wait_until

from serving import bucket as bucket_module
from serving.bucket import Bucket
from serving.bucket_address import BucketAddress
from serving.cache import Cache
from serving.model import LoadError, Model
from serving.object_store import StoreError
from serving.s3 import S3Store as AskedStore
from serving.settings import Settings
from serving.source import open_source
from serving.versions import Versions

FILES = {"variables/variables.index": b"index", "assets/words.txt": b"um\ndois\n", "saved_model.pb": b"graph"}


class UnloadedModel(Model):
    """Only its version: no SavedModel is loaded."""

    def __init__(self, version: int) -> None:
        self.version = version


class Loader:
    """Loads a folder that holds all of FILES, whatever is in them."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, path: Path, version: int) -> Model:
        self.asked.append(version)
        for name in FILES:
            if not (path / name).is_file():
                raise LoadError("DATA_LOSS", f"{name} is missing")
        return UnloadedModel(version)


class Place:
    """Where a test pushes to, and servers over it that share a cache."""

    def __init__(self, store: ObjectStore, key: str, cache: Path) -> None:
        self.store, self.key, self.cache = store, f"{key}/headlines", cache
        self.address = f"{store.url}/{self.key}"
        self.loader = Loader()

    def push(self, version: int | str, without: str = "", **files: bytes) -> None:
        for name, content in (FILES | files).items():
            if name != without:
                self.put(version, name, content)

    def put(self, version: int | str, name: str, content: bytes) -> None:
        self.store.put(f"{self.key}/{version}/{name}", content)

    def remove(self, version: int) -> None:
        self.store.remove(f"{self.key}/{version}/")

    def configure(self, policy: str) -> None:
        text = (
            f'model_config_list {{ config {{ name: "headlines" base_path: "{self.address}" '
            f'model_platform: "tensorflow" '
            f"model_version_policy {{ {policy} }} }} }}"
        )
        self.store.put(f"{self.key.rpartition('/')[0]}/models.config", text.encode())

    def open(self) -> Bucket:
        source = open_source(Settings.from_env(dir=self.address, cache_dir=self.cache))
        assert isinstance(source, Bucket)
        return source

    def serve(self, keep: int = 1, source: Bucket | None = None) -> Versions:
        return Versions(source or self.open(), "headlines", keep, 60, load=self.loader)

    @staticmethod
    def end(versions: Versions) -> None:
        """Lets go of what a server holds, as the end of its process does."""
        source = versions._source
        assert isinstance(source, Bucket)
        for descriptor in source._cache._held.values():
            os.close(descriptor)

    @property
    def copies(self) -> list[str]:
        """The versions that have a copy."""
        return sorted(path.name.partition("-")[0] for path in self.cache.glob("*/[0-9]*-*"))

    @property
    def leftovers(self) -> list[Path]:
        return [*self.cache.glob("*/.incoming*"), *self.cache.glob("*/.gone*")]


@pytest.fixture
def place(store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    return place_in(store, tmp_path, monkeypatch)


def place_in(store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A place of the test's own, of which client libraries are told."""
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    # Or a store that was cut is asked again after a second only.
    monkeypatch.setattr(bucket_module, "_FIRST_WAIT_SECONDS", 0.0)
    return Place(store, tmp_path.name, tmp_path / "cache")


def answered(versions: Versions) -> int:
    return versions.find("headlines").version


def during_download(monkeypatch: pytest.MonkeyPatch, source: Bucket, happen: Callable[[], None]) -> None:
    """Lets something happen once, after the first object of a version was copied."""
    download = source._store.download
    done: list[bool] = []

    def interrupt(one: Any, target: Path) -> None:
        download(one, target)
        if not done:
            done.append(True)
            happen()

    monkeypatch.setattr(source._store, "download", interrupt)


def test_what_is_to_be_loaded_is_copied_whole_and_what_no_longer_is_goes(place: Place) -> None:
    for version in (1, 2, 3):
        place.push(version)
    versions = place.serve(keep=2)
    versions.update()
    assert versions.loaded == [3, 2] and place.loader.asked == [3, 2] and versions.problems == ()
    assert place.copies == ["2", "3"] and place.leftovers == []
    [copy] = place.cache.glob("*/3-*")
    assert {path.relative_to(copy).as_posix(): path.read_bytes() for path in copy.rglob("*.*")} == FILES
    place.push(4)
    versions.update()
    assert versions.loaded == [4, 3] and place.copies == ["3", "4"]


def test_a_version_is_none_before_its_last_object_and_after_its_first_is_removed(place: Place) -> None:
    place.push(1)
    place.push(2, without="saved_model.pb")
    # What browsers of buckets make for a folder, and what is no version.
    place.store.put(f"{place.key}/3/", b"")
    place.push("latest")
    versions = place.serve()
    versions.update()
    assert answered(versions) == 1 and versions.problems == () and place.copies == ["1"]
    place.put(2, "saved_model.pb", b"graph")
    versions.update()
    assert answered(versions) == 2 and place.copies == ["2"]
    place.store.delete(f"{place.key}/2/saved_model.pb")
    versions.update()
    assert answered(versions) == 1 and place.copies == ["1"] and versions.problems == ()


def test_a_version_that_lacks_an_object_is_refused_until_it_has_come(place: Place) -> None:
    place.push(1)
    place.push(2, without="assets/words.txt")
    versions = place.serve()
    versions.update()
    assert answered(versions) == 1
    [told] = versions.problems
    assert told == "version 2 cannot be served, others serve on: assets/words.txt is missing"
    for _ in range(3):
        versions.update()
    assert place.loader.asked == [2, 1], "as long as nothing changes it is not tried again"
    place.put(2, "assets/words.txt", FILES["assets/words.txt"])
    wait_until(lambda: versions.update() or answered(versions) == 2)
    assert versions.problems == () and place.copies == ["2"]


@pytest.mark.parametrize("name", ["assets/words.txt", "variables/variables.index", "assets/more.txt"])
def test_objects_that_grow_while_they_are_copied_are_not_loaded(
    place: Place, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    place.push(1)
    source = place.open()
    versions = place.serve(source=source)
    versions.update()
    place.push(2)
    during_download(monkeypatch, source, lambda: place.put(2, name, b"more than there was"))
    versions.update()
    assert answered(versions) == 1 and place.loader.asked == [1]
    assert "version 2 cannot be served, others serve on: it cannot be copied from" in versions.problems[0]
    wait_until(lambda: versions.update() or answered(versions) == 2, "it rests, and is loaded")
    [copy] = place.cache.glob("*/2-*")
    assert (copy / name).read_bytes() == b"more than there was" and place.leftovers == []


def test_a_version_that_is_removed_while_it_is_copied_is_not_served(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.push(1)
    source = place.open()
    versions = place.serve(source=source)
    versions.update()
    place.push(2)
    during_download(monkeypatch, source, lambda: place.remove(2))
    versions.update()
    assert answered(versions) == 1 and place.loader.asked == [1]
    versions.update()
    assert versions.problems == () and place.copies == ["1"] and place.leftovers == []


def test_a_number_that_is_pushed_anew_with_other_contents_is_copied_anew(place: Place) -> None:
    place.push(1)
    versions = place.serve()
    versions.update()
    place.end(versions)
    place.remove(1)
    place.push(1, **{"assets/words.txt": b"tres\nquatro\n"})
    versions = place.serve()
    versions.update()
    [copy] = place.cache.glob("*/1-*")
    assert (copy / "assets/words.txt").read_bytes() == b"tres\nquatro\n"


def test_a_copy_that_was_cut_short_is_copied_anew(place: Place) -> None:
    place.push(1)
    first = place.serve()
    first.update()
    [file] = place.cache.glob("*/1-*/assets/words.txt")
    file.write_bytes(b"um")
    second = place.serve()
    second.update()
    assert second.loaded == [] and "is damaged and being read" in second.problems[0]
    place.end(first)
    place.serve().update()
    assert file.read_bytes() == FILES["assets/words.txt"]


def test_a_config_file_beside_the_versions_takes_one_back_and_is_followed_when_it_is_gone(place: Place) -> None:
    for version in (1, 2):
        place.push(version)
    versions = place.serve()
    versions.update()
    assert answered(versions) == 2
    place.configure("specific { versions: 1 }")
    versions.update()
    assert answered(versions) == 1 and place.copies == ["1"]
    config = f"{place.key.rpartition('/')[0]}/models.config"
    place.store.put(config, b"nonsense")
    versions.update()
    assert versions.problems[0].startswith(f"{place.store.url}/{config} is not used, the policy stays: ")
    place.store.delete(config)
    versions.update()
    assert answered(versions) == 1
    assert versions.problems[0].startswith(f"{place.store.url}/{config} is gone, and what it said last is followed")


def test_a_store_that_is_cut_off_is_told_and_what_is_loaded_serves_on(place: Place) -> None:
    for version in (1, 2):
        place.push(version)
    versions = place.serve()
    versions.update()
    place.push(3)
    place.store.passage.cut()
    versions.update()
    [told] = versions.problems
    assert told.startswith(f"SERVING_DIR={place.address} cannot be read: ")
    assert f"what serves is of the copies in {place.cache}" in told
    assert answered(versions) == 2 and place.copies == ["2"]
    place.store.passage.mend()
    versions.update()
    assert answered(versions) == 3 and versions.problems == () and place.copies == ["3"]


def test_a_version_whose_objects_were_rewritten_serves_on_when_the_store_is_cut_off(place: Place) -> None:
    for version in (1, 2):
        place.push(version)
    source = place.open()
    versions = place.serve(source=source)
    versions.update()
    # As by another storage class, or another key of encryption.
    place.put(2, "assets/words.txt", b"tres\n")
    source.look()
    place.store.passage.cut()
    versions.update()
    assert answered(versions) == 2 and versions.loaded == [2]
    place.store.passage.mend()


def test_a_store_that_is_cut_off_amid_a_copy_leaves_nothing_and_tries_no_older_versions(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in (1, 2, 3):
        place.push(version)
    source = place.open()
    versions = place.serve(source=source)
    versions.update()
    place.push(4)
    during_download(monkeypatch, source, place.store.passage.cut)
    versions.update()
    assert answered(versions) == 3 and place.loader.asked == [3] and place.copies == ["3"] and place.leftovers == []
    assert [told.partition(":")[0] for told in versions.problems][1:] == ["version 4 cannot be served, others serve on"]
    place.store.passage.mend()
    # Tried again after five seconds.
    wait_until(lambda: versions.update() or answered(versions) == 4)
    assert versions.problems == ()


def test_a_start_without_the_store_serves_what_was_copied_by_the_policy_that_was_read_last(place: Place) -> None:
    for version in (1, 2):
        place.push(version)
    place.configure("all {}")
    place.serve().update()
    place.configure("specific { versions: 1 }")
    first = place.serve()
    first.update()
    place.push(3)
    place.store.passage.cut()
    try:
        versions = place.serve()
        versions.update()
        assert answered(versions) == 1 and not versions.is_lost
        assert "cannot be read: " in versions.problems[0]
    finally:
        place.store.passage.mend()
    place.configure("latest { num_versions: 1 }")
    versions.update()
    assert answered(versions) == 3 and versions.problems == ()


def test_a_start_without_the_store_and_without_copies_serves_once_it_answers(place: Place) -> None:
    place.push(1)
    place.store.passage.cut()
    versions = place.serve()
    versions.update()
    place.store.passage.mend()
    assert versions.loaded == [] and versions.is_lost
    assert versions.problems[0].endswith("nothing new is noticed, and there is no copy to serve")
    versions.update()
    assert answered(versions) == 1


def test_a_bucket_that_is_not_there_is_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.address = f"{place.store.scheme}://nobody-has-this-one/headlines"
    versions = place.serve()
    versions.update()
    assert "make the bucket, or correct SERVING_DIR" in versions.problems[0] and versions.is_lost


def test_a_full_disk_is_told_and_what_is_loaded_serves_on(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.push(1)
    versions = place.serve()
    versions.update()
    place.push(2)
    with monkeypatch.context() as patch:
        usage = shutil.disk_usage(place.cache)
        patch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10))
        versions.update()
        [told] = versions.problems
        assert "it cannot be copied to" in told and "make room there" in told and "SERVING_CACHE_DIR" in told
    assert answered(versions) == 1
    wait_until(lambda: versions.update() or answered(versions) == 2, "tried again after five seconds")


def test_a_cache_that_somebody_removes_is_made_anew_and_what_is_loaded_serves_on(place: Place) -> None:
    place.push(1)
    versions = place.serve()
    versions.update()
    shutil.rmtree(place.cache)
    place.store.passage.cut()
    try:
        versions.update()
        assert answered(versions) == 1
    finally:
        place.store.passage.mend()
    versions.update()
    assert answered(versions) == 1
    place.push(2)
    versions.update()
    assert answered(versions) == 2 and place.copies == ["2"] and versions.problems == ()


def test_a_look_at_rest_is_two_requests(place: Place) -> None:
    for version in range(1, 8):
        place.push(version)
    place.configure("latest { num_versions: 2 }")
    versions = place.serve()
    versions.update()
    before = place.store.log.count('"GET ')
    versions.update()
    assert place.store.log.count('"GET ') - before == 2


def test_two_servers_share_copies_and_neither_removes_what_the_other_reads(place: Place) -> None:
    for version in (1, 2):
        place.push(version)
    place.configure("specific { versions: 1 }")
    first = place.serve()
    first.update()
    second = place.serve()
    before = place.store.log.count("words.txt")
    second.update()
    assert place.store.log.count("words.txt") == before, "it is not copied twice"
    place.configure("specific { versions: 2 }")
    first.update()
    assert answered(first) == 2 and place.copies == ["1", "2"], "the second has version 1 still"
    second.update()
    assert answered(second) == 2 and place.copies == ["2"]


def test_a_store_that_is_down_for_days_is_asked_twice_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, asked = 1000.0, []

    def refuse(_: str) -> None:
        asked.append(now)
        raise StoreError("it is down")

    store = create_autospec(AskedStore, instance=True)
    store.list.side_effect = refuse
    source = Bucket(BucketAddress("s3", "bucket", "headlines"), store, Cache(tmp_path))
    monkeypatch.setattr(time, "monotonic", lambda: now)
    for _ in range(100_000):
        assert not source.look().is_read
        now += 0.5
    waits = [after - before for before, after in pairwise(asked)]
    assert waits[:7] == [1, 2, 4, 8, 16, 30, 30] and set(waits[5:]) == {30} and len(waits) > 1600


@pytest.fixture
def s3_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """In a store of its own, of the kind that takes any key and can refuse who asks."""
    store = S3Store()
    yield place_in(store, tmp_path, monkeypatch)
    store.stop()


@pytest.mark.parametrize(
    "name", ["assets/../../../escaped.txt", "/escaped.txt", "assets//escaped.txt", "./escaped.txt"]
)
def test_an_object_that_is_no_file_below_the_version_is_not_written(s3_place: Place, name: str) -> None:
    place = s3_place
    place.push(1)
    place.push(2)
    place.put(2, name, b"")
    versions = place.serve()
    versions.update()
    assert answered(versions) == 1 and "is no path of a file below a version" in versions.problems[0]
    assert not [*place.cache.parent.rglob("escaped.txt")]


def test_who_may_not_list_is_told_what_to_let_him(s3_place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place = s3_place
    assert isinstance(place.store, S3Store)
    place.push(1)
    versions = place.serve()
    versions.update()
    with place.store.forbidding():
        versions.update()
        assert f"let the server's credentials list and read bucket {BUCKET}" in versions.problems[0]
        assert answered(versions) == 1
    versions.update()
    assert versions.problems == ()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    versions = place.serve()
    versions.update()
    assert "give the server credentials" in versions.problems[0] and answered(versions) == 1
