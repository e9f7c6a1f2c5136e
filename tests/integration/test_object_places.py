"""Places on object storage that cannot be used: told at the start, by the setting and with what to do."""

import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest
from flask import Flask

from headlines.objects.addresses import to_path
from headlines.objects.buckets import GoogleBucket, S3Bucket
from headlines.objects.paths import ObjectPath
from retraining.boot import unit
from retraining.cli.doctor_objects import examine_objects
from retraining.local import model_server, object_places
from retraining.local.preparation import PreparationError
from retraining.openlineage.datasets import write_served
from retraining.settings import Settings
from retraining.upkeep import archive, backup, copies, restore
from retraining.watching import replicas
from retraining.web import views
from retraining.workers import sharing

PLACES = {"drops_dir": "drops", "pipeline_root": "pipelines", "serving_dir": "serving/models", "scores_dir": "scores"}


@pytest.fixture
def stored(bucket: ObjectPath, tmp_path: Path) -> Settings:
    places: dict[str, Any] = {name: str(bucket / folder) for name, folder in PLACES.items()}
    return Settings.from_env(state_dir=tmp_path / "state", **places)


@pytest.fixture
def forbidden(monkeypatch: pytest.MonkeyPatch, bucket: ObjectPath) -> Iterator[None]:
    """Leads to a server that lets nobody in."""

    class Refusing(BaseHTTPRequestHandler):
        def refuse(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            content = b'{"error": {"code": 403, "message": "not yours"}}'
            if bucket.scheme == "s3":
                content = b"<Error><Code>AccessDenied</Code><Message>not yours</Message></Error>"
            self.send_response(403)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = refuse

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        for name in ("AWS_ENDPOINT_URL", "STORAGE_EMULATOR_HOST"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{server.server_port}")
        yield
        server.shutdown()
        thread.join()


def test_places_that_can_be_used_are_named_and_nothing_is_left_in_them(stored: Settings, bucket: ObjectPath) -> None:
    object_places.check(stored)
    found = examine_objects(stored)
    assert found.level == "ok" and f"SERVING_DIR={bucket}/serving/models" in found.text
    assert not bucket.exists()
    assert object_places.find_places(Settings.from_env()) == []


def test_a_bucket_that_is_not_there_stops_the_start_by_the_name_of_each_setting(
    stored: Settings, bucket: ObjectPath
) -> None:
    elsewhere = to_path(f"{bucket.scheme}://no-such-bucket-of-ours/headlines")
    gone = stored.model_copy(update={"scores_dir": elsewhere / "scores", "drops_dir": elsewhere / "drops"})
    with pytest.raises(PreparationError) as refused:
        object_places.check(gone)
    lines = str(refused.value).splitlines()
    assert [line.partition("=")[0] for line in lines] == ["DROPS_DIR", "SCORES_DIR"]
    assert all("there is no such bucket; correct" in line and "docs/object-storage.md" in line for line in lines)
    assert examine_objects(gone).level == "fail"


def test_who_is_not_let_in_is_told_so(stored: Settings, forbidden: None) -> None:
    place = to_path(str(stored.scores_dir).replace("headlines-", "another-"))
    refused = stored.model_copy(update={"scores_dir": place})
    [problem] = [one for one in object_places.find_problems(refused) if one.startswith("SCORES_DIR")]
    assert "access is denied" in problem and "docs/object-storage.md" in problem
    with pytest.raises(PermissionError):
        (place / "x").read_bytes()


def test_a_store_that_passes_over_conditions_is_refused(
    stored: Settings, bucket: ObjectPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = {"s3": S3Bucket, "gs": GoogleBucket}[bucket.scheme]
    write = kind.write

    def replace(self: Any, key: str, content: bytes, must_be_new: bool = False) -> None:
        write(self, key, content)

    monkeypatch.setattr(kind, "write", replace)
    problems = object_places.find_problems(stored)
    assert [problem.partition("=")[0] for problem in problems] == ["PIPELINE_ROOT", "SERVING_DIR", "SCORES_DIR"]
    assert all("the store replaces an object that must be new" in problem for problem in problems)
    assert not bucket.exists()


def test_an_error_is_told_by_the_setting_of_the_place_and_of_no_other(stored: Settings, bucket: ObjectPath) -> None:
    of_key = {"serving/rollbacks.json": "SERVING_DIR", "drops/2022-02-01/x.csv": "DROPS_DIR", "scores": "SCORES_DIR"}
    for key, setting in of_key.items():
        text = stored.explain(OSError(5, "it is down", f"{bucket}/{key}"))
        assert text and text.startswith(f"{setting}=")
    assert stored.explain(OSError(5, "no credentials", f"{bucket.scheme}://{bucket.parts[1]}/"))
    assert stored.explain(OSError(5, "it is down", f"{bucket}/drops-2/x.csv")) is None


def test_a_bucket_that_is_down_is_no_fault_of_a_model_server_that_answers(
    stored: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = create_autospec(replicas.ask_one, return_value=replicas.Replica("http://127.0.0.1:1"))
    monkeypatch.setattr(model_server.replicas, "ask_one", ask)
    monkeypatch.setattr(model_server, "is_healthy", create_autospec(model_server.is_healthy, return_value=True))
    assert model_server.find_state(stored) == "healthy", "nothing was pushed"
    (stored.serving_dir / "2022020101" / "saved_model.pb").touch()
    assert model_server.find_state(stored) == "loading"
    for name, value in {"AWS_MAX_ATTEMPTS": "1", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    monkeypatch.setattr("headlines.objects.buckets._RETRY_SECONDS", 1.0)
    monkeypatch.setattr("headlines.objects.buckets._open", {})
    assert model_server.find_state(stored) == "failing"
    ask.return_value = replicas.Replica("http://127.0.0.1:1", version=2022020101)
    assert model_server.find_state(stored) == "healthy", "it serves from its copies"


def test_the_model_server_of_the_service_keeps_its_copies_where_it_may_write(stored: Settings, tmp_path: Path) -> None:
    assert stored.server_options["SERVING_CACHE_DIR"] == f"{tmp_path}/state/serving-copies"
    assert "SERVING_CACHE_DIR" not in Settings.from_env().server_options


def test_workers_units_and_catalogues_are_told_of_the_bucket(stored: Settings, bucket: ObjectPath) -> None:
    assert unit.find_written(stored) == [stored.state_dir]
    token = sharing._settle_token(stored.serving_dir)
    assert token and sharing._find_token(stored.serving_dir) == token == sharing._settle_token(stored.serving_dir)
    assert sharing._find_token(stored.scores_dir) is None and sharing._find_write_problem(stored.scores_dir) is None
    served = write_served(stored, 2022020101)
    assert (served.namespace, served.name) == (f"{bucket.scheme}://{bucket.parts[1]}", "service/serving/models")


def test_a_backup_says_what_it_leaves_to_buckets_and_leads_nowhere_else(stored: Settings, tmp_path: Path) -> None:
    left_out = backup._leave_objects(stored)
    assert sorted(left_out) == sorted(str(getattr(stored, name)) for name in PLACES)
    manifest = archive.Manifest(1, "", "", "", {}, 10, {"scores_dir": "/srv/scores"}, {}, {}, True, True, left_out)
    restore._check_empty(stored, manifest)
    elsewhere = Settings.from_env(state_dir=tmp_path / "other", scores_dir=f"{stored.scores_dir}-2")
    with pytest.raises(archive.BackupError, match=r"SCORES_DIR=.* set SCORES_DIR to /srv/scores or to a folder"):
        restore._check_empty(elsewhere, manifest)


def test_a_page_whose_bucket_does_not_answer_says_so(stored: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise OSError(5, "the network is down", f"{stored.pipeline_root}/Evaluator/evaluation/7/verdict.json")

    page = create_autospec(views.HeadlinesView, instance=True)
    with Flask(__name__).test_request_context("/headlines/model/7"):
        monkeypatch.setattr(views, "read_settings", lambda: stored)
        views.HeadlinesView._try(page, fail)
        title, _, status = page.tell.call_args.args
        assert (title, status) == ("A place of the service cannot be read", 503)
        # What lies nowhere of the service's is a fault.
        elsewhere = stored.model_copy(update={"pipeline_root": stored.state_dir})
        monkeypatch.setattr(views, "read_settings", lambda: elsewhere)
        with pytest.raises(OSError, match="the network is down"):
            views.HeadlinesView._try(page, fail)


def test_an_upgrade_that_is_taken_back_puts_the_files_there_back_and_moves_unrecorded_versions_aside(
    stored: Settings, tmp_path: Path
) -> None:
    (tmp_path / "copy").mkdir()
    rollbacks_file = stored.serving_dir.parent / "rollbacks.json"
    rollbacks_file.write_text("[]")
    copies.keep_files(stored, tmp_path / "copy")
    rollbacks_file.write_text("[1]")
    (stored.serving_dir.parent / "models.config").write_text("of later")
    for version in ("2022020101", "2022020201"):
        (stored.serving_dir / version / "saved_model.pb").write_text(version)
    aside = copies.put_files_back(stored, tmp_path / "copy", {2022020101})
    assert rollbacks_file.read_text() == "[]" and not (stored.serving_dir.parent / "models.config").exists()
    assert [path.name for path in stored.serving_dir.iterdir()] == ["2022020101"]
    assert [(path / "saved_model.pb").read_text() for path in aside] == ["2022020201"]


def test_without_its_package_a_bucket_is_told_with_the_command_that_installs_it(
    stored: Settings, bucket: ObjectPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "boto3" if bucket.scheme == "s3" else "google.cloud.storage", None)
    gone = stored.model_copy(update={"drops_dir": to_path(f"{bucket.scheme}://a-bucket-never-opened/drops")})
    [problem] = [one for one in object_places.find_problems(gone) if one.startswith("DROPS_DIR")]
    assert "object storage needs the package" in problem and "`make setup-celery`" in problem
