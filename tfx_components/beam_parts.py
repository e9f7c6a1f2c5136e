"""What Beam pipelines of ours leave on the disk: parts that are written whole, and sums over all of them."""

import itertools
import pickle
import uuid
from collections.abc import Callable, Iterable
from typing import Any, Generic, Protocol, Self, TypeVar

import apache_beam as beam
import tensorflow as tf
from tfx.dsl.io import fileio

WORK_FOLDER = ".work"
"""Below an output, where all workers see it; a name that no reader of artifacts takes for data."""
ADVICE = "use another engine, or BEAM=local"
"""What helps when an engine lost a part of the work."""
# So many are counted at once.
_BATCH_RECORDS = 4096


class Sum(Protocol):
    """What can be added up in any order."""

    def add(self, other: Self) -> None:
        """Adds another one to this one."""


Added = TypeVar("Added", bound=Sum)


class Add(beam.CombineFn, Generic[Added]):
    """Adds up what has `add`."""

    def __init__(self, nothing: Callable[[], Added]) -> None:
        """Takes what makes a sum of nothing."""
        self._nothing = nothing

    def create_accumulator(self) -> Added:
        """A sum of nothing."""
        return self._nothing()

    def add_input(self, mutable_accumulator: Added, element: Added) -> Added:
        """Adds one."""
        mutable_accumulator.add(element)
        return mutable_accumulator

    def merge_accumulators(self, accumulators: Iterable[Added]) -> Added:
        """Adds up sums."""
        total = self._nothing()
        for one in accumulators:
            total.add(one)
        return total

    def extract_output(self, accumulator: Added) -> Added:
        """The sum."""
        return accumulator


class WriteResult(beam.DoFn):
    """Writes each element, under its path, where whoever runs the pipeline reads it by `read_result`."""

    def process(self, element: tuple[str, Any]) -> None:
        """Writes one."""
        path, result = element
        write_whole(path, pickle.dumps(result))


def keep_sum(some: Any, nothing: Callable[[], Added], path: str) -> None:
    """Adds up what a pipeline has counted, and writes it where whoever runs the pipeline reads it by `read_result`.

    Args:
      some: a PCollection of sums.
      nothing: makes a sum of nothing.
      path: of the file.
    """
    _ = (
        some
        | "Add" >> beam.CombineGlobally(Add(nothing))
        | "Name" >> beam.Map(lambda total: (path, total))
        | "Write" >> beam.ParDo(WriteResult())
    )


def read_result(path: str) -> Any:
    """What `WriteResult` wrote.

    Raises:
      RuntimeError: there is none.
    """
    if not fileio.exists(path):
        raise RuntimeError(
            f"the Beam runner says that it is done, but {path} was not written: it lost a part of the work, or its "
            "workers do not share this folder. Nothing of it is used; put PIPELINE_ROOT where they all have it, or "
            f"{ADVICE}"
        )
    with fileio.open(path, "rb") as file:
        return pickle.loads(file.read())


def write_whole(path: str, data: bytes) -> None:
    """Writes a file that is there whole or not at all, also when several workers write it."""
    aside = _name_aside(path)
    with fileio.open(aside, "wb") as file:
        file.write(data)
    fileio.rename(aside, path, overwrite=True)


def write_records(path: str, records: Iterable[bytes], work: str) -> int:
    """Writes gzipped TFRecords in the same way, and returns how many are in the file by a second look.

    Args:
      path: of the file; whoever reads its folder takes every file there for records.
      records: what is written.
      work: a folder of the same disk, where a worker that dies may leave half a file.

    Raises:
      RuntimeError: they are not as many as were written.
    """
    aside, written = _name_aside(f"{work}/{path.rpartition('/')[2]}"), 0
    with tf.io.TFRecordWriter(aside, "GZIP") as writer:
        for record in records:
            writer.write(record)
            written += 1
    batches = tf.data.TFRecordDataset(aside, "GZIP").batch(_BATCH_RECORDS)
    there = int(batches.reduce(tf.constant(0, tf.int64), lambda count, batch: count + tf.size(batch, tf.int64)))
    if there != written:
        raise RuntimeError(f"{written} records were written to {path} and {there} are there; look at the disk")
    fileio.rename(aside, path, overwrite=True)
    return there


def join_parts(target: str, start: bytes, parts: Iterable[str]) -> None:
    """Writes a file of what it starts with and of parts, in their order, block by block.

    Raises:
      OSError: a part is not there.
    """
    with fileio.open(target, "wb") as file:
        file.write(start)
        for part in parts:
            with fileio.open(part, "rb") as source:
                while block := source.read(2**20):
                    file.write(block)


def refuse_doubles(places: Iterable[Any], rows: str) -> None:
    """Checks that no row came twice, which counts do not show where another is lost.

    Args:
      places: of rows, sorted.
      rows: what they are.

    Raises:
      RuntimeError: one did.
    """
    for place, following in itertools.pairwise(places):
        if place == following:
            raise RuntimeError(f"of {rows}, {place} came twice: the runner doubled it. Nothing of it is used; {ADVICE}")


def _name_aside(path: str) -> str:
    # Not by the process: a container has the same number as another.
    return f"{path}.{uuid.uuid4().hex}.tmp"
