"""Where versions are in a bucket: `s3://bucket/key` or `gs://bucket/key`; it asks no store."""

from dataclasses import dataclass
from typing import Self

SCHEMES = ("s3", "gs")
"""Of Amazon's S3, or what speaks as it does, and of Google Cloud Storage."""


@dataclass(frozen=True)
class BucketAddress:
    """The place of the versions, each as objects `<key>/<version>/...`.

    Attributes:
      scheme: one of SCHEMES.
      bucket: its name.
      key: what the keys of all versions begin with, without a slash at its end.
    """

    scheme: str
    bucket: str
    key: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads an address.

        Raises:
          ValueError: it is none; the message says why.
        """
        scheme, _, rest = text.partition("://")
        if scheme not in SCHEMES:
            raise ValueError(f"{scheme}:// is not read; it is a folder, or s3://bucket/key or gs://bucket/key")
        bucket, _, key = rest.partition("/")
        key = key.rstrip("/")
        if not bucket or not key:
            raise ValueError(
                f"it names no key in a bucket; write {scheme}://{bucket or 'bucket'}/headlines, or the like"
            )
        if any(part in ("", ".", "..") for part in key.split("/")) or "?" in rest or "#" in rest:
            raise ValueError("its key has an empty part, '.', '..', '?' or '#'; write the key as the store lists it")
        return cls(scheme, bucket, key)

    def __str__(self) -> str:
        return self.locate(self.key)

    def locate(self, key: str) -> str:
        """The address of an object of the bucket, as a person writes it."""
        return f"{self.scheme}://{self.bucket}/{key}"

    def find_beside(self, name: str) -> str:
        """The key of what is beside the versions, as a file is beside their folder."""
        parent, _, _ = self.key.rpartition("/")
        return f"{parent}/{name}" if parent else name
