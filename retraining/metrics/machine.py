"""What the endpoint tells of this machine: model servers, programs, disks, secrets, and what the state folder holds."""

import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import get_args

from headlines.disk import find_disk, is_on_disk
from headlines.names import LAST_BACKUP_FILE
from lineage import LineageError
from retraining.local import service, supervisor
from retraining.metrics.catalogue import Readings
from retraining.notices import delivery, sending
from retraining.settings import Settings
from retraining.watching import replicas, watch
from retraining.watching.replicas import Observation

_DISKS = ("state_dir", "drops_dir", "serving_dir", "pipeline_root")
_GIB = 2**30
_BLOCK_BYTES = 512
"""Unit of `st_blocks`, whatever the file system's own is: stat(2)."""


def read_replicas(settings: Settings, readings: Readings) -> None:
    """What the model servers answer with, beside what should serve; the first alone where lineage cannot be read.

    Raises:
      LineageError: what should serve is not known.
    """
    try:
        observed = replicas.observe(settings)
    except LineageError:
        _put_replicas(Observation(None, replicas.ask(settings)), readings)
        raise
    _put_replicas(observed, readings)
    if observed.state != "unasked":
        readings.put("replicas_are_right", observed.is_right)


def _put_replicas(observed: Observation, readings: Readings) -> None:
    for replica in observed.replicas:
        readings.put("replica_version", replica.version, replica.address)
        # Without lineage it is known only of one that does not answer at all.
        known = "unreachable" if replica.problem else replica.state
        for state in get_args(replicas.State):
            if state != "unasked":
                readings.put("replica_state", state == known, replica.address, state)


def read_programs(settings: Settings, readings: Readings) -> None:
    """How the programs of one box are; none where something else keeps them running."""
    known = supervisor.states(settings)
    for name, state in service.health(settings).programs.items():
        readings.put("program_is_healthy", state == "healthy", name)
        # 0 for one that was never started: `start` in Supervisor's docs/api.rst.
        readings.put("program_start_timestamp_seconds", known.get(name, {}).get("start") or None, name)


def read_places(settings: Settings, readings: Readings) -> None:
    """How full the disks are, how old the secrets and the backup, what waits to be sent, and when the watch looked."""
    for name in _DISKS:
        if not is_on_disk(getattr(settings, name)):
            continue
        place = find_disk(getattr(settings, name))
        readings.put("disk_free_bytes", place.free_bytes, name.upper())
        readings.put("disk_size_bytes", place.size_bytes, name.upper())
    readings.put("disk_limit_bytes", settings.min_free_gb * _GIB)
    if settings.secrets_dir.is_dir():
        for file in sorted(settings.secrets_dir.iterdir()):
            readings.put("secret_modified_timestamp_seconds", file.stat().st_mtime, file.name)
    backup = settings.state_dir / LAST_BACKUP_FILE
    if backup.exists():
        readings.put("backup_timestamp_seconds", backup.stat().st_mtime)
    addresses = sending.find_addresses(settings)
    waiting = {str(address): 0 for address in addresses} | {
        backlog.address: backlog.waiting for backlog in delivery.survey(settings)
    }
    for address, number in waiting.items():
        readings.put("notices_not_sent", number, address)
    if looked_at := watch.remember(settings).looked_at:
        readings.put("watch_look_timestamp_seconds", datetime.fromisoformat(looked_at).timestamp())


def read_folders(settings: Settings, readings: Readings) -> None:
    """What each part of the state folder takes on disk; what is linked twice is counted once."""
    seen: set[tuple[int, int]] = set()
    files = 0
    with os.scandir(settings.state_dir) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_dir(follow_symlinks=False):
                readings.put("folder_size_bytes", sum(_measure(Path(entry.path), seen)), entry.name)
            elif entry.is_file(follow_symlinks=False):
                files += entry.stat(follow_symlinks=False).st_blocks * _BLOCK_BYTES
    readings.put("folder_size_bytes", files, ".")


def _measure(folder: Path, seen: set[tuple[int, int]]) -> Iterator[int]:
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                status = Path(place, name).lstat()
            except FileNotFoundError:
                # Postgres and runs take files away meanwhile.
                continue
            if (status.st_dev, status.st_ino) not in seen:
                if status.st_nlink > 1:
                    seen.add((status.st_dev, status.st_ino))
                yield status.st_blocks * _BLOCK_BYTES
