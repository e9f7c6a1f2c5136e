"""HeadlineExampleGen as Beam transforms: files are looked through, pieces read, headlines settled in buckets.

Every rule is in `headlines.drops`. Each of a window's headlines is in one bucket with all its rows, so that conflicts,
duplicates and figures are those of the window. A worker holds the rows of a bucket or of a piece, never all of them.
"""

import functools
import hashlib
import pickle
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam import pvalue

from headlines.drops.broken_text import LostLetters, has_lost_letters
from headlines.drops.counts import choose_unknown_labels, count_unknown_labels
from headlines.drops.drops_folder import DropError
from headlines.drops.pieces import read_piece
from headlines.drops.quarantine import Headline, SetAside, judge, place, set_lost_aside, settle
from headlines.drops.tallies import tally
from headlines.drops.window import FRESH_SPLIT, divide, is_fresh, split_of
from headlines.drops.words import WordCounts, WordModel
from headlines.names import name_records
from tfx_components.beam_parts import ADVICE, Add, keep_sum, refuse_doubles, write_records, write_whole
from tfx_components.headline_example_gen.describing import to_example
from tfx_components.headline_example_gen.packing import ASIDE, identify, pack, send_aside, unpack, write_aside
from tfx_components.headline_example_gen.planning import Kind, Outcome, Plan, Role, Task

# So many rows travel together.
_BATCH_ROWS = 256
_LOST, _WORDS, _LABELS, _OUTCOME = "lost", "words", "labels", "outcome"


def read_and_write(root: Any, plan: Plan, tasks: Sequence[Task]) -> None:
    """Reads pieces, and writes examples, rows that are set aside, and an Outcome.

    Args:
      root: of a pipeline.
      plan: what every worker is told.
      tasks: the pieces.
    """
    read = (
        root
        | "Pieces" >> beam.Create(tasks)
        | "SpreadPieces" >> beam.Reshuffle()
        | "ReadAndJudge"
        >> beam.ParDo(_ReadAndJudge(plan)).with_outputs(ASIDE, _LOST, _WORDS, _LABELS, _OUTCOME, main="rows")
    )
    letters = read[_LOST] | "AddLostLetters" >> beam.CombinePerKey(Add(LostLetters))
    lost = letters | "TellLostLetters" >> beam.MapTuple(lambda source, some: (source, some.tell()))
    looked_at = letters | "CountTitles" >> beam.MapTuple(
        lambda source, some: Outcome(looked_at=Counter({source: some.titles}))
    )
    model = (
        read[_WORDS]
        | "PassOverLost" >> beam.FlatMap(_choose_words, lost=pvalue.AsDict(lost))
        | "AddWords" >> beam.CombineGlobally(Add(WordCounts))
        | "Learn" >> beam.Map(_write_model, plan=plan)
    )
    # A bucket without rows has its files too.
    empty = root | "Buckets" >> beam.Create([(bucket, b"") for bucket in range(plan.buckets)])
    settled = (
        (read["rows"], empty)
        | "WithEmpty" >> beam.Flatten()
        | "ByBucket" >> beam.GroupByKey()
        | "Settle"
        >> beam.ParDo(_Settle(plan), pvalue.AsDict(lost), pvalue.AsSingleton(model)).with_outputs(ASIDE, main="outcome")
    )
    aside = (
        (read[ASIDE], settled[ASIDE])
        | "AllAside" >> beam.Flatten()
        | "ByPiece" >> beam.GroupByKey()
        | "WriteAside" >> beam.Map(write_aside, plan=plan)
    )
    unknown = (
        read[_LABELS] | "AddLabels" >> beam.CombinePerKey(sum) | "MostFrequent" >> beam.CombineGlobally(_MostFrequent())
    )
    outcomes = (settled["outcome"], aside, read[_OUTCOME], looked_at, unknown) | "AllOutcomes" >> beam.Flatten()
    keep_sum(outcomes, Outcome, plan.outcome)


class _ReadAndJudge(beam.DoFn):
    """Judges each row of a piece by itself, and counts what is known of a drop only when all of it was read."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def process(self, element: Task) -> Iterator[Any]:
        """Yields batches of readable rows by their bucket."""
        try:
            yield from self._read(element)
        except DropError as error:
            # As a value: a runner gives errors other words and another type.
            yield pvalue.TaggedOutput(_OUTCOME, Outcome(problems=[str(error)]))
            yield pvalue.TaggedOutput(_LOST, (element.source, LostLetters()))

    def _read(self, task: Task) -> Iterator[Any]:
        plan, source = self._plan, self._plan.sources[task.source]
        is_window = source.role is Role.WINDOW
        teaches = is_window and source.night < plan.night
        rows: dict[int, list[Any]] = defaultdict(list)
        aside: list[SetAside] = []
        lost, labels, unreadable = LostLetters(), Counter[str](), 0
        words = {False: WordCounts(), True: WordCounts()}
        for row in read_piece(task.piece):
            judged = judge(source.night, source.version, row, plan.rules, source.label_of)
            if isinstance(judged, Headline):
                lost.look_at(judged.title)
                if teaches:
                    words[has_lost_letters(judged.title)].count(judged)
                batch = rows[bucket := _choose_bucket(judged.key, plan.buckets)]
                batch.append(pack(judged, task))
                if len(batch) == _BATCH_ROWS:
                    yield bucket, pickle.dumps(rows.pop(bucket))
                continue
            unreadable += 1
            if is_window:
                aside.append(judged)
                if len(aside) == _BATCH_ROWS:
                    labels.update(count_unknown_labels(aside))
                    yield send_aside(Kind.QUARANTINE, task.number, aside)
                    aside = []
        labels.update(count_unknown_labels(aside))
        for bucket, batch in rows.items():
            yield bucket, pickle.dumps(batch)
        if aside:
            yield send_aside(Kind.QUARANTINE, task.number, aside)
        yield pvalue.TaggedOutput(_LOST, (task.source, lost))
        yield pvalue.TaggedOutput(_OUTCOME, Outcome(unreadable=Counter({task.source: unreadable})))
        if teaches:
            for has_lost, counts in words.items():
                yield pvalue.TaggedOutput(_WORDS, (task.source, has_lost, counts))
        if is_window and source.night == plan.night:
            for label in labels.items():
                yield pvalue.TaggedOutput(_LABELS, label)


class _Settle(beam.DoFn):
    """Judges the rows of a bucket beside one another, writes its examples and counts what the night is judged by."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def process(self, element: tuple[int, Iterable[bytes]], lost: dict[int, str], model_path: str) -> Iterator[Any]:
        """Yields an Outcome, and the rows that are set aside by their piece."""
        plan, (bucket, batches) = self._plan, element
        rows: dict[Role, list[Headline]] = {role: [] for role in Role}
        aside: dict[tuple[Kind, int], list[SetAside]] = defaultdict(list)
        piece_of: dict[tuple[date, str, int], int] = {}
        settled: Counter[int] = Counter()
        places: list[Any] = []
        for packed in (one for batch in batches if batch for one in pickle.loads(batch)):
            headline, source, piece = unpack(packed, plan)
            role = plan.sources[source].role
            settled[source] += 1
            places.append((source, piece, headline.row.line))
            judged = set_lost_aside(headline, _tell_lost(lost, source))
            if role is Role.WINDOW:
                piece_of[identify(judged)] = piece
            if isinstance(judged, Headline):
                rows[role].append(judged)
            elif role is Role.WINDOW:
                aside[Kind.QUARANTINE, piece].append(judged)
        refuse_doubles(sorted(places), f"the rows (source, piece, line) of bucket {bucket}")
        for some in rows.values():
            some.sort(key=place)
        sifted = settle(rows[Role.WINDOW])
        for kind, entries in ((Kind.QUARANTINE, sifted.quarantined), (Kind.DUPLICATES, sifted.folded)):
            for entry in entries:
                aside[kind, piece_of[identify(entry)]].append(entry)
        parts = divide(sifted.readable, plan.night)
        earlier_keys = {headline.key for headline in (*rows[Role.REPLACED], *parts.before)}
        used = sorted(sifted.used, key=lambda headline: headline.night)
        of_split: dict[str, list[Headline]] = {split: [] for split in plan.split_folders}
        for headline in used:
            of_split[split_of(headline.key, plan.rules.eval_percent)].append(headline)
            if is_fresh(headline, plan.night, earlier_keys, plan.rules):
                of_split[FRESH_SPLIT].append(headline)
        split_rows = {
            split: write_records(
                f"{plan.split_folders[split]}/{name_records(bucket, plan.buckets)}",
                (to_example(headline, plan.night, plan.rules) for headline in headlines),
                plan.work,
            )
            for split, headlines in of_split.items()
        }
        for key, entries in aside.items():
            yield send_aside(*key, entries)
        yield Outcome(
            used=Counter(headline.night for headline in used),
            split_rows=Counter(split_rows),
            settled=settled,
            tally=tally(parts.own, parts.before, rows[Role.CORRECTED], rows[Role.LEFT_OUT], _load_model(model_path)),
        )


class _MostFrequent(beam.CombineFn):
    """Of labels that are none and how many rows have each, the few that are kept and the rows of all, as an Outcome."""

    def create_accumulator(self) -> tuple[dict[str, int], int]:
        """None."""
        return {}, 0

    def add_input(
        self, mutable_accumulator: tuple[dict[str, int], int], element: tuple[str, int]
    ) -> tuple[dict[str, int], int]:
        """Keeps a label if it is one of the most frequent so far."""
        kept, rows = mutable_accumulator
        return choose_unknown_labels(kept | dict([element])), rows + element[1]

    def merge_accumulators(self, accumulators: Iterable[tuple[dict[str, int], int]]) -> tuple[dict[str, int], int]:
        """The most frequent of all."""
        merged: dict[str, int] = {}
        total = 0
        for kept, rows in accumulators:
            merged |= kept
            total += rows
        return choose_unknown_labels(merged), total

    def extract_output(self, accumulator: tuple[dict[str, int], int]) -> Outcome:
        """What was kept."""
        kept, rows = accumulator
        return Outcome(unknown_labels=Counter(kept), unknown_rows=rows)


def _choose_bucket(key: str, buckets: int) -> int:
    # Other bytes of the hash than those that decide the split.
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[8:16]) % buckets


def _choose_words(element: tuple[int, bool, WordCounts], lost: dict[int, str]) -> Iterator[WordCounts]:
    """The words of rows but for those that are broken, as only their whole drop shows."""
    source, has_lost, counts = element
    if not (has_lost and _tell_lost(lost, source)):
        yield counts


def _tell_lost(lost: dict[int, str], source: int) -> str:
    """What `LostLetters` tell of a source.

    Raises:
      RuntimeError: nothing has arrived; without it broken titles would be taken for whole ones.
    """
    if source not in lost:
        raise RuntimeError(f"what tells of lost letters in source {source} was lost. Nothing was trained; {ADVICE}")
    return lost[source]


def _write_model(counts: WordCounts, plan: Plan) -> str:
    """Writes what was learnt of the window, and returns where: a worker reads it once, not with each bucket."""
    model, path = WordModel(counts, plan.rules.expected_class_mix), f"{plan.work}/words-{uuid.uuid4().hex}.pickle"
    write_whole(path, pickle.dumps(model))
    write_whole(plan.background, pickle.dumps(model.background))
    return path


@functools.lru_cache(maxsize=1)
def _load_model(path: str) -> WordModel:
    model: WordModel = pickle.loads(Path(path).read_bytes())
    return model
