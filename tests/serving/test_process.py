"""The server as a process: what hangs, what may not be read, and what it cannot begin with."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from grpc_client import Client, predict_request
from server_process import ROOT, ServerProcess
from waiting import wait_until


def hang(path: Path, file: str = "variables/variables.index") -> Path:
    """Replaces a file by a pipe that nobody writes to, at which whoever opens it waits."""
    (path / file).unlink()
    os.mkfifo(path / file)
    return path


def test_a_load_that_hangs_holds_up_neither_requests_nor_other_versions_nor_the_end(
    push: Callable[[int], Path], tmp_path: Path
) -> None:
    push(1)
    with ServerProcess(tmp_path / "headlines", load_seconds=1, keep_versions=1) as server:
        wait_until(lambda: server.answers("/readyz"))
        hung = hang(push(2), "saved_model.pb")
        # A pipe alone is no SavedModel to begin with; beside it, TensorFlow takes the pipe.
        (hung / "saved_model.pbtxt").write_text("")
        wait_until(lambda: "version 2 cannot be served" in server.problems())
        assert "its load takes longer than 1 s" in server.problems()
        assert server.post("/predict", {"title": "bom"}).json()["version"] == "1"
        assert 'serving_not_served_versions{reason="slow"} 1.0' in server.get("/metrics").text
        assert server.answers("/healthz")
        push(3)
        wait_until(lambda: server.post("/predict", {"title": "bom"}).json()["version"] == "3")
        assert server.end(seconds=10) == -signal.SIGTERM
        assert "the server ends, and gives up version 2, under load for" in server.log
        assert server.log.count("version 2 cannot be served") == 1


def test_what_waits_over_every_protocol_is_answered_amid_the_end_while_a_load_hangs(
    push: Callable[[int], Path], tmp_path: Path
) -> None:
    push(1)
    rows = 20_000
    titles = ["um bom dia " * 3] * rows
    tensor = {"name": "title", "datatype": "BYTES", "shape": [rows], "data": titles}
    with (
        ServerProcess(tmp_path / "headlines", timeout_seconds=10, keep_versions=1) as server,
        Client(f"127.0.0.1:{server.grpc_port}") as client,
        ThreadPoolExecutor(4) as pool,
    ):
        wait_until(lambda: server.answers("/readyz"))
        hang(push(2))
        wait_until(lambda: "loading version 2" in server.log)
        v1 = {"signature_name": "predict_text", "instances": titles}
        answers = [
            pool.submit(server.post, "/v1/models/headlines:predict", v1),
            pool.submit(server.post, "/v2/models/headlines/infer", {"inputs": [tensor]}),
        ]
        call = client.prediction.Predict.future(predict_request(titles), timeout=30)
        wait_until(lambda: count_large(server) > 0)
        server.process.send_signal(signal.SIGTERM)
        # Ten seconds that any request has, and some for what hangs.
        assert server.process.wait(16) == -signal.SIGTERM
        statuses = [answer.result().status_code if not answer.exception() else None for answer in answers]
        # Who has not been read by then may be sent away, and who has is answered.
        assert set(statuses) <= {200, None} and call.code().name in ("OK", "UNAVAILABLE")
        assert 200 in statuses or call.code().name == "OK"
        assert "gives up version 2" in server.log and "Traceback" not in server.log


def count_large(server: ServerProcess) -> float:
    """Rows that were run in pieces so far."""
    found = re.search(r'serving_batch_rows_sum\{signature="predict_text"\} (\S+)', server.get("/metrics").text)
    return float(found[1]) if found else 0.0


def test_a_load_that_is_waited_for_does_not_hold_up_the_end(push: Callable[[int], Path], tmp_path: Path) -> None:
    hang(push(1))
    with ServerProcess(tmp_path / "headlines") as server:
        wait_until(lambda: "loading version 1" in server.log)
        assert not server.answers("/healthz"), "who listens has its share of the requests"
        assert server.end(seconds=10) == -signal.SIGTERM
        assert "the server ends, and gives up version 1, under load for" in server.log


def test_an_interrupt_ends_it_amid_a_load_as_well(push: Callable[[int], Path], tmp_path: Path) -> None:
    hang(push(1))
    with ServerProcess(tmp_path / "headlines") as server:
        wait_until(lambda: "loading version 1" in server.log)
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(10) == 0
        assert "gives up version 1" in server.log


def test_what_may_not_be_read_is_told_and_taken_up_once_it_may(push: Callable[[int], Path], tmp_path: Path) -> None:
    folder, config = tmp_path / "headlines", tmp_path / "models.config"
    push(1)
    config.write_text(
        'model_config_list { config { name: "headlines" base_path: "/srv/headlines" model_platform: "tensorflow" } }'
    )
    version, graph = push(2), folder / "2" / "saved_model.pb"
    version.chmod(0o000)
    with ServerProcess(folder) as server:
        wait_until(lambda: server.answers("/readyz"))
        assert server.post("/predict", {"title": "bom"}).json()["version"] == "1"
        assert "version 2 cannot be served, others serve on: PermissionError" in server.problems()
        # Not readable one after the other: the folder, its graph, a folder in it.
        graph.chmod(0o000)
        version.chmod(0o755)
        wait_until(lambda: "saved_model.pb" in server.problems())
        (folder / "2" / "variables").chmod(0o000)
        graph.chmod(0o644)
        wait_until(lambda: "variables" in server.problems())
        (folder / "2" / "variables").chmod(0o755)
        wait_until(lambda: server.post("/predict", {"title": "bom"}).json()["version"] == "2")
        config.chmod(0o000)
        wait_until(lambda: f"{config} is not used, the policy stays" in server.problems())
        assert "serving_config_is_used 0.0" in server.get("/metrics").text
        config.chmod(0o644)
        wait_until(lambda: server.problems() == "")
        folder.chmod(0o000)
        wait_until(lambda: f"SERVING_DIR={folder} cannot be read (Permission denied)" in server.problems())
        assert server.answers("/healthz"), "a restart would lose what serves"
        folder.chmod(0o755)
        wait_until(lambda: server.problems() == "")
        assert server.log.count("cannot be read (Permission denied)") == 2, "once when it began, once when it was over"


@pytest.mark.parametrize("wrong", ["a folder", "under a file"])
def test_a_request_log_that_cannot_be_written_is_told_before_anything_starts(tmp_path: Path, wrong: str) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path if wrong == "a folder" else tmp_path / "file" / "requests.jsonl"
    environment = os.environ | {"SERVING_DIR": str(tmp_path), "SERVING_REQUEST_LOG": str(path)}
    done = subprocess.run(
        [sys.executable, "-m", "serving"], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert f"SERVING_REQUEST_LOG={path} cannot be written: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_is_copied_in_place_serves_once_it_rests(
    push: Callable[[int], Path], saved_model: Path, tmp_path: Path
) -> None:
    push(1)
    with ServerProcess(tmp_path / "headlines", keep_versions=1) as server:
        wait_until(lambda: server.answers("/readyz"))
        place = tmp_path / "headlines" / "2"
        (place / "variables").mkdir(parents=True)
        shutil.copy(saved_model / "saved_model.pb", place)
        wait_until(lambda: "version 2 cannot be served" in server.problems())
        for file in sorted((saved_model / "variables").iterdir()):
            shutil.copy(file, place / "variables")
        wait_until(lambda: server.post("/predict", {"title": "bom"}).json()["version"] == "2")
        assert server.problems() == ""
