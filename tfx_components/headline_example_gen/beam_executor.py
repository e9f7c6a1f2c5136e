"""Runs HeadlineExampleGen through Beam, so that many workers read a window and no process holds all its rows."""

import codecs
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils

from headlines import names
from headlines.drops.drops_folder import DropError, DropsFolder, GrowingDropError, parse_night
from headlines.drops.figures import conclude
from headlines.drops.pieces import Survey, survey_file
from headlines.drops.quarantine import Reason, write_csv
from headlines.drops.rules import Rules
from headlines.drops.rulings import Precedents
from headlines.drops.sources import Content, Sources, find_sources, list_files
from headlines.drops.window import (
    FRESH_SPLIT,
    SPLITS,
    Account,
    check_nothing_lost,
    describe_drop,
    warn_of_nothing_to_compare,
)
from headlines.drops.words import Background
from tfx_components.artifacts import Artifacts
from tfx_components.beam_parts import ADVICE, WORK_FOLDER, join_parts, read_result
from tfx_components.headline_example_gen.describing import (
    check_as_driver_saw,
    describe_examples,
    describe_quarantine,
    tell_window,
)
from tfx_components.headline_example_gen.planning import Kind, Outcome, Plan, Role, Task, plan_work
from tfx_components.headline_example_gen.transforms import read_and_write
from tfx_components.surveying import choose, look_through

_FILE_OF = {Kind.QUARANTINE: names.QUARANTINE_FILE, Kind.DUPLICATES: names.DUPLICATES_FILE}


class BeamExecutor(BaseBeamExecutor):
    """Does what `Executor` does, with the same results; examples are in several files, in another order."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """Runs one night.

        Args:
          output_dict: as `Executor` has it, and so is what follows.
          exec_properties: the same.

        Raises:
          DropError: a drop of the window cannot be read as a whole or changes meanwhile, or too many are missing.
          RuntimeError: a row is unaccounted for, or the runner left no result.
        """
        night = parse_night(exec_properties["night"])
        rules = Rules.from_json(exec_properties["rules"])
        precedents = Precedents.from_json(exec_properties.get(names.PRECEDENTS, ""))
        drops = DropsFolder(Path(exec_properties["drops_dir"]))
        examples = artifact_utils.get_single_instance(output_dict["examples"])
        quarantine = artifact_utils.get_single_instance(output_dict["quarantine"])
        work = f"{quarantine.uri}/{WORK_FOLDER}"
        fileio.makedirs(work)
        replaced: list[Content[Survey]] = []
        surveys = self._look_through(list_files(drops, night, rules), rules, work)
        sources = find_sources(
            drops, night, rules, lambda paths: choose(paths, surveys), replaced.append, precedents=precedents
        )
        check_as_driver_saw(
            night, [*sources.drops, *sources.left_out], exec_properties.get("fingerprint", ""), precedents
        )
        examples.split_names = artifact_utils.encode_split_names([*SPLITS, FRESH_SPLIT])
        folders = {split: artifact_utils.get_split_uri([examples], split) for split in (*SPLITS, FRESH_SPLIT)}
        for folder in folders.values():
            fileio.makedirs(folder)
        plan, tasks = plan_work(_list_roles(sources, replaced), night, rules, folders, work)
        outcome = self._read_and_write(plan, tasks)
        background: Background = read_result(plan.background)
        window = _conclude(night, rules, sources, outcome, background)
        check_nothing_lost(window.drops, f"The runner lost a part of the work: {ADVICE}")
        _check_all_counted(outcome, plan, background)
        describe_examples(examples, window, outcome.split_rows, exec_properties["drops_dir"])
        for kind, name in _FILE_OF.items():
            _join(f"{quarantine.uri}/{name}", kind, outcome, plan)
        reasons: Counter[str] = Counter()
        for (kind, _, reason), count in outcome.aside.items():
            if kind is Kind.QUARANTINE:
                reasons[reason] += count
        describe_quarantine(quarantine, reasons)
        fileio.rmtree(work)
        tell_window(window, rules, outcome.split_rows)

    def _look_through(self, paths: Sequence[Path], rules: Rules, work: str) -> dict[Path, Survey | DropError]:
        def name_result(number: int) -> str:
            return f"{work}/survey-{number:06d}.pickle"

        with self._make_beam_pipeline() as root:
            look_through(root, paths, partial(survey_file, unbalanced_quotes=rules.unbalanced_quotes), name_result)
        return {path: read_result(name_result(number)) for number, path in enumerate(paths)}

    def _read_and_write(self, plan: Plan, tasks: Sequence[Task]) -> Outcome:
        with self._make_beam_pipeline() as root:
            read_and_write(root, plan, tasks)
        outcome: Outcome = read_result(plan.outcome)
        if outcome.problems:
            raise GrowingDropError(outcome.problems[0])
        return outcome


def _list_roles(sources: Sources[Survey], replaced: Iterable[Content[Survey]]) -> list[tuple[Role, Content[Survey]]]:
    return [
        *((Role.WINDOW, content) for content in sources.drops),
        *((Role.REPLACED, content) for content in replaced),
        *((Role.CORRECTED, content) for content in [sources.corrected] if content),
        *((Role.LEFT_OUT, content) for content in sources.left_out),
    ]


def _check_all_counted(outcome: Outcome, plan: Plan, background: Background) -> None:
    """Checks what the rows of the window do not show: those of other versions, and what is judged by all together.

    Raises:
      RuntimeError: a part of what workers counted has not arrived, or came twice.
    """
    for what, wanted, there in _list_counts(outcome, plan, background):
        if wanted != there:
            raise RuntimeError(f"{what} were lost or invented: {there} of {wanted}. Nothing was trained; {ADVICE}")


def _list_counts(outcome: Outcome, plan: Plan, background: Background) -> Iterator[tuple[str, int, int]]:
    """What was counted at two places: in words, and how many there should be and are."""
    for number, source in enumerate(plan.sources):
        version, settled = f"version {source.version} of night {source.night}", outcome.settled[number]
        yield f"rows of {version}", source.rows, settled + outcome.unreadable[number]
        yield f"titles of {version} that may have lost letters", settled, outcome.looked_at[number]
    of_window = sum(labels.total() for labels in outcome.tally.rows_of.values())
    yield "titles of the window that words are learnt from", of_window, background.titles
    unknown = outcome.aside[Kind.QUARANTINE, plan.night, Reason.UNKNOWN_LABEL.value]
    yield f"rows of night {plan.night} with an unknown label", unknown, outcome.unknown_rows


def _conclude(night: date, rules: Rules, sources: Sources[Survey], outcome: Outcome, background: Background) -> Account:
    """What was read, of rows as they were counted when files were looked through, and of where they went."""
    if sources.left_out and not outcome.tally.rows_of:
        warn_of_nothing_to_compare(night)
    unreadable = sum(
        count
        for (kind, other, reason), count in outcome.aside.items()
        if kind is Kind.QUARANTINE and other == night and reason != Reason.CONFLICT.value
    )
    figures = conclude(outcome.tally, background, rules.expected_class_mix, outcome.unknown_labels, unreadable)
    drops = tuple(
        describe_drop(
            content,
            outcome.used[content.version.night],
            outcome.count_aside(Kind.QUARANTINE, content.version.night),
            outcome.count_aside(Kind.DUPLICATES, content.version.night),
        )
        for content in sources.drops
    )
    return Account(night, sources.missing, sources.left_out, drops, figures, sources.not_compared)


def _join(target: str, kind: Kind, outcome: Outcome, plan: Plan) -> None:
    header = io.StringIO(newline="")
    write_csv([], header)
    parts = (plan.name_part(kind, piece) for one, piece in sorted(outcome.parts) if one is kind)
    join_parts(target, codecs.BOM_UTF8 + header.getvalue().encode(), parts)
