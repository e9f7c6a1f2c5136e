"""TensorFlow Serving's own test cases, kept as data, and the table that says of each whether it is the same here.

    python tests/serving/tensorflow_cases.py

writes the table, `docs/serving-cases.md`, and the sentence in `docs/serving.md` that sums it up.
"""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data" / "tensorflow_serving"
TABLE = ROOT / "docs" / "serving-cases.md"
DOCUMENT = ROOT / "docs" / "serving.md"

Case = dict[str, Any]
_LONGEST = 110
_HEAD = """# TensorFlow Serving's test cases

Every assertion of TensorFlow Serving's tests about what a request gets is a case: the request, and the status, the
answer or the words that it must get. They are of version 2.16.1, which compose pins, or of a later one where that is
said. They are facts, kept as data in `tests/data/tensorflow_serving/`; the tests, under Apache-2.0, are not copied.
`tests/serving/test_tensorflow_cases.py` puts each of them to this server. It fails when one that is the same here is so
no more, and when one that differs has become the same. `python tests/serving/tensorflow_cases.py` writes this page.
"""


def read_files() -> dict[str, dict[str, Any]]:
    """What is kept of each file of tests, by name."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(DATA.glob("*.json"))}


def read_cases(*ways: str) -> list[tuple[str, Case]]:
    """The cases that are asked in one of these ways, with the name of each."""
    return [
        (f"{file}-{case['test']}-{case['number']}", {"model": document.get("model", ""), **case})
        for file, document in read_files().items()
        for case in document["cases"]
        if case["way"] in ways
    ]


def write_table() -> str:
    """The text of `docs/serving-cases.md`."""
    files = read_files()
    lines = [_HEAD, "| file | cases | same | different |", "|---|---|---|---|"]
    total: Counter[str] = Counter()
    for document in files.values():
        counts = Counter(case["here"] for case in document["cases"])
        total += counts
        lines.append(f"| `{document['source']}` {_count(counts)}")
    lines.append(f"| **all** {_count(total)}")
    for document in files.values():
        name = document["source"].rsplit("/", 1)[-1]
        lines += ["", f"## {name}", ""]
        if "same" in document:
            lines += [f"{document['same']}.", ""]
        lines += ["| test | asks | expects | here |", "|---|---|---|---|"]
        lines += [f"| {_name(case)} | {_asks(case)} | {_expects(case)} | {_here(case)} |" for case in document["cases"]]
    return "\n".join(lines) + "\n"


def write_summary() -> str:
    """The sentence that sums the table up."""
    counts = Counter(case["here"] for document in read_files().values() for case in document["cases"])
    return (
        f"Of {counts.total()} cases of TensorFlow Serving's own tests {counts['same']} are the same here and "
        f"{counts['different']} differ: [each of them, with the reason](serving-cases.md)."
    )


def _count(counts: Counter[str]) -> str:
    numbers = (counts.total(), *(counts[here] for here in ("same", "different")))
    return f"| {' | '.join(map(str, numbers))} |"


def _code(text: str) -> str:
    """A text as code in a cell, cut when long."""
    text = " ".join(text.split()).replace("|", "¦")
    return f"`{text[:_LONGEST]}…`" if len(text) > _LONGEST else f"`{text}`"


def _name(case: Case) -> str:
    return f"{case['test']} {case['number']}".replace("<", "&lt;")


def _asks(case: Case) -> str:
    way = case["way"]
    if way in ("rest", "address"):
        return _code(f"{case['method']} {case['path']} {case.get('body', '')}")
    if way == "grpc":
        needs = f", with {case['needs']}" if "needs" in case else ""
        return _code(f"{case['method']} {json.dumps(case['request'])}") + needs
    if way == "command line":
        return str(case["given"])
    if way == "signature":
        ends = " to ".join(", ".join(case[key]) or "nothing" for key in ("inputs", "outputs"))
        return f"{case['verb']} of a signature of {ends}"
    if way == "method name":
        return (
            f"{case['verb']} of a signature of method {_code(case['method_name']) if case['method_name'] else 'none'}"
        )
    if way in ("predict", "examples"):
        return _code(case["body"]) if case["body"] else "an empty body"
    if way == "error":
        return "the body of " + _code(f"{case['code']} {case['message']}")
    tensors = case.get("tensors", case.get("outputs"))
    shapes = ", ".join(f"{name} {tensor['dtype']}{tensor['shape']}" for name, tensor in tensors.items())
    return f"the answer of {_code(shapes)}" if shapes else "the answer of no tensor"


def _expects(case: Case) -> str:
    if case["way"] == "command line":
        return str(case["expected"])
    status = str(case.get("status", case.get("code", "")))
    if case["way"] == "error":
        return _code(json.dumps(case["answer"]))
    if message := case.get("message"):
        return f"{status} {_code(message)}".strip()
    found = next((case[key] for key in ("answer", "address", "tensors", "examples") if key in case), "")
    text = found if isinstance(found, str) else json.dumps(found)
    return f"{status} {_code(text) if text else ''}".strip()


def _here(case: Case) -> str:
    reason = case.get("reason", "")
    return f"{case['here']}: {reason}" if reason else str(case["here"])


if __name__ == "__main__":
    TABLE.write_text(write_table(), encoding="utf-8")
    text = re.sub(
        r"^Of \d+ cases of TensorFlow Serving.*$", write_summary(), DOCUMENT.read_text(encoding="utf-8"), flags=re.M
    )
    DOCUMENT.write_text(text, encoding="utf-8")
