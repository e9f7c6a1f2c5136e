"""`make bench-metrics`: what the endpoint for Prometheus asks of the databases after three years of nights."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.lineage import seeded
from lineage.database import Database
from retraining.metrics.catalogue import Readings
from retraining.metrics.collecting import SOURCES

NIGHTS = 1100
_TIMES = 7
_DATABASES = ("lineage", "nights", "replicas")


@contextmanager
def counted() -> Iterator[list[str]]:
    """The statements that are run as long as the block lasts."""
    statements: list[str] = []
    original = Database.rows

    def rows(self: Database, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
        statements.append(statement)
        return original(self, statement, **parameters)

    Database.rows = rows  # type: ignore[method-assign]
    try:
        yield statements
    finally:
        Database.rows = original  # type: ignore[method-assign]


def main() -> None:
    """Seeds a database, and asks each source that reads one several times; no model server is asked."""
    table = Table("source", "statements", "median", "slowest", "asked every")
    with tempfile.TemporaryDirectory() as folder, seeded(NIGHTS, Path(folder)) as settings:
        settings = settings.model_copy(update={"serving_urls": ()})
        for source in SOURCES:
            if source.name not in _DATABASES:
                continue
            milliseconds = []
            for _ in range(_TIMES):
                with counted() as statements:
                    begun = time.perf_counter()
                    source.read(settings, Readings(source.name))
                    milliseconds.append(1000 * (time.perf_counter() - begun))
            median, slowest = sorted(milliseconds)[_TIMES // 2], max(milliseconds)
            table.add_row(
                source.name,
                str(len(statements)),
                f"{median:.0f} ms",
                f"{slowest:.0f} ms",
                f"{source.every_seconds:g} s",
            )
    console = Console(width=100)
    console.print(table)
    console.print(f"{NIGHTS} nights, {datetime.now(UTC):%Y-%m-%d}")


if __name__ == "__main__":
    main()
