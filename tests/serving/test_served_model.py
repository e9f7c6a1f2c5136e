"""Loading a real SavedModel: warm-up, refusals, and what travels beside it."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from served_models import write_about, write_related, write_warmup

from serving.model import LoadError, Model, Signature


def test_warm_up_requests_are_run(push: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = push(1)
    write_warmup(path, [("predict_text", "title", ["dia bom"]), ("echo", "text", ["a", "b"])])
    asked = []
    run = Signature.run
    monkeypatch.setattr(Signature, "run", lambda self, inputs: asked.append((self.name, inputs)) or run(self, inputs))
    Model(path, 1)
    recorded = {name: next(iter(inputs.values())).tolist() for name, inputs in asked}
    assert recorded["predict_text"] == [b"dia bom"]
    assert recorded["echo"] == [b"a", b"b"]
    # What the file leaves cold and takes a string gets one too.
    assert recorded["serving_default"] == [b""]
    assert [name for name, _ in asked].count("predict_text") == 1


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (("nope", "title", ["x"]), 'Serving signature key "nope" not found.'),
        (("predict_text", "nope", ["x"]), "has inputs"),
        (("refuse_bad", "text", ["bad"]), "this row is bad"),
    ],
)
def test_a_failing_warm_up_refuses_the_version(
    push: Callable[[int], Path], request_: tuple[str, str, list[str]], message: str
) -> None:
    path = push(1)
    write_warmup(path, [request_])
    with pytest.raises(LoadError, match=message):
        Model(path, 1)


def test_a_warm_up_file_that_is_no_tfrecord_refuses_the_version(push: Callable[[int], Path]) -> None:
    path = push(1)
    (path / "assets.extra").mkdir()
    (path / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"not a record at all")
    with pytest.raises(LoadError) as caught:
        Model(path, 1)
    assert caught.value.code == "DATA_LOSS"


@pytest.mark.parametrize(
    ("missing", "code"), [("saved_model.pb", "NOT_FOUND"), ("variables", "INTERNAL"), ("cut", "INTERNAL")]
)
def test_a_half_written_model_is_refused_with_a_reason(push: Callable[[int], Path], missing: str, code: str) -> None:
    path = push(1)
    if missing == "cut":
        graph = path / "saved_model.pb"
        graph.write_bytes(graph.read_bytes()[:1000])
    elif missing == "variables":
        shutil.rmtree(path / "variables")
    else:
        (path / missing).unlink()
    with pytest.raises(LoadError) as caught:
        Model(path, 1)
    assert caught.value.code == code
    assert caught.value.message


def test_the_night_comes_from_the_push_or_else_from_the_version(push: Callable[[int], Path]) -> None:
    assert Model(push(2022020301), 2022020301).night == "2022-02-03"
    path = push(2022020302)
    write_about(path, night="2022-01-31")
    assert Model(path, 2022020302).night == "2022-01-31"
    assert Model(push(7), 7).night is None


def cut(share: float) -> Callable[[bytes], bytes]:
    return lambda content: content[: int(share * len(content))]


def flip(content: bytes) -> bytes:
    """Spoils what is packed in the middle of the first member; the directory at the end stays."""
    return content[:60] + bytes(byte ^ 0xFF for byte in content[60:100]) + content[100:]


@pytest.mark.parametrize("damage", [lambda content: b"PK", cut(0.02), cut(0.5), cut(0.98), flip])
def test_a_model_serves_without_what_cannot_be_read_beside_it(
    push: Callable[[int], Path], damage: Callable[[bytes], bytes]
) -> None:
    path = push(1)
    write_related(path, [("uma casa", "neutral", "2022-02-01")])
    matrix = path / "assets.extra" / "related" / "matrix.npz"
    matrix.write_bytes(damage(matrix.read_bytes()))
    model = Model(path, 1)
    assert model.related is None
    assert "cannot be read" in model.related_problem
    assert model.signatures["predict_text"].run({"title": np.array([b"bom"], object)})["label"].tolist() == [
        b"positive"
    ]


@pytest.mark.parametrize("about", ["{", "[" * 100_000, b"\xff", "[1]"])
def test_a_model_serves_without_notes_that_cannot_be_read(push: Callable[[int], Path], about: str | bytes) -> None:
    path = push(1)
    (path / "assets.extra").mkdir()
    (path / "assets.extra" / "model.json").write_bytes(about if isinstance(about, bytes) else about.encode())
    assert Model(path, 1).about == {}


def test_an_index_is_never_unpickled(push: Callable[[int], Path], tmp_path: Path) -> None:
    path = push(1)
    write_related(path, [("uma casa", "neutral", "2022-02-01")])

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (open, (str(tmp_path / "sprung"), "w"))

    matrix = path / "assets.extra" / "related" / "matrix.npz"
    with np.load(matrix) as archive:
        parts = dict(archive)
    np.savez(matrix, **{**parts, "data": np.array([Trap()], object)})
    model = Model(path, 1)
    assert model.related is None
    assert not (tmp_path / "sprung").exists()


def test_the_server_imports_nothing_of_the_pipeline() -> None:
    code = "import sys, serving.app; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    root = Path(__file__).resolve().parents[2]
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=root).stdout
    heavy = re.compile(
        r"^(tfx|airflow|apache_beam|ml_metadata|retraining|modules|tfx_\w+|tensorflow_(?!io|serving)\w+)$"
    )
    assert [name for name in loaded.split() if heavy.match(name)] == []
