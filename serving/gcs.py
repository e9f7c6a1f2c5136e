"""Google Cloud Storage by Google's own client; it takes addresses and credentials where that finds them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.api_core.exceptions import Forbidden, GoogleAPIError, NotFound, PreconditionFailed, Unauthorized
from google.auth.exceptions import GoogleAuthError
from google.cloud.storage import Client
from google.cloud.storage.retry import DEFAULT_RETRY
from google.resumable_media import DataCorruption, InvalidResponse
from requests import RequestException
from urllib3.exceptions import HTTPError

from serving.object_store import CONNECT_SECONDS, READ_SECONDS, MissingError, StoredObject, StoreError

# HTTPError: of what breaks off amid an object. ValueError: of credentials that are none, when the client is made.
_ERRORS = (GoogleAPIError, GoogleAuthError, RequestException, HTTPError, InvalidResponse, DataCorruption, ValueError)
_OPTIONS: dict[str, Any] = {"timeout": (CONNECT_SECONDS, READ_SECONDS), "retry": DEFAULT_RETRY.with_timeout(5.0)}


class GcsStore:
    """A bucket of Google Cloud Storage."""

    def __init__(self, bucket: str) -> None:
        self._name = bucket
        self._known: Any = None

    @property
    def _bucket(self) -> Any:
        # Not before it is asked for: credentials are looked for, and may be a file that is wrong, and mended.
        if self._known is None:
            self._known = Client(project=None).bucket(self._name)
        return self._known

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """All objects whose keys begin so; see ObjectStore."""
        try:
            fields = "items(name,size,generation),nextPageToken"
            for blob in self._bucket.list_blobs(prefix=prefix, fields=fields, **_OPTIONS):
                yield StoredObject(blob.name, blob.size, str(blob.generation))
        except _ERRORS as error:
            raise self._explain(error, is_object=False) from None

    def read(self, key: str) -> bytes:
        """The contents of a small object; see ObjectStore."""
        try:
            content: bytes = self._bucket.blob(key).download_as_bytes(**_OPTIONS)
        except _ERRORS as error:
            raise self._explain(error) from None
        return content

    def download(self, one: StoredObject, target: Path) -> None:
        """Writes an object into a new file; see ObjectStore."""
        try:
            with target.open("xb") as file:
                # Just as it is stored, of the generation that was listed; the client compares its checksum.
                blob = self._bucket.blob(one.key, generation=int(one.tag))
                blob.download_to_file(file, raw_download=True, **_OPTIONS)
        except _ERRORS as error:
            raise self._explain(error) from None

    def _explain(self, error: Exception, is_object: bool = True) -> StoreError:
        if isinstance(error, GoogleAuthError):
            return StoreError(f"{error}: give the server credentials, such as GOOGLE_APPLICATION_CREDENTIALS")
        if isinstance(error, PreconditionFailed) or (isinstance(error, NotFound) and is_object):
            return MissingError(str(error))
        if isinstance(error, NotFound):
            return StoreError(f"{error}: make the bucket, or correct SERVING_DIR")
        if isinstance(error, Forbidden | Unauthorized):
            return StoreError(f"{error}: let the server's account list and read bucket {self._name}")
        return StoreError(f"{type(error).__name__}: {error}")
