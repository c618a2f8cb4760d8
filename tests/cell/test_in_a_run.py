"""What a run makes of a cell when a part of it breaks, and of a probe that is odd."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from harness.database import Address, Database
from harness.outcome import Status

REFUSED = """
import sys

class FlowSpec:
    pass

class OddFlow(FlowSpec):
    pass

if __name__ == "__main__":
    sys.exit("ServiceException: 500")
"""


@pytest.fixture
def shut(database: Database) -> Iterator[Address]:
    """A database in which the user may not read a table of the service's."""
    user = f"reader_{database.address.name}"
    with closing(database.address.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE flows_v3 (flow_id text)")
        cursor.execute(f"CREATE USER {user} PASSWORD 'x'")
        yield replace(database.address, user=user, password="x")
        cursor.execute(f"DROP USER {user}")


def test_a_client_that_fails_over_a_dead_database_is_infra(in_run, stack_over, nowhere):
    outcome = in_run.run.cell(in_run.cell(REFUSED), in_run.python, stack_over(nowhere))
    assert outcome.status is Status.INFRA
    assert "the database does not answer any more" in outcome.checks["run"].reason


def test_a_client_that_fails_over_a_living_database_has_failed(in_run, stack_over, database):
    outcome = in_run.run.cell(in_run.cell(REFUSED), in_run.python, stack_over(database.address))
    assert outcome.status is Status.FAIL
    assert outcome.checks["run"].reason.endswith("ServiceException: 500")


def test_a_run_that_was_interrupted_starts_no_more_programs(in_run):
    with pytest.raises(KeyboardInterrupt), in_run.run.pool():
        raise KeyboardInterrupt
    outcome = in_run.run.cell(in_run.cell(), in_run.python, None)
    assert outcome.status is Status.INFRA
    assert outcome.checks["run"].reason == "the run was ended meanwhile"


def test_a_table_that_may_not_be_read_is_infra(in_run, stack_over, shut):
    outcome = in_run.run.cell(in_run.cell(), in_run.python, stack_over(shut))
    assert outcome.status is Status.INFRA
    reason = outcome.checks["run"].reason
    assert reason == "the database could not be read: permission denied for table flows_v3"
