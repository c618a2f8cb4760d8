"""Databases: where PostgreSQL comes from, behind one small interface.

Nothing above this package knows whether the server is embedded, a container or external.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urlencode

if TYPE_CHECKING:
    from psycopg2 import extensions


LONGEST_NAME = 63
"""Bytes of a name that PostgreSQL keeps; what is longer it cuts, and takes for another."""

_NONE = {"", "system"}
"""What stands for no file: libpq takes the latter for what the system trusts."""


@dataclass(frozen=True)
class Tls:
    """How connections to a database are encrypted, and who proves what.

    Attributes:
        mode: libpq's ``sslmode``.
        root: file of the certificates that the server's must be signed by; empty for libpq's own.
        cert: file of the certificate that the client shows; empty for none.
        key: file of its key.
    """

    mode: str
    root: str = ""
    cert: str = ""
    key: str = ""

    @property
    def parameters(self) -> dict[str, str]:
        """What libpq is told, by its names."""
        names = ("sslmode", "sslrootcert", "sslcert", "sslkey")
        values = (self.mode, self.root, self.cert, self.key)
        return {name: value for name, value in zip(names, values, strict=True) if value}

    @property
    def files(self) -> tuple[Path, ...]:
        """What there must be where the database is reached from."""
        return tuple(Path(name) for name in (self.root, self.cert, self.key) if name not in _NONE)


@dataclass(frozen=True)
class Address:
    """How to reach one database of a PostgreSQL server. The password is kept out of repr.

    Attributes:
        tls: how it is encrypted; None where nobody asked, and libpq decides.
    """

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    name: str
    tls: Tls | None = None

    @property
    def url(self) -> str:
        """The libpq URL, with every part quoted. Contains the password: never log it."""
        password = f":{quote(self.password, safe='')}" if self.password else ""
        # The address of IPv6 has colons, a socket's folder slashes.
        host = f"[{self.host}]" if ":" in self.host else quote(self.host, safe="")
        tls = urlencode(self.tls.parameters, quote_via=quote) if self.tls else ""
        return (
            f"postgresql://{quote(self.user, safe='')}{password}"
            f"@{host}:{self.port}/{quote(self.name, safe='')}{f'?{tls}' if tls else ''}"
        )

    def connect(self) -> extensions.connection:
        """Open a psycopg2 connection in autocommit mode.

        Raises:
            psycopg2.OperationalError: when the server does not answer.
        """
        import psycopg2  # noqa: PLC0415 - everything knows addresses, a listing of sessions too

        tls: dict[str, Any] = dict(self.tls.parameters) if self.tls else {}
        connection: extensions.connection = psycopg2.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            dbname=self.name,
            # libpq waits for ever unasked.
            connect_timeout=10,
            **tls,
        )
        # CREATE DATABASE refuses a transaction, and an open one would hold up migrations.
        connection.autocommit = True
        return connection


def name_too_long(name: str) -> str:
    """Return what is wrong with the length of a name of a database or user; empty for nothing."""
    size = len(name.encode(errors="surrogateescape"))
    return f"it has {size} bytes, and PostgreSQL keeps {LONGEST_NAME}" * (size > LONGEST_NAME)


@dataclass(frozen=True)
class Database:
    """One database, as two parties reach it.

    Attributes:
        address: from the harness, on this machine.
        service_address: from the service. The same for processes; for containers the name
            and port inside the run's network.
    """

    address: Address
    service_address: Address


def database_variables() -> list[str]:
    """Return the names of the variables of this process that libpq would heed."""
    return sorted(name for name in os.environ if name.startswith("PG"))


def ignore_variables() -> None:
    """Take from this process what libpq heeds: it is about databases that are not the run's own.

    PGSERVICE, say, would send the harness to another server, or nowhere. libpq has no other way.
    """
    for name in database_variables():
        del os.environ[name]


class DatabaseServer(Protocol):
    """One PostgreSQL server that lives as long as the run."""

    description: str
    """What runs, for the first line printed and the journal: ``PostgreSQL 16.4, embedded``."""

    @property
    def code(self) -> str:
        """Digest of its programs, or of the image they are in, which is brought or made if missing.

        Empty where they are somebody else's.

        Raises:
            InfraError: when they cannot be had.
        """

    @property
    def programs(self) -> Path | None:
        """The folder of PostgreSQL's programs that came with it; None where they are elsewhere."""

    def start(self) -> None:
        """Start the server and return when it answers queries.

        Raises:
            InfraError: with the server's own last log lines.
        """

    def check_alive(self) -> None:
        """Raise EndedError when the server, which was started, does not run any more."""

    def revive(self) -> None:
        """Start a server that has ended again, on its data and at its address.

        Raises:
            InfraError: when this kind cannot, or with the server's own last log lines.
        """

    def create(self, name: str) -> Database:
        """Create the empty database ``name`` and return how to reach it."""

    def dump(self, address: Address, file: Path) -> None:
        """Write all of one of its databases to a file, by the programs that came with it, if any.

        Raises:
            InfraError: when it cannot be read or written, in PostgreSQL's words.
        """

    def drop(self, name: str) -> None:
        """Drop the database ``name``, ending its connections."""

    def place(self) -> Mapping[str, str] | None:
        """Return what finds the databases that ``--keep`` leaves, for ``harness.stack.kept_stack``.

        None when they are somebody else's, or the server was never started.
        """

    def stop(self, *, keep: bool = False) -> None:
        """Stop the server and remove what it left. Safe to call twice.

        Args:
            keep: leave the data of a server whose parts cannot run on by themselves.
        """
