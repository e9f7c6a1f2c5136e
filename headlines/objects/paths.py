"""Paths on object storage, which answer as those of files do as far as object storage can.

A folder is what keys have in common: it is there as long as an object is in it, and is neither made nor removed. What
object storage has not (renaming, links, descriptors, files that grow) fails at once. None of these paths may be made a
plain one, as `Path(path)` would: that is one of this machine, where nothing is.
"""

import errno
import io
import os
import stat
import tempfile
from collections.abc import Generator, Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PosixPath
from typing import IO, Any, ClassVar, Self

from headlines.objects.buckets import Bucket, Entry, open_bucket


class ObjectPath(PosixPath):
    """A path on object storage: `<scheme>://<bucket>/<key>`.

    A path that came out of a listing says of itself what the listing said, without another request.
    """

    scheme: ClassVar[str]
    _listed: Entry | None = None

    def __new__(cls, *parts: str | os.PathLike[str]) -> Self:
        """Makes a path of its address, or of parts as `pathlib` has them."""
        texts = [str(part) for part in parts]
        if texts and texts[0].startswith(f"{cls.scheme}://"):
            texts[0] = texts[0].removeprefix(f"{cls.scheme}:/")
        return super().__new__(cls, *texts)

    def __str__(self) -> str:
        text = super().__str__()
        return f"{self.scheme}:/{text}" if text.startswith("/") else text

    def __fspath__(self) -> str:
        raise TypeError(f"{self} is on object storage, and nothing of this machine can open it")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and super().__eq__(other)

    def __hash__(self) -> int:
        return hash((self.scheme, super().__hash__()))

    def relative_to(self, *other: str | os.PathLike[str]) -> Path:  # type: ignore[override]
        """The path from another on, which is none of object storage any more.

        Raises:
          ValueError: it is not below the other.
        """
        [base] = other
        if not isinstance(base, type(self)) or base.parts != self.parts[: len(base.parts)]:
            raise ValueError(f"{self} is not below {base}")
        return Path(*self.parts[len(base.parts) :])

    def is_relative_to(self, *other: str | os.PathLike[str]) -> bool:
        """Whether it is another path, or below it."""
        try:
            self.relative_to(*other)
        except ValueError:
            return False
        return True

    @property
    def key(self) -> str:
        """Of its object."""
        return "/".join(self.parts[2:])

    @property
    def _bucket(self) -> Bucket:
        return open_bucket(self.scheme, self.parts[1])

    @property
    def _prefix(self) -> str:
        return f"{self.key}/" if self.key else ""

    def _of(self, entry: Entry) -> Self:
        path = type(self)(f"{self.scheme}://{self.parts[1]}/{entry.key}")
        path._listed = entry
        return path

    def absolute(self) -> Self:
        """Itself."""
        return self

    def resolve(self, strict: bool = False) -> Self:
        """Itself."""
        return self

    def as_uri(self) -> str:
        """Its address."""
        return str(self)

    def iterdir(self) -> Generator[Self, None, None]:
        """What is in the folder, by one listing.

        Raises:
          FileNotFoundError: nothing is.
          OSError: it cannot be listed.
        """
        is_there = False
        for entry in self._bucket.list(self._prefix, is_deep=False):
            is_there = True
            # A folder may have an object of its own, as some programs make one.
            if entry.key != self._prefix:
                yield self._of(entry)
        if not is_there:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))

    def walk_files(self) -> Iterator[Self]:
        """Every object below the folder, by one listing; none where nothing is.

        Raises:
          OSError: it cannot be listed.
        """
        for entry in self._bucket.list(self._prefix, is_deep=True):
            if not entry.key.endswith("/"):
                yield self._of(entry)

    def glob(self, pattern: str) -> Generator[Self, None, None]:
        """What is below the folder and whose parts match those of a pattern, by one listing; `**` is not taken.

        Raises:
          OSError: it cannot be listed.
        """
        wanted = pattern.split("/")
        assert "**" not in wanted, pattern
        yield from (
            path for path, parts in self._walk() if len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))
        )

    def rglob(self, pattern: str) -> Generator[Self, None, None]:
        """All that is below the folder and whose name matches, by one listing.

        Raises:
          OSError: it cannot be listed.
        """
        yield from (path for path, parts in self._walk() if fnmatchcase(parts[-1], pattern))

    def _walk(self) -> Iterator[tuple[Self, tuple[str, ...]]]:
        """Objects and the folders that they make, each with its parts from here on."""
        folders: set[str] = set()
        for file in self.walk_files():
            parts = file.parts[len(self.parts) :]
            for depth in range(1, len(parts)):
                folder = Entry(f"{self._prefix}{'/'.join(parts[:depth])}/")
                if folder.key not in folders:
                    folders.add(folder.key)
                    yield self._of(folder), parts[:depth]
            yield file, parts

    def _find(self) -> Entry:
        return self._listed or self._bucket.find(self.key)

    def is_file(self) -> bool:
        """Whether there is an object."""
        try:
            return bool(self.key) and not self._find().key.endswith("/")
        except FileNotFoundError:
            return False

    def is_dir(self) -> bool:
        """Whether an object is below it."""
        if self._listed:
            return self._listed.key.endswith("/")
        return next(iter(self._bucket.list(self._prefix, is_deep=False)), None) is not None

    def exists(self) -> bool:
        """Whether there is an object, or one below it."""
        return self._listed is not None or self.is_file() or self.is_dir()

    def is_symlink(self) -> bool:
        """Never."""
        return False

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Size and time of the object; of a folder, which has neither, that it is one.

        Raises:
          FileNotFoundError: there is neither.
        """
        try:
            entry = self._find()
        except FileNotFoundError:
            if not self.is_dir():
                raise
            entry = Entry(self._prefix)
        kind = stat.S_IFDIR if entry.key.endswith("/") else stat.S_IFREG
        moment = entry.modified
        # A storage's block is as large as what is in it.
        extra = {"st_mtime": moment, "st_atime": moment, "st_ctime": moment, "st_blocks": -(-entry.size // 512)}
        seconds = int(moment)
        return os.stat_result((kind | 0o600, 0, 0, 1, 0, 0, entry.size, seconds, seconds, seconds), extra)

    def lstat(self) -> os.stat_result:
        """The same: there are no links."""
        return self.stat()

    def open(self, mode: str = "r", *args: Any, encoding: str | None = None, **kwargs: Any) -> Any:
        """The content of the object, as it is now.

        Raises:
          OSError: it cannot be read, or is to be written: `write_bytes` and `upload` do that in one step.
        """
        if mode not in ("r", "rt", "rb"):
            raise io.UnsupportedOperation(f"{self} cannot be opened to be written to; write it in one step")
        content: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            self._bucket.read(self.key, content)
        except BaseException:
            content.close()
            raise
        content.seek(0)
        return content if mode == "rb" else io.TextIOWrapper(content, encoding, *args[2:], **kwargs)

    def read_bytes(self) -> bytes:
        """The content of the object.

        Raises:
          OSError: it cannot be read.
        """
        content = io.BytesIO()
        self._bucket.read(self.key, content)
        return content.getvalue()

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        """The same as text, in UTF-8 unless it is said otherwise."""
        return self.read_bytes().decode(encoding or "utf-8", errors or "strict")

    def write_bytes(self, data: Any, must_be_new: bool = False) -> int:
        """Makes or replaces the object in one step: whoever reads it sees the old content or the new one.

        Raises:
          FileExistsError: it must be new, and is there.
          OSError: it cannot be written.
        """
        self._bucket.write(self.key, bytes(data), must_be_new)
        return len(data)

    def write_text(
        self, data: str, encoding: str | None = None, errors: str | None = None, newline: str | None = None
    ) -> int:
        """The same with text, in UTF-8 unless it is said otherwise."""
        return self.write_bytes(data.encode(encoding or "utf-8", errors or "strict"))

    def upload(self, file: Path, must_be_new: bool = False) -> None:
        """Makes or replaces the object in one step from a file of this machine.

        Raises:
          FileExistsError: it must be new, and is there.
          OSError: the file cannot be read, or the object not be written.
        """
        self._bucket.upload(self.key, file, must_be_new)

    def touch(self, mode: int = 0o666, exist_ok: bool = True) -> None:
        """Makes or replaces an empty object."""
        self.write_bytes(b"", must_be_new=not exist_ok)

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Nothing: a folder is there when something is in it."""

    def rmdir(self) -> None:
        """Nothing: a folder is gone when nothing is in it."""

    def unlink(self, missing_ok: bool = False) -> None:
        """Removes the object; that it is not there is no error, as it is none of object storage."""
        self._bucket.delete(self.key)


class S3Path(ObjectPath):
    """A path on S3, or on what answers as S3 does."""

    scheme = "s3"


class GooglePath(ObjectPath):
    """A path on Google Cloud Storage."""

    scheme = "gs"


PATHS: dict[str, type[ObjectPath]] = {one.scheme: one for one in (S3Path, GooglePath)}
