"""Whole servers over a bucket: a push fails no request, a start without the store, workers, a kill, what is refused."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from grpc_client import Client, ask
from object_stores import ObjectStore, S3Store
from server_process import ROOT, ServerProcess
from waiting import wait_until

from serving import source
from serving.bucket_address import BucketAddress
from serving.settings import Settings, SettingsError

TITLE = {"title": "dia bom"}


class Asking:
    """Asks a server without a pause, over HTTP and gRPC, and keeps what it answered with."""

    def __init__(self, server: ServerProcess) -> None:
        self.failed: list[str] = []
        self.versions: dict[str, set[str]] = {"HTTP": set(), "gRPC": set()}
        self._server = server
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=[one]) for one in (self._ask_http, self._ask_grpc)]

    def __enter__(self) -> "Asking":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, ask: Callable[[], None]) -> None:
        try:
            ask()
        except Exception as error:
            self.failed.append(repr(error))

    def _ask_http(self) -> None:
        with httpx.Client(base_url=self._server.url, timeout=60) as client:
            while not self._stop.wait(0.01):
                response = client.post("/predict", json=TITLE)
                response.raise_for_status()
                self.versions["HTTP"].add(response.json()["version"])

    def _ask_grpc(self) -> None:
        with Client(f"127.0.0.1:{self._server.grpc_port}") as client:
            while not self._stop.wait(0.01):
                self.versions["gRPC"].add(str(ask(client, [TITLE["title"]])["version"]))


def configure(store: ObjectStore, policy: str) -> None:
    text = 'model_config_list {{ config {{ name: "headlines" base_path: "{}" model_platform: "tensorflow" {} }} }}'
    store.put("served/models.config", text.format(f"{store.url}/served/headlines", policy).encode())


def test_pushes_and_rollbacks_in_a_bucket_fail_no_request_and_outlive_the_store(
    store: ObjectStore, saved_model: Path, tmp_path: Path
) -> None:
    store.upload(saved_model, "served/headlines/2022020101")
    address, cache = f"{store.url}/served/headlines", tmp_path / "cache"
    with ServerProcess(address, store.environment, cache_dir=cache) as server:
        wait_until(lambda: server.answers("/readyz"))
        with Asking(server) as asking:
            wait_until(lambda: all(asking.versions.values()) or asking.failed)
            store.upload(saved_model, "served/headlines/2022020201")
            wait_until(lambda: all("2022020201" in one for one in asking.versions.values()) or asking.failed)
            configure(store, "model_version_policy { specific { versions: 2022020101 } }")
            wait_until(lambda: server.get("/version").json()["version"] == "2022020101")
            store.passage.cut()
            wait_until(lambda: f"SERVING_DIR={address} cannot be read: " in server.problems())
            assert server.get("/metrics").text.count("serving_folder_is_read 0.0") == 1
            assert server.answers("/healthz"), "a restart would lose what serves"
        assert asking.failed == []
        assert asking.versions == {"HTTP": {"2022020101", "2022020201"}, "gRPC": {"2022020101", "2022020201"}}
        server.process.kill()
    with ServerProcess(address, store.environment, cache_dir=cache) as server:
        wait_until(lambda: server.answers("/readyz"))
        assert f"SERVING_DIR={address} cannot be read: " in server.problems()
        assert server.post("/predict", TITLE).json()["version"] == "2022020101", "what was taken back stays so"
        store.passage.mend()
        configure(store, "")
        wait_until(lambda: server.post("/predict", TITLE).json()["version"] == "2022020201")
        wait_until(lambda: server.problems() == "")
        store.remove("served/headlines/2022020201/")
        wait_until(lambda: server.post("/predict", TITLE).json()["version"] == "2022020101")
        assert server.end(20) == -signal.SIGTERM


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[S3Store]:
    store = S3Store()
    yield store
    store.stop()


def count_copied(store: ObjectStore, version: int) -> int:
    """How often the graph of a version was downloaded."""
    return store.log.count(f"GET /headlines-test/served/headlines/{version}/saved_model.pb")


def test_workers_copy_a_version_once_between_them(s3: S3Store, saved_model: Path, tmp_path: Path) -> None:
    s3.upload(saved_model, "served/headlines/1")
    options = {"workers": 2, "keep_versions": 1, "cache_dir": tmp_path / "cache"}
    with ServerProcess(f"{s3.url}/served/headlines", s3.environment, **options) as server:
        wait_until(lambda: server.answers("/readyz") and server.problems() == "", "both workers answer")
        s3.upload(saved_model, "served/headlines/2")
        wait_until(lambda: server.get("/version").json()["workers"] == ["2", "2"])
        assert [count_copied(s3, version) for version in (1, 2)] == [1, 1]
        wait_until(lambda: len([*tmp_path.glob("cache/*/[0-9]*-*")]) == 1, "the copy that nobody wants is gone")


def test_a_server_that_is_killed_amid_a_copy_leaves_nothing_that_is_served_or_stays(
    s3: S3Store, saved_model: Path, tmp_path: Path
) -> None:
    s3.upload(saved_model, "served/headlines/1")
    options = {"keep_versions": 1, "cache_dir": tmp_path / "cache"}
    address = f"{s3.url}/served/headlines"
    with ServerProcess(address, s3.environment, **options) as server:
        wait_until(lambda: server.answers("/readyz"))
        s3.passage.bytes_per_second = 4000
        s3.upload(saved_model, "served/headlines/2")
        wait_until(lambda: [*tmp_path.glob("cache/*/.incoming-2-*")])
        assert server.post("/predict", TITLE).json()["version"] == "1"
        server.process.kill()
        server.process.wait()
    assert [*tmp_path.glob("cache/*/.incoming-2-*")] and not [*tmp_path.glob("cache/*/2-*")]
    s3.passage.cut()
    s3.passage.bytes_per_second = None
    with ServerProcess(address, s3.environment, **options) as server:
        wait_until(lambda: server.answers("/readyz"))
        assert server.post("/predict", TITLE).json()["version"] == "1"
        s3.passage.mend()
        wait_until(lambda: server.post("/predict", TITLE).json()["version"] == "2")
        wait_until(lambda: not [*tmp_path.glob("cache/*/.incoming*")])


def test_a_store_that_hangs_holds_up_neither_requests_nor_the_end(
    s3: S3Store, saved_model: Path, tmp_path: Path
) -> None:
    s3.upload(saved_model, "served/headlines/1")
    address, options = f"{s3.url}/served/headlines", {"cache_dir": tmp_path / "cache"}
    with ServerProcess(address, s3.environment, **options) as server:
        wait_until(lambda: server.answers("/readyz"))
        with s3.hanging():
            wait_until(lambda: "cannot be read: ReadTimeoutError" in server.problems())
            assert server.post("/predict", TITLE).json()["version"] == "1"
            assert server.end(10) == -signal.SIGTERM
        assert "Traceback" not in server.log


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("hdfs://bucket/headlines", "hdfs:// is not read; it is a folder, or s3://bucket/key or gs://bucket/key"),
        ("s3://bucket", "it names no key in a bucket; write s3://bucket/headlines, or the like"),
        ("gs:///headlines", "it names no key in a bucket; write gs://bucket/headlines, or the like"),
        ("s3://bucket/a//headlines", "its key has an empty part"),
        ("s3://bucket/../headlines", "its key has an empty part, '.', '..'"),
    ],
)
def test_an_address_that_is_none_is_refused_by_name(address: str, told: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.from_env(dir=address)
    assert str(refused.value).startswith(f"SERVING_DIR={address!r}: {told}")


def test_an_address_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVING_DIR", "gs://bucket/a/headlines/")
    address = Settings.from_env().dir
    assert address == BucketAddress("gs", "bucket", "a/headlines")
    assert str(address) == "gs://bucket/a/headlines" and address.find_beside("models.config") == "a/models.config"
    assert BucketAddress.parse("s3://bucket/headlines").find_beside("models.config") == "models.config"
    monkeypatch.setenv("SERVING_DIR", "/srv/123")
    assert Settings.from_env().dir == Path("/srv/123")


def test_a_cache_that_cannot_be_had_is_refused_by_name_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place, told in (
        (tmp_path / "file", "Not a directory"),
        ("s3://bucket/cache", "it is a folder of this machine"),
    ):
        environment = {"SERVING_DIR": "s3://bucket/headlines", "SERVING_CACHE_DIR": str(place)}
        done = subprocess.run(
            [sys.executable, "-m", "serving"], env=os.environ | environment, cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 2 and "Traceback" not in done.stderr
        assert "SERVING_CACHE_DIR=" in done.stderr and told in done.stderr


@pytest.mark.parametrize(("address", "package"), [("s3://bucket/a", "botocore"), ("gs://bucket/a", "google.cloud")])
def test_a_client_that_is_not_installed_is_told_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str, package: str
) -> None:
    for module in [name for name in sys.modules if name.startswith((package, "serving.s3", "serving.gcs"))]:
        monkeypatch.delitem(sys.modules, module)
    import_module = __import__

    def refuse(name: str, *args: object, **kwargs: object) -> object:
        if name.startswith(package):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return import_module(name, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr("builtins.__import__", refuse)
    with pytest.raises(SettingsError, match=r"install serving/requirements-store\.lock"):
        source.open_source(Settings.from_env(dir=address, cache_dir=tmp_path))


def test_with_a_folder_no_client_of_a_store_is_imported() -> None:
    code = (
        "import sys; from pathlib import Path; from serving.app import create_app; "
        "from serving.settings import Settings; create_app(Settings(dir=Path('/nowhere'))); "
        "names = ('botocore', 'google.cloud.storage', 'serving.bucket'); "
        "print([name for name in sys.modules if name.startswith(names)])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['serving.bucket_address']"
