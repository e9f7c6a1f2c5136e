"""Files that workers look through before anything is decided of them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam

from headlines.drops.drops_folder import DropError, GrowingDropError
from headlines.drops.pieces import Survey
from headlines.drops.rows import read_each
from tfx_components.beam_parts import WriteResult


def look_through(
    root: Any, paths: Sequence[Path], survey: Callable[[Path], Survey], name_result: Callable[[int], str]
) -> None:
    """Looks through files, each a worker's, and writes a Survey or a DropError of each.

    Args:
      root: of a pipeline.
      paths: of the files.
      survey: looks through one.
      name_result: by the number of a file, where the result goes.
    """
    numbered = [(name_result(number), path) for number, path in enumerate(paths)]
    _ = (
        root
        | "Files" >> beam.Create(numbered)
        | "Spread" >> beam.Reshuffle()
        | "LookThrough" >> beam.MapTuple(lambda name, path: (name, _try(survey, path)))
        | "WriteSurveys" >> beam.ParDo(WriteResult())
    )


def choose(paths: Sequence[Path], surveys: Mapping[Path, Survey | DropError]) -> tuple[Survey, ...]:
    """What was told of some files.

    Raises:
      DropError: it was that one cannot be read, or one was not there yet.
    """

    def read(path: Path) -> Survey:
        survey = surveys.get(path)
        if survey is None:
            raise GrowingDropError(f"{path} arrived while the window was read; run the night again")
        if isinstance(survey, DropError):
            raise survey
        return survey

    return read_each(paths, read)


def _try(survey: Callable[[Path], Survey], path: Path) -> Survey | DropError:
    try:
        return survey(path)
    except DropError as error:
        # As a value: a runner gives errors other words and another type.
        return error
