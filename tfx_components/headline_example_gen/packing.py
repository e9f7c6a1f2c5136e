"""Rows on their way between workers of HeadlineExampleGen, and those that are set aside as they are written."""

import io
import pickle
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

from apache_beam import pvalue

from headlines.drops.parsing import Row
from headlines.drops.quarantine import Headline, Reason, SetAside, place, write_rows
from tfx_components.beam_parts import refuse_doubles, write_whole
from tfx_components.headline_example_gen.planning import Kind, Outcome, Plan, Task

ASIDE = "aside"
"""The output with rows that are set aside, by their piece."""


def pack(headline: Headline, task: Task) -> tuple[Any, ...]:
    """A readable row of a piece, of builtin values alone: what its source and file say is not sent with each row."""
    row = headline.row
    place_of = (task.source, task.number, row.line)
    return (
        *place_of,
        row.raw,
        row.title,
        row.label,
        row.cells,
        row.columns,
        headline.title,
        headline.label,
        headline.key,
    )


def unpack(packed: tuple[Any, ...], plan: Plan) -> tuple[Headline, int, int]:
    """The row that was packed, and the numbers of its source and of its piece."""
    source, piece, line, raw, row_title, row_label, cells, columns, title, label, key = packed
    row = Row(plan.files[piece], line, raw, row_title, row_label, cells, columns)
    told = plan.sources[source]
    return Headline(told.night, told.version, row, title, label, key), source, piece


def identify(entry: Headline | SetAside) -> tuple[date, str, int]:
    """Which row of the window it is."""
    return entry.night, entry.row.file, entry.row.line


def send_aside(kind: Kind, piece: int, entries: Sequence[SetAside]) -> Any:
    """Rows of a piece for the worker that writes all those of it that go to a file."""
    packed = [
        (entry.night, entry.version, entry.row.file, entry.row.line, entry.row.raw, entry.reason.value, entry.detail)
        for entry in entries
    ]
    return pvalue.TaggedOutput(ASIDE, ((int(kind), piece), pickle.dumps(packed)))


def write_aside(element: tuple[tuple[int, int], Iterable[bytes]], plan: Plan) -> Outcome:
    """Writes the rows of a piece that are set aside, in their order."""
    (kind, piece), batches = element
    entries = [
        SetAside(night, version, Row(file, line, raw, "", "", 0, 0), Reason(reason), detail)
        for batch in batches
        for night, version, file, line, raw, reason, detail in pickle.loads(batch)
    ]
    entries.sort(key=place)
    refuse_doubles(map(identify, entries), "the rows that are set aside")
    text = io.StringIO(newline="")
    write_rows(entries, text)
    write_whole(plan.name_part(Kind(kind), piece), text.getvalue().encode())
    counts = Counter((Kind(kind), entry.night, entry.reason.value) for entry in entries)
    return Outcome(aside=counts, parts={(Kind(kind), piece)})
