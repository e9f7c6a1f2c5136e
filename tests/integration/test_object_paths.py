"""Paths on object storage, on real servers of both kinds: they answer as those of files do, or fail loudly."""

import copy
import os
import pickle
import shutil
from pathlib import Path

import pytest
from object_servers import ObjectServer

from headlines.objects.addresses import check_folder, download, fetch, is_object, to_path, upload
from headlines.objects.paths import ObjectPath


def test_what_was_written_is_read_listed_and_found_again(bucket: ObjectPath) -> None:
    (bucket / "drops/2022-02-01/headlines.csv").write_text("título\n")
    (bucket / "drops/2022-02-01/v2/headlines.csv").write_bytes(b"title\n")
    (bucket / "drops/2022-02-02/headlines.csv").touch()
    drops = bucket / "drops"
    assert sorted(path.name for path in drops.iterdir()) == ["2022-02-01", "2022-02-02"]
    night = drops / "2022-02-01"
    assert [(path.name, path.is_dir(), path.is_file()) for path in sorted(night.iterdir())] == [
        ("headlines.csv", False, True),
        ("v2", True, False),
    ]
    assert (night / "headlines.csv").read_text() == "título\n"
    with (night / "headlines.csv").open("rb") as file:
        assert file.read() == "título\n".encode()
    with (night / "headlines.csv").open(encoding="utf-8") as file:
        assert list(file) == ["título\n"]
    assert sorted(map(str, drops.glob("*/headlines.csv"))) == [
        f"{drops}/2022-02-0{day}/headlines.csv" for day in (1, 2)
    ]
    assert [str(path.relative_to(drops)) for path in sorted(drops.rglob("*")) if path.is_file()] == [
        "2022-02-01/headlines.csv",
        "2022-02-01/v2/headlines.csv",
        "2022-02-02/headlines.csv",
    ]
    assert (night / "headlines.csv").stat().st_size == len("título\n".encode())
    assert abs((night / "headlines.csv").stat().st_mtime - next(night.iterdir()).stat().st_mtime) < 2
    assert night.is_dir() and night.exists() and not night.is_file()


def test_what_is_not_there_is_missing_as_a_file_is(bucket: ObjectPath) -> None:
    gone = bucket / "gone"
    assert not gone.exists() and not gone.is_file() and not gone.is_dir() and list(gone.glob("*")) == []
    gone.unlink(missing_ok=True)
    for ask in (gone.read_bytes, gone.stat, lambda: list(gone.iterdir()), gone.open):
        with pytest.raises(FileNotFoundError) as caught:
            ask()
        assert caught.value.filename.rstrip("/") == str(gone)


def test_an_object_that_must_be_new_replaces_none(bucket: ObjectPath, tmp_path: Path) -> None:
    (tmp_path / "first").write_bytes(b"first")
    (tmp_path / "second").write_bytes(b"second")
    (bucket / "marker").upload(tmp_path / "first", must_be_new=True)
    with pytest.raises(FileExistsError):
        (bucket / "marker").write_bytes(b"second", must_be_new=True)
    with pytest.raises(FileExistsError):
        (bucket / "marker").upload(tmp_path / "second", must_be_new=True)
    assert (bucket / "marker").read_bytes() == b"first"


def test_a_folder_goes_there_and_comes_back(bucket: ObjectPath, tmp_path: Path) -> None:
    (tmp_path / "model/variables").mkdir(parents=True)
    (tmp_path / "model/variables/data").write_bytes(os.urandom(9 << 20))
    (tmp_path / "model/saved_model.pb").write_bytes(b"graph")
    upload(tmp_path / "model", bucket / "1")
    download(bucket / "1", tmp_path / "copy")
    with fetch(bucket / "1") as folder:
        fetched = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
    assert fetched == ["saved_model.pb", "variables", "variables/data"]
    assert not folder.exists()
    for name in ("saved_model.pb", "variables/data"):
        assert (tmp_path / "copy" / name).read_bytes() == (tmp_path / "model" / name).read_bytes()
    download(bucket / "1" / "saved_model.pb", tmp_path / "one")
    assert (tmp_path / "one").read_bytes() == b"graph"


def test_nothing_takes_it_for_a_file_of_this_machine(bucket: ObjectPath, tmp_path: Path) -> None:
    os.chdir(tmp_path)
    for do in (
        os.makedirs,
        os.listdir,
        open,
        lambda path: shutil.copyfile(__file__, path),
        lambda path: path.rename("x"),
    ):
        with pytest.raises(TypeError, match="is on object storage"):
            do(bucket)
    with pytest.raises(OSError, match="write it in one step"):
        bucket.open("w")
    assert list(tmp_path.iterdir()) == []


def test_its_text_is_its_address_whatever_becomes_of_it(bucket: ObjectPath) -> None:
    path = bucket / "a" / "b.csv"
    assert str(path) == f"{bucket}/a/b.csv" == path.as_uri()
    assert path.parent.parent == bucket and path.with_name("c").name == "c" and path.suffix == ".csv"
    for same in (to_path(str(path)), pickle.loads(pickle.dumps(path)), copy.deepcopy(path), to_path(path)):
        assert same == path and str(same) == str(path) and hash(same) == hash(path) and is_object(same)
    assert path.is_relative_to(bucket) and not path.is_relative_to(Path("/")) and not bucket.is_relative_to(path)
    assert path != Path(*path.parts) and not is_object(Path(*path.parts))


def test_a_bucket_that_is_gone_and_a_server_that_does_not_answer_are_told_apart(
    bucket: ObjectPath, object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = to_path(f"{bucket.scheme}://no-such-bucket-of-ours/service")
    for ask in (lambda: list(elsewhere.iterdir()), lambda: (elsewhere / "x").write_bytes(b"x")):
        with pytest.raises(NotADirectoryError, match="there is no such bucket"):
            ask()
    monkeypatch.setattr("headlines.objects.buckets._RETRY_SECONDS", 1.0)
    for name, value in {"AWS_MAX_ATTEMPTS": "1", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    other = to_path(f"{bucket.scheme}://another-bucket/service")
    with pytest.raises(OSError, match=r"127\.0\.0\.1") as caught:
        (other / "x").read_bytes()
    assert not isinstance(caught.value, FileNotFoundError | PermissionError | NotADirectoryError)


def test_an_object_that_would_be_a_file_elsewhere_is_refused(bucket: ObjectPath, tmp_path: Path) -> None:
    (bucket / "a" / ".." / ".." / "b").write_bytes(b"x")
    with pytest.raises(OSError, match="it is no path of a file below a folder; remove it"):
        download(bucket, tmp_path / "here")
    assert not list(tmp_path.rglob("b"))


@pytest.mark.parametrize(
    "text", ["s3://bucket", "s3://bucket/", "gs:/bucket/folder", "hdfs://name/folder", "s3://bucket/a/../b", "s3:///x"]
)
def test_an_address_of_no_folder_in_a_bucket_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no folder on object storage"):
        check_folder(text)
