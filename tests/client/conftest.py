"""A client of a few lines, with its flow: they do what real ones do only now and then."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from harness.catalog.versions import load
from harness.cli.options import parse
from harness.cli.planning import OnPython, make_plan
from harness.client.program import Surroundings
from harness.core.plan import Cell
from harness.core.probes import Probe, read_probe
from harness.machine import locks
from harness.machine.processes import free_port
from harness.report.terminal import Screen
from harness.run.run import Run
from harness.stack.database.server import Address, Database
from harness.stack.stacks import Stack
from tests.marks import mark_of

CLIENT = "2.19.39"

METAFLOW = """
import time

class Run:
    parent = successful = finished = True
    tags = ("mf-version:2.19.39",)

    def __init__(self, pathspec):
        self.pathspec = pathspec
        if pathspec.endswith("/slow"):
            time.sleep(600)

    def __iter__(self):
        return iter(())

def namespace(name):
    pass
"""

FLOW = """
import sys

CHECKS = {"good": {"about": ""}, "bad": {"about": ""}}

class FlowSpec:
    pass

class OddFlow(FlowSpec):
    pass

def check_good(run):
    pass

def check_bad(run):
    assert False, "as always"

if __name__ == "__main__":
    with open(sys.argv[sys.argv.index("--run-id-file") + 1], "w") as file:
        file.write("1")
"""


MakeSurroundings = Callable[..., Surroundings]
MakeCell = Callable[..., Cell]


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """The interpreter of a client that finds every run well, but takes for ever over ``slow``."""
    folder = tmp_path / "client"
    (folder / "bin").mkdir(parents=True)
    (folder / "lib" / "python3.11").mkdir(parents=True)
    (folder / "lib" / "metaflow.py").write_text(METAFLOW, encoding="utf-8")
    program = folder / "bin" / "python"
    program.write_text(
        f'#!/bin/sh\nPYTHONPATH={folder / "lib"} exec {sys.executable} "$@"\n', encoding="utf-8"
    )
    program.chmod(0o755)
    return program


@pytest.fixture
def probe(tmp_path: Path) -> Callable[[str], Probe]:
    """Make a probe of a flow's text; without one it has a check that passes and one that fails."""

    def probe(text: str = FLOW) -> Probe:
        path = tmp_path / "odd.py"
        path.write_text(text, encoding="utf-8")
        found = read_probe(path)
        assert found is not None
        return found

    return probe


@pytest.fixture
def surroundings(python: Path, tmp_path: Path) -> MakeSurroundings:
    """Make surroundings of local metadata."""

    def surroundings(**changes: Any) -> Surroundings:
        fields: dict[str, Any] = {
            "python": python,
            "work": tmp_path / "work",
            "logs": tmp_path / "logs",
            "datastore": {},
            "mark": mark_of(tmp_path),
            "timeout": 20,
        }
        return Surroundings(**{**fields, **changes})

    return surroundings


@pytest.fixture
def cell(probe: Callable[[str], Probe]) -> MakeCell:
    """Make a cell of a flow's text."""
    client = next(one for one in load().clients if one.name == CLIENT)

    def cell(text: str = FLOW, stage: int = 0) -> Cell:
        return Cell("fixed_db", client, None, "local", probe(text), stage)

    return cell


@dataclass(frozen=True)
class RunCell:
    """A run without a backend, and cells of its one client."""

    run: Run
    python: Path
    probe: Callable[..., Probe]

    def cell(self, text: str = FLOW, stage: int = 0) -> Cell:
        """Return a cell of a flow's text."""
        client, service = self.run.options.clients[0], load().reference[0]
        return Cell("fixed_db", client, service, "local", self.probe(text), stage)


@pytest.fixture
def in_run(
    python: Path, probe: Callable[..., Probe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunCell]:
    """A run whose cells are given their stacks by the test."""
    monkeypatch.setattr(locks, "RUNS", tmp_path / "runs")
    given = ["--metaflow", CLIENT, "--results", str(tmp_path / "results"), "--timeout", "20"]
    options = parse("local", given, load())
    plan = make_plan(options, [OnPython(one, "3.11") for one in options.clients])
    run = Run(options, plan, Screen(Console(file=io.StringIO())))
    yield RunCell(run, python, probe)
    run.end()


@pytest.fixture
def stack_over(tmp_path: Path) -> Callable[[Address], Stack]:
    """Make a stack of a service that never ends over a database."""

    def stack_over(address: Address) -> Stack:
        service = load().reference[0]
        log = tmp_path / "service.log"
        log.write_text("before\n", encoding="utf-8")
        running: Any = SimpleNamespace(
            service=service,
            url="http://127.0.0.1:1",
            log=log,
            code="",
            check_alive=lambda: None,
        )
        migration: Any = None
        return Stack(running, Database(address, address), migration, None, 0)

    return stack_over


@pytest.fixture
def nowhere() -> Address:
    """The address of a database server that has died."""
    return Address("127.0.0.1", free_port(), "somebody", "", "absent")
