"""Which of several stacks stays with --keep."""

from __future__ import annotations

import dataclasses
import io
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg2
import pytest
from rich.console import Console

from harness.catalog.versions import load
from harness.cli.options import parse
from harness.cli.planning import OnPython, make_plan
from harness.core.axes import Point
from harness.machine import locks
from harness.machine.dependencies import Dependencies
from harness.machine.errors import InfraError
from harness.report.terminal import Screen
from harness.run.run import Run
from harness.stack.backend import choose_backend
from harness.stack.database.embedded import EmbeddedPostgres
from harness.stack.database.server import Database
from harness.stack.kept_stack import all_kept
from harness.stack.stacks import Last, Stacks, database_name
from tests.marks import mark_of


class _Running:
    """A service that notes whether it was stopped."""

    def __init__(self) -> None:
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True


def stacks_of(backend: Any, logs: Path) -> Stacks:
    """Return stacks that tell nobody what they do."""

    def nobody(*_: object) -> None:
        pass

    return Stacks(backend, "metaflow", logs, note=nobody, begun=nobody, opened=nobody, ended=nobody)


def test_what_was_brought_up_last_stays_and_not_what_was_started_last(
    postgres: EmbeddedPostgres, database: Database, tmp_path: Path
):
    backend: Any = SimpleNamespace(servers=[postgres])
    stacks = stacks_of(backend, tmp_path)
    first, up, never_up = _Running(), _Running(), _Running()
    for running in (first, up, never_up):
        stacks.adopt(running)  # type: ignore[arg-type]
    stacks.last = Last(load().reference[0], postgres, database, up)  # type: ignore[arg-type]
    stacks.stop_others()
    assert [one.stopped for one in (first, up, never_up)] == [True, False, True]


def test_a_walk_that_was_interrupted_between_its_services_keeps_no_stack(
    database: Database, tmp_path: Path, monkeypatch
):
    monkeypatch.setattr(locks, "RUNS", tmp_path / "runs")
    given = ["--keep", "--metaflow", "2.19.39", "--results", str(tmp_path / "results")]
    options = parse("fixed_db", given, load())
    said = io.StringIO()
    plan = make_plan(options, [OnPython(one, "3.11") for one in options.clients])
    run = Run(options, plan, Screen(Console(file=said)))
    backend, stacks = run.services()
    run.backend = dataclasses.replace(backend, outlives=True)  # as containers do
    stacks.last = Last(load().reference[0], backend.servers[0], database, None)
    run.end()
    assert all_kept() == []
    assert "kept:" not in said.getvalue()


def test_a_database_that_dies_while_a_stack_starts_is_infra_for_all_who_ask(tmp_path: Path):
    def dead(_: str) -> Database:
        raise psycopg2.OperationalError("server closed the connection")

    server = SimpleNamespace(start=lambda: None, create=dead, check_alive=lambda: None)
    backend: Any = SimpleNamespace(launcher=None, server=lambda _: server)
    stacks = stacks_of(backend, tmp_path)
    service = load().reference[0]
    point = Point(client="2.19.39", service=service.name)
    for _ in range(2):
        with pytest.raises(InfraError, match="does not answer any more: server closed"):
            stacks.get(service, point)


def test_each_kind_of_dependencies_has_a_database_of_its_own():
    service = load().released[-1]
    given = [
        Dependencies(),
        Dependencies("latest", "latest"),
        Dependencies("req.txt", "/a/req.txt", digest="0123"),
        Dependencies("req.txt", "/b/req.txt", digest="4567"),
    ]
    names = [database_name("mf", dataclasses.replace(service, deps=deps)) for deps in given]
    assert names == ["mf_v2_5_1", "mf_v2_5_1_latest", "mf_v2_5_1_0123", "mf_v2_5_1_4567"]
    assert database_name("mf", service, "full-disk=7") == "mf_v2_5_1_full_disk_7"


def test_one_server_that_is_started_again_ends_no_other_of_the_run(tmp_path: Path):
    given = ["--scenario", "lost-answer,awkward-password", "--backend", "embedded"]
    options = parse("compat", ["--metaflow", "2.19.39", *given], load())
    backend = choose_backend(options, tmp_path, mark_of(tmp_path), print)
    first, second = backend.servers
    try:
        for server in (first, second):
            server.start()
        assert isinstance(first, EmbeddedPostgres)
        assert first._process is not None
        os.kill(first._process.pid, signal.SIGKILL)
        first._process.wait(10)
        first.revive()
        first.check_alive()
        second.create("lives")
    finally:
        for server in (first, second):
            server.stop()


def test_variables_that_lead_to_a_users_database_are_named(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PGAPPNAME", "mine")
    given = ["--metaflow", "2.19.39", "--path", "2.5", "--database-url", database.address.url]
    options = parse("fixed_db", given, load())
    backend = choose_backend(options, tmp_path, mark_of(tmp_path), print)
    assert backend.why.endswith("; of the environment the harness uses PGAPPNAME")
    assert os.environ["PGAPPNAME"] == "mine"
    unasked = parse("compat", ["--metaflow", "2.19.39", "--backend", "embedded"], load())
    assert "environment" not in choose_backend(unasked, tmp_path, mark_of(tmp_path), print).why
    assert "PGAPPNAME" not in os.environ
