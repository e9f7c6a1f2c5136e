"""What the Beam pipelines of the data nodes run on: this process, a Flink cluster or a Spark cluster."""

from headlines.errors import HeadlinesError


class EngineError(HeadlinesError):
    """The engine of the data nodes cannot be used as it is set; the message names the setting and what to do."""


class UnreachableEngineError(EngineError):
    """A cluster or a worker pool does not answer."""

    may_pass = True


class LostRowsError(HeadlinesError):
    """A data node has not as many rows as it was given, though its engine reported success."""
