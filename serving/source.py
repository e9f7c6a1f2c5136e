"""Where versions are pushed to, as the settings say it."""

import hashlib
from pathlib import Path

from serving.bucket_address import BucketAddress
from serving.folder import PushedFolder, Source
from serving.object_store import ObjectStore
from serving.settings import Settings, SettingsError


def open_source(settings: Settings) -> Source:
    """The versions of SERVING_DIR.

    Raises:
      SettingsError: they are in a bucket, and its client is not installed or there is no folder for copies.
    """
    address = settings.dir
    if isinstance(address, Path):
        return PushedFolder(address, settings.models_config_file)
    # What asks a bucket is imported, and need be installed, only where there is one.
    from serving.bucket import Bucket
    from serving.cache import Cache

    store = _open_store(address)
    digest = hashlib.sha256(str(address).encode()).hexdigest()[:8]
    name = f"{address.bucket}-{address.key.rpartition('/')[2]}-{digest}"
    try:
        cache = Cache((settings.cache_dir / name).expanduser().absolute())
    except (OSError, RuntimeError) as error:
        raise SettingsError(
            f"SERVING_CACHE_DIR={settings.cache_dir} cannot hold copies of {address}: {error}; set it to a folder that "
            "may be written to"
        ) from None
    return Bucket(address, store, cache)


def _open_store(address: BucketAddress) -> ObjectStore:
    try:
        if address.scheme == "s3":
            from serving.s3 import S3Store

            return S3Store(address.bucket)
        from serving.gcs import GcsStore

        return GcsStore(address.bucket)
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"SERVING_DIR={address} needs packages that are not installed ({error}): install "
            "serving/requirements-store.lock in place of serving/requirements.lock, or set SERVING_DIR to a folder"
        ) from None
