"""Which versions are loaded: watches the folder of pushed models and TensorFlow Serving's model config file.

A new version is loaded and warm before an old one goes. No request is answered here.
"""

import gc
import logging
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from serving.errors import ServingError, invalid
from serving.model import LoadError, Model, is_saved_model
from serving.policy import Policy, read_policy

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


class Versions:
    """The loaded versions of one model, kept up to date by a thread of its own."""

    def __init__(
        self,
        folder: Path,
        name: str,
        keep: int,
        config_file: Path,
        poll_seconds: float,
        observer: Observer | None = None,
        load: Callable[[Path, int], Model] = Model,
    ) -> None:
        """Loads nothing yet: `start` or `update` does.

        Args:
          folder: where pushed models are, a folder per version.
          name: the model's, in requests and in the config file.
          keep: how many of the newest versions stay loaded, unless the config file says otherwise.
          config_file: TensorFlow Serving's model config file; it may be missing.
          poll_seconds: how long to wait before looking again.
          observer: what follows the fate of versions.
          load: makes a model of a folder and a version; it raises LoadError if it cannot.
        """
        self._folder = folder
        self._name = name
        self._default_policy = Policy(newest=keep)
        self._config_file = config_file
        self._poll_seconds = poll_seconds
        self._observer = observer
        self._load = load
        self._policy = self._default_policy
        self._config_stamp: object = None
        self._models: dict[int, Model] = {}
        self._dropped: list[tuple[int, weakref.ref[Model]]] = []
        self._states: dict[int, VersionState] = {}
        self._refused: dict[int, object] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="versions", daemon=True)

    def start(self) -> None:
        """Begins to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Stops watching; a load under way is waited for."""
        self._stop.set()
        self._thread.join()

    @property
    def is_watching(self) -> bool:
        """Whether new versions would be noticed."""
        return self._thread.is_alive()

    @property
    def loaded(self) -> list[int]:
        """The available versions, the newest first."""
        return sorted((state.version for state in self._states.values() if state.state == "AVAILABLE"), reverse=True)

    @property
    def labels(self) -> Mapping[str, int]:
        """Names of versions, from the config file."""
        return self._policy.labels

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

    def update(self) -> None:
        """Looks once at the folder and the config file, loads what should be loaded, then drops what should not."""
        present = self._find_present()
        if self._read_config():
            for version in set(self._policy.specific) - set(present):
                log.warning("%s asks for version %d, which is not in %s", self._config_file, version, self._folder)
        while True:
            wanted = self._choose(present)
            missing = [version for version in wanted if version not in self._models]
            if not missing:
                break
            for version in missing:
                self._set(VersionState(version, "START"))
            # One at a time: should it be refused, the choice is another one.
            self._try(missing[0], present[missing[0]])
        # Nothing is dropped for nothing: an empty or unreadable folder takes no model away.
        if wanted:
            for version in self._models.keys() - set(wanted):
                self._drop(version)
        if self._dropped:
            self._end_dropped()

    def _version_of(self, name: str, label: str) -> int:
        if name != self._name or label not in self._policy.labels:
            raise invalid(f"Unrecognized servable version label: {label}")
        return self._policy.labels[label]

    def _watch(self) -> None:
        while not self._stop.is_set():
            try:
                self.update()
            except Exception:
                # Whatever it was, what is loaded serves on, and the next look may go better.
                log.exception("could not look for new versions in %s", self._folder)
            self._stop.wait(self._poll_seconds)

    def _find_present(self) -> dict[int, Path]:
        try:
            folders = [path for path in self._folder.iterdir() if path.name.isascii() and path.name.isdecimal()]
        except OSError as error:
            log.debug("%s cannot be read: %s", self._folder, error)
            return {}
        present = {int(path.name): path for path in folders if is_saved_model(path)}
        self._refused = {version: stamp for version, stamp in self._refused.items() if version in present}
        return present

    def _choose(self, present: Mapping[int, Path]) -> list[int]:
        """The versions to have loaded, of those not refused as they are now, the newest first."""
        usable = [
            version
            for version in sorted(present, reverse=True)
            if version in self._models
            or version not in self._refused
            or self._refused[version] != _stamp(present[version])
        ]
        if self._policy.specific:
            return [version for version in usable if version in self._policy.specific]
        return usable[: self._policy.newest or None]

    def _try(self, version: int, path: Path) -> None:
        stamp = _stamp(path)
        log.info("loading version %d", version)
        self._set(VersionState(version, "LOADING"))
        try:
            model = self._load(path, version)
        except LoadError as error:
            self._refuse(version, stamp, error)
            return
        except Exception as error:
            # Left to go on, it would end this look, and every later one, before a sound version is tried.
            log.exception("loading version %d failed", version)
            self._refuse(version, stamp, LoadError("INTERNAL", f"{type(error).__name__}: {error}"))
            return
        self._refused.pop(version, None)
        if self._observer:
            self._observer.loaded(version)
        self._models = {**self._models, version: model}
        # Last: whoever sees it may ask the model and find it counted.
        self._set(VersionState(version, "AVAILABLE"))
        log.info("version %d is available", version)

    def _refuse(self, version: int, stamp: object, error: LoadError) -> None:
        self._refused[version] = stamp
        self._set(VersionState(version, "END", error.code, error.message))
        log.error("version %d cannot be served, others serve on: %s", version, error.message)
        if self._observer:
            self._observer.refused(version)

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

    def _read_config(self) -> bool:
        """Takes up a changed config file; returns whether it did."""
        try:
            stat = self._config_file.stat()
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if stamp == self._config_stamp:
                return False
            self._config_stamp = stamp
            self._policy = read_policy(self._config_file, self._name)
            log.info("%s: %s", self._config_file, self._policy)
            return True
        except FileNotFoundError:
            self._config_stamp, self._policy = None, self._default_policy
        except (OSError, ValueError) as error:
            log.error("%s is not used, the policy stays as it was: %s", self._config_file, error)
        return False


def _stamp(path: Path) -> object:
    """Changes when a file of a version does."""
    stats = ((file.relative_to(path).as_posix(), file.stat()) for file in sorted(path.rglob("*")) if file.is_file())
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
