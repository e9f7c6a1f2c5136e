"""S3, and what speaks as it does, by Amazon's own client; it takes addresses and credentials where that finds them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from botocore.session import Session

from serving.object_store import CONNECT_SECONDS, READ_SECONDS, MissingError, StoredObject, StoreError

_CONFIG = Config(
    connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, retries={"mode": "standard", "total_max_attempts": 2}
)
_PIECE_BYTES = 1 << 20
# ValueError: of an address that is none, when the client is made.
_ERRORS = (BotoCoreError, ClientError, ValueError)
# PreconditionFailed: it was listed with another entity tag.
_MISSING = {"NoSuchKey", "PreconditionFailed"}
_BUCKET_MISSING = {"NoSuchBucket", "PermanentRedirect", "InvalidBucketName"}
_FORBIDDEN = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}


class S3Store:
    """A bucket of S3."""

    def __init__(self, bucket: str) -> None:
        self._bucket = bucket
        self._known: Any = None

    @property
    def _client(self) -> Any:
        # Not before it is asked for: profiles and endpoints are files that may be wrong, and mended.
        if self._known is None:
            self._known = Session().create_client("s3", config=_CONFIG)
        return self._known

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """All objects whose keys begin so; see ObjectStore."""
        try:
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
            for page in pages:
                for one in page.get("Contents", ()):
                    yield StoredObject(one["Key"], one["Size"], one["ETag"])
        except _ERRORS as error:
            raise self._explain(error) from None

    def read(self, key: str) -> bytes:
        """The contents of a small object; see ObjectStore."""
        try:
            content: bytes = self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()
        except _ERRORS as error:
            raise self._explain(error) from None
        return content

    def download(self, one: StoredObject, target: Path) -> None:
        """Writes an object into a new file; see ObjectStore."""
        try:
            # The client compares length and checksum, where the store gives one, as it reads.
            body = self._client.get_object(Bucket=self._bucket, Key=one.key, IfMatch=one.tag)["Body"]
            with target.open("xb") as file:
                for piece in body.iter_chunks(_PIECE_BYTES):
                    file.write(piece)
        except _ERRORS as error:
            raise self._explain(error) from None

    def _explain(self, error: Exception) -> StoreError:
        if isinstance(error, NoCredentialsError):
            return StoreError(f"{error}: give the server credentials, such as AWS_ACCESS_KEY_ID or a role")
        if not isinstance(error, ClientError):
            return StoreError(f"{type(error).__name__}: {error}")
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _MISSING:
            return MissingError(str(error))
        if code in _BUCKET_MISSING:
            return StoreError(
                f"{error}: make the bucket, or correct SERVING_DIR, AWS_DEFAULT_REGION or AWS_ENDPOINT_URL"
            )
        if code in _FORBIDDEN:
            return StoreError(f"{error}: let the server's credentials list and read bucket {self._bucket}")
        return StoreError(str(error))
