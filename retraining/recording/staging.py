"""Artifacts on object storage, as folders of this machine for as long as a component runs.

Executors of TFX and TensorFlow read and write files. So inputs are copied to a folder for temporary files, outputs are
written there, and copied to where they are recorded when the component has succeeded, and before it is published. A
copy that fails fails the task; what it leaves is removed with the attempt.
"""

import copy
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfx.types import Artifact

from headlines.errors import HeadlinesError
from headlines.names import STAGING
from headlines.objects.addresses import download, is_object, to_path, upload

EMPTY = ".empty"
"""Put where an output has no files, since a folder on object storage is there when something is in it."""

Artifacts = Mapping[str, list[Artifact]]


@dataclass(frozen=True)
class Stage:
    """What a component is given.

    Attributes:
      root: where it may write beside its outputs.
      inputs: by key; those that are recorded stay as they are.
    """

    root: str
    inputs: Artifacts


@contextmanager
def stage(root: str, inputs: Artifacts, outputs: Artifacts) -> Iterator[Stage]:
    """Gives a component its inputs and outputs on this machine, and puts its outputs where they are recorded.

    Args:
      root: of the pipeline.
      inputs: by key.
      outputs: by key; their URIs are those of this machine inside the block, and as before behind it. Properties that
        name a place of this machine name the recorded one behind it.

    Raises:
      OSError: a file cannot be copied.
      BaseException: whatever the block raises; nothing is copied then.
    """
    everything = [one for several in (*inputs.values(), *outputs.values()) for one in several]
    if not is_object(root) and not any(is_object(one.uri) for one in everything):
        yield Stage(root, inputs)
        return
    with tempfile.TemporaryDirectory(prefix=STAGING) as folder:
        scratch = _Scratch(Path(folder))
        staged = {key: [scratch.bring(one) for one in several] for key, several in inputs.items()}
        recorded = [(one, one.uri) for several in outputs.values() for one in several if is_object(one.uri)]
        try:
            for artifact, uri in recorded:
                artifact.uri = str(scratch.place(uri))
                Path(artifact.uri).mkdir(parents=True)
            yield Stage(str(scratch.place(root)) if is_object(root) else root, staged)
            for artifact, uri in recorded:
                _put(Path(artifact.uri), to_path(uri))
        except HeadlinesError as error:
            error.args = tuple(scratch.rename(one) for one in error.args)
            raise
        finally:
            # Those of now: the executor of a `@component` puts copies in their places (tfx/dsl/component/experimental).
            for artifact in (one for several in outputs.values() for one in several):
                scratch.settle(artifact)


class _Scratch:
    """A folder of this machine in which places on object storage have their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._places: dict[str, str] = {}

    def place(self, uri: str) -> Path:
        """The folder of a place, which is not made."""
        folder = self._folder / str(len(self._places)) / uri.rstrip("/").rpartition("/")[2]
        self._places[str(folder)] = uri
        return folder

    def bring(self, artifact: Artifact) -> Artifact:
        """An artifact with its files here; one whose files are gone stays without."""
        if not is_object(artifact.uri):
            return artifact
        brought = copy.deepcopy(artifact)
        brought.uri = str(download(to_path(artifact.uri), self.place(artifact.uri)))
        Path(brought.uri, EMPTY).unlink(missing_ok=True)
        return brought

    def settle(self, artifact: Artifact) -> None:
        """Lets an artifact, and what it says of places, name those that are recorded."""
        artifact.uri = self.rename(artifact.uri)
        for name, value in artifact.mlmd_artifact.custom_properties.items():
            if value.HasField("string_value") and (text := self.rename(value.string_value)) != value.string_value:
                artifact.set_string_custom_property(name, text)

    def rename(self, text: Any) -> Any:
        """A text with the recorded places in it; what is no text stays as it is."""
        if isinstance(text, str):
            for here, uri in self._places.items():
                text = text.replace(here, uri)
        return text


def _put(folder: Path, place: Path) -> None:
    if any(folder.iterdir()):
        upload(folder, place)
    else:
        (place / EMPTY).touch()
