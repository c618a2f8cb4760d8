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


NOW = "(extract(epoch FROM now()) * 1000)::bigint"
NEW = f"INSERT INTO flows_v3 VALUES ('F', 'me', {NOW})"
LATE = "INSERT INTO flows_v3 VALUES ('F', 'me', extract(epoch FROM now())::bigint)"
CHANGE = "UPDATE flows_v3 SET user_name = 'other' WHERE flow_id = 'G'"
REMOVE = "DELETE FROM flows_v3 WHERE flow_id = 'G'"
AGAIN = f"{REMOVE}; INSERT INTO flows_v3 VALUES ('G', 'me', 1)"
BEAT = "UPDATE flows_v3 SET last_heartbeat_ts = extract(epoch FROM now())::bigint"
TAG = "UPDATE flows_v3 SET tags = 'new'"
NOT_AS_IT_WAS = "accepted, and what was there is not as it was: flows_v3 G"


@pytest.mark.parametrize(
    ("query", "status", "asked", "said"),
    [
        (NEW, 200, "POST /flows/F", ""),
        ("SELECT 1", 409, "POST /flows/F", ""),
        (LATE, 200, "POST /flows/F", "stored for another time: flows_v3 F: ts_epoch is "),
        # An overwrite is not what was asked for, however it is answered.
        (CHANGE, 200, "POST /flows/F", f"{NOT_AS_IT_WAS}: user_name was 'first' and is 'other'"),
        (CHANGE, 409, "POST /flows/F", "refused, yet rows were written"),
        (REMOVE, 409, "POST /flows/F", "refused, yet rows were written"),
        (f"{REMOVE}; {NEW}", 200, "POST /flows/F", f"{NOT_AS_IT_WAS} is gone"),
        (AGAIN, 200, "POST /flows/G", f"{NOT_AS_IT_WAS}: user_name was 'first' and is 'me'"),
        (f"{NEW}; INSERT INTO runs_v3 VALUES ('F')", 200, "POST /flows/F", "runs_v3 None is new"),
        (BEAT, 200, "POST /flows/G/heartbeat", ""),
        (f"{BEAT}, ts_epoch = 2", 200, "POST /flows/G/heartbeat", f"{NOT_AS_IT_WAS}: ts_epoch"),
        (f"{BEAT} * 1000", 200, "POST /flows/G/heartbeat", "flows_v3 G: last_heartbeat_ts is "),
        (CHANGE, 200, "POST /flows/G/heartbeat", f"{NOT_AS_IT_WAS}: user_name"),
        (TAG, 200, "PATCH /flows/G/tag", ""),
        (f"{TAG}, ts_epoch = 2", 200, "PATCH /flows/G/tag", f"{NOT_AS_IT_WAS}: ts_epoch was 1"),
        (f"{TAG}; {NEW}", 200, "PATCH /flows/G/tag", "flows_v3 F is new"),
    ],
)
def test_what_a_write_did_is_told_by_all_rows(database, query, status, asked, said):
    method, path = asked.split()
    with closing(database.address.connect()) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        columns = "flow_id text, user_name text, ts_epoch bigint, last_heartbeat_ts bigint"
        for table in TABLES:
            cursor.execute(f"CREATE TABLE {table} ({columns}, tags text)")
        cursor.execute("INSERT INTO flows_v3 VALUES ('G', 'first', 1)")
        with service(database.address, query, status) as url:
            exchange = Exchange(url, connection, ["F", "G"])
            exchange.write("flow", path, {}, "flows_v3", method)
    if said:
        assert any(said in problem for problem in exchange.problems), exchange.problems
    else:
        assert exchange.problems == []


def test_who_writes_the_same_again_need_change_no_row(database):
    with closing(database.address.connect()) as connection:
        connection.autocommit = True
        for table in TABLES:
            connection.cursor().execute(f"CREATE TABLE {table} (flow_id text)")
        with service(database.address, "SELECT 1", 200) as url:
            exchange = Exchange(url, connection, ["F"])
            exchange.write("tags", "/flows/F/tag", {}, "flows_v3", "PATCH", again=True)
            assert exchange.problems == []
            exchange.write("tags", "/flows/F/tag", {}, "flows_v3", "PATCH")
    (problem,) = exchange.problems
    assert problem.startswith("tags: accepted, yet flows_v3 did not get 1 row(s)")
