"""What fails for good, and what the log says of it."""

import importlib
import io
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow.exceptions import AirflowFailException

import headlines.errors
from headlines.drops.drops_folder import DropError, DropsFolder, UnreachableDropError, unreadable
from headlines.errors import HeadlinesError
from headlines.pushes.publishing import FutilePushError, PushError, RefusedError
from lineage import LineageError
from retraining.recording.launcher import DiskFullError
from retraining.recording.refusals import fail_at_once
from retraining.recording.store import RecordError, StoreError
from retraining.settings import SettingsError
from tfx_components.gate import BadDropError


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """The log of a task."""
    written = io.StringIO()
    handler, logger = logging.StreamHandler(written), logging.getLogger("airflow.task")
    logger.addHandler(handler)
    yield written
    logger.removeHandler(handler)


def run(error: Exception) -> None:
    """What Airflow does with a task that fails: it logs the error with its traceback, then in a sentence of its job."""
    try:
        with fail_at_once():
            raise error
    except Exception as raised:
        logger = logging.getLogger("airflow.task")
        # As in airflow/models/taskinstance.py and airflow/task/task_runner/standard_task_runner.py.
        logger.error("Task failed with exception", exc_info=(type(raised), raised, raised.__traceback__))
        logger.error("Failed to execute job %s for task %s (%s; %r)", 7, "DropGate", raised, 4711)
        raise


@pytest.mark.parametrize("kind", [DropError, BadDropError, SettingsError, RefusedError, FutilePushError, RecordError])
def test_what_the_same_inputs_would_give_again_fails_at_once_and_ends_the_log(
    kind: type[HeadlinesError], log: io.StringIO
) -> None:
    with pytest.raises(AirflowFailException, match=r"^too few headlines:\n- 3 of 200$"):
        run(kind("too few headlines:\n- 3 of 200"))
    assert log.getvalue().endswith("too few headlines:\n- 3 of 200\n")
    assert not re.search(r"Traceback|Error|Exception", log.getvalue())


@pytest.mark.parametrize("kind", [UnreachableDropError, PushError, StoreError, LineageError, DiskFullError])
def test_what_may_pass_is_tried_again_and_told_as_plainly(kind: type[HeadlinesError], log: io.StringIO) -> None:
    with pytest.raises(kind):
        run(kind("the database does not answer"))
    assert log.getvalue().splitlines()[-1] == "the database does not answer"
    assert "Traceback" not in log.getvalue()


def test_what_nobody_foresaw_is_tried_again_with_its_traceback_in_the_log(log: io.StringIO) -> None:
    with pytest.raises(ZeroDivisionError):
        run(ZeroDivisionError("by zero"))
    assert "Traceback (most recent call last)" in log.getvalue()


@pytest.mark.parametrize(
    ("error", "may_pass"),
    [
        (FileNotFoundError(2, "No such file or directory"), False),
        (PermissionError(13, "Permission denied"), False),
        (OSError(5, "Input/output error"), True),
        (OSError(116, "Stale file handle"), True),
        (TimeoutError(110, "Connection timed out"), True),
    ],
    ids=str,
)
def test_a_file_that_is_missing_or_locked_stays_so_and_a_disk_may_answer_later(error: OSError, may_pass: bool) -> None:
    assert unreadable(error, "the file cannot be read").may_pass is may_pass


def test_a_missing_drops_folder_is_no_fault_that_passes(tmp_path: Path) -> None:
    with pytest.raises(DropError) as caught:
        _ = DropsFolder(tmp_path / "none").nights
    assert not caught.value.may_pass


def find_kinds(kind: type[HeadlinesError]) -> Iterator[type[HeadlinesError]]:
    for each in kind.__subclasses__():
        yield each
        yield from find_kinds(each)


def test_the_drawing_of_the_tree_marks_what_may_pass() -> None:
    drawn = re.findall(r"\+-- (\w+) +\(([\w.]+)\)( \* )?", headlines.errors.__doc__ or "")
    for _, module, _ in drawn:
        importlib.import_module(module)
    kinds = {(kind.__name__, kind.__module__): kind.may_pass for kind in find_kinds(HeadlinesError)}
    for name, module, mark in drawn:
        assert kinds[name, module] == bool(mark), name
    assert len(drawn) > 12
