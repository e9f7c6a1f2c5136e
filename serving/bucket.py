"""Versions that are pushed to a bucket: which are there, and copies on the disk of those that are to be loaded.

A version is there as long as its `saved_model.pb` is, which is uploaded last and removed first. A look at the bucket
counts as a whole or not at all: no version is seen without the config file that may take it back.
"""

import hashlib
import json
import logging
import os
import time
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from pathlib import Path

from serving.bucket_address import BucketAddress
from serving.cache import Cache
from serving.folder import Folder, number_versions
from serving.model import LoadError
from serving.object_store import MissingError, ObjectStore, StoredObject, StoreError
from serving.policy import ConfigText, decode_config
from serving.settings import CONFIG_FILE

log = logging.getLogger(__name__)

MARKER = "saved_model.pb"
# Between looks at a store that does not answer; they double from the first to the longest.
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 1.0, 30.0

# The objects of one version by their path in it.
Objects = Mapping[str, StoredObject]


class Bucket:
    """Where versions are pushed to, in a bucket: a Source.

    Attributes:
      name: its address.
      config_name: that of the config file.
    """

    def __init__(self, address: BucketAddress, store: ObjectStore, cache: Cache) -> None:
        """Asks the store nothing yet.

        Args:
          address: of the versions.
          store: what has them.
          cache: for copies of them.
        """
        self.name = str(address)
        self._config_key = address.find_beside(CONFIG_FILE)
        self.config_name = address.locate(self._config_key)
        self._prefix = f"{address.key}/"
        self._store = store
        self._cache = cache
        # What the last look that went well has shown: the objects of each version by its copy, made or not; the config
        # file, and when that was. None if none has.
        self._listed: Mapping[int, tuple[Path, Objects]] | None = None
        self._config: bytes | None = None
        self._read_at = 0.0
        self._seen = Folder(is_read=False)
        # Between looks at a store that does not answer.
        self._wait_seconds = 0.0
        self._look_again_at = 0.0

    def look(self) -> Folder:
        """Looks which versions are there; see Source.

        A store that does not answer is asked again after a while. Meanwhile those are there that were at the last look,
        or at the start any, and have a copy.
        """
        if time.monotonic() < self._look_again_at:
            return self._seen
        try:
            versions = self._group(self._store.list(self._prefix))
            self._config = self._read_config()
        except StoreError as error:
            self._wait_seconds = min(max(2 * self._wait_seconds, _FIRST_WAIT_SECONDS), _LONGEST_WAIT_SECONDS)
            self._look_again_at = time.monotonic() + self._wait_seconds
            self._seen = self._remember(error)
            return self._seen
        self._wait_seconds = 0.0
        self._read_at = time.time()
        names, remarks = number_versions(
            (name for name, objects in versions.items() if MARKER in objects), lambda name: f"{self.name}/{name}"
        )
        self._listed = {
            version: (self._cache.name_copy(version, _digest(versions[name])), versions[name])
            for version, name in names.items()
        }
        try:
            self._cache.write_config(self._config)
        except OSError as error:
            remarks += (f"{self.config_name} cannot be kept for a start without the bucket: {error}; make room",)
        present = {version: copy for version, (copy, _) in self._listed.items()}
        problem = "" if present else f"SERVING_DIR={self.name} holds no version: push one, or correct SERVING_DIR"
        self._seen = Folder(present, problem, remarks=remarks)
        return self._seen

    def read_config(self) -> ConfigText:
        """The config file as of the last look, or as it was when the bucket was last read; see Source."""
        content, read_at = self._config, self._read_at
        if self._listed is None:
            content, read_at = self._cache.read_config()
        if content is None:
            raise FileNotFoundError(self.config_name)
        return ConfigText(decode_config(content), read_at)

    def stamp(self, path: Path) -> object:
        """The name of the copy, which is another when an object is; see Source."""
        return path.name

    def fetch(self, path: Path) -> None:
        """Copies the version, unless it is there; see Source."""
        objects = dict((self._listed or {}).values()).get(path)
        try:
            if self._cache.hold(path):
                if objects is None or _is_whole(path, objects):
                    return
                log.warning("%s is not as it was copied, and is copied anew", path)
                self._cache.remove(path)
            if objects is None:
                raise LoadError("UNAVAILABLE", f"{self.name} does not have it as it was, nor is there a copy of it")
            size = sum(one.size for one in objects.values())
            started = time.monotonic()
            self._cache.make_copy(path, size, partial(self._copy, objects))
            seconds = time.monotonic() - started
            log.info("version %s is at %s, %d bytes in %.1f s", path.name.partition("-")[0], path, size, seconds)
            if not self._cache.hold(path) or not _is_whole(path, objects):
                self._cache.release(path)
                raise LoadError("UNAVAILABLE", f"its copy at {path} was removed at once, or is damaged and being read")
        except StoreError as error:
            raise LoadError("UNAVAILABLE", f"it cannot be copied from {self.name}: {error}") from None
        except OSError as error:
            raise LoadError(
                LoadError.of(error).code,
                f"it cannot be copied to {self._cache.folder}: {error}; make room there, let user {os.geteuid()} write "
                "to it, or set SERVING_CACHE_DIR to another folder",
            ) from None

    def keep(self, versions: Collection[int]) -> None:
        """Removes the copies of other versions, unless the bucket cannot be read just now; see Source."""
        if not self._seen.is_read or self._listed is None:
            return
        copies = self._cache.find_copies()
        # Of a version whose objects have changed since it was loaded, the copy that there is.
        listed = {version: copy for version, (copy, _) in self._listed.items() if copy.exists()}
        self._cache.keep([copy for version, copy in (copies | listed).items() if version in versions])

    def _group(self, objects: Iterable[StoredObject]) -> dict[str, dict[str, StoredObject]]:
        """Objects by the folder that they would be in, and there by their path."""
        groups: dict[str, dict[str, StoredObject]] = {}
        for one in objects:
            name, _, path = one.key.removeprefix(self._prefix).partition("/")
            # Browsers of buckets make objects that stand for folders.
            if path and not path.endswith("/"):
                groups.setdefault(name, {})[path] = one
        return groups

    def _read_config(self) -> bytes | None:
        try:
            return self._store.read(self._config_key)
        except MissingError:
            return None

    def _remember(self, error: StoreError) -> Folder:
        if self._listed is None:
            present = self._cache.find_copies()
        else:
            copies = self._cache.find_copies()
            # Of a version whose objects have changed since it was loaded, the copy that there is.
            listed = {version: copy for version, (copy, _) in self._listed.items() if self._cache.has(copy)}
            present = {version: copy for version, copy in (copies | listed).items() if version in self._listed}
        problem = f"SERVING_DIR={self.name} cannot be read: {error}; until it can, nothing new is noticed, and "
        problem += f"what serves is of the copies in {self._cache.folder}" if present else "there is no copy to serve"
        return Folder(present, problem, is_read=False)

    def _copy(self, objects: Objects, target: Path) -> None:
        """Writes the objects of a version into a folder, if they are as they were listed from beginning to end.

        Raises:
          StoreError: they are not, or the store does not give them.
          OSError: they cannot be written.
        """
        for path, one in objects.items():
            if any(part in ("", ".", "..") for part in path.split("/")):
                raise StoreError(f"{one.key} is no path of a file below a version; remove it")
            file = target / path
            file.parent.mkdir(parents=True, exist_ok=True)
            self._store.download(one, file)
            if (size := file.stat().st_size) != one.size:
                raise StoreError(f"{one.key} came with {size} bytes, and was listed with {one.size}")
        folder = objects[MARKER].key.removesuffix(MARKER)
        [again] = [*self._group(self._store.list(folder)).values()] or [{}]
        if _digest(again) != _digest(objects):
            raise StoreError("its objects changed while they were copied; they are copied once they rest")


def _digest(objects: Objects) -> str:
    listing = sorted((path, one.size, one.tag) for path, one in objects.items())
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()


def _is_whole(copy: Path, objects: Objects) -> bool:
    try:
        return all((copy / path).stat().st_size == one.size for path, one in objects.items())
    except OSError:
        return False
