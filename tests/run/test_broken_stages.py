"""A stage of a walk that the machine breaks outside of cells: set back, and done again.

What it needs is really killed: at the migration, while the contract is asked, at the verdict on
rollback. A small client writes and reads by the reference service, and stores a file.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness.catalog.versions import load
from harness.cli.options import parse
from harness.cli.planning import OnPython, make_plan
from harness.core.entries import StageEntry
from harness.core.journal import read
from harness.core.outcome import Status
from harness.machine import locks
from harness.machine.errors import InfraError
from harness.proof import rollback
from harness.proof.exercise import Exercise
from harness.report.terminal import Screen
from harness.run.clients import Clients
from harness.run.run import Run
from harness.run.walk import Walk, walk
from harness.run.walked_schema import WalkedSchema
from harness.stack.service import migration
from tests.client.conftest import CLIENT

pytestmark = pytest.mark.e2e

METAFLOW = """
import json, os, urllib.request

class Run:
    parent = successful = finished = True

    def __init__(self, pathspec):
        self.pathspec = pathspec
        flow, number = pathspec.split("/")
        base = os.environ["METAFLOW_SERVICE_URL"]
        with urllib.request.urlopen(f"{base}/flows/{flow}/runs/{number}") as answer:
            self.tags = json.load(answer)["tags"]

    def __iter__(self):
        return iter(())

def namespace(name):
    pass
"""

FLOW = """
import json, os, sys, urllib.request

CHECKS = {"there": {"about": ""}}

class FlowSpec:
    pass

class OddFlow(FlowSpec):
    pass

def stored(number):
    return os.path.join(os.environ["METAFLOW_DATASTORE_SYSROOT_LOCAL"], f"run-{number}")

def check_there(run):
    assert os.path.exists(stored(run.pathspec.split("/")[1]))

def ask(path):
    tags = [sys.argv[at + 1] for at, word in enumerate(sys.argv) if word == "--tag"]
    data = json.dumps({"tags": tags}).encode()
    request = urllib.request.Request(os.environ["METAFLOW_SERVICE_URL"] + path, data)
    try:
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        assert error.code == 409, error  # the flow is there already

if __name__ == "__main__":
    ask("/flows/OddFlow")
    number = ask("/flows/OddFlow/run")["run_number"]
    start = f"/flows/OddFlow/runs/{number}/steps/start"
    ask(f"{start}/step")
    ask(f"{start}/task")
    open(stored(number), "x").close()
    with open(sys.argv[sys.argv.index("--run-id-file") + 1], "w") as file:
        file.write(str(number))
"""

Start = Callable[..., Run]


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """The interpreter of the client."""
    for folder in ("lib/python3.11", "bin"):
        (tmp_path / "client" / folder).mkdir(parents=True)
    lib = tmp_path / "client" / "lib"
    (lib / "metaflow.py").write_text(METAFLOW, encoding="utf-8")
    program = tmp_path / "client" / "bin" / "python"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={lib} exec {sys.executable} "$@"\n', "utf-8")
    program.chmod(0o755)
    return program


@pytest.fixture
def said() -> io.StringIO:
    """What a run prints."""
    return io.StringIO()


@pytest.fixture
def start(tmp_path: Path, said: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Return a function that starts a run of a walk over two services, which is not begun."""
    monkeypatch.setattr(locks, "RUNS", tmp_path / "runs")
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "odd.py").write_text(FLOW, encoding="utf-8")
    runs: list[Run] = []

    def start(*more: str, path: str = "2.3,2.5") -> Run:
        given = ["--metaflow", CLIENT, "--path", path, *more]
        given += ["--flow-dir", str(tmp_path / "flows"), "--probe", "odd"]
        options = parse("fixed_db", [*given, "--results", str(tmp_path / "results")], load())
        plan = make_plan(options, [OnPython(one, "3.11") for one in options.clients])
        runs.append(Run(options, plan, Screen(Console(file=said, soft_wrap=True))))
        return runs[-1]

    yield start
    for run in runs:
        run.end()


class Killer:
    """Kills parts of a run, each as soon as something of the harness is called.

    Args:
        run: whose parts they are.
        patch: of the test.
    """

    def __init__(self, run: Run, patch: pytest.MonkeyPatch) -> None:
        self._run = run
        self._left: list[tuple[str, str, str]] = []
        self._services: list[Any] = []
        started = Walk._start

        def start(walked: Walk, *arguments: Any) -> Any:
            service = started(walked, *arguments)
            # A fresh install is made beside, and comes and goes.
            if "-fresh" not in service.log.name:
                self._services.append(service)
            return service

        patch.setattr(Walk, "_start", start)
        for place, name in AT:
            patch.setattr(place, name, self._killing(name, getattr(place, name)))

    def _killing(self, name: str, called: Callable[..., Any]) -> Callable[..., Any]:
        def killing(*arguments: Any) -> Any:
            at = (name, self._services[-1].service.name)
            if self._left and self._left[0][:2] == at:
                self._kill(self._left.pop(0)[2])
            return called(*arguments)

        return killing

    def plan(self, *kills: tuple[str, str, str]) -> None:
        """Say what is called, with which service started last, when which part is killed."""
        self._left = [*kills]

    def _kill(self, part: str) -> None:
        assert self._run.backend is not None
        server: Any = self._run.backend.servers[0]
        of = self._services[-1] if part == "service" else server
        os.kill(of._process.pid, signal.SIGKILL)
        of._process.wait(10)


AT: tuple[tuple[Any, str], ...] = (
    (migration, "_upgrade"),
    (Exercise, "_task_checks"),
    (rollback, "_migration_answers"),
)
OLD, NEW = "reference-2.3", "reference-2.5"
GONE = "the database does not answer any more: "


def killed(service: str) -> str:
    return f"the service {service} was killed from outside, by SIGKILL"


def stages(run: Run) -> list[tuple[int, Status, str]]:
    """Return number, status and what is told last of each stage, as the journal has them."""
    return [
        (one.stage, one.status, "".join(one.problems[-1:]).partition("; last lines")[0])
        for one in read(run.folder.path)
        if isinstance(one, StageEntry)
    ]


def left(run: Run) -> tuple[list[str], list[str]]:
    """Return the runs that are in the database, and those that stored something."""
    server: Any = run.backend and run.backend.servers[0]
    address = replace(server.address, name=run.options.database_name)
    with closing(address.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT run_number FROM runs_v3 WHERE flow_id = 'OddFlow' ORDER BY 1")
        numbers = [str(number) for (number,) in cursor]
    stored = (run.folder.work / "data").glob("**/run-*")
    return numbers, sorted((path.name.partition("-")[2] for path in stored), key=int)


def test_a_stage_that_breaks_is_set_back_and_done_again(start, monkeypatch, python):
    run = start("--retries", "4")
    Killer(run, monkeypatch).plan(
        ("_upgrade", OLD, "service"),
        ("_upgrade", NEW, "service"),
        ("_upgrade", NEW, "database"),
        ("_task_checks", NEW, "database"),
        ("_migration_answers", OLD, "service"),
    )
    walk(run, dict.fromkeys(run.plan.clients, python))

    found = stages(run)
    expected = [
        (1, Status.INFRA, killed(OLD)),
        (1, Status.PASS, ""),
        (2, Status.INFRA, killed(NEW)),
        (2, Status.INFRA, GONE),
        (2, Status.INFRA, GONE),
        (2, Status.INFRA, killed(OLD)),
        (2, Status.PASS, ""),
    ]
    assert [one[:2] for one in found] == [one[:2] for one in expected], found
    assert all(a[2].startswith(b[2]) for a, b in zip(found, expected, strict=True)), found
    view = run.record.view
    assert [one.rollback for one in view.stages] == [None, "unsafe"]
    refused, *rest = view.stages[1].rollback_evidence
    assert "is newer than level 2.3 knows" in refused
    assert f"{OLD}: It reads 2 of 2 runs with their steps and tasks." in rest
    assert [one.lost for one in view.stages] == [[], []]
    assert [one.rereads for one in view.stages] == [0, 1]
    assert not any(map(view.flaky_stage, view.stages))
    assert [cell.status for cell in view.finished] == [Status.PASS, Status.PASS]
    assert [len(view.earlier(cell)) for cell in view.finished] == [1, 4]
    # What the stage wrote before it broke is set aside: of each stage there is one run.
    numbers, stored = left(run)
    assert (len(numbers), stored) == (2, numbers)
    notes = [text for texts in view.notes.values() for text in texts]
    assert f"stage 2 was done again: {killed(NEW)}" in notes


def test_what_it_showed_before_counts_when_it_is_done_again(start, monkeypatch, python):
    run = start(path="2.5")
    Killer(run, monkeypatch).plan(("_task_checks", NEW, "service"))
    shown = iter([["index odd is invalid"]])
    monkeypatch.setattr(WalkedSchema, "problems", lambda *_: next(shown, []))
    walk(run, dict.fromkeys(run.plan.clients, python))
    first, second = (one for one in read(run.folder.path) if isinstance(one, StageEntry))
    assert (first.status, second.status) == (Status.INFRA, Status.FAIL)
    assert second.problems == ["index odd is invalid"]


def test_what_could_not_be_set_back_whole_is_not_kept(start, monkeypatch, python, said):
    run = start("--keep")
    Killer(run, monkeypatch).plan(("_task_checks", NEW, "service"))
    monkeypatch.setattr(Clients, "remove_data", refuse)
    walk(run, dict.fromkeys(run.plan.clients, python))
    assert stages(run)[1:] == [(2, Status.INFRA, killed(NEW))]
    assert "stage 2 is not done again: no room" in said.getvalue()
    assert run.stacks.last is None


def refuse(*_: object) -> None:
    raise InfraError("no room")


def test_over_a_database_of_the_users_it_ends_the_walk_and_says_why(
    start, monkeypatch, python, database, said
):
    run = start("--database-url", database.address.url)
    Killer(run, monkeypatch).plan(("_task_checks", OLD, "service"))
    walk(run, dict.fromkeys(run.plan.clients, python))
    assert stages(run) == [(1, Status.INFRA, killed(OLD))]
    why = "a walk over a database of your own cannot go on: no run takes yours back"
    assert f"stage 1 is not done again: {why}" in said.getvalue().splitlines()
    second = run.record.view.finished[-1]
    assert (second.status, second.stage) == (Status.NOT_RUN, 2)
