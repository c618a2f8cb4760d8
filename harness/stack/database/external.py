"""A PostgreSQL that somebody else runs, named by ``--database-url``.

What was there before is never dropped: only databases made through this object are.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import psycopg2
from psycopg2.extensions import parse_dsn

from harness.machine.errors import InfraError, UsageError, nearest, one_line
from harness.stack.database.admin import create_database, drop_database
from harness.stack.database.dump import dump
from harness.stack.database.rows import server_version
from harness.stack.database.server import Address, Database, Tls, name_too_long

_SHAPE = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
_FILES = ("sslrootcert", "sslcert", "sslkey")
_KNOWN = {"user", "password", "host", "port", "dbname", "sslmode", *_FILES}
_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_SYSTEM = "system"
"""What libpq takes for the certificates that the system trusts, not for a file."""


class ExternalPostgres:
    """A DatabaseServer that is reached, never started or stopped.

    Args:
        url: ``postgresql://USER:PASSWORD@HOST:PORT/DATABASE``. Port 5432 when left out, and the
            password of PGPASSWORD; without a database, ``postgres`` serves to create others. It may
            say how it is encrypted: ``sslmode``, ``sslrootcert``, ``sslcert``, ``sslkey``.

    Raises:
        UsageError: for a URL of another shape. The message never repeats the password.
    """

    def __init__(self, url: str) -> None:
        parts = _parse(url)
        self._names_a_database = "dbname" in parts
        self._created: list[str] = []
        self.address = Address(
            parts["host"],
            int(parts.get("port", "5432")),
            parts["user"],
            # libpq reads this variable by itself, but a service is told its password.
            parts.get("password") or _given_password(),
            parts.get("dbname", "postgres"),
            _tls(parts),
        )
        self.description = f"PostgreSQL at {self.address.host}:{self.address.port}, external"

    code = ""
    programs = None
    """They are on somebody else's machine."""

    def start(self) -> None:
        """Reach the server once, to learn its version.

        Raises:
            UsageError: when it cannot be reached, naming host and port.
        """
        address = self.address
        where = f"{address.host}:{address.port}"
        try:
            version = server_version(address).split()[0]
        except psycopg2.OperationalError as error:
            raise UsageError(
                f"the database {address.name!r} at {where} cannot be reached "
                f"as user {address.user!r}: {one_line(error)}"
            ) from error
        self.description = f"PostgreSQL {version} at {where}, external"

    def check_alive(self) -> None:
        """Do nothing: who asks it for something learns whether it answers."""

    def revive(self) -> None:
        """Raise InfraError: it is somebody else's."""
        raise InfraError(f"{self.description}, is somebody else's and is not started again")

    def check_may_create(self) -> None:
        """Raise UsageError when the user may not create databases, as a walk does."""
        query = "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"
        address = self.address
        with closing(address.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(query)
            (may_create,) = next(cursor)
        if not may_create:
            raise UsageError(
                f"the user {address.user!r} may not create databases at"
                f" {address.host}:{address.port}: schemas are compared with those of fresh ones;"
                " give it CREATEDB or name another user"
            )

    def existing(self) -> Database:
        """Return the database the URL itself names, whatever is in it.

        Raises:
            UsageError: when the URL names none.
        """
        if not self._names_a_database:
            raise UsageError(f"the database URL names no database; write {_SHAPE}")
        return Database(self.address, self.address)

    def create(self, name: str) -> Database:
        """Create the empty database ``name`` beside the existing ones.

        Raises:
            InfraError: when it exists already.
            UsageError: when the user may not create databases.
        """
        address = create_database(self.address, name)
        self._created.append(name)
        return Database(address, address)

    def dump(self, address: Address, file: Path) -> None:
        """Write all of one of its databases to a file."""
        dump(address, file, self.programs)

    def drop(self, name: str) -> None:
        """Drop the database ``name``, which must have been created through this object.

        Raises:
            InfraError: when it was not.
        """
        if name not in self._created:
            raise InfraError(f"the database {name!r} was not made by this run and is not dropped")
        drop_database(self.address, name)
        self._created.remove(name)

    def place(self) -> None:
        """Return None: the database is somebody else's, and stays where it is."""

    def stop(self, *, keep: bool = False) -> None:  # noqa: ARG002 - what was there stays anyway
        """Drop the databases created here; the server goes on. Safe to call twice."""
        # A copy: each one that is dropped leaves the list.
        for name in tuple(self._created):
            self.drop(name)


def _parse(url: str) -> dict[str, str]:
    """Return the parts of a database URL, decoded, by libpq's names.

    No message quotes the URL or a part of it that a stray ``@`` or ``/`` of the password could
    have slipped into.
    """
    scheme, separator, body = url.partition("://")
    if scheme not in {"postgresql", "postgres"} or not separator:
        raise UsageError(f"the database URL has another shape than {_SHAPE}")
    authority, _, rest = body.partition("/")
    if authority.count("@") > 1 or "@" in rest.partition("?")[0]:
        raise UsageError(
            "the database URL has an @ or / inside a name or the password; "
            "write @ as %40, / as %2F and % as %25 there"
        )
    try:
        parts: dict[str, str] = parse_dsn(url)
        int(parts.get("port", "5432"))
    except (psycopg2.ProgrammingError, ValueError):
        if "%00" in url:
            raise UsageError("the database URL: nothing in it can hold a NUL (%00)") from None
        # Without the cause: libpq's own words quote the part it stumbled over.
        raise UsageError(
            f"the database URL cannot be read as {_SHAPE}; "
            "write special characters of the password in percent encoding (% as %25)"
        ) from None
    # connect_timeout, say: no variable of a release carries it to a service.
    unknown = sorted(set(parts) - _KNOWN)
    if unknown:
        raise UsageError(
            f"the database URL has parameters the harness cannot pass on: {', '.join(unknown)}; "
            "leave them out (PG* variables hold for the harness itself)"
        )
    _check_password(authority, parts)
    for name in ("user", "dbname"):
        if wrong := name_too_long(parts.get(name, "")):
            raise UsageError(f"the database URL: {name}: {wrong}")
    missing = [name for name in ("user", "host") if not parts.get(name)]
    if missing:
        raise UsageError(f"the database URL names no {' and no '.join(missing)}; write {_SHAPE}")
    return parts


def _check_password(authority: str, parts: Mapping[str, str]) -> None:
    # libpq leaves out one that is empty before the @, and keeps an empty parameter.
    if ":@" in authority or parts.get("password") == "":
        what = "the colon, too," if ":@" in authority else "password="
        raise UsageError(
            f"the database URL has an empty password: leave out {what} and it is that of"
            " PGPASSWORD, if any"
        )
    _check_lines("the database URL", parts.get("password", ""))


def _given_password() -> str:
    """Return what PGPASSWORD holds; no variable can hold a NUL."""
    password = os.environ.get("PGPASSWORD", "")
    _check_lines("PGPASSWORD", password)
    return password


def _check_lines(where: str, password: str) -> None:
    if any(sign in password for sign in "\r\n"):
        raise UsageError(f"{where}: no password can hold a line break")


def _tls(parts: Mapping[str, str]) -> Tls | None:
    """Return what a URL says of TLS, its files whole; None when it says nothing.

    Raises:
        UsageError: for a mode that is none, or a file that cannot be read.
    """
    given = {name: parts[name] for name in ("sslmode", *_FILES) if parts.get(name)}
    if not given:
        return None
    mode = given.get("sslmode", "prefer")  # as libpq
    if mode not in _MODES:
        raise UsageError(
            f"the database URL: sslmode={mode} is none of {', '.join(_MODES)}"
            f"{nearest(mode, _MODES)}"
        )
    return Tls(mode, *(_readable(name, given.get(name, "")) for name in _FILES))


def _readable(name: str, given: str) -> str:
    """Return the whole path of a file of TLS: services run in folders of their own."""
    if given in {"", _SYSTEM}:
        return given
    path = Path(given).expanduser().absolute()
    try:
        path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"the database URL: {name}={given} cannot be read: {error.strerror}"
        ) from error
    return str(path)
