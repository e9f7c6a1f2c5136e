"""Where a Postgres database is, and what is said when it lets nobody in."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from headlines.errors import HeadlinesError

_SCHEMES = ("postgresql", "postgres")
REQUIRES_TLS = frozenset({"require", "verify-ca", "verify-full"})
"""The values of libpq's `sslmode` with which nothing is sent in clear."""

SILENCE_OPTIONS = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    # Of what was sent and not acknowledged, while nobody is asked; Postgres 12 and later. In milliseconds.
    "tcp_user_timeout": 30_000,
}
"""What lets a connection ask the other end when that is silent, and take it for gone half a minute later.

https://www.postgresql.org/docs/16/libpq-connect.html#LIBPQ-KEEPALIVES
"""


def is_local(host: str) -> bool:
    """Whether what is sent to a host stays on this machine: it is a loopback address, or the folder of a socket."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost" or host.startswith("/")


class AddressError(HeadlinesError):
    """The address of a database cannot be used; the message shows it without its password."""


@dataclass(frozen=True)
class Postgres:
    """A database, and whom it lets in.

    Attributes:
      owner: whose it is, for messages.
      prefix: how the names of the settings begin that say where it is; empty where an address does.
      host: its server's.
      port: its server's.
      name: its own.
      user: whom the server lets in; empty for whom libpq takes: PGUSER, or the user of this process.
      password: the user's; None for the one that libpq finds: PGPASSWORD, or the password file.
      options: further parameters of libpq, such as `sslmode`.
    """

    owner: str
    prefix: str
    host: str
    port: int
    name: str
    user: str
    password: str | None = field(repr=False)
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_address(cls, owner: str, address: str) -> Self:
        """Reads `postgresql://user:password@host:port/database?sslmode=require`.

        SQLAlchemy's `postgresql+psycopg2://` is read too. What is special in an address is written in percent: `%40`
        for `@`.

        Raises:
          AddressError: it is no such address.
        """
        try:
            parts = urlsplit(address)
            port = parts.port or 5432
        except ValueError as error:
            # What is no port may be the rest of a password.
            problem = "write what is special in it in percent, such as %40 for @" if "@" in address else str(error)
            raise AddressError(_explain(address, problem)) from None
        name = unquote(parts.path.removeprefix("/"))
        if parts.scheme.partition("+")[0] not in _SCHEMES:
            raise AddressError(_explain(address, "it does not begin with postgresql://"))
        if not parts.hostname or not name or "/" in name:
            raise AddressError(_explain(address, "it names no host and database"))
        options = dict(parse_qsl(parts.query))
        user = unquote(parts.username or "") or options.pop("user", "")
        password = options.pop("password", None) if parts.password is None else unquote(parts.password)
        return cls(owner, "", parts.hostname, port, name, user, password, options)

    def __str__(self) -> str:
        return f"host {self.host}, port {self.port}, database {self.name}"

    @property
    def arguments(self) -> dict[str, Any]:
        """What psycopg2 connects by."""
        return {
            "connect_timeout": 5,
            **self.options,
            "host": self.host,
            "port": self.port,
            "dbname": self.name,
            "user": self.user,
            "password": self.password,
        }

    @property
    def requires_tls(self) -> bool:
        """Whether nothing may be sent to it in clear."""
        return self.options.get("sslmode") in REQUIRES_TLS

    def explain(self, error: Exception) -> str:
        """What a person can do about the server's refusal."""
        who = f"user {self.user}" if self.user else "this user"
        refusal = f"{self.owner}'s database at {self}, does not let {who} in: {' '.join(str(error).split())}. "
        if not self.prefix:
            return refusal + (
                "Check that its server runs, host, port, database and user in the address, and the password: there, in "
                "PGPASSWORD or in libpq's password file"
            )
        names = ", ".join(f"{self.prefix}_{part}" for part in ("HOST", "PORT", "DATABASE", "USER"))
        if self.requires_tls:
            names += ", POSTGRES_SSLMODE, POSTGRES_SSLROOTCERT"
        return refusal + (
            f"Check that its server runs (`retraining status`; `retraining up` starts it), and {names} and "
            f"{self.prefix}_PASSWORD in .env"
        )


def _explain(address: str, problem: str) -> str:
    # Up to the last @: a password that was not written in percent may hold what ends one.
    shown = re.sub(r"(?<=://)([^:/@]*):.*@", r"\1:***@", address)
    shown = re.sub(r"password=[^&\s]*", "password=***", shown)
    return f"{shown!r} is no address of a Postgres database: {problem}; write postgresql://user@host:port/database"
