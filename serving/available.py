"""The versions that can be asked, and the state of every version seen: what requests read while a thread changes it."""

import gc
import logging
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from serving.errors import ServingError, invalid
from serving.folder import Folder
from serving.model import Model
from serving.policy import PolicyFile

log = logging.getLogger(__name__)

# TensorFlow Serving keeps the state of every version it ever saw (tensorflow/serving#1488); a server that runs for
# years should not.
_MAX_ENDED = 100


@dataclass(frozen=True)
class VersionState:
    """One entry of the model's status.

    Attributes:
      version: its number.
      state: START, LOADING, AVAILABLE, UNLOADING or END.
      error_code: TensorFlow's; OK if nothing is wrong.
      error_message: what is wrong.
    """

    version: int
    state: str
    error_code: str = "OK"
    error_message: str = ""

    def to_json(self) -> dict[str, Any]:
        """The entry as the status shows it."""
        return {
            "version": str(self.version),
            "state": self.state,
            "status": {"error_code": self.error_code, "error_message": self.error_message},
        }


class Observer(Protocol):
    """What follows the fate of versions: a method is called after each change."""

    def loaded(self, version: int) -> None:
        """A version is available."""

    def unloaded(self, version: int) -> None:
        """A version is available no longer; requests may still hold it."""

    def ended(self, version: int) -> None:
        """A version is held by no request any more."""

    def refused(self, version: int) -> None:
        """A version could not be loaded."""

    def looked(self, file: PolicyFile, folder: Folder, not_served: Mapping[str, int]) -> None:
        """Config file and folder were looked at; `not_served` counts the versions that do not serve by the reason."""


class AvailableVersions:
    """The loaded versions of one model. One thread changes them, any may ask."""

    def __init__(self, name: str, observer: Observer | None) -> None:
        """Has none.

        Args:
          name: the model's, in requests.
          observer: what follows the fate of versions.
        """
        self.labels: Mapping[str, int] = {}
        self._name = name
        self._observer = observer
        self._models: dict[int, Model] = {}
        self._dropped: list[tuple[int, weakref.ref[Model]]] = []
        self._states: dict[int, VersionState] = {}

    @property
    def loaded(self) -> list[int]:
        """The available versions, the newest first."""
        return sorted((state.version for state in self._states.values() if state.state == "AVAILABLE"), reverse=True)

    def find(self, name: str, version: int | None = None, label: str | None = None) -> Model:
        """The model that a request means: this version or label, or the newest that is available.

        Raises:
          ServingError: there is none.
        """
        models = self._models  # replaced as a whole, never changed
        if label is not None:
            version = self._version_of(name, label)
        if version is None:
            if name != self._name or not models:
                raise ServingError("NOT_FOUND", f"Servable not found for request: Latest({name})")
            return models[max(models)]
        if name != self._name or version not in models:
            raise ServingError("NOT_FOUND", f"Servable not found for request: Specific({name}, {version})")
        return models[version]

    def states(self, name: str, version: int | None = None, label: str | None = None) -> list[VersionState]:
        """The state of this version or label, or of every version seen, the newest first.

        Raises:
          ServingError: nothing is known of it.
        """
        if label is not None:
            version = self._version_of(name, label)
        states = dict(self._states) if name == self._name else {}
        if version is not None:
            if version not in states:
                raise ServingError("NOT_FOUND", f"Could not find version {version} of model {name}")
            return [states[version]]
        if not states:
            raise ServingError("NOT_FOUND", f"Could not find any versions of model {name}")
        return [states[number] for number in sorted(states, reverse=True)]

    def _version_of(self, name: str, label: str) -> int:
        if name != self._name or label not in self.labels:
            raise invalid(f"Unrecognized servable version label: {label}")
        return self.labels[label]

    def _add(self, model: Model) -> None:
        if self._observer:
            self._observer.loaded(model.version)
        self._models = {**self._models, model.version: model}
        # Last: whoever sees it may ask the model and find it counted.
        self._set(VersionState(model.version, "AVAILABLE"))
        log.info("version %d is available", model.version)

    def _drop(self, version: int) -> None:
        self._set(VersionState(version, "UNLOADING"))
        self._dropped.append((version, weakref.ref(self._models[version])))
        self._models = {number: model for number, model in self._models.items() if number != version}
        log.info("version %d takes no more requests", version)
        if self._observer:
            self._observer.unloaded(version)

    def _end_dropped(self) -> None:
        """Ends the dropped versions whose last request is answered: until then it holds the model.

        Looked at by this thread: a callback of the weak reference would run amid whatever lets go of the model.
        """
        self._dropped = [(version, model) for version, model in self._dropped if model()]
        held = {version for version, _ in self._dropped}
        for version, state in self._states.items():
            if state.state == "UNLOADING" and version not in held:
                self._set(VersionState(version, "END"))
                if self._observer:
                    self._observer.ended(version)
        # A graph is full of cycles, and a failed request may be one; what was there at start is frozen: this is quick.
        gc.collect()

    def _set(self, state: VersionState) -> None:
        states = {**self._states, state.version: state}
        ended = sorted(version for version, entry in states.items() if entry.state == "END")
        for version in ended[: max(0, len(ended) - _MAX_ENDED)]:
            del states[version]
        self._states = states
