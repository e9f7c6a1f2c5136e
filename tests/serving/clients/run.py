"""`make test-clients`: the peers' clients, each in an environment of its own, against real servers; exits with 1 if one
gets a wrong answer. With --record their requests are kept, as sent, for test_recorded_clients.py, which replays them.
"""

import argparse
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recorder import Recorder

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[2]
sys.path.insert(0, str(HERE.parent))
REQUESTS = HERE / "requests.json"
LOCUST = ("--headless", "--only-summary", "--users", "8", "--run-time", "5s", "--exit-code-on-error", "1")
# Environment, what it runs, the model it is shown, and whether its requests are worth keeping.
CLIENTS = (
    ("kserve", ("python", HERE / "ask_kserve.py"), "headlines", True),
    ("kserve-0.15", ("python", HERE / "ask_kserve.py"), "headlines", True),
    ("tritonclient", ("python", HERE / "ask_tritonclient.py"), "headlines", True),
    ("tf-serving", ("python", HERE / "ask_tf_serving.py"), "pictures", True),
    ("locust", ("locust", "-f", CHECKOUT / "benchmarks" / "locustfile.py", *LOCUST, "--host"), "headlines", False),
)
CONFIG = """model_config_list { config {
  name: "headlines" base_path: "/models/headlines" model_platform: "tensorflow"
  model_version_policy { all {} } version_labels { key: "stable" value: 1 }
} }"""


def main() -> int:
    """Asks with every client, or with those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clients", nargs="*", help=f"which (default: all): {', '.join(name for name, *_ in CLIENTS)}")
    parser.add_argument("--record", action="store_true", help=f"keep their requests in {REQUESTS.name}")
    arguments = parser.parse_args()
    failed, records = [], []
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        urls = {}
        for name, command, model, is_kept in CLIENTS:
            if arguments.clients and name not in arguments.clients:
                continue
            binary = make_environment(name) / "bin" / command[0]
            if model not in urls:
                urls[model] = stack.enter_context(serve(Path(scratch) / model, model))
            with record(urls[model]) if arguments.record and is_kept else contextlib.nullcontext() as recorder:
                url = recorder.url if recorder else urls[model]
                done = subprocess.run([binary, *command[1:], url], cwd=HERE, check=False)
            print(f"{'ok' if not done.returncode else 'FAILED':8}{name}", flush=True)
            failed += [name] if done.returncode else []
            # What plain.py asks for comparison is none of theirs.
            sent = [entry for entry in recorder.requests if "Python-urllib" not in entry["head"]] if recorder else []
            records += [{"client": name, "model": model, **entry} for entry in sent]
    if arguments.record and not failed and not arguments.clients:
        REQUESTS.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    return int(bool(failed))


def make_environment(name: str) -> Path:
    """The environment of a client, beside the project's own; made anew when what it needs has changed."""
    requirements, folder = HERE / f"requirements-{name}.txt", CHECKOUT / f".venv.client-{name}"
    stamp = folder / "stamp"
    if stamp.is_file() and stamp.read_text() == requirements.read_text():
        return folder
    print(f"making {folder.name}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    install = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", requirements)
    subprocess.run([folder / "bin" / "python", *install], check=True)
    stamp.write_text(requirements.read_text())
    return folder


@contextlib.contextmanager
def serve(folder: Path, model: str) -> Iterator[str]:
    """A server over two versions of a model, as long as the block lasts; yields its address."""
    from served_models import save_model, save_picture_model

    save = {"headlines": save_model, "pictures": save_picture_model}[model]
    save(folder / "headlines" / "1")
    shutil.copytree(folder / "headlines" / "1", folder / "headlines" / "2")
    (folder / "models.config").write_text(CONFIG)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    # None of the clients speaks gRPC, whose port a service on this machine, or the other server here, may have.
    own = {"SERVING_DIR": str(folder / "headlines"), "SERVING_PORT": str(port), "SERVING_GRPC_PORT": "0"}
    environment = {**os.environ, **own}
    log = folder / "log"
    with log.open("w") as stream:
        process = subprocess.Popen([sys.executable, "-m", "serving"], cwd=CHECKOUT, env=environment, stderr=stream)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while not is_complete(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the server did not start: {log.read_text()}")
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait()


def is_complete(url: str) -> bool:
    """Whether a server has both versions."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
            return len(json.load(answer)["versions"]) == 2
    except OSError:
        return False


@contextlib.contextmanager
def record(url: str) -> Iterator["Recorder"]:
    """A recorder before a server, as long as the block lasts."""
    from recorder import Recorder

    recorder = Recorder(url)
    try:
        yield recorder
    finally:
        recorder.stop()


if __name__ == "__main__":
    sys.exit(main())
