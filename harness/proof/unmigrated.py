"""What a service answers on a database that nobody has migrated, while it says that it is well."""

from __future__ import annotations

import contextlib

import psycopg2

from harness.machine.errors import InfraError, one_line
from harness.proof.requests import Answer, Exchange, UnansweredError
from harness.stack.database.server import Address

CHECK = "unmigrated"
"""What its problems begin with; asked in the scenario ``wrong-order`` alone."""

_BODY = {"user_name": "contract", "tags": [], "system_tags": []}


def ask(url: str, address: Address, flow_id: str) -> tuple[str, ...]:
    """Register a flow, and read it, over an empty database.

    Who deploys a service goes by its ``/ping``: one that answers there either keeps data, in tables
    that it made itself, or has told a client and an operator something that is not so.

    Args:
        url: base address of the metadata API, which answers.
        address: the service's database.
        flow_id: name of a flow nobody has used.

    Returns:
        Problems as the contract tells them; none for a service that keeps its word.

    Raises:
        InfraError: when the service or the database does not answer at all.
    """
    try:
        with contextlib.closing(address.connect()) as connection:
            connection.autocommit = True
            exchange = Exchange(url, connection, [flow_id])
            ping = exchange.ask("GET", "/ping")
            if not ping.ok:
                return ()
            _ask(exchange, ping, f"/flows/{flow_id}")
    except psycopg2.OperationalError as error:
        raise InfraError(f"the database cannot be read: {one_line(error)}") from error
    return tuple(exchange.problems)


def _ask(exchange: Exchange, ping: Answer, path: str) -> None:
    well = f"GET /ping answers {ping.status} over a database without tables, and"
    for method, body in (("POST", _BODY), ("GET", None)):
        try:
            answer = exchange.ask(method, path, body)
        except UnansweredError as error:
            exchange.note(CHECK, f"{well} {error}")
            return
        if not answer.ok:
            exchange.note(CHECK, f"{well} {answer}")
            return
    try:
        stored = exchange.rows()["flows_v3"]
    except psycopg2.errors.UndefinedTable:
        stored = []
    if not stored:
        exchange.note(CHECK, f"{well} POST {path} is accepted, and there is no row")
