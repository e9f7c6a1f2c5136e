"""What models answered to each evaluation row, kept beside the verdict: so that two models can be compared later.

Another night's model was judged on other rows; what both answered is found by the rows' titles and labels.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headlines.bar.tally import Answers, Integers
from modules.features import LABELS

FILE = "row_answers.json"
CANDIDATE, CHAMPION = "candidate", "champion"
_DIGITS = 9


@dataclass(frozen=True)
class Answered:
    """Evaluation rows, and what models answered to them.

    Attributes:
      rows: of each row its key: two rows of one title and one label are one row, whatever their nights.
      actual: ids of their labels [n].
      answers: of `candidate`, and of `champion` if there was one.
    """

    rows: list[str]
    actual: Integers
    answers: Mapping[str, Answers]


def write(folder: Path, titles: list[str], actual: Integers, answers: Mapping[str, Answers]) -> None:
    """Writes what models answered to some rows.

    Args:
      folder: of the evaluation.
      titles: of the rows.
      actual: ids of their labels [n].
      answers: by who gave them.
    """
    content = {
        "rows": _name_rows(titles, actual),
        "labels": list(LABELS),
        "actual": actual.tolist(),
        "answers": {
            who: {
                "predicted": given.predicted.tolist(),
                # What is no number in JSON is null there, and no number again when it is read.
                "probabilities": [
                    [round(value, _DIGITS) if np.isfinite(value) else None for value in row]
                    for row in given.probabilities.tolist()
                ],
            }
            for who, given in answers.items()
        },
    }
    (folder / FILE).write_text(json.dumps(content, allow_nan=False) + "\n", encoding="utf-8")


def read(folder: Path) -> Answered | None:
    """What models answered to the rows of an evaluation; None if it was not written, or of other labels."""
    path = folder / FILE
    if not path.is_file():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    if content["labels"] != list(LABELS):
        return None
    answers = {
        who: Answers(np.array(given["probabilities"], np.float64), np.array(given["predicted"], np.int64))
        for who, given in content["answers"].items()
    }
    return Answered(content["rows"], np.array(content["actual"], np.int64), answers)


def join(a: Answered, b: Answered) -> tuple[Integers, Answers, Answers]:
    """The rows that the candidates of both answered: ids of their labels, and the answers of each."""
    places = {row: place for place, row in enumerate(a.rows)}
    shared = [(places[row], place) for place, row in enumerate(b.rows) if row in places]
    chosen = np.array(shared, np.int64).reshape(-1, 2).T
    one, other = (
        Answers(answers.probabilities[rows], answers.predicted[rows])
        for answers, rows in zip((a.answers[CANDIDATE], b.answers[CANDIDATE]), chosen, strict=True)
    )
    return a.actual[chosen[0]], one, other


def _name_rows(titles: list[str], actual: Integers) -> list[str]:
    times: Counter[str] = Counter()
    rows = []
    for title, label in zip(titles, actual.tolist(), strict=True):
        name = f"{LABELS[label]}\n{title}"
        times[name] += 1
        rows.append(hashlib.sha256(f"{times[name]}\n{name}".encode()).hexdigest()[:16])
    return rows
