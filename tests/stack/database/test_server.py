"""What the machine's variables say of databases, and passwords that can never be right."""

from __future__ import annotations

import os
from dataclasses import replace

import psycopg2
import pytest

from harness.machine.errors import InfraError
from harness.stack.database.admin import answers
from harness.stack.database.server import database_variables, ignore_variables


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


def test_a_wrong_password_is_told_at_once(database):
    wrong = replace(database.address, password="wrong")
    with pytest.raises(InfraError, match="refuses the password of 'metaflow'") as told:
        answers(wrong)
    assert "\n" not in str(told.value)
