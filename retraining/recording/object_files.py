"""Folders of artifacts on object storage, as TFX's drivers and the recording of attempts ask for them.

TFX's own (tfx/dsl/io/plugins/tensorflow_gfile.py) knows `gs://` without an emulator, and no `s3://`.
"""

from typing import Any

from tfx.dsl.io import filesystem, filesystem_registry

from headlines.objects.addresses import SCHEMES, to_path


class ObjectFiles(filesystem.Filesystem):
    """What is asked of an artifact's folder; its files are a matter of retraining/recording/staging.py."""

    SUPPORTED_SCHEMES = [f"{scheme}://" for scheme in SCHEMES]  # noqa: RUF012

    @staticmethod
    def open(name: str, mode: str = "r") -> Any:
        """The content of an object, to be read."""
        return to_path(name).open(mode)

    @staticmethod
    def exists(path: str) -> bool:
        """Whether something is there."""
        return to_path(path).exists()

    @staticmethod
    def isdir(path: str) -> bool:
        """Whether something is below it."""
        return to_path(path).is_dir()

    @staticmethod
    def listdir(path: str) -> list[str]:
        """The names of what is in it."""
        return [one.name for one in to_path(path).iterdir()]

    @staticmethod
    def makedirs(path: str) -> None:
        """Nothing: a folder is there when something is in it."""

    @staticmethod
    def mkdir(path: str) -> None:
        """The same."""

    @staticmethod
    def remove(path: str) -> None:
        """Removes an object."""
        to_path(path).unlink()

    @staticmethod
    def rmtree(path: str) -> None:
        """Removes all that is below it."""
        for one in to_path(path).rglob("*"):
            if one.is_file():
                one.unlink()


def register() -> None:
    """Lets TFX ask here, before whoever knows the same schemes."""
    filesystem_registry.DEFAULT_FILESYSTEM_REGISTRY.register(ObjectFiles, priority=1)
