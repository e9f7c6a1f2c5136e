"""curl, Java's, Node's and Go's clients ask every endpoint, and get what Python's gets."""

import base64
import gzip
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from running_server import RunningServer

CLIENTS = Path(__file__).parent / "clients"
MODEL = "/v1/models/headlines"
TITLES = ["um dia bom, São João", "coração ruim", "açúcar à noite", "avó e avô"]


@dataclass(frozen=True)
class Question:
    """A request, and the status that answers it."""

    method: str
    path: str
    document: object = None
    status: int = 200

    @property
    def body(self) -> bytes:
        if self.document is None:
            return b""
        return json.dumps(self.document, ensure_ascii=False).encode()


ROWS = {"signature_name": "predict_text", "instances": TITLES}
COLUMNS = {"signature_name": "predict_text", "inputs": {"title": TITLES}}
EXAMPLES = [{"title": title} for title in TITLES]
QUESTIONS = [
    *(Question("GET", path) for path in ("/", "/openapi.json", "/healthz", "/readyz", "/metrics", "/version")),
    Question("HEAD", "/version"),
    Question("POST", "/predict", {"title": TITLES[0]}),
    Question("POST", "/related", {"title": "Chuva forte em São Paulo", "n": 2}),
    *(Question("GET", f"{MODEL}{of}") for of in ("", "/versions/2022020101", "/labels/stable")),
    *(Question("GET", f"{MODEL}{of}/metadata") for of in ("", "/versions/2022020101", "/labels/stable")),
    *(Question("POST", f"{MODEL}{of}:predict", ROWS) for of in ("", "/versions/2022020101", "/labels/stable")),
    Question("POST", f"{MODEL}:predict", COLUMNS),
    *(
        Question("POST", f"{MODEL}{of}:{verb}", {"signature_name": f"{verb}_examples", "examples": EXAMPLES})
        for verb in ("classify", "regress")
        for of in ("", "/versions/2022020101", "/labels/stable")
    ),
    Question("POST", "/predict", {"title": "ção" * 1000}, 400),
    Question("POST", f"{MODEL}:predict", {"instances": ["não é um exemplo"]}, 400),
    Question("POST", f"{MODEL}/labels/ma%C3%A7%C3%A3:predict", ROWS, 400),
    Question("POST", f"{MODEL}/versions/7:predict", ROWS, 404),
    Question("GET", f"{MODEL}/versions/7", None, 404),
    Question("GET", "/nope", None, 404),
    Question("GET", "/version/", None, 404),
    Question("GET", "/predict", None, 405),
    Question("POST", f"{MODEL}:predict", {"more": "ã" * (1 << 20)}, 413),
]
Answer = tuple[int, str, bytes]


@pytest.fixture(scope="module")
def expected(server: RunningServer) -> list[Answer]:
    """What httpx gets, which is what every client should get."""
    answers = []
    for question in QUESTIONS:
        response = server.client.request(question.method, question.path, content=question.body)
        assert response.status_code == question.status, (question, response.text)
        if question.status >= 400:
            assert response.json().keys() == {"error"}
        answers.append((response.status_code, response.headers["content-type"], response.content))
    return answers


def check(answers: Sequence[Answer], expected: Sequence[Answer]) -> None:
    assert len(answers) == len(expected)
    for question, answer, wanted in zip(QUESTIONS, answers, expected, strict=True):
        # Every question changes the metrics.
        counts = question.path == "/metrics"
        assert answer[:2] == wanted[:2], question
        assert b"serving_requests_total" in answer[2] if counts else answer[2] == wanted[2], question


def need(program: str, *places: str) -> str:
    """Where a client is; the test is skipped where it is not installed."""
    path = shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), *places]))
    if path is None:
        pytest.skip(f"{program} is not installed, so its client is not tried")
    return path


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=600, env={**os.environ, "LC_ALL": "C.UTF-8", **environment}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_program(
    *command: str | Path, server: RunningServer, folder: Path, expected: list[Answer], **environment: str
) -> None:
    """Gives a client's program a file with the questions, a line each, and checks the line that it writes of each.

    Each is asked twice: with a body whose length is said, and with one in chunks.
    """
    lines = [
        "\t".join((each.method, each.path, base64.b64encode(each.body).decode(), how))
        for how in ("length", "chunks")
        for each in QUESTIONS
    ]
    file = folder / "questions.tsv"
    file.write_text("\n".join(lines))
    fields = (line.split("\t") for line in run(*command, server.url, file, **environment).splitlines())
    answers = [(int(status), media_type, base64.b64decode(body)) for status, media_type, body in fields]
    check(answers[: len(QUESTIONS)], expected)
    check(answers[len(QUESTIONS) :], expected)


def test_java_s_client_gets_the_same_answers(server: RunningServer, expected: list[Answer], tmp_path: Path) -> None:
    check_program(need("java"), CLIENTS / "Ask.java", server=server, folder=tmp_path, expected=expected)


def test_node_s_fetch_gets_the_same_answers(server: RunningServer, expected: list[Answer], tmp_path: Path) -> None:
    check_program(need("node"), CLIENTS / "ask.mjs", server=server, folder=tmp_path, expected=expected)


def test_go_s_client_gets_the_same_answers(
    server: RunningServer, expected: list[Answer], tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    program = (need("go", "/usr/local/go/bin"), "run", CLIENTS / "ask.go")
    assert pytestconfig.cache
    # Kept from run to run: Go compiles its own library first, which takes half a minute.
    cache = str(pytestconfig.cache.mkdir("go"))
    environment = {
        "GOCACHE": cache,
        "GOPATH": str(tmp_path),
        "GOFLAGS": "-mod=mod",
        "GOPROXY": "off",
        "CGO_ENABLED": "0",
    }
    check_program(*program, server=server, folder=tmp_path, expected=expected, **environment)


CURL = {
    "HTTP/1.1": ["--http1.1"],
    "offer": ["--http2"],
    "offer, chunks": ["--http2", "--header", "Transfer-Encoding: chunked"],
    "waits": ["--http1.1", "--header", "Expect: 100-continue"],
    "offer, waits": ["--http2", "--header", "Expect: 100-continue"],
    "offer, packed": ["--http2", "--header", "Content-Encoding: gzip"],
}


@pytest.mark.parametrize("way", CURL)
def test_curl_gets_the_same_answers(server: RunningServer, expected: list[Answer], tmp_path: Path, way: str) -> None:
    command = [need("curl"), "--silent", "--show-error"]
    for number, question in enumerate(QUESTIONS):
        sent = tmp_path / f"{number}.sent"
        sent.write_bytes(gzip.compress(question.body) if "packed" in way else question.body)
        command += ["--next"] if number else []
        command += ["--head"] if question.method == "HEAD" else ["--request", question.method]
        if question.body:
            command += [*CURL[way], "--data-binary", f"@{sent}"]
        else:
            command += CURL[way][:1]
        command += [
            "--output",
            str(tmp_path / str(number)),
            "--write-out",
            "%{http_code}\t%{content_type}\t%{num_connects}\n",
        ]
        command += ["--max-time", "30", server.url + question.path]
    lines = [line.split("\t") for line in run(*command).splitlines()]
    answers = []
    for number, (status, media_type, _) in enumerate(lines):
        is_head = QUESTIONS[number].method == "HEAD"
        answers.append((int(status), media_type, b"" if is_head else (tmp_path / str(number)).read_bytes()))
    check(answers, expected)
    # All but the refused body, which may end it, come over one connection.
    assert [int(connects) for _, _, connects in lines][:-1] == [1] + [0] * (len(QUESTIONS) - 2)


def test_a_client_that_speaks_only_http_2_fails_at_once(server: RunningServer) -> None:
    command = [need("curl"), "--silent", "--http2-prior-knowledge", "--max-time", "20", f"{server.url}/version"]
    done = subprocess.run(command, capture_output=True, timeout=60)
    # Neither an answer, nor the 28 of a time-out.
    assert done.returncode not in (0, 28)


def test_every_path_of_the_document_is_asked(server: RunningServer) -> None:
    names = {"model": "headlines", "version": "2022020101", "label": "stable"}
    asked = {question.path for question in QUESTIONS}
    documented = (path for path in server.get("/openapi.json").json()["paths"] if not path.startswith("/v2"))
    assert [path for path in documented if path.format(**names) not in asked] == []
