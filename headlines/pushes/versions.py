"""Where versions lie, in a folder or in a bucket, and what differs between the two: nobody else asks which it is."""

from collections.abc import Collection
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from headlines.holding import Check
from headlines.objects.addresses import is_object


class Versions(Protocol):
    """How versions are kept in a kind of place. Each of it may raise OSError."""

    def find_versions(self, serving_dir: Path) -> list[int]:
        """The versions, in order; none if the serving directory is not there."""

    def find_left(self, serving_dir: Path) -> dict[Path, str]:
        """What is left of pushes and removals that were not ended, each with why; no model server reads it."""

    def clear(self, serving_dir: Path) -> None:
        """Removes what pushes have left that were killed, while the serving directory is held."""

    def hold(self, serving_dir: Path) -> AbstractContextManager[Check]:
        """One change at a time; gives what raises an error where the serving directory is not held any more."""

    def appear(
        self, source: Path, target: Path, about: dict[str, Any], related_index: Path | None, check_held: Check
    ) -> None:
        """Makes a version that is not there: whoever sees it sees all of it.

        Args:
          source: a SavedModel on this machine.
          target: of the version.
          about: what is written down beside it.
          related_index: a folder that goes beside it.
          check_held: what `hold` has given.
        """

    def hide(self, serving_dir: Path, versions: Collection[int]) -> dict[int, Path]:
        """Takes versions that are there away, each in one step; gives the folders that are left to be removed."""

    def move(self, version: Path, target: Path) -> None:
        """Moves all of a version into a folder of this machine."""


def kept_in(serving_dir: Path) -> Versions:
    """How versions are kept in a serving directory."""
    # Late: a folder does without the vendors' libraries.
    if is_object(serving_dir):
        from headlines.pushes import object_versions

        return object_versions
    from headlines.pushes import folder_versions

    return folder_versions


def find_versions(serving_dir: Path) -> list[int]:
    """The versions of a serving directory, in order; none if it is not there.

    Raises:
      OSError: it cannot be listed.
    """
    return kept_in(serving_dir).find_versions(serving_dir)
