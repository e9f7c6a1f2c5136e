"""Whether the server should be sent requests: what load balancers and probes are told, over every protocol alike."""

import time

from serving.available import AvailableVersions


class Readiness:
    """A server is ready while a version is loaded and it is not about to end."""

    def __init__(self, versions: AvailableVersions) -> None:
        self._versions = versions
        self._ends_at: float | None = None

    def leave(self, seconds: float) -> None:
        """Says from now on that it is not, since the server answers for these seconds only."""
        self._ends_at = time.monotonic() + seconds

    @property
    def is_leaving(self) -> bool:
        """Whether the server is about to end."""
        return self._ends_at is not None

    @property
    def is_ready(self) -> bool:
        """Whether requests should be sent here."""
        return bool(self._versions.loaded) and not self.is_leaving

    @property
    def problem(self) -> str:
        """Why the server is about to end, in words; empty if it is not."""
        if self._ends_at is None:
            return ""
        return f"the server was told to stop, and answers for {max(0.0, self._ends_at - time.monotonic()):.0f} s more"
