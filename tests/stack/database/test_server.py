"""What the machine's variables say of databases, and passwords that can never be right."""

from __future__ import annotations

import os
from dataclasses import replace

import psycopg2
import pytest

from harness.machine.errors import InfraError
from harness.machine.processes import free_port
from harness.stack.database.admin import answers
from harness.stack.database.server import Address, database_variables, ignore_variables


def test_variables_of_the_machine_do_not_lead_elsewhere(database, monkeypatch):
    monkeypatch.setenv("PGSERVICE", "nowhere")
    monkeypatch.setenv("PGHOSTADDR", "192.0.2.1")
    monkeypatch.setenv("PGSSLMODE", "nonsense")
    with pytest.raises(psycopg2.OperationalError):
        database.address.connect()
    assert {"PGHOSTADDR", "PGSERVICE", "PGSSLMODE"} <= set(database_variables())
    ignore_variables()
    database.address.connect().close()
    assert not [name for name in os.environ if name.startswith("PG")]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"password": "wrong"}, "'metaflow' in: password authentication failed for user"),
        ({"user": "nobody"}, "'nobody' in: password authentication failed for user"),
        ({"name": "nowhere"}, "'metaflow' in: database \"nowhere\" does not exist$"),
    ],
)
def test_what_can_never_be_is_told_at_once(database, wrong, said):
    with pytest.raises(InfraError, match=f"does not let {said}") as told:
        answers(replace(database.address, **wrong))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("said", "passes"),
    [
        ("the database system is starting up", True),
        ("the database system is shutting down", True),
        ("the database system is not yet accepting connections\nDETAIL:  Recovery", True),
        ("the database system is in recovery mode", True),
        ("sorry, too many clients already", True),
        ('role "nobody" does not exist', False),
        ('no pg_hba.conf entry for host "127.0.0.1", user "metaflow", database "a"', False),
    ],
)
def test_what_passes_is_waited_for(database, monkeypatch, said, passes):
    def refuse(_: Address) -> None:
        raise psycopg2.OperationalError(f"connection to server failed: FATAL:  {said}\n")

    monkeypatch.setattr(Address, "connect", refuse)
    if passes:
        assert not answers(database.address)
    else:
        with pytest.raises(InfraError, match=said.partition(" ")[0]):
            answers(database.address)


def test_a_server_that_is_not_there_yet_is_waited_for(database):
    assert not answers(replace(database.address, port=free_port()))
