"""Which versions are loaded: watches where models are pushed to and TensorFlow Serving's model config file.

A new version is loaded and warm before an old one goes. No request is answered here. What is not as somebody may think
is told in `problems`, and in the log when it comes and when it goes.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from serving.available import AvailableVersions, Observer, VersionState
from serving.folder import Folder, Source
from serving.loads import Load
from serving.model import LoadError, Model
from serving.policy import Policy, PolicyFile
from serving.refusals import Refusals

log = logging.getLogger(__name__)

# A load that hangs keeps what it has; a fourth would come of files that were mended and hang again.
_MAX_HANGING = 3
# How long a load is waited for when the server ends, and a look at the folder before it is told that it hangs.
_STOP_SECONDS = 2.0
_LOOK_SECONDS = 30.0


class Versions(AvailableVersions):
    """The loaded versions of one model, kept up to date by a thread of its own."""

    def __init__(
        self,
        source: Source,
        name: str,
        keep: int,
        poll_seconds: float,
        observer: Observer | None = None,
        load: Callable[[Path, int], Model] = Model,
        load_seconds: float = 120.0,
    ) -> None:
        """Loads nothing yet: `start` or `update` does.

        Args:
          source: where models are pushed to.
          name: the model's, in requests and in the config file.
          keep: how many of the newest versions stay loaded, unless the config file says otherwise.
          poll_seconds: how long to wait before looking again.
          observer: what follows the fate of versions.
          load: makes a model of a folder and a version; it raises LoadError if it cannot.
          load_seconds: a load that takes longer is not waited for.
        """
        super().__init__(name, observer)
        self._source = source
        self._policy_file = PolicyFile(source.config_name, name, Policy(newest=keep), source.read_config)
        self._poll_seconds = poll_seconds
        self._load = load
        self._load_seconds = load_seconds
        self._seen = Folder()
        self._refusals = Refusals(source.stamp)
        # Loads that are waited for no more, and those whose version is being loaded anew.
        self._loads: dict[int, Load] = {}
        self._hanging: list[Load] = []
        self._current: Load | None = None
        self._problems: tuple[str, ...] = ()
        self._fault = ""
        self._looked_at = time.monotonic()
        self._stop = threading.Event()
        self._has_looked = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="versions", daemon=True)

    def start(self) -> None:
        """Begins to watch."""
        self._looked_at = time.monotonic()
        self._thread.start()

    def wait_until_looked(self, seconds: float) -> None:
        """Waits until what was there at the start is loaded or refused, or `end_wait` is called."""
        self._has_looked.wait(seconds)

    def end_wait(self) -> None:
        """Ends the wait for what was there at the start."""
        self._has_looked.set()

    def stop(self) -> None:
        """Stops watching; a load under way is waited for a moment, then given up."""
        self._stop.set()
        self._wake.set()
        self._thread.join(_STOP_SECONDS + 0.5)
        if self._thread.is_alive():
            log.error("the server ends, and no longer waits for %s, which cannot be read", self._source.name)
        for load in self.unfinished:
            seconds = time.monotonic() - load.started
            log.error("the server ends, and gives up version %d, under load for %.0f s", load.version, seconds)

    @property
    def is_watching(self) -> bool:
        """Whether new versions would be noticed."""
        return self._thread.is_alive()

    @property
    def unfinished(self) -> list[Load]:
        """The loads under way, whether waited for or not."""
        loads = [*self._hanging, *self._loads.values(), *([self._current] if self._current else [])]
        return [load for load in loads if not load.is_over]

    @property
    def is_lost(self) -> bool:
        """Whether nothing serves and the folder of versions cannot be read: a setting is wrong, or who may read it."""
        return not self._models and not self._seen.is_read

    @property
    def problems(self) -> tuple[str, ...]:
        """What is not as somebody may think, and what to do about it."""
        faults = [self._fault] if self._fault else []
        silent = time.monotonic() - self._looked_at
        if silent > max(_LOOK_SECONDS, 3 * self._poll_seconds):
            faults.append(f"{self._source.name} has not answered for {silent:.0f} s: nothing new is noticed")
        return (*faults, *self._problems)

    def update(self) -> None:
        """Looks once at the folder and the config file, loads what should be loaded, then drops what should not."""
        self._look()
        if self._seen.is_read:
            self._refusals.look(self._seen.present)
        self._take_up_late()
        while missing := self._find_missing():
            for version in missing:
                self._set(VersionState(version, "START"))
            # One at a time: should it be refused, the choice is another one.
            self._try(missing[0])
            if self._stop.is_set():
                return
            if missing[0] in self._refusals.reasons:
                # What it was refused for may be over with all of them: a store that answers no more.
                self._look()
        # Nothing is dropped for nothing: an empty or unreadable folder takes no model away, nor does one under load.
        wanted = self._choose()
        if wanted and self._models.keys() >= set(wanted):
            for version in self._models.keys() - set(wanted):
                self._drop(version)
        if self._dropped:
            self._end_dropped()
        if wanted:
            self._source.keep({*self._models, *wanted})
        self._report()

    def _watch(self) -> None:
        while not self._stop.is_set():
            try:
                self.update()
                self._fault = ""
            except Exception as error:
                # Whatever it was, what is loaded serves on, and the next look may go better.
                fault = f"{self._source.name} could not be looked at: {type(error).__name__}: {error}"
                if fault != self._fault:
                    log.exception("%s", fault)
                self._fault = fault
            self._has_looked.set()
            self._stop.wait(self._poll_seconds)

    def _look(self) -> None:
        # In this order: where both appear at one moment, as what is mounted does, no version is seen without the file
        # that may take it back.
        self._seen = self._source.look()
        if self._policy_file.look():
            policy = self._policy_file.policy
            self.labels = policy.labels if policy else {}
            log.info("%s: %s", self._policy_file.path, policy)
            if policy and policy.base_path and Path(policy.base_path).name != Path(self._source.name).name:
                log.warning(
                    "%s has the base_path %s, where TensorFlow Serving looks; here it is %s all the same",
                    self._policy_file.path,
                    policy.base_path,
                    self._source.name,
                )
        self._looked_at = time.monotonic()

    def _choose(self) -> list[int]:
        """The versions to have loaded, of those that can be as they are now, the newest first."""
        policy = self._policy_file.policy
        if policy is None:
            return []
        usable = [
            version
            for version in sorted(self._seen.present, reverse=True)
            if version in self._models or not self._refusals.is_refused(version)
        ]
        if policy.specific:
            return [version for version in usable if version in policy.specific]
        return usable[: policy.newest or None]

    def _find_missing(self) -> list[int]:
        """Those to be loaded, the first first; what is under load is waited for no more."""
        can_hang = len(self._hanging) < _MAX_HANGING
        return [
            version
            for version in self._choose()
            if version not in self._models
            and (version not in self._loads or (can_hang and version in self._refusals.reasons))
        ]

    def _try(self, version: int) -> None:
        """Loads a version, unless that takes too long or another should be loaded before it."""
        log.info("loading version %d", version)
        self._set(VersionState(version, "LOADING"))
        if version in self._loads:
            self._hanging.append(self._loads.pop(version))
        self._current = Load(self._source, self._load, self._seen.present[version], version, self._wake.set)
        if self._await(self._current):
            self._finish(self._current)
        else:
            self._loads[version] = self._current
        self._current = None

    def _await(self, load: Load) -> bool:
        """Waits for a load; returns whether it is over."""
        deadline = load.started + self._load_seconds
        while not load.is_over:
            self._wake.wait(max(0.0, min(self._poll_seconds, deadline - time.monotonic())))
            self._wake.clear()
            if load.is_over:
                break
            if self._stop.is_set():
                return load.wait(_STOP_SECONDS)
            if time.monotonic() >= deadline:
                message = f"its load takes longer than {self._load_seconds:g} s; it serves once that ends"
                self._refuse(load.version, load.stamp, LoadError("DEADLINE_EXCEEDED", message))
                return False
            self._look()
            if load.version not in self._find_missing()[:1]:
                log.info("version %d is waited for no more", load.version)
                return False
            self._report()
        return True

    def _take_up_late(self) -> None:
        """Takes up the loads that have ended since they were waited for, if their version is still to be loaded."""
        self._hanging = [load for load in self._hanging if not load.is_over]
        for load in [load for load in self._loads.values() if load.is_over]:
            del self._loads[load.version]
            self._refusals.remove(load.version)
            if load.version in self._choose():
                self._finish(load)
            else:
                self._set(VersionState(load.version, "END"))
                log.info("version %d is loaded too late, and not wanted any more", load.version)

    def _finish(self, load: Load) -> None:
        version = load.version
        if load.model is None:
            self._refuse(version, load.stamp, load.error)
            return
        self._refusals.remove(version)
        self._add(load.model)

    def _refuse(self, version: int, stamp: object, error: LoadError) -> None:
        self._set(VersionState(version, "END", error.code, error.message))
        if self._refusals.add(version, stamp, error):
            log.error("version %d cannot be served, others serve on: %s", version, error.message)
        if self._observer:
            self._observer.refused(version)

    def _report(self) -> None:
        """Tells what is not as somebody may think: in the log when it begins or ends, else where it is asked for."""
        file, policy = self._policy_file, self._policy_file.policy or Policy()
        refused = self._refusals.reasons
        absent = sorted(set(policy.specific) - self._seen.present.keys())
        told = [self._seen.problem, *self._seen.remarks, file.problem]
        told += [f"{file.path} asks for version {one}, which is not in {self._source.name}" for one in absent]
        labels = [
            f"{file.path} gives the label {label!r} to version {one}, which is not loaded"
            for label, one in policy.labels.items()
            if one not in self._models
        ]
        # Amid a load it may be the one that is being loaded.
        told += [problem for problem in labels if not self._current or problem in self._problems]
        told = [problem for problem in told if problem]
        for problem in told:
            if problem not in self._problems:
                log.warning("%s", problem)
        told += [f"version {one} cannot be served, others serve on: {refused[one]}" for one in sorted(refused)]
        for problem in self._problems:
            if problem not in told:
                log.info("this is over: %s", problem)
        self._problems = tuple(told)
        if self._observer:
            slow = len(self._refusals.slow)
            counts = {"absent": len(absent), "refused": len(refused) - slow, "slow": slow}
            self._observer.looked(file, self._seen, counts)
