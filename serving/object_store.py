"""What is asked of an object store, whichever it is; serving/s3.py and serving/gcs.py ask the two that there are."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

CONNECT_SECONDS, READ_SECONDS = 3.0, 10.0
"""How long a store may take to be reached, and to go on with its answer: a look should not take half a minute."""


@dataclass(frozen=True)
class StoredObject:
    """An object as a listing shows it.

    Attributes:
      key: its whole key.
      size: in bytes.
      tag: changes with its contents: an entity tag, or a generation.
    """

    key: str
    size: int
    tag: str


class StoreError(Exception):
    """A store that did not do what was asked; the message says what it said, and what to do."""


class MissingError(StoreError):
    """The object is not there, or not as it was listed."""


class ObjectStore(Protocol):
    """The bucket of an address. Each of these raises StoreError where the store does not do it."""

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """All objects whose keys begin so, in as few requests as there are pages of a thousand."""

    def read(self, key: str) -> bytes:
        """The contents of a small object; it raises MissingError where there is none."""

    def download(self, one: StoredObject, target: Path) -> None:
        """Writes an object into a new file; it raises MissingError where it is not there as it was listed."""
