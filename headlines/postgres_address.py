"""Where a Postgres database is, and what is said when it lets nobody in."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Postgres:
    """A database, and whom it lets in.

    Attributes:
      owner: whose it is, for messages.
      prefix: how the names of the settings begin that say where it is.
      host: its server's.
      port: its server's.
      name: its own.
      user: whom the server lets in.
      password: the user's.
    """

    owner: str
    prefix: str
    host: str
    port: int
    name: str
    user: str
    password: str = field(repr=False)

    def __str__(self) -> str:
        return f"host {self.host}, port {self.port}, database {self.name}"

    @property
    def arguments(self) -> dict[str, Any]:
        """What psycopg2 connects by."""
        return {
            "host": self.host,
            "port": self.port,
            "dbname": self.name,
            "user": self.user,
            "password": self.password,
            "connect_timeout": 5,
        }

    def explain(self, error: Exception) -> str:
        """What a person can do about the server's refusal."""
        names = ", ".join(f"{self.prefix}_{part}" for part in ("HOST", "PORT", "DATABASE", "USER"))
        return (
            f"{self.owner}'s database at {self}, does not let user {self.user} in: {' '.join(str(error).split())}. "
            f"Check that its server runs (`retraining status`; `retraining up` starts it), and {names} and "
            f"{self.prefix}_PASSWORD in .env"
        )
