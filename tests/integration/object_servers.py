"""Buckets for the tests of places on object storage, on servers that really answer."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from object_stores import STORES, ObjectStore

from headlines.objects.addresses import to_path
from headlines.objects.paths import ObjectPath

VARIABLES = (
    "AWS_ENDPOINT_URL",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_DEFAULT_REGION",
    "STORAGE_EMULATOR_HOST",
)


@dataclass(frozen=True)
class ObjectServer:
    """A server that runs, and how the vendors' libraries are led to it."""

    store: ObjectStore

    @property
    def scheme(self) -> str:
        return self.store.scheme

    @property
    def environment(self) -> dict[str, str]:
        return self.store.environment

    def make_bucket(self) -> ObjectPath:
        """A folder in a bucket that nobody else has."""
        # A name that is in the address, and so in the messages, of whatever is in it.
        name = f"headlines-bucket-{secrets.token_hex(6)}"
        self.store.make_bucket(name)
        place = to_path(f"{self.scheme}://{name}/service")
        assert isinstance(place, ObjectPath)
        return place


@contextmanager
def serve_objects(scheme: str) -> Iterator[ObjectServer]:
    """Runs a server for as long as the block lasts."""
    store = STORES[scheme]()
    try:
        yield ObjectServer(store)
    finally:
        store.stop()
