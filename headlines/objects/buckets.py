"""Buckets of object storage by their vendors' own libraries; whatever goes wrong is an OSError, as of a folder's files.

Endpoints and credentials are those of the libraries' own environment: `AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`,
`AWS_PROFILE` and the rest (https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html), or
`STORAGE_EMULATOR_HOST` and `GOOGLE_APPLICATION_CREDENTIALS`
(https://cloud.google.com/docs/authentication/application-default-credentials).
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Protocol

_CONNECT_SECONDS = 10
_READ_SECONDS = 60
_RETRY_SECONDS = 60.0
_DENIED = ("401", "403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken")
_MISSING = ("404", "NoSuchKey", "NotFound")
_EXISTS = ("409", "412", "ConditionalRequestConflict", "PreconditionFailed")


@dataclass(frozen=True, slots=True)
class Entry:
    """What a listing says of an object, or of a folder, whose key ends in `/` and which has neither size nor time."""

    key: str
    size: int = 0
    modified: float = 0.0


class Bucket(Protocol):
    """A bucket. Each method is one request, but for a long listing or a large file.

    Each raises FileNotFoundError where there is no such object, NotADirectoryError where there is no such bucket,
    PermissionError where nobody is let in, and another OSError for whatever else keeps it from being done.
    """

    def list(self, prefix: str, is_deep: bool) -> Iterator[Entry]:
        """The objects whose keys begin so, or, unless it is deep, those in the folder itself, and its folders."""

    def find(self, key: str) -> Entry:
        """What is known of an object."""

    def read(self, key: str, target: IO[bytes]) -> None:
        """Writes the content of an object into a file."""

    def write(self, key: str, content: bytes, must_be_new: bool = False) -> None:
        """Makes or replaces an object in one step; FileExistsError where it must be new and is there."""

    def upload(self, key: str, file: Path, must_be_new: bool = False) -> None:
        """The same from a file, whose content is never whole in memory."""

    def delete(self, key: str) -> None:
        """Removes an object; that it is not there is no error."""


_open: dict[tuple[int, str, str], Bucket] = {}


def open_bucket(scheme: str, name: str) -> Bucket:
    """The bucket of a name, with a client of this process' own.

    Raises:
      OSError: the vendor's library is not installed, or finds no credentials.
    """
    key = (os.getpid(), scheme, name)
    if key not in _open:
        kinds: dict[str, type[S3Bucket] | type[GoogleBucket]] = {"s3": S3Bucket, "gs": GoogleBucket}
        try:
            _open[key] = kinds[scheme](name)
        except ModuleNotFoundError as error:
            raise OSError(
                errno.ENOPKG,
                f"object storage needs the package {error.name}; run `make setup-celery`",
                f"{scheme}://{name}",
            ) from None
    return _open[key]


class S3Bucket:
    """A bucket on S3, or on what answers as S3 does."""

    def __init__(self, name: str) -> None:
        """Makes a client; nothing is asked yet."""
        import boto3
        from botocore.config import Config

        self._name = name
        config = Config(connect_timeout=_CONNECT_SECONDS, read_timeout=_READ_SECONDS)
        with self._explaining(""):
            try:
                self._client: Any = boto3.session.Session().client("s3", config=config)
            except ValueError as error:
                # Such as an AWS_ENDPOINT_URL without its scheme.
                raise OSError(errno.EINVAL, str(error), f"s3://{name}") from error

    def list(self, prefix: str, is_deep: bool) -> Iterator[Entry]:
        """See `Bucket`."""
        options = {} if is_deep else {"Delimiter": "/"}
        with self._explaining(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._name, Prefix=prefix, **options)
            for page in pages:
                for one in page.get("Contents", ()):
                    yield Entry(one["Key"], one["Size"], one["LastModified"].timestamp())
                for one in page.get("CommonPrefixes", ()):
                    yield Entry(one["Prefix"])

    def find(self, key: str) -> Entry:
        """See `Bucket`."""
        with self._explaining(key):
            head = self._client.head_object(Bucket=self._name, Key=key)
        return Entry(key, head["ContentLength"], head["LastModified"].timestamp())

    def read(self, key: str, target: IO[bytes]) -> None:
        """See `Bucket`."""
        with self._explaining(key):
            self._client.download_fileobj(self._name, key, target)

    def write(self, key: str, content: bytes, must_be_new: bool = False) -> None:
        """See `Bucket`."""
        options = {"IfNoneMatch": "*"} if must_be_new else {}
        with self._explaining(key):
            self._client.put_object(Bucket=self._name, Key=key, Body=content, **options)

    def upload(self, key: str, file: Path, must_be_new: bool = False) -> None:
        """See `Bucket`; one that must be new has at most 5 GB, S3's limit for what is put in one request."""
        with self._explaining(key):
            if not must_be_new:
                self._client.upload_file(str(file), self._name, key)
                return
            # The upload in parts takes no such condition.
            with file.open("rb") as content:
                self._client.put_object(Bucket=self._name, Key=key, Body=content, IfNoneMatch="*")

    def delete(self, key: str) -> None:
        """See `Bucket`."""
        with self._explaining(key):
            self._client.delete_object(Bucket=self._name, Key=key)

    @contextmanager
    def _explaining(self, key: str) -> Iterator[None]:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

        place = f"s3://{self._name}/{key}"
        try:
            yield
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            raise _explain(code, code == "NoSuchBucket", str(error), place) from error
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise PermissionError(errno.EACCES, f"{error}; set AWS_ACCESS_KEY_ID and the like", place) from error
        except (BotoCoreError, Boto3Error) as error:
            raise OSError(errno.EIO, str(error), place) from error


class GoogleBucket:
    """A bucket on Google Cloud Storage."""

    def __init__(self, name: str) -> None:
        """Makes a client, which looks for credentials."""
        from google.cloud.storage import Client
        from google.cloud.storage.retry import DEFAULT_RETRY

        self._name = name
        # Each request here may be made twice: what it would change the second time is the same.
        self._options = {
            "timeout": (_CONNECT_SECONDS, _READ_SECONDS),
            "retry": DEFAULT_RETRY.with_timeout(_RETRY_SECONDS),
        }
        with self._explaining(""):
            self._bucket: Any = Client(project=None).bucket(name)

    def list(self, prefix: str, is_deep: bool) -> Iterator[Entry]:
        """See `Bucket`."""
        with self._explaining(prefix, is_of_bucket=True):
            found = self._bucket.list_blobs(prefix=prefix, delimiter=None if is_deep else "/", **self._options)
            for one in found:
                yield _to_entry(one)
            for one in found.prefixes:
                yield Entry(one)

    def find(self, key: str) -> Entry:
        """See `Bucket`."""
        with self._explaining(key):
            blob = self._bucket.blob(key)
            blob.reload(**self._options)
        return _to_entry(blob)

    def read(self, key: str, target: IO[bytes]) -> None:
        """See `Bucket`."""
        with self._explaining(key):
            self._bucket.blob(key).download_to_file(target, **self._options)

    def write(self, key: str, content: bytes, must_be_new: bool = False) -> None:
        """See `Bucket`."""
        options = {"if_generation_match": 0} if must_be_new else {}
        with self._explaining(key, is_of_bucket=True):
            self._bucket.blob(key).upload_from_string(
                content, content_type="application/octet-stream", **options, **self._options
            )

    def upload(self, key: str, file: Path, must_be_new: bool = False) -> None:
        """See `Bucket`."""
        options = {"if_generation_match": 0} if must_be_new else {}
        with self._explaining(key, is_of_bucket=True):
            self._bucket.blob(key).upload_from_filename(str(file), **options, **self._options)

    def delete(self, key: str) -> None:
        """See `Bucket`."""
        try:
            with self._explaining(key):
                self._bucket.blob(key).delete(**self._options)
        except FileNotFoundError:
            pass

    @contextmanager
    def _explaining(self, key: str, is_of_bucket: bool = False) -> Iterator[None]:
        """Makes an error of this language of a vendor's; `is_of_bucket` where no object can be what is missing."""
        import requests
        from google.api_core.exceptions import GoogleAPICallError, RetryError
        from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
        from google.resumable_media import DataCorruption

        place = f"gs://{self._name}/{key}"
        try:
            yield
        except GoogleAPICallError as error:
            # The message has the address in it, and so the names of bucket and object.
            is_bucket_missing = is_of_bucket or "the specified bucket does not exist" in str(error.message).casefold()
            raise _explain(str(error.code), error.code == 404 and is_bucket_missing, str(error), place) from error
        except DefaultCredentialsError as error:
            raise PermissionError(errno.EACCES, str(error), place) from error
        except (GoogleAuthError, RetryError, DataCorruption, requests.RequestException) as error:
            raise OSError(errno.EIO, str(error), place) from error


def _to_entry(blob: Any) -> Entry:
    changed: datetime | None = blob.updated
    return Entry(blob.name, blob.size or 0, changed.timestamp() if changed else 0.0)


def _explain(code: str, is_bucket_missing: bool, text: str, place: str) -> OSError:
    """The error of this language that a vendor's answer is."""
    if is_bucket_missing:
        return NotADirectoryError(errno.ENOTDIR, "there is no such bucket", place)
    if code in _DENIED:
        return PermissionError(errno.EACCES, f"access is denied ({text})", place)
    if code in _MISSING:
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), place)
    if code in _EXISTS:
        return FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), place)
    return OSError(errno.EIO, text, place)
