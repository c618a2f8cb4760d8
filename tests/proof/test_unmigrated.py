"""What a service answers over a database that nobody migrated."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import replace

import pytest

from harness.machine.errors import InfraError
from harness.proof import unmigrated
from tests.proof.standin import serving

Answers = Callable[[str, str], int]


def service(answers: Answers) -> AbstractContextManager[str]:
    """Serve what ``answers`` says of a method and a path; bodies are of no interest."""
    body = json.dumps({"detail": "relation flows_v3 does not exist"}).encode()
    return serving(lambda method, path: (answers(method, path), body, {}))


def test_one_that_is_well_and_refuses_everything_is_told(database):
    with service(lambda _, path: 200 if path == "/ping" else 500) as url:
        (problem,) = unmigrated.ask(url, database.address, "Early")
    assert problem.startswith("unmigrated: GET /ping answers 200 over a database without tables")
    assert "POST /flows/Early with" in problem
    assert "answered 500" in problem
    assert "relation flows_v3 does not exist" in problem


def test_one_that_is_well_and_answers_nothing_else_is_told(database, monkeypatch):
    monkeypatch.setattr("harness.proof.requests._REQUEST_SECONDS", 0.5)
    ended = threading.Event()

    def answers(_: str, path: str) -> int:
        return 200 if path == "/ping" or ended.wait(60) else 500

    with service(answers) as url:
        (problem,) = unmigrated.ask(url, database.address, "Early")
        ended.set()
    assert problem.startswith("unmigrated: GET /ping answers 200 over a database without tables")
    assert problem.endswith("was not answered within 0.5 s, while GET /ping is")


def test_one_that_takes_what_it_does_not_keep_is_told(database):
    with service(lambda *_: 200) as url:
        (problem,) = unmigrated.ask(url, database.address, "Early")
    assert "POST /flows/Early is accepted, and there is no row" in problem


def test_one_that_does_not_say_it_is_well_has_told_nothing_wrong(database):
    with service(lambda *_: 503) as url:
        assert unmigrated.ask(url, database.address, "Early") == ()


def test_one_that_makes_its_tables_itself_keeps_its_word(database):
    def answers(method: str, _: str) -> int:
        if method == "POST":
            with closing(database.address.connect()) as connection:
                cursor = connection.cursor()
                for table in ("flows", "runs", "steps", "tasks", "metadata", "artifact"):
                    cursor.execute(f"CREATE TABLE {table}_v3 (flow_id text)")
                cursor.execute("INSERT INTO flows_v3 VALUES ('Early')")
                connection.commit()
        return 200

    with service(answers) as url:
        assert unmigrated.ask(url, database.address, "Early") == ()


def test_a_dead_database_is_nobody_s_word(database):
    absent = replace(database.address, name="absent")
    with service(lambda *_: 200) as url, pytest.raises(InfraError, match="cannot be read"):
        unmigrated.ask(url, absent, "Early")
