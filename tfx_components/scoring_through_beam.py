"""UnlabelledExampleGen and ScoreWriter through Beam: pieces of files, and ranges of lines, are each a worker's."""

import codecs
import csv
import hashlib
import io
import pickle
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from typing import Any, BinaryIO, NamedTuple, Self

import apache_beam as beam
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils

from headlines.drops.drops_folder import DropError, GrowingDropError
from headlines.drops.pieces import Piece, read_piece, survey_titles
from headlines.drops.quarantine import SetAside, judge_title, write_csv, write_rows
from headlines.drops.rules import Rules
from headlines.names import QUARANTINE_FILE, name_records
from tfx_components import score_writer, unlabelled_example_gen
from tfx_components.artifacts import Artifacts
from tfx_components.beam_parts import (
    ADVICE,
    WORK_FOLDER,
    join_parts,
    keep_sum,
    read_result,
    refuse_doubles,
    write_records,
    write_whole,
)
from tfx_components.surveying import choose, look_through

LINES_PER_RANGE = 50_000
"""Of a file's scores, those that a worker sorts and holds."""
_BATCH_ROWS = 1000
_FILE, _LINE, _LABEL = (
    score_writer.COLUMNS.index(name) for name in (unlabelled_example_gen.FILE, unlabelled_example_gen.LINE, "label")
)


class Part(NamedTuple):
    """A file of rows that a worker wrote; those of a night sort as its rows were delivered, files by their names.

    Attributes:
      night: of the rows.
      file: in which they were delivered.
      number: of the part among those of the file; any numbers that grow.
      path: where it is.
    """

    night: str
    file: str
    number: int
    path: str


@dataclass(slots=True)
class Counts:
    """Where rows went, by night, counted where they were written; `parts` are files that were."""

    rows: Counter[str] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    labels: Counter[tuple[str, str]] = field(default_factory=Counter)
    parts: set[Part] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    def add(self, other: Self) -> None:
        """Adds what became of other rows."""
        for name in ("rows", "reasons", "labels"):
            getattr(self, name).update(getattr(other, name))
        self.parts |= other.parts
        self.problems += other.problems

    def list_parts(self, night: str) -> list[str]:
        """Where the parts of a night are, in the order of delivery."""
        return [part.path for part in sorted(self.parts) if part.night == night]


@dataclass(frozen=True, slots=True)
class Task:
    """A piece of an unlabelled file: its night, where its records go, and where its rows without a title."""

    night: date
    piece: Piece
    records: str
    aside: str


class UnlabelledExecutor(BaseBeamExecutor):
    """Does what UnlabelledExampleGen does; the examples of a night are in as many files as it has pieces, in order."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """Reads the unlabelled files of some nights.

        Raises:
          DropError: a night has no unlabelled file, or one cannot be read as a whole or changes meanwhile.
          RuntimeError: a row is unaccounted for, or the runner left no result.
        """
        rules = Rules.from_json(exec_properties["rules"])
        examples = artifact_utils.get_single_instance(output_dict["examples"])
        quarantine = artifact_utils.get_single_instance(output_dict["quarantine"])
        work = f"{quarantine.uri}/{WORK_FOLDER}"
        fileio.makedirs(work)
        files_of = unlabelled_example_gen.find_files(exec_properties["drops_dir"], exec_properties["nights"])
        unlabelled_example_gen.describe_examples(examples, files_of)
        paths = [path for files in files_of.values() for path in files]
        survey = partial(survey_titles, unbalanced_quotes=rules.unbalanced_quotes)
        with self._make_beam_pipeline() as root:
            look_through(root, paths, survey, lambda number: f"{work}/survey-{number:06d}.pickle")
        surveys = {path: read_result(f"{work}/survey-{number:06d}.pickle") for number, path in enumerate(paths)}
        tasks: list[Task] = []
        rows_in: dict[date, int] = {}
        for night, files in files_of.items():
            looked_at = choose(files, surveys)
            rows_in[night] = sum(one.row_count for one in looked_at)
            pieces = [piece for one in looked_at for piece in one.pieces]
            folder = artifact_utils.get_split_uri([examples], night.isoformat())
            fileio.makedirs(folder)
            for number, piece in enumerate(pieces):
                place = f"{folder}/{name_records(number, len(pieces))}"
                tasks.append(Task(night, piece, place, f"{work}/aside-{len(tasks):06d}.csv"))
            if not pieces:
                write_records(f"{folder}/{name_records(0, 1)}", [], work)
        with self._make_beam_pipeline() as root:
            pieces_done = (
                root
                | "Pieces" >> beam.Create(tasks)
                | "Spread" >> beam.Reshuffle()
                | "ReadAndWrite" >> beam.Map(_read_and_write, rules=rules)
            )
            keep_sum(pieces_done, Counts, f"{work}/counts.pickle")
        counts: Counts = read_result(f"{work}/counts.pickle")
        if counts.problems:
            raise GrowingDropError(counts.problems[0])
        reasons: Counter[str] = Counter()
        for night, files in files_of.items():
            of_night = {reason: count for (one, reason), count in counts.reasons.items() if one == night.isoformat()}
            reasons.update(of_night)
            rows, aside = counts.rows[night.isoformat()], sum(of_night.values())
            if rows_in[night] != rows + aside:
                raise RuntimeError(
                    f"rows of night {night} were lost or invented: {rows_in[night]} came in, but {rows} are to be "
                    f"scored and {aside} quarantined. Nothing was scored; {ADVICE}"
                )
            unlabelled_example_gen.describe_night(examples, night, files, rows, aside)
        header = io.StringIO(newline="")
        write_csv([], header)
        target = f"{quarantine.uri}/{QUARANTINE_FILE}"
        parts = [part for night in files_of for part in counts.list_parts(night.isoformat())]
        join_parts(target, codecs.BOM_UTF8 + header.getvalue().encode(), parts)
        unlabelled_example_gen.describe_quarantine(quarantine, reasons)
        fileio.rmtree(work)


class ScoresExecutor(BaseBeamExecutor):
    """Does what ScoreWriter does; the scores of a night are in the order of delivery, whatever that of predictions."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """Writes the file of every night.

        Raises:
          RuntimeError: a night has not as many predictions as headlines, or the runner left no result.
        """
        examples, predictions = (
            artifact_utils.get_single_instance(input_dict[name]) for name in ("examples", "predictions")
        )
        scores = artifact_utils.get_single_instance(output_dict["scores"])
        version = exec_properties["version"]
        work = f"{scores.uri}/{WORK_FOLDER}"
        fileio.makedirs(work)
        sources = [
            (night, str(path))
            for night in artifact_utils.decode_split_names(examples.split_names)
            for path in fileio.glob(f"{artifact_utils.get_split_uri([predictions], night)}/*.gz")
        ]
        with self._make_beam_pipeline() as root:
            ranges_done = (
                root
                | "Predictions" >> beam.Create(sources)
                | "Spread" >> beam.Reshuffle()
                | "Read" >> beam.FlatMap(_read_scores, version=version)
                | "ByRange" >> beam.GroupByKey()
                | "WriteRanges" >> beam.Map(_write_range, work=work)
            )
            keep_sum(ranges_done, Counts, f"{work}/counts.pickle")
        counts: Counts = read_result(f"{work}/counts.pickle")

        def write(night: str, file: BinaryIO) -> Counter[str]:
            header = io.StringIO(newline="")
            csv.writer(header).writerow(score_writer.COLUMNS)
            file.write(header.getvalue().encode())
            for part in counts.list_parts(night):
                with fileio.open(part, "rb") as source:
                    while block := source.read(2**20):
                        file.write(block)
            return Counter({label: count for (one, label), count in counts.labels.items() if one == night})

        # BulkInferrer counted its own on every engine.
        advice = f"The runner lost a part of ScoreWriter's own work: {ADVICE}"
        score_writer.publish(examples, predictions, scores, exec_properties["scores_dir"], version, write, advice)
        fileio.rmtree(work)


def _read_and_write(task: Task, rules: Rules) -> Counts:
    """Writes the titles of a piece, and its rows that have none."""
    counts, aside, night = Counts(), list[SetAside](), task.night.isoformat()

    def list_records() -> Iterator[bytes]:
        for row in read_piece(task.piece):
            title = judge_title(task.night, unlabelled_example_gen.VERSION, row, rules)
            if isinstance(title, SetAside):
                aside.append(title)
            else:
                yield unlabelled_example_gen.to_example(title, row.file, row.line)

    try:
        counts.rows[night] = write_records(task.records, list_records(), task.aside.rpartition("/")[0])
    except DropError as error:
        return Counts(problems=[str(error)])
    counts.reasons.update((night, entry.reason.value) for entry in aside)
    if aside:
        text = io.StringIO(newline="")
        write_rows(aside, text)
        write_whole(task.aside, text.getvalue().encode())
        counts.parts.add(Part(night, task.piece.table.file, task.piece.line, task.aside))
    return counts


def _read_scores(source: tuple[str, str], version: str) -> Iterator[Any]:
    """Batches of scores of a file of predictions, by night, delivered file and range of lines."""
    night, path = source
    rows: dict[tuple[str, str, int], list[Any]] = {}
    for cells in score_writer.list_scores([path], version):
        key = night, cells[_FILE], cells[_LINE] // LINES_PER_RANGE
        batch = rows.setdefault(key, [])
        batch.append(cells)
        if len(batch) == _BATCH_ROWS:
            yield key, pickle.dumps(rows.pop(key))
    for key, batch in rows.items():
        yield key, pickle.dumps(batch)


def _write_range(element: tuple[tuple[str, str, int], Iterable[bytes]], work: str) -> Counts:
    """Writes the scores of a range of lines, in their order."""
    (night, file, number), batches = element
    rows = sorted((cells for batch in batches for cells in pickle.loads(batch)), key=lambda cells: cells[_LINE])
    refuse_doubles((cells[_LINE] for cells in rows), f"the lines of {file} of night {night}")
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    # Not by the name of the file, which may be as long as a name may be.
    path = f"{work}/{night}-{hashlib.sha256(file.encode()).hexdigest()}-{number:09d}.csv"
    write_whole(path, text.getvalue().encode())
    return Counts(labels=Counter((night, cells[_LABEL]) for cells in rows), parts={Part(night, file, number, path)})
