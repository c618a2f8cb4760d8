"""What is the same for every kind of server: settings, a knock, creating and dropping databases."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import psycopg2
from psycopg2 import errors, sql

from harness.core.provenance import digest
from harness.machine.errors import InfraError, UsageError, one_line
from harness.stack.database.server import LONGEST_NAME, Address, name_too_long

RUN_SETTINGS = {
    # Every cell holds a few connections, and a service's pool up to ten.
    "max_connections": "1000",
    # The data is thrown away after the run and never has to survive a crash of the machine, so
    # waiting for the disk would only slow down small machines. It does survive a server that is
    # killed, with which a walk goes on: hence no ``synchronous_commit=off``.
    "fsync": "off",
    "full_page_writes": "off",
}
"""The settings of a server that is made for one run."""

_PASSING = (
    "starting up",
    "shutting down",
    "not yet accepting",
    "in recovery mode",
    "too many clients",
    "connection slots are reserved",
)
"""What a server says, in parts, that refuses everybody for a while: waiting helps."""


_FORCE_SINCE = 13_00_00
_END_CONNECTIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"


def answers(address: Address) -> bool:
    """Tell whether a connection to a database can be opened now.

    Raises:
        InfraError: when it never will be: the server answers, and refuses user, password or
            database.
    """
    try:
        with closing(address.connect()):
            return True
    except psycopg2.OperationalError as error:
        refused = str(error).partition("FATAL:")[2]
        if refused and not any(passing in refused for passing in _PASSING):
            raise InfraError(
                f"PostgreSQL at {address.host}:{address.port} does not let {address.user!r} in:"
                f" {one_line(refused)}"
            ) from error
        return False


def kept_name(name: str) -> str:
    """Return a name that PostgreSQL keeps whole: a long one is cut, with a digest of all of it.

    Names are made of what users give: of a database, of a git ref.
    """
    if not name_too_long(name):
        return name
    tail = f"_{digest(name)}"
    return name.encode()[: LONGEST_NAME - len(tail)].decode(errors="ignore") + tail


def create_database(server: Address, name: str) -> Address:
    """Create the empty database ``name`` and return its address.

    Args:
        server: any database of the server, as a user who may create databases.
        name: what it is to be called; a name that PostgreSQL would cut is made shorter.

    Raises:
        InfraError: when it exists already, or the server refuses for another reason.
        UsageError: when the user may not create databases.
    """
    name = kept_name(name)
    # template0 is the one template that is empty on every server, also on somebody else's.
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name))
    where = f"at {server.host}:{server.port}"
    try:
        with closing(server.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
    except errors.DuplicateDatabase as error:
        raise InfraError(
            f"the database {name!r} exists already {where}; drop it or choose another name"
        ) from error
    except errors.InsufficientPrivilege as error:
        raise UsageError(
            f"the user {server.user!r} may not create databases {where}; "
            "give it CREATEDB or name another user"
        ) from error
    except psycopg2.Error as error:
        raise InfraError(
            f"the database {name!r} could not be created {where}: {one_line(error)}"
        ) from error
    return replace(server, name=name)


def drop_database(server: Address, name: str) -> None:
    """Drop the database ``name`` if it is there, ending its connections.

    Args:
        server: another database of the same server: one cannot drop what one is connected to.
        name: the database to drop.

    Raises:
        InfraError: when the server refuses.
    """
    name = kept_name(name)
    statement = sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name))
    try:
        with closing(server.connect()) as connection, connection.cursor() as cursor:
            # The pools of services that were killed may still be connected.
            if connection.server_version >= _FORCE_SINCE:
                statement += sql.SQL(" WITH (FORCE)")
            else:
                cursor.execute(_END_CONNECTIONS, [name])
            cursor.execute(statement)
    except psycopg2.Error as error:
        raise InfraError(
            f"the database {name!r} could not be dropped at {server.host}:{server.port}: "
            f"{one_line(error)}"
        ) from error
