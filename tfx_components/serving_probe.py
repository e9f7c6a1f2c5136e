"""Loads a SavedModel in a fresh process with the model server's own loader, and sends requests through every signature.

Run by InfraCheck as a script; nothing of TFX may be imported here, so that the model cannot lean on its ops.
Reads one JSON object from standard input and writes one JSON object a line to the file it names, each line as soon as
it is known: should the process die, the last line says in which request.
"""

import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import tensorflow as tf

from modules.features import (
    DEFAULT_SIGNATURE,
    LABEL,
    LABELS,
    NIGHT,
    PROBABILITIES,
    SCORING_SIGNATURE,
    TEXT_SIGNATURE,
    TITLE,
    TRANSFORM_SIGNATURE,
    transformed_name,
)
from serving.errors import ServingError
from serving.model import LoadError, Model, Signature
from tfx_components.peak_memory import peak_memory_mb

# Output name -> array, one row per title.
Answer = dict[str, Any]

TOLERANCE = 1e-5
# A model server batches requests; an answer may not depend on its company.
BATCH_SIZE = 256
STOP_WORDS = "a o e de da do que em um para com não uma os no se na por mais as dos como mas ao ele das"

HARD_TITLES = {
    "empty": "",
    "blank": " \t\n ",
    "10 kB": "Governo anuncia novas medidas econômicas. " * 240,
    "emoji": "🚀🔥 Mercado dispara! 👨‍👩‍👧‍👦 📉",
    "only stop words": STOP_WORDS,
    "mixed scripts": "Bolsa 株式 рынок αγορά السوق שוק ação",
    "control characters": "título\x00com\x1bcaracteres\u200bestranhos",
}


class CheckFailed(Exception):
    """An answer breaks what serving promises; the message says how."""


def probe(
    model_path: str,
    reference_file: str,
    example_files: list[str],
    sample_rows: int,
    max_latency_ms: int,
    max_memory_mb: int,
    report: TextIO,
) -> None:
    """Checks a model, one request after the other, and stops at the first that fails.

    Args:
      model_path: a SavedModel.
      reference_file: JSON, what the model said in training: `[{"title", "probabilities"}]`.
      example_files: gzipped TFRecords of raw examples.
      sample_rows: how many rows of the newest night in them to send.
      max_latency_ms: most that one title may take, at the median.
      max_memory_mb: most that this process may have held, TensorFlow included.
      report: receives `{"request": name}` before each request, `{"reason": ...}` if one failed, and at the end
        `{"requests", "latency_ms", "load_seconds", "peak_memory_mb"}`.
    """

    def tell(**line: object) -> None:
        print(json.dumps(line, ensure_ascii=False), file=report, flush=True)

    examples = [_example(title) for title in HARD_TITLES.values()]
    names = list(HARD_TITLES)
    for row, example in enumerate(_newest_rows(example_files, sample_rows)):
        examples.append(example)
        names.append(f"eval row {row}")
    titles = [_text(example, TITLE).encode() for example in examples]
    serialised = [example.SerializeToString() for example in examples]
    latencies: list[float] = []
    answers: dict[str, Answer] = {}
    name = "load"
    tell(request=name)
    try:
        started = time.perf_counter()
        # Its warm-up requests count: the server refuses a model that fails one.
        model = Model(Path(model_path), version=0)
        load_seconds = time.perf_counter() - started
        for signature, argument, batch in (
            (DEFAULT_SIGNATURE, "examples", serialised),
            (TEXT_SIGNATURE, "title", titles),
            (SCORING_SIGNATURE, "examples", serialised),
            (TRANSFORM_SIGNATURE, "examples", serialised),
        ):
            name = signature
            if signature not in model.signatures:
                others = [other for other in model.signatures if not other.startswith("__")]
                raise CheckFailed(f"the model has no such signature, only {others}")
            served = model.signatures[signature]
            singly = []
            for index, one in enumerate(batch):
                name = f"{signature}, {names[index]}"
                tell(request=name)
                started = time.perf_counter()
                answer = served.run({argument: np.array([one], object)})
                latencies.append(1000 * (time.perf_counter() - started))
                if signature == TRANSFORM_SIGNATURE:
                    _check_features(answer, _text(examples[index], LABEL))
                elif signature == SCORING_SIGNATURE:
                    _check_probabilities(answer, {PROBABILITIES: (1, len(LABELS))})
                else:
                    _check_answer(answer)
                singly.append(answer)
            size = max(BATCH_SIZE, len(batch))
            name = f"{signature}, {size} at once"
            tell(request=name)
            rows = [batch[row % len(batch)] for row in range(size)]
            together = served.run({argument: np.array(rows, object)})
            for row in range(size):
                index = row % len(batch)
                _check_same(singly[index], _row(together, row), f"{names[index]} alone", f"in row {row} of {size}")
            answers[signature] = together
        for signature, how in ((TEXT_SIGNATURE, "as a text"), (SCORING_SIGNATURE, "when scored")):
            name = f"serving_default and {signature}"
            for index in range(len(titles)):
                other, example = (_row(answers[one], index) for one in (signature, DEFAULT_SIGNATURE))
                _check_same(other, example, f"{names[index]} {how}", "as an example")
        name = "predict_text, reference"
        tell(request=name)
        _check_reference(model.signatures[TEXT_SIGNATURE], reference_file)
        name = "budget"
        latency_ms = sorted(latencies)[len(latencies) // 2]
        if latency_ms > max_latency_ms:
            raise CheckFailed(f"one title takes {latency_ms:.1f} ms at the median, more than {max_latency_ms} ms")
        held_mb = peak_memory_mb()
        if held_mb > max_memory_mb:
            raise CheckFailed(f"the process held {held_mb} MB, more than {max_memory_mb} MB")
    except Exception as error:
        tell(reason=f"{name}: {_name_error(error)}")
        return
    tell(
        requests=len(latencies) + len(answers) + 1,
        latency_ms=round(latency_ms, 3),
        load_seconds=round(load_seconds, 3),
        peak_memory_mb=held_mb,
    )


def _newest_rows(files: list[str], limit: int) -> Iterator[tf.train.Example]:
    """Up to `limit` rows of the newest night in gzipped TFRecords, in their order."""
    newest = ""
    rows: list[tf.train.Example] = []
    for record in tf.data.TFRecordDataset(files, compression_type="GZIP").as_numpy_iterator():
        example = tf.train.Example.FromString(record)
        night = _text(example, NIGHT)
        if night > newest:
            newest, rows = night, []
        if night == newest and len(rows) < limit:
            rows.append(example)
    yield from rows


def _example(title: str) -> tf.train.Example:
    """A request as a client sends it: the title alone, without a label."""
    value = tf.train.Feature(bytes_list=tf.train.BytesList(value=[title.encode()]))
    return tf.train.Example(features=tf.train.Features(feature={TITLE: value}))


def _text(example: tf.train.Example, key: str) -> str:
    values = example.features.feature[key].bytes_list.value if key in example.features.feature else []
    return values[0].decode() if values else ""


def _row(answer: Answer, index: int) -> Answer:
    return {key: value[index : index + 1] for key, value in answer.items()}


def _check_answer(answer: Answer) -> None:
    """Checks the answer to one title: `probabilities` [1, 3], `label` [1], `confidence` [1]."""
    expected = {"confidence": (1,), "label": (1,), PROBABILITIES: (1, len(LABELS))}
    probabilities = _check_probabilities(answer, expected)
    label, best = answer["label"][0].decode(), max(probabilities)
    if label not in LABELS:
        raise CheckFailed(f"the label is {label!r}, not one of {LABELS}")
    if probabilities[LABELS.index(label)] != best:
        raise CheckFailed(f"the label is {label!r}, but the probabilities of {LABELS} are {probabilities}")
    if abs(float(answer["confidence"][0]) - best) > TOLERANCE:
        raise CheckFailed(f"the confidence is {float(answer['confidence'][0])}, the greatest probability {best}")


def _check_probabilities(answer: Answer, expected: dict[str, tuple[int, ...]]) -> list[float]:
    """Checks the shapes of an answer to one title, and its probabilities, which are returned."""
    shapes = {key: value.shape for key, value in sorted(answer.items())}
    if shapes != expected:
        raise CheckFailed(f"the shapes are {shapes}, not {expected}")
    probabilities = [float(value) for value in answer[PROBABILITIES][0]]
    if not all(math.isfinite(value) and 0 <= value <= 1 for value in probabilities):
        raise CheckFailed(f"the probabilities are {probabilities}")
    if abs(sum(probabilities) - 1) > TOLERANCE:
        raise CheckFailed(f"the probabilities sum to {sum(probabilities):.6f}")
    return probabilities


def _check_features(answer: Answer, label: str) -> None:
    """Checks that the label of one example came out as its index in LABELS, or -1 if it has none."""
    key = transformed_name(LABEL)
    expected = LABELS.index(label) if label in LABELS else -1
    if key not in answer or answer[key].tolist() != [[expected]]:
        raise CheckFailed(f"{key} is {answer[key].tolist() if key in answer else 'missing'}, not [[{expected}]]")


def _check_same(one: Answer, other: Answer, here: str, there: str) -> None:
    """Checks that two answers to one title are the same, numbers to within TOLERANCE."""
    for key, value in one.items():
        its = other[key]
        near = np.issubdtype(value.dtype, np.floating)
        same = value.shape == its.shape and (
            np.allclose(value, its, rtol=0, atol=TOLERANCE) if near else np.array_equal(value, its)
        )
        if not same:
            raise CheckFailed(f"{key} is {value.tolist()} for {here}, but {its.tolist()} {there}")


def _check_reference(predict_text: Signature, reference_file: str) -> None:
    """Checks that titles are answered as they were in training."""
    with open(reference_file, encoding="utf-8") as file:  # noqa: PTH123
        reference = json.load(file)
    if not reference:
        raise CheckFailed(f"{reference_file} holds no answers to compare with; train the model again")
    titles = [answer["title"].encode() for answer in reference]
    served = predict_text.run({TITLE: np.array(titles, object)})[PROBABILITIES]
    for answer, here in zip(reference, served, strict=True):
        if not np.allclose(here, answer[PROBABILITIES], rtol=0, atol=TOLERANCE):
            raise CheckFailed(
                f"probabilities are {here.tolist()}, but were {answer['probabilities']} in training, "
                f"for {answer['title']!r}"
            )


def _name_error(error: Exception) -> str:
    """The error in one line."""
    if isinstance(error, CheckFailed):
        return str(error)
    if isinstance(error, LoadError | ServingError):
        return " ".join(f"{error.code}: {error.message}".split())
    # TensorFlow puts a heading and the graph's stack before what happened.
    lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith((" ", "\t"))]
    return f"{type(error).__name__}: {lines[-1] if lines else ''}"


if __name__ == "__main__":
    arguments = json.load(sys.stdin)
    with open(arguments.pop("report"), "w", encoding="utf-8") as stream:  # noqa: PTH123
        probe(report=stream, **arguments)
