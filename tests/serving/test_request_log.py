"""The record of requests: what it holds, and that nothing that befalls its file befalls a request."""

import errno
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from running_server import RunningServer
from waiting import wait_until

from serving import request_log
from serving.request_log import NOT_READ, NOT_WRITTEN, TOO_MANY, RequestLog
from serving.tensors import Array


def test_requests_are_logged_only_when_asked(
    start: Callable[..., RunningServer], push: Callable[[int], Path], tmp_path: Path
) -> None:
    push(1)
    log = tmp_path / "logs" / "requests.jsonl"
    running = start(request_log=log)
    running.wait_until_ready()
    running.post("/predict", {"title": "dia bom"})
    running.predict(signature_name="predict_text", instances=["dia ruim", "dia"])
    running.predict(signature_name="halve", instances=[1])
    running.stop()
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert [(line["title"], line["label"], line["version"], line["signature"]) for line in lines] == [
        ("dia bom", "positive", 1, "predict_text"),
        ("dia ruim", "negative", 1, "predict_text"),
        ("dia", "neutral", 1, "predict_text"),
    ]
    assert lines[0]["confidence"] == pytest.approx(0.9094, abs=1e-4)
    assert not [path for path in tmp_path.rglob("*.jsonl") if path != log]


def read_log(folder: Path) -> list[str]:
    files = sorted(folder.glob("requests.jsonl*"))
    return [json.loads(line)["title"] for path in files for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_request_log_keeps_a_share(
    start: Callable[..., RunningServer], push: Callable[[int], Path], tmp_path: Path
) -> None:
    push(1)
    running = start(request_log=tmp_path / "requests.jsonl", request_log_share=0.5)
    running.wait_until_ready()
    for number in range(200):
        running.post("/predict", {"title": f"título {number}"})
    running.stop()
    assert 50 < len(read_log(tmp_path)) < 150


def test_the_request_log_rotates(
    start: Callable[..., RunningServer], push: Callable[[int], Path], tmp_path: Path
) -> None:
    push(1)
    running = start(request_log=tmp_path / "requests.jsonl", request_log_bytes=2048, request_log_files=2)
    running.wait_until_ready()
    for number in range(100):
        running.post("/predict", {"title": f"título {number}"})
    running.stop()
    assert {path.name: path.stat().st_size <= 2048 for path in tmp_path.glob("requests.jsonl*")} == {
        "requests.jsonl": True,
        "requests.jsonl.1": True,
        "requests.jsonl.2": True,
    }
    kept = read_log(tmp_path)
    assert "título 99" in kept
    assert "título 0" not in kept
    assert len(set(kept)) == len(kept)


@pytest.fixture
def lost() -> Counter[str]:
    return Counter()


@pytest.fixture
def make(tmp_path: Path, lost: Counter[str]) -> Callable[..., RequestLog]:
    def make(max_bytes: int = 1 << 20, files: int = 2) -> RequestLog:
        def count(reason: str, rows: int) -> None:
            lost[reason] += rows

        return RequestLog(tmp_path / "requests.jsonl", 1.0, max_bytes, files, count)

    return make


def texts(*values: str) -> Array:
    return np.array([value.encode() for value in values], object)


def keep(log: RequestLog, *titles: str) -> None:
    """Keeps an answered request and waits until it is written, or lost."""
    log.keep(1, "predict_text", {"title": texts(*titles)}, {"label": texts(*["neutral"] * len(titles))})
    wait_until(lambda: not log._waiting_rows)


def test_a_request_without_rows_leaves_no_line(
    start: Callable[..., RunningServer], push: Callable[[int], Path], tmp_path: Path
) -> None:
    push(1)
    log = tmp_path / "requests.jsonl"
    running = start(request_log=log)
    running.wait_until_ready()
    assert running.predict(signature_name="predict_text", inputs=[]).status_code == 200
    running.post("/predict", {"title": "bom"})
    running.stop()
    assert [json.loads(line)["title"] for line in log.read_text().splitlines()] == ["bom"]


@pytest.mark.parametrize(
    ("titles", "label", "expected"),
    [
        (np.array(b"um", object), np.array(b"neutral", object), [("um", "neutral")]),
        (texts("um", "dois").reshape(1, 2), texts("neutral"), [("um", None), ("dois", None)]),
        (texts("um", "dois").reshape(2, 1), texts("neutral", "positive"), [("um", "neutral"), ("dois", "positive")]),
        (texts("um"), np.array([2]), [("um", "2")]),
        (np.array([7]), texts("neutral"), [("7", "neutral")]),
        (np.array([b"\xff"], object), None, [("\ufffd", None)]),
    ],
)
def test_titles_of_any_shape_and_kind_make_lines(
    make: Callable[..., RequestLog],
    lost: Counter[str],
    tmp_path: Path,
    titles: Array,
    label: Array | None,
    expected: list[tuple[str, str | None]],
) -> None:
    log = make()
    confidence = {"confidence": np.array([np.nan], np.float32)}
    log.keep(1, "other", {"title": titles}, confidence if label is None else {"label": label, **confidence})
    log.close()
    lines = [json.loads(line, parse_constant=None) for line in (tmp_path / "requests.jsonl").read_text().splitlines()]
    assert [(line["title"], line["label"]) for line in lines] == expected
    assert "NaN" not in (tmp_path / "requests.jsonl").read_text()
    assert lost == {}


def test_the_titles_of_examples_are_kept_and_what_is_none_is_counted(
    make: Callable[..., RequestLog], lost: Counter[str], tmp_path: Path
) -> None:
    log = make()
    example = tf.train.Example()
    example.features.feature["title"].bytes_list.value.append(b"um")
    answer = {"label": texts("neutral")}
    log.keep(1, "serving_default", {"examples": np.array([b"\xff no example"], object)}, answer)
    log.keep(1, "serving_default", {"examples": np.array([example.SerializeToString()], object)}, answer)
    log.close()
    assert read_log(tmp_path) == ["um"]
    assert lost == {NOT_READ: 1}


def test_a_full_disk_is_told_once_a_minute_with_what_was_lost_and_leaves_no_half_line(
    make: Callable[..., RequestLog],
    lost: Counter[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = make()
    keep(log, "antes")
    write = os.write

    def fill(descriptor: int, content: bytes) -> int:
        if len(content) > 10:
            return write(descriptor, content[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    # As a disk with some bytes left: the first part is taken, the rest is not.
    monkeypatch.setattr(request_log.os, "write", lambda descriptor, content: fill(descriptor, content[-11:]))
    for _ in range(5):
        keep(log, "um", "dois")
    assert lost == {NOT_WRITTEN: 10}
    [record] = caplog.records
    assert f"the request log {tmp_path / 'requests.jsonl'} has lost: 2 (not written)" in record.getMessage()
    assert "No space left" in record.getMessage()
    assert record.exc_info is None
    monkeypatch.setattr(log, "_told_at", log._told_at - 60)
    keep(log, "um")
    assert "has lost: 9 (not written)" in caplog.records[-1].getMessage()
    monkeypatch.setattr(request_log.os, "write", write)
    keep(log, "depois")
    log.close()
    assert read_log(tmp_path) == ["antes", "depois"]


@pytest.mark.parametrize("how", ["rotated", "deleted", "folder deleted"])
def test_a_file_that_somebody_took_away_is_begun_anew(
    make: Callable[..., RequestLog], lost: Counter[str], tmp_path: Path, how: str
) -> None:
    folder = tmp_path / "logs"
    log = RequestLog(folder / "requests.jsonl", 1.0, 1 << 20, 2)
    keep(log, "um")
    match how:
        case "rotated":
            (folder / "requests.jsonl").rename(folder / "requests.jsonl.1")
        case "deleted":
            (folder / "requests.jsonl").unlink()
        case _:
            shutil.rmtree(folder)
    keep(log, "dois")
    log.close()
    assert [json.loads(line)["title"] for line in (folder / "requests.jsonl").read_text().splitlines()] == ["dois"]


def test_a_line_that_a_killed_server_left_half_written_spoils_no_other(
    make: Callable[..., RequestLog], tmp_path: Path
) -> None:
    (tmp_path / "requests.jsonl").write_text('{"time": "2022-')
    log = make()
    keep(log, "um")
    log.close()
    [half, whole] = (tmp_path / "requests.jsonl").read_text().splitlines()
    assert half == '{"time": "2022-'
    assert json.loads(whole)["title"] == "um"


def test_rows_beyond_what_may_wait_are_counted(
    make: Callable[..., RequestLog], lost: Counter[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(request_log, "_MAX_WAITING_ROWS", 3)
    log = make()
    log._waiting_rows = 2
    log.keep(1, "predict_text", {"title": texts("um", "dois")}, {})
    assert lost == {TOO_MANY: 2}
    log.keep(1, "predict_text", {"title": texts("um")}, {})
    wait_until(lambda: log._waiting_rows == 2)
    log._waiting_rows = 0
    # A request of more rows than may wait is kept where nothing else does.
    keep(log, *"abcde")
    log.close()
    assert read_log(tmp_path) == ["um", *"abcde"]


def test_lost_rows_are_in_the_metrics(
    start: Callable[..., RunningServer], push: Callable[[int], Path], tmp_path: Path
) -> None:
    push(1)
    running = start(request_log=tmp_path / "logs" / "requests.jsonl")
    running.wait_until_ready()
    shutil.rmtree(tmp_path / "logs")
    (tmp_path / "logs").write_text("no folder any more")
    assert running.post("/predict", {"title": "bom"}).status_code == 200
    wait_until(lambda: 'serving_request_log_lost_rows_total{reason="not written"} 1.0' in running.get("/metrics").text)


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_is_refused_at_once(make: Callable[..., RequestLog], tmp_path: Path, kind: str) -> None:
    path = tmp_path / "requests.jsonl"
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    with pytest.raises(OSError, match=r"requests\.jsonl"):
        make()
