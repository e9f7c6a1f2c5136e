"""Old log files of the service's own Airflow: of its tasks, and of each reading of the DAG files.

What supervisor writes is rotated by supervisor (retraining/local/supervisor.py). Logs of an Airflow that the service
does not run lie elsewhere and are its owner's.
"""

import os
from collections.abc import Collection
from datetime import datetime, timedelta
from pathlib import Path

from retraining.retention.plan import Item, Sizes

_KINDS = {"scheduler": "each reading of the DAG files", "dag_processor_manager": "the DAG processor", "": "tasks"}


def plan_logs(folders: Collection[Path], keep_days: int, sizes: Sizes, now: datetime) -> list[Item]:
    """The log files that were last written more than so many days ago, in no order.

    Args:
      folders: where Airflow writes logs.
      keep_days: how many.
      sizes: measures them.
      now: the moment.
    """
    before = (now - timedelta(days=keep_days)).timestamp()
    items = []
    for logs, (folder, _, files) in ((top, found) for top in folders for found in os.walk(top)):
        kind = Path(folder).relative_to(logs).parts[:1]
        what = _KINDS.get(kind[0] if kind else "", _KINDS[""])
        for name in sorted(files):
            path = Path(folder, name)
            try:
                is_old = not path.is_symlink() and path.stat().st_mtime < before
            except FileNotFoundError:
                # Airflow rotates its own.
                continue
            if is_old:
                why = f"last written more than {keep_days} days ago"
                items.append(Item("log", f"logs of {what}", str(path), why, path, sizes.measure(path)))
    return items


def remove_empty_folders(folders: Collection[Path]) -> None:
    """Removes the folders below the logs that hold nothing any more, from the innermost out."""
    for logs, (folder, _, _) in ((top, found) for top in folders for found in os.walk(top, topdown=False)):
        path = Path(folder)
        if path == logs or (path.parent == logs and path.name in _KINDS):
            continue
        try:
            path.rmdir()
        except OSError:
            # It holds something, a file that was begun this moment among others.
            continue
