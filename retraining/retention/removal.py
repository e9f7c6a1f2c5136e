"""Taking away what may go: decided under the locks that nodes, pushes and rollbacks take, then removed without them.

An artifact is DELETED in MLMD before its first file goes, and says how much that freed when the last one is gone; a
version is out of the serving directory in one step. So whatever dies in between, nobody is led to half of anything, and
the next removal ends what this one began.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ml_metadata import MetadataStore

import lineage
from headlines.holding import Check
from headlines.names import RETENTION
from headlines.objects.addresses import is_object
from headlines.pushes import removals
from headlines.pushes.versions import find_versions, kept_in
from lineage import Reader
from retraining.recording.advisory_locks import RETENTION_LOCK, hold_pushes, lock
from retraining.recording.removals import finish, mark
from retraining.recording.store import connection_config, open_store
from retraining.retention.logs import plan_logs, remove_empty_folders
from retraining.retention.needed import NeededArtifacts, read_needed
from retraining.retention.plan import Item, Sizes, plan_artifacts, plan_leftovers, plan_versions
from retraining.settings import Settings
from retraining.watching import replicas

_BATCH = 200
"""So many artifacts are marked under one lock: for a second or so no node can begin."""
_WORK_LOCK = "removal"


@dataclass(frozen=True)
class Pruning:
    """What may go or, if it was no dry run, what went.

    Attributes:
      items: of it.
      problems: what could not be removed, each with why; the next removal tries again.
      notes: what stays though no rule needs it, and why.
    """

    items: tuple[Item, ...]
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        """How much it frees, or freed."""
        return sum(item.size_bytes for item in self.items)


def to_json(pruning: Pruning, is_done: bool) -> dict[str, Any]:
    """A pruning as a JSON document.

    Args:
      pruning: of it.
      is_done: whether it was done, and not only looked at.
    """
    shown = ("kind", "what", "name", "why", "size_bytes", "id")
    return {
        "removed": is_done,
        "size_bytes": pruning.size_bytes,
        "items": [{"path": str(item.path)} | {name: getattr(item, name) for name in shown} for item in pruning.items],
        "problems": list(pruning.problems),
        "notes": list(pruning.notes),
    }


def plan(settings: Settings, now: datetime | None = None) -> Pruning:
    """Looks what may go, and changes nothing.

    Args:
      settings: of the service.
      now: the moment. Default: this one.

    Raises:
      LineageError: lineage cannot be read.
    """
    served, notes = _observe(settings)
    sizes, now = Sizes(), now or datetime.now(UTC)
    with lineage.open_lineage(settings) as reader:
        needed = read_needed(settings, reader, served, now)
        items = [
            *plan_artifacts(reader, needed, settings.pipeline_root, sizes, now),
            *plan_versions(settings.serving_dir, needed.rule, sizes),
            *plan_leftovers(reader, settings, sizes, now),
        ]
    logs = plan_logs(settings.log_folders, settings.keep_log_days, sizes, now)
    return Pruning((*items, *logs), notes=notes)


def remove(settings: Settings, now: datetime | None = None) -> Pruning:
    """Removes what may go; a process that is ended meanwhile leaves nothing that the next removal does not end.

    Args:
      settings: of the service.
      now: the moment. Default: this one.

    Raises:
      LineageError, StoreError: a database does not answer, or another process removes at this moment.
    """
    store = open_store(connection_config(settings))
    with lock(connection_config(settings), _WORK_LOCK):
        served, notes = _observe(settings)
        work = _Work(settings, store, served, now or datetime.now(UTC))
        work.remove_recorded()
        work.remove_unrecorded()
    return Pruning(tuple(work.items), tuple(work.problems), notes)


def _observe(settings: Settings) -> tuple[dict[int, str], tuple[str, ...]]:
    """What model servers answer with, or are about to; everything where one cannot be asked."""
    present = find_versions(settings.serving_dir)
    if not present:
        return {}, ()
    served: dict[int, str] = {}
    notes = []
    for replica in replicas.ask(settings):
        for version in filter(None, (replica.version, *replica.loading)):
            served.setdefault(version, f"{replica.address} serves it")
        if replica.problem:
            notes.append(
                f"every pushed version stays: the model server {replica.address} cannot be asked what it answers with "
                f"({replica.problem}); start it, or take it out of SERVING_URLS"
            )
    if notes:
        served = dict.fromkeys(present, "a model server cannot be asked what it answers with") | served
    return served, tuple(notes)


class _Work:
    """One removal."""

    def __init__(self, settings: Settings, store: MetadataStore, served: dict[int, str], now: datetime) -> None:
        self._settings = settings
        self._store = store
        self._served = served
        self._at = now
        self._sizes = Sizes()
        self.items: list[Item] = []
        self.problems: list[str] = []

    def remove_recorded(self) -> None:
        """Removes artifacts and versions, some at a time, each time after another look at what is needed."""
        tried: set[int] = set()
        while True:
            with self._decide() as (reader, needed, check_held):
                root = self._settings.pipeline_root
                batch = plan_artifacts(reader, needed, root, self._sizes, self._at, _BATCH, tried)
                mark(self._store, [item.id for item in batch], self._at, RETENTION)
                versions = plan_versions(self._settings.serving_dir, needed.rule, self._sizes)
                check_held()
                hidden = self._hide(versions)
            ended = {item.id: item.size_bytes for item in batch if self._remove_files(item)}
            if ended:
                finish(self._store, ended)
            for item in versions:
                if item.id in hidden:
                    self._remove_files(replace(item, path=hidden[item.id]))
            tried |= {item.id for item in batch}
            if not batch:
                return

    def remove_unrecorded(self) -> None:
        """Removes what killed processes have left, and old logs."""
        with lineage.open_lineage(self._settings) as reader:
            leftovers = plan_leftovers(reader, self._settings, self._sizes, self._at)
        for item in leftovers:
            serving_dir = self._settings.serving_dir
            if item.path.parent != serving_dir:
                self._remove_files(item)
                continue
            with self._hold_pushes():
                # A push may have made a version of it meanwhile.
                if item.path in kept_in(serving_dir).find_left(serving_dir):
                    self._remove_files(item)
        folders = self._settings.log_folders
        for item in plan_logs(folders, self._settings.keep_log_days, self._sizes, self._at):
            self._remove_files(item)
        remove_empty_folders(folders)

    @contextmanager
    def _decide(self) -> Iterator[tuple[Reader, NeededArtifacts, Check]]:
        """What is needed, which does not change as long as the block lasts, and what raises an error if it might."""
        with ExitStack() as stack:
            check_held = stack.enter_context(self._hold_pushes())
            stack.enter_context(lock(connection_config(self._settings), RETENTION_LOCK))
            reader = stack.enter_context(lineage.open_lineage(self._settings))
            yield reader, read_needed(self._settings, reader, self._served, self._at), check_held

    def _hold_pushes(self) -> contextlib.AbstractContextManager[Check]:
        is_there = self._settings.serving_dir.is_dir()
        return hold_pushes(self._settings) if is_there else contextlib.nullcontext(lambda: None)

    def _hide(self, versions: Iterable[Item]) -> dict[int, Path]:
        """Takes versions out of the serving directory; where each is until its last file is gone."""
        chosen = [item.id for item in versions]
        if not chosen:
            return {}
        try:
            return removals.hide(self._settings.serving_dir, chosen, self._at, RETENTION)
        except OSError as error:
            self.problems.append(f"versions {', '.join(map(str, chosen))} could not be removed: {error}")
            return {}

    def _remove_files(self, item: Item) -> bool:
        """Removes the files of one thing; whether all of them are gone."""
        try:
            remove_files(item.path, item.stays)
        except OSError as error:
            self.problems.append(
                f"{item.name} could not be removed: {error}; correct the permissions there, the next removal goes on"
            )
            return False
        self.items.append(item)
        return True


def remove_files(path: Path, stays: Iterable[str] = ()) -> None:
    """Removes a file, or a folder with all in it but some files; what is gone already is no error.

    Raises:
      OSError: something cannot be removed; the rest is still there, or not.
    """
    kept = {path / name for name in stays}
    if is_object(path):
        for file in [path] if path.is_file() else path.rglob("*"):
            if file.is_file() and file not in kept:
                file.unlink(missing_ok=True)
    elif path.is_dir() and not path.is_symlink():
        for folder, folders, files in os.walk(path, topdown=False):
            for one in (Path(folder, name) for name in files):
                if one not in kept:
                    one.unlink(missing_ok=True)
            for one in (Path(folder, name) for name in folders):
                if one.is_symlink():
                    one.unlink(missing_ok=True)
                else:
                    _remove_empty(one)
        _remove_empty(path)
    else:
        path.unlink(missing_ok=True)


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if not any(folder.iterdir()):
            folder.rmdir()
