"""What HeadlineExampleGen through Beam has to do, as every worker is told, and what the workers count."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import IntEnum
from typing import Self

from headlines.drops.pieces import Piece, Survey
from headlines.drops.quarantine import spell
from headlines.drops.rules import Rules
from headlines.drops.sources import Content
from headlines.drops.tallies import Tally

ROWS_PER_BUCKET = 20_000
"""About as many a worker holds at a time."""


class Role(IntEnum):
    """What a version is read for."""

    WINDOW = 0
    REPLACED = 1
    """By another of its night, which is an earlier one: what it has is not fresh."""
    CORRECTED = 2
    """By the night's own drop."""
    LEFT_OUT = 3


class Kind(IntEnum):
    """Which file a row that is set aside goes to."""

    QUARANTINE = 0
    DUPLICATES = 1


@dataclass(frozen=True, slots=True)
class Source:
    """A version that is read; `rows` are those that the look through its files found."""

    role: Role
    night: date
    version: int
    label_of: dict[str, str]
    rows: int


@dataclass(frozen=True, slots=True)
class Task:
    """A piece to read, by its number, and the number of its source; pieces of the window are numbered by `place`."""

    number: int
    source: int
    piece: Piece


@dataclass(frozen=True, slots=True)
class Plan:
    """What every worker is told.

    Attributes:
      night: whose window it is.
      rules: what a row is held to.
      sources: what is read.
      files: by the number of a piece, the name of its file.
      buckets: how many there are.
      split_folders: by split, where examples go.
      work: the folder of what is written for whoever runs the pipeline.
    """

    night: date
    rules: Rules
    sources: tuple[Source, ...]
    files: tuple[str, ...]
    buckets: int
    split_folders: dict[str, str]
    work: str

    def name_part(self, kind: Kind, piece: int) -> str:
        """The file with the rows of a piece that are set aside."""
        return f"{self.work}/{kind.name.lower()}-{piece:06d}.csv"

    @property
    def outcome(self) -> str:
        """The file that says what became of all rows."""
        return f"{self.work}/outcome.pickle"

    @property
    def background(self) -> str:
        """The file that says what the window is as a whole."""
        return f"{self.work}/background.pickle"


@dataclass(slots=True)
class Outcome:
    """Where rows went, counted where they were written.

    Attributes:
      used: by night.
      aside: by file, night and reason.
      parts: files of rows that are set aside, by kind and piece.
      split_rows: records by split.
      settled: rows of a source, of whatever role, that came to a bucket.
      unreadable: rows of a source that are set aside by themselves.
      looked_at: titles of a source that its lost letters were looked for in.
      unknown_labels: the most frequent of the night.
      unknown_rows: those of all unknown labels.
      tally: of what the night is judged by.
      problems: why a piece could not be read.
    """

    used: Counter[date] = field(default_factory=Counter)
    aside: Counter[tuple[Kind, date, str]] = field(default_factory=Counter)
    parts: set[tuple[Kind, int]] = field(default_factory=set)
    split_rows: Counter[str] = field(default_factory=Counter)
    settled: Counter[int] = field(default_factory=Counter)
    unreadable: Counter[int] = field(default_factory=Counter)
    looked_at: Counter[int] = field(default_factory=Counter)
    unknown_labels: Counter[str] = field(default_factory=Counter)
    unknown_rows: int = 0
    tally: Tally = field(default_factory=Tally)
    problems: list[str] = field(default_factory=list)

    def add(self, other: Self) -> None:
        """Adds what became of other rows."""
        for name in ("used", "aside", "split_rows", "settled", "unreadable", "looked_at", "unknown_labels"):
            getattr(self, name).update(getattr(other, name))
        self.unknown_rows += other.unknown_rows
        self.parts |= other.parts
        self.tally.add(other.tally)
        self.problems += other.problems

    def count_aside(self, kind: Kind, night: date) -> int:
        """How many rows of a night are set aside in a file."""
        return sum(count for (one, other, _), count in self.aside.items() if (one, other) == (kind, night))


def plan_work(
    sources: Sequence[tuple[Role, Content[Survey]]], night: date, rules: Rules, split_folders: dict[str, str], work: str
) -> tuple[Plan, list[Task]]:
    """What every worker is told, and the pieces to read.

    Args:
      sources: the versions to read, of each role.
      night: whose window it is.
      rules: what a row is held to.
      split_folders: by split, where examples go.
      work: a folder that all workers share.
    """
    ordered = sorted(sources, key=lambda one: (one[0], -one[1].version.night.toordinal()))
    told: list[Source] = []
    tasks: list[Task] = []
    for role, content in ordered:
        rows = sum(survey.row_count for survey in content.files)
        told.append(Source(role, content.version.night, content.version.number, spell(content.codes), rows))
        for survey in sorted(content.files, key=lambda file: file.name):
            tasks += [
                Task(number, len(told) - 1, piece) for number, piece in enumerate(survey.pieces, start=len(tasks))
            ]
    files = tuple(task.piece.table.file for task in tasks)
    buckets = max(1, -(-sum(source.rows for source in told) // ROWS_PER_BUCKET))
    return Plan(night, rules, tuple(told), files, buckets, split_folders, work), tasks
