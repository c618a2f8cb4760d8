"""What a write did is told by all rows: those that are new, and those that are not as they were."""

from __future__ import annotations

from contextlib import AbstractContextManager, closing

import pytest

from harness.proof.requests import Exchange
from harness.stack.database.rows import TABLES
from harness.stack.database.server import Address
from tests.proof.standin import Answered, serving


def service(address: Address, query: str, status: int) -> AbstractContextManager[str]:
    """Serve a service that does one thing with its rows, whatever it is asked."""

    def answer(*_: str) -> Answered:
        with closing(address.connect()) as connection:
            connection.cursor().execute(query)
            connection.commit()
        return status, b"", {}

    return serving(answer)


NEW = "INSERT INTO flows_v3 VALUES ('F', 'me')"
CHANGE = "UPDATE flows_v3 SET user_name = 'other' WHERE flow_id = 'F'"
REMOVE = "DELETE FROM flows_v3 WHERE flow_id = 'F'"


@pytest.mark.parametrize(
    ("query", "status", "path", "said"),
    [
        (NEW, 200, "/flows/F", ""),
        ("SELECT 1", 409, "/flows/F", ""),
        # An overwrite is not what was asked for, however it is answered.
        (CHANGE, 200, "/flows/F", "what was there is not as it was"),
        (CHANGE, 409, "/flows/F", "refused, yet rows were written"),
        (REMOVE, 409, "/flows/F", "refused, yet rows were written"),
        (REMOVE + "; " + NEW, 200, "/flows/F", "what was there is not as it was"),
        (CHANGE, 200, "/flows/F/heartbeat", ""),
    ],
)
def test_what_a_write_did_is_told_by_all_rows(database, query, status, path, said):
    with closing(database.address.connect()) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        for table in TABLES:
            cursor.execute(f"CREATE TABLE {table} (flow_id text, user_name text)")
        cursor.execute("INSERT INTO flows_v3 VALUES ('F', 'first')")
        with service(database.address, query, status) as url:
            exchange = Exchange(url, connection, ["F"])
            exchange.write("flow", path, {}, "flows_v3")
    if said:
        assert any(said in problem for problem in exchange.problems), exchange.problems
        assert any("changed or gone: flows_v3" in problem for problem in exchange.problems)
    else:
        assert exchange.problems == []
