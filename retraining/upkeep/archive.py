"""A backup as a file: a gzipped tar that is written in one pass, and whose last member says what the others are."""

import contextlib
import gzip
import hashlib
import io
import json
import os
import stat
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import IO, Any, Self

from headlines.durable import stage, sync
from retraining.local import LocalError

FORMAT = 1
"""Counts up when an older version could not read a backup any more."""

_MANIFEST = "manifest.json"
# What is big in a backup is packed already, or weights, which hardly pack.
_LEVEL = 1
_BLOCK_BYTES = 1 << 20


class BackupError(LocalError):
    """A backup could not be written, or cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Manifest:
    """What a backup says of itself.

    Attributes:
      format: of the backup.
      made_at: when, UTC.
      project: version of this project that made it.
      ran_by: the version that had run the service until then, as a start compares it.
      postgres: major version of the server of each database.
      mlmd_schema: version of MLMD's schema.
      places: where the service lay, by setting.
      settings: those of then but for secrets, as text.
      counts: what is in it, such as artifacts and versions.
      has_secrets, has_drops: whether they are in it.
      left_out: what is not in it though lineage names it, each with why.
      files: SHA-256 of each member.
    """

    format: int
    made_at: str
    project: str
    ran_by: str
    postgres: dict[str, int]
    mlmd_schema: int
    places: dict[str, str]
    settings: dict[str, str]
    counts: dict[str, int]
    has_secrets: bool
    has_drops: bool
    left_out: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, text: bytes, file: Path) -> Self:
        """Reads it.

        Raises:
          BackupError: it is of a newer format, or none.
        """
        try:
            content: dict[str, Any] = json.loads(text)
            if content["format"] > FORMAT:
                raise BackupError(
                    f"{file} was made by version {content['project']} of this project, in a format that this one does "
                    "not read; restore it with that version"
                )
            return cls(**content)
        except (ValueError, KeyError, TypeError) as error:
            raise BackupError(f"{file} has a manifest that cannot be read ({error}); use another backup") from None


class Writer:
    """Takes the members of a backup, one after the other, and hashes them on their way."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        """Use `written`."""
        self._tar = tar
        self._by_inode: dict[tuple[int, int], str] = {}
        self.hashes: dict[str, str] = {}

    def add_text(self, name: str, text: bytes) -> None:
        """Adds a member of its own."""
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(text), 0o600
        self._add(member, io.BytesIO(text))

    def add(self, name: str, path: Path) -> int:
        """Adds a file, or a folder with all that is in it; returns how many bytes that took.

        Of a link what it leads to is added. A file that is there twice by hard links is written once.

        Raises:
          BackupError: a file went away or grew meanwhile.
        """
        if path.is_dir():
            names = sorted(entry.name for entry in path.iterdir())
            if not names:
                self._tar.addfile(self._describe(name, path))
            return sum(self.add(f"{name}/{entry}", path / entry) for entry in names)
        there = path.stat()
        if not stat.S_ISREG(there.st_mode):
            raise BackupError(f"{path} is neither a file nor a folder, and cannot be in a backup; remove it")
        member = self._describe(name, path)
        if first := self._by_inode.get((there.st_dev, there.st_ino)):
            member.type, member.linkname, member.size = tarfile.LNKTYPE, first, 0
            self.hashes[name] = self.hashes[first]
            self._tar.addfile(member)
            return 0
        if there.st_nlink > 1:
            self._by_inode[there.st_dev, there.st_ino] = name
        with path.open("rb") as file:
            self._add(member, file)
        return member.size

    def _describe(self, name: str, path: Path) -> tarfile.TarInfo:
        member = self._tar.gettarinfo(path, name)
        # Who restores it need not have these users.
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    def _add(self, member: tarfile.TarInfo, file: IO[bytes]) -> None:
        hashing = _Hashing(file)
        try:
            self._tar.addfile(member, hashing)
        except OSError as error:
            raise BackupError(f"{member.name} could not be read or written: {error}") from error
        self.hashes[member.name] = hashing.digest.hexdigest()


class _Hashing(io.RawIOBase):
    """A file whose bytes are hashed as they are read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        block = self._file.read(size)
        self.digest.update(block)
        return block


@contextlib.contextmanager
def written(target: Path) -> Iterator[tuple[Writer, Callable[[Manifest], Manifest]]]:
    """Gives what takes members and what ends it with the manifest; then the file is there, whole and on the disk.

    The manifest that is given back has the hashes of the members.

    Raises:
      BackupError: it could not be written; an earlier file of that name is as it was.
    """
    try:
        with stage(target) as aside:
            opened = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, stat.S_IRUSR | stat.S_IWUSR)
            is_finished = False

            def finish(manifest: Manifest) -> Manifest:
                nonlocal is_finished
                whole = replace(manifest, files=dict(writer.hashes))
                writer.add_text(_MANIFEST, json.dumps(asdict(whole), ensure_ascii=False, indent=1).encode())
                is_finished = True
                return whole

            with (
                os.fdopen(opened, "wb") as file,
                gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=file) as packed,
                tarfile.open(fileobj=packed, mode="w|", dereference=True) as tar,
            ):
                writer = Writer(tar)
                yield writer, finish
            assert is_finished, "a backup ends with its manifest"
            sync(aside)
            aside.replace(target)
            # A file system that cannot sync a folder, as some networks' cannot, is no reason to fail.
            with contextlib.suppress(OSError):
                sync(target.parent)
    except OSError as error:
        raise BackupError(f"{target} could not be written: {error}; free space or correct the permissions") from error


def check(file: Path) -> Manifest:
    """Reads a whole backup and compares every member with what the manifest says of it.

    Raises:
      BackupError: it is none, it is cut off or it was changed; the message says what.
    """
    found: dict[str, str] = {}
    manifest = None
    with _telling(file):
        for member, content in _read(file):
            _check_name(member.name, file)
            if member.name == _MANIFEST and content is not None:
                manifest = Manifest.from_json(content.read(), file)
            elif member.islnk():
                found[member.name] = found.get(member.linkname, "")
            elif content is not None:
                found[member.name] = hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type]
    if manifest is None:
        raise BackupError(f"{file} has no manifest, so it is no backup or was cut off; use another")
    wrong = [
        name for name in sorted(found.keys() | manifest.files.keys()) if found.get(name) != manifest.files.get(name)
    ]
    if wrong:
        raise BackupError(
            f"{file} is damaged: {len(wrong)} of its parts are not what its manifest says, {wrong[0]} the first; use "
            "another backup"
        )
    return manifest


def extract(file: Path, locate: Callable[[PurePosixPath], Path | None]) -> None:
    """Writes the members of a backup that was checked.

    Args:
      file: the backup.
      locate: says where a member goes; None for one that is not wanted.

    Raises:
      BackupError: a member could not be written.
    """
    try:
        for member, content in _read(file):
            target = locate(PurePosixPath(member.name))
            if target is None:
                continue
            if member.isdir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if member.islnk():
                source = locate(PurePosixPath(member.linkname))
                assert source is not None, "a link's file is in the same backup"
                _link(source, target)
            elif content is not None:
                with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, member.mode & 0o777), "wb") as out:
                    while block := content.read(_BLOCK_BYTES):
                        out.write(block)
                # A drop counts by when it was delivered.
                os.utime(target, (member.mtime, member.mtime))
    except OSError as error:
        raise BackupError(f"{error.filename or file} could not be written: {error.strerror or error}") from error


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:
        # On another disk, or where the file system has no such links.
        target.write_bytes(source.read_bytes())


def _read(file: Path) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    with gzip.open(file, "rb") as packed, tarfile.open(fileobj=packed, mode="r|") as tar:
        for member in tar:
            yield member, tar.extractfile(member) if member.isreg() else None
        # What gzip says of the whole it says at the end.
        while packed.read(_BLOCK_BYTES):
            pass


@contextlib.contextmanager
def _telling(file: Path) -> Iterator[None]:
    """Says of what cannot be read as a backup that it is none."""
    try:
        yield
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BackupError(f"{file} is no backup, or was cut off: {error}; use another") from None
    except FileNotFoundError:
        raise BackupError(f"there is no file {file}; give the path of a backup") from None


def _check_name(name: str, file: Path) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise BackupError(f"{file} holds {name!r}, which leads out of it: it was not written by this service")
