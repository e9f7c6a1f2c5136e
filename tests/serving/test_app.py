"""What is asked beside TensorFlow Serving's API, who may ask, and how much."""

import gzip
import json
import random
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest
from running_server import MANY_ROWS, Gate, RunningServer, hold_large_runs
from served_models import write_about, write_related
from waiting import wait_until

from serving import app as serving_app
from serving import body, rest
from serving.settings import Settings, SettingsError


def test_predict_names_the_label_and_every_probability(server: RunningServer) -> None:
    answer = server.post("/predict", {"title": "um dia bom"}).json()
    assert answer["label"] == "positive"
    assert answer["version"] == "2022020201"
    assert answer["confidence"] == answer["probabilities"]["positive"] == pytest.approx(0.9094, abs=1e-4)
    assert sum(answer["probabilities"].values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("path", "document", "message"),
    [
        ("/predict", {}, "'title' must be a text"),
        ("/predict", {"title": ["x"]}, "'title' must be a text"),
        ("/predict", {"title": "  "}, "'title' must be a text"),
        ("/predict", {"title": "x" * 501}, "'title' has 501 characters; at most 500 are read"),
        ("/related", {"title": "x", "n": 0}, "'n' must be a whole number from 1 to 50"),
        ("/related", {"title": "x", "n": True}, "'n' must be a whole number from 1 to 50"),
        ("/related", {"title": "x", "n": 1.5}, "'n' must be a whole number from 1 to 50"),
    ],
)
def test_a_wrong_question_says_what_is_wrong(
    server: RunningServer, path: str, document: dict[str, object], message: str
) -> None:
    response = server.post(path, document)
    assert response.status_code == 400
    assert message in response.json()["error"]


def test_a_title_that_is_no_utf_8_is_refused(server: RunningServer) -> None:
    for content in (b'{"title": "a\xff"}', b'{"title": "\\ud800"}'):
        response = server.post("/predict", content=content)
        assert response.status_code == 400, response.text


def test_related_gives_the_nearest_headlines_with_label_and_drop(server: RunningServer) -> None:
    answer = server.post("/related", {"title": "CHUVA fórte", "n": 2}).json()
    assert answer["version"] == "2022020201"
    first, second = answer["related"]
    assert {key: first[key] for key in ("title", "label", "night")} == {
        "title": "Chuva forte em São Paulo",
        "label": "negative",
        "night": "2022-02-01",
    }
    assert second["title"] == "Chuva fraca no Rio"
    assert 0 < second["similarity"] < first["similarity"] < 1
    assert server.post("/related", {"title": "Chuva forte em São Paulo"}).json()["related"][0]["similarity"] == 1
    assert server.post("/related", {"title": "zzz"}).json()["related"] == []


def test_related_belongs_to_the_version_that_answers(
    start: Callable[..., RunningServer], push: Callable[[int], Path]
) -> None:
    push(1)
    running = start()
    running.wait_until_ready()
    response = running.post("/related", {"title": "x"})
    assert (response.status_code, response.json()) == (
        404,
        {"error": "version 1 has no related headlines: it was pushed without one"},
    )


def test_version_says_where_the_model_comes_from(server: RunningServer) -> None:
    answer = server.get("/version").json()
    assert answer.pop("loaded_at").endswith("+00:00")
    assert answer == {
        "model": "headlines",
        "version": "2022020201",
        "night": "2022-02-02",
        "model_id": 7,
        "code": "c0de",
        "data": None,
        "settings": None,
        "verdict": {"blessed": True},
        "reason": None,
        "pushed_at": None,
        "related": 3,
        "loaded_versions": ["2022020201", "2022020101"],
    }


def test_a_server_without_a_model_is_healthy_but_not_ready(start: Callable[..., RunningServer], tmp_path: Path) -> None:
    folder = tmp_path / "headlines"
    running = start()
    empty = f"SERVING_DIR={folder} holds no version: push one, or correct SERVING_DIR"
    wait_until(lambda: running.get("/healthz").json() == {"status": "ok", "problems": [empty]})
    ready = running.get("/readyz")
    assert (ready.status_code, ready.json()) == (503, {"error": f"no version of headlines is loaded; {empty}"})
    assert running.get("/v1/models/headlines").json() == {"error": "Could not find any versions of model headlines"}
    assert running.post("/predict", {"title": "x"}).status_code == 404
    assert running.get("/version").status_code == 404


def test_a_folder_that_does_not_exist_is_unhealthy_only_while_nothing_serves(
    start: Callable[..., RunningServer], push: Callable[[int], Path], tmp_path: Path
) -> None:
    running = start()
    (tmp_path / "headlines").rmdir()
    wait_until(lambda: running.get("/healthz").status_code == 503)
    assert f"SERVING_DIR={tmp_path / 'headlines'} does not exist" in running.get("/healthz").json()["error"]
    assert "serving_folder_is_read 0.0" in running.get("/metrics").text
    push(1)
    running.wait_until_ready()
    assert running.get("/readyz").json() == {"status": "ok", "versions": ["1"], "problems": []}
    shutil.rmtree(tmp_path / "headlines")
    wait_until(lambda: "serving_folder_is_read 0.0" in running.get("/metrics").text)
    for path in ("/healthz", "/readyz"):
        assert running.get(path).status_code == 200
        assert "does not exist" in running.get(path).json()["problems"][0]


def test_a_typo_in_the_config_file_is_told_by_the_probes_and_the_metrics(
    start: Callable[..., RunningServer], push: Callable[[int], Path], tmp_path: Path
) -> None:
    push(1)
    push(2)
    config = tmp_path / "models.config"
    pinned = (
        'model_config_list { config { name: "headlines" base_path: "/srv/headlines" model_platform: "tensorflow" '
        "model_version_policy { specific { versions: 1 } } } }"
    )
    config.write_text(pinned)
    running = start()
    running.wait_until_ready()
    wait_until(lambda: "serving_config_is_used 1.0" in running.get("/metrics").text)
    assert "serving_config_read_timestamp_seconds 0.0" not in running.get("/metrics").text
    config.write_text(pinned.replace("specific", "specfic"))
    wait_until(lambda: "serving_config_is_used 0.0" in running.get("/metrics").text)
    ready = running.get("/readyz")
    assert (ready.status_code, ready.json()["versions"]) == (200, ["1"])
    assert f"{config} is not used, the policy stays" in ready.json()["problems"][0]
    assert running.post("/predict", {"title": "x"}).json()["version"] == "1"
    config.write_text(pinned)
    wait_until(lambda: running.get("/readyz").json()["problems"] == [])


def test_metrics_count_requests_labels_and_versions(
    start: Callable[..., RunningServer], push: Callable[[int], Path]
) -> None:
    push(1)
    running = start()
    running.wait_until_ready()
    running.predict(signature_name="predict_text", instances=["bom", "bom", "ruim"])
    running.predict(instances=[1])
    page = running.get("/metrics").text
    assert 'serving_predictions_total{label="positive",version="1"} 2.0' in page
    assert 'serving_predictions_total{label="negative",version="1"} 1.0' in page
    assert 'serving_requests_total{path="/v1",status="200"} 1.0' in page
    assert 'serving_requests_total{path="/v1",status="400"} 1.0' in page
    assert 'serving_batch_rows_sum{signature="predict_text"} 3.0' in page
    assert 'serving_request_seconds_count{signature="predict_text",version="1"} 1.0' in page
    assert 'serving_loaded_version{version="1"} 1.0' in page
    assert 'serving_loads_total{result="loaded"} 1.0' in page


METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
ALLOWED = {
    **{path: {"POST"} for path in ("/predict", "/related")},
    **{path: {"GET", "HEAD"} for path in ("/version", "/healthz", "/readyz", "/metrics", "/", "/openapi.json")},
}


@pytest.mark.parametrize("path", ALLOWED)
@pytest.mark.parametrize("method", METHODS)
def test_a_method_that_a_path_has_not_is_refused_with_those_that_it_has(
    server: RunningServer, path: str, method: str
) -> None:
    response = server.client.request(method, path)
    if method in ALLOWED[path]:
        assert response.status_code != 405
    else:
        assert response.status_code == 405
        assert set(response.headers["allow"].split(", ")) == ALLOWED[path]
        assert method == "HEAD" or response.json() == {"error": "Method Not Allowed"}
    assert method != "HEAD" or response.content == b""


# TensorFlow Serving says so of every method and path under /v1 that it does not know
# (HttpRestApiHandler::ProcessRequest in model_servers/http_rest_api_handler.cc), but for OPTIONS, which it takes for a
# question of CORS (model_servers/http_server.cc).
@pytest.mark.parametrize("method", METHODS)
def test_a_method_that_tensorflow_serving_s_api_has_not_is_a_malformed_request(
    server: RunningServer, method: str
) -> None:
    response = server.client.request(method, "/v1/models/headlines")
    if method == "HEAD":
        assert (response.status_code, response.content) == (400, b"")
    elif method != "GET":
        assert response.json() == {"error": f"Malformed request: {method} /v1/models/headlines"}
        assert response.status_code == 400


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("/nope", 404, "Not Found"),
        ("/v1", 404, "Not Found"),
        ("/version/", 404, "Not Found"),
        ("/healthz/", 404, "Not Found"),
        ("/predict/", 404, "Not Found"),
        ("//version", 404, "Not Found"),
        ("/v1/models/headlines/", 400, "Malformed request: GET /v1/models/headlines/"),
        ("/v1/", 400, "Malformed request: GET /v1/"),
    ],
)
def test_an_address_that_is_not_there_is_refused_and_sends_nobody_elsewhere(
    server: RunningServer, path: str, status: int, error: str
) -> None:
    response = server.client.get(f"{server.url}{path}", headers={"host": "evil.example"})
    assert (response.status_code, response.json()) == (status, {"error": error})
    assert "location" not in response.headers


def test_a_body_over_the_limit_is_refused_whether_it_says_its_length_or_not(server: RunningServer) -> None:
    limit = server.settings.max_body_bytes
    message = {"error": f"the request's body is larger than {limit} bytes; send it in parts"}
    whole = server.post("/v1/models/headlines:predict", content=b" " * (10 << 20))
    assert (whole.status_code, whole.json()) == (413, message)

    def chunks() -> object:
        yield from (b" " * 65536 for _ in range(40))

    parts = server.post("/predict", content=chunks())
    assert (parts.status_code, parts.json()) == (413, message)


def test_a_packed_bomb_and_a_broken_pack_are_refused(server: RunningServer) -> None:
    headers = {"content-encoding": "gzip"}
    bomb = server.post("/predict", content=gzip.compress(b" " * (50 << 20)), headers=headers)
    assert bomb.status_code == 413
    for content in (b"not gzip", gzip.compress(b'{"title": "bom"}')[:-8]):
        assert server.post("/predict", content=content, headers=headers).status_code == 400


def pack(*members: bytes) -> bytes:
    return b"".join(map(gzip.compress, members))


@pytest.mark.parametrize("path", ["/predict", "/v1/models/headlines:predict"])
@pytest.mark.parametrize(
    ("name", "is_packed"),
    [
        ("gzip", True),
        ("GZip", True),
        ("x-gzip", True),
        ("identity", False),
        ("", False),
        ("identity ,\tgzip", True),
        (",", False),
    ],
)
def test_a_body_is_unpacked_by_the_name_of_its_encoding(
    server: RunningServer, path: str, name: str, is_packed: bool
) -> None:
    document = b'{"title": "bom", "signature_name": "predict_text", "instances": ["bom"]}'
    content = gzip.compress(document) if is_packed else document
    response = server.post(path, content=content, headers={"content-encoding": name})
    assert response.status_code == 200, response.text
    assert "positive" in response.text


@pytest.mark.parametrize("name", ["deflate", "br", "zstd", "compress", "gzip, gzip", "gzip, br", "gzipped", "*", "é"])
def test_a_body_in_an_encoding_that_is_not_read_is_refused_with_those_that_are(
    server: RunningServer, name: str
) -> None:
    response = server.post("/predict", content=b'{"title": "bom"}', headers={"content-encoding": name.encode()})
    assert (response.status_code, response.headers["accept-encoding"]) == (415, "gzip, identity")
    assert response.json() == {
        "error": f"Content-Encoding: {name.encode().decode('latin-1').lower()} is not read; send gzip or plain JSON"
    }


def test_two_lines_of_encodings_are_several(server: RunningServer) -> None:
    headers = [("content-encoding", "gzip"), ("content-encoding", "gzip")]
    assert server.post("/predict", content=pack(b"{}"), headers=headers).status_code == 415


@pytest.mark.parametrize(
    "packed",
    [
        pack(b'{"title": ', b'"bom"}'),
        pack(b"", b'{"title": ', b"", b'"bom"}', b""),
        pack(*(bytes([byte]) for byte in b'{"title": "bom"}')),
        pack(b'{"title": "bom", "more": "' + random.Random(0).randbytes(100_000).hex().encode(), b'"}'),
    ],
    ids=["two", "empty ones", "a byte each", "a large one"],
)
def test_all_members_of_a_packed_body_are_read(server: RunningServer, packed: bytes) -> None:
    response = server.post("/predict", content=packed, headers={"content-encoding": "gzip"})
    assert response.json()["label"] == "positive"


def test_the_members_of_a_packed_body_are_limited_together(server: RunningServer) -> None:
    limit = server.settings.max_body_bytes
    document = b'{"title": "bom"}'
    headers = {"content-encoding": "gzip"}
    for spaces, status in ((limit - len(document), 200), (limit - len(document) + 1, 413)):
        halves = (b" " * (spaces // 2), b" " * (spaces - spaces // 2))
        response = server.post("/predict", content=pack(*halves, document), headers=headers)
        assert response.status_code == status
    # The smallest members there are, as many as fit.
    empty = gzip.compress(b"")
    many = empty * ((limit - 100) // len(empty)) + gzip.compress(document)
    assert server.post("/predict", content=many, headers=headers).status_code == 200


@pytest.mark.parametrize("rest", [b"\0", b"x", gzip.compress(b" ", mtime=0)[:-1], gzip.compress(b" ", mtime=0)[:5]])
def test_what_follows_a_member_must_be_a_member(server: RunningServer, rest: bytes) -> None:
    packed = gzip.compress(b'{"title": "bom"}') + rest
    response = server.post("/predict", content=packed, headers={"content-encoding": "gzip"})
    assert response.json() == {"error": "the request's body is not the gzip that its header says"}
    assert response.status_code == 400


def test_a_hundred_thousand_rows_are_answered(server: RunningServer) -> None:
    answer = server.predict(signature_name="predict_text", instances=["bom", "ruim"] * 50_000)
    labels = [row["label"] for row in answer.json()["predictions"]]
    assert labels == ["positive", "negative"] * 50_000


LARGE_ROWS = {"signature_name": "predict_text", "instances": ["bom"] * 20_000}
LARGE_EXAMPLES = {"signature_name": "classify_examples", "examples": [{"title": "bom"}] * 5_000}


@pytest.mark.parametrize(
    ("path", "document", "module", "step"),
    [
        ("/v1/models/headlines:predict", LARGE_ROWS, rest, "parse_json"),
        ("/v1/models/headlines:predict", LARGE_ROWS, rest, "read_inputs"),
        ("/v1/models/headlines:predict", LARGE_ROWS, rest, "write_outputs"),
        ("/v1/models/headlines:classify", LARGE_EXAMPLES, rest, "read_examples"),
        ("/v1/models/headlines:classify", LARGE_EXAMPLES, rest, "write_classes"),
        ("/predict", {"title": "bom", "more": "x" * 100_000}, serving_app, "parse_json"),
    ],
)
def test_a_small_request_is_answered_amid_every_step_of_a_large_one(
    start: Callable[..., RunningServer],
    push: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    document: dict[str, object],
    module: ModuleType,
    step: str,
) -> None:
    push(1)
    running = start()
    running.wait_until_ready()
    gate = Gate(getattr(module, step))
    monkeypatch.setattr(module, step, gate)
    with ThreadPoolExecutor(1) as client:
        large = client.submit(running.post, path, document)
        gate.wait_until_reached()
        assert running.get("/version").json()["version"] == "1"
        gate.open()
        assert large.result().status_code == 200


def test_a_small_request_is_answered_amid_the_run_and_the_unpacking_of_a_large_one(
    start: Callable[..., RunningServer], push: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    push(1)
    running = start()
    running.wait_until_ready()
    content = gzip.compress(json.dumps(LARGE_ROWS).encode(), compresslevel=0)
    run, unpack = hold_large_runs(running, monkeypatch), Gate(body._unpack)
    monkeypatch.setattr(body, "_unpack", unpack)
    url, headers = "/v1/models/headlines:predict", {"content-encoding": "gzip"}
    with ThreadPoolExecutor(1) as client:
        large = client.submit(running.post, url, content=content, headers=headers)
        for gate in (unpack, run):
            gate.wait_until_reached()
            assert running.post("/predict", {"title": "bom"}).json()["label"] == "positive"
            gate.open()
        assert large.result().status_code == 200


def test_too_many_large_requests_are_refused(
    start: Callable[..., RunningServer], push: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    push(1)
    running = start(max_large_waiting=1)
    running.wait_until_ready()
    gate = hold_large_runs(running, monkeypatch)
    with ThreadPoolExecutor(1) as client:
        first = client.submit(running.predict, **MANY_ROWS)
        gate.wait_until_reached()
        refused = running.predict(**MANY_ROWS)
        gate.open()
        assert first.result().status_code == 200
    assert (refused.status_code, refused.json()) == (
        503,
        {"error": "The batch scheduling queue to which this task was submitted is full"},
    )
    assert running.predict(**MANY_ROWS).status_code == 200


def test_a_token_is_asked_of_all_but_the_page_and_the_probes(
    start: Callable[..., RunningServer], push: Callable[[int], Path]
) -> None:
    push(1)
    running = start(token="s3cret")
    running.wait_until_ready()
    for path in ("/v1/models/headlines", "/version", "/metrics", "/v1/anything"):
        refused = running.get(path)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert "error" in refused.json()
        for scheme in ("Bearer", "bearer"):
            assert running.get(path, headers={"authorization": f"{scheme} s3cret"}).status_code != 401
    for wrong in ("Bearer s3cre", "Bearer", "s3cret", "Basic s3cret", "Bearer s3crèt".encode()):
        assert running.post("/predict", {"title": "x"}, headers={"authorization": wrong}).status_code == 401
    for path in ("/", "/openapi.json", "/healthz", "/readyz"):
        assert running.get(path).status_code == 200


def test_an_unexpected_failure_shows_no_stack_trace_and_logs_no_title(
    start: Callable[..., RunningServer],
    push: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    push(1)
    running = start()
    running.wait_until_ready()

    def fail(value: float) -> float:
        raise ZeroDivisionError

    monkeypatch.setattr(serving_app, "shorten_float", fail)
    response = running.post("/predict", {"title": "um segredo"})
    assert (response.status_code, response.json()) == (500, {"error": "internal error; the server's log says more"})
    assert "ZeroDivisionError" in caplog.text
    assert "segredo" not in caplog.text


def test_an_unexpected_failure_of_a_probe_is_an_error_like_any_other(
    start: Callable[..., RunningServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    running = start()
    monkeypatch.delattr(running.app.state.server, "versions")
    response = running.get("/healthz")
    monkeypatch.undo()
    assert (response.status_code, response.json()) == (500, {"error": "internal error; the server's log says more"})


def test_the_page_stands_alone(server: RunningServer) -> None:
    response = server.get("/")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert not re.search(r"(?:src|href)\s*=\s*[\"']?(?:https?:)?//|@import|url\(", response.text)


def test_a_missing_or_wrong_setting_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SERVING_DIR", raising=False)
    monkeypatch.setenv("SERVING_PORT", "99999")
    with pytest.raises(SettingsError) as caught:
        Settings.from_env()
    assert "SERVING_DIR is not set; set it to" in str(caught.value)
    assert "SERVING_PORT='99999': " in str(caught.value)


def test_every_setting_is_documented() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_the_files_beside_a_model_are_those_of_its_version(
    start: Callable[..., RunningServer], push: Callable[[int], Path], tmp_path: Path
) -> None:
    write_about(push(1), code="old")
    running = start(keep_versions=1)
    running.wait_until_ready()
    assert running.get("/version").json()["code"] == "old"
    path = push(20)
    incoming = path.with_name(".incoming-300")
    path.rename(incoming)
    write_about(incoming, code="new")
    write_related(incoming, [("uma casa", "neutral", "2022-02-01")])
    incoming.rename(tmp_path / "headlines" / "300")
    wait_until(lambda: running.get("/version").json()["version"] == "300")
    assert running.get("/version").json()["code"] == "new"
    assert running.post("/related", {"title": "casa"}).json()["version"] == "300"
