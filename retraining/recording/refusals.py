"""What fails for good: Airflow tries it no second time, and its log ends with what a person can act on.

An error of ours says what happened and what to do. A traceback and a class name below it would only hide that.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from airflow.exceptions import AirflowFailException

from headlines.errors import HeadlinesError

_TOLD = (AirflowFailException, HeadlinesError)


@contextmanager
def fail_at_once() -> Iterator[None]:
    """Has Airflow fail the task at once with an error of ours that the same inputs would give again.

    For the body of an operator, or as its decorator: `@fail_at_once()`.

    Raises:
      AirflowFailException: instead of an error of ours that does not pass by itself, with the same message.
    """
    try:
        yield
    except Exception as error:
        # What a modeller edits knows no error of ours, but says the same of its own.
        may_pass = getattr(error, "may_pass", None)
        if may_pass is not None:
            _tell_plainly()
        if may_pass is not False:
            raise
        raise AirflowFailException(str(error)) from error


class PlainErrors(logging.Filter):
    """Makes of a line about an error that a person can act on that error's own message."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Changes the line, and lets every line pass."""
        # Airflow logs an error twice: with its traceback, and inside a sentence about its own job.
        error = record.exc_info[1] if record.exc_info else None
        arguments = record.args if isinstance(record.args, tuple) else ()
        error = next((one for one in (error, *arguments) if isinstance(one, _TOLD)), None)
        if error is not None:
            record.msg, record.args, record.exc_info, record.exc_text = str(error), (), None, None
        return True


def _tell_plainly() -> None:
    """Has every log of this task show errors of ours as what they say."""
    # Airflow moves the handlers of its tasks' logger to the root while a task runs.
    for logger in (logging.getLogger(), logging.getLogger("airflow.task")):
        for handler in logger.handlers:
            if not any(isinstance(present, PlainErrors) for present in handler.filters):
                handler.addFilter(PlainErrors())
