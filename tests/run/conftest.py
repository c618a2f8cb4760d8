"""A run that goes on while its parts die: a small client and the reference service."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness.catalog.versions import load
from harness.cli.options import parse
from harness.cli.planning import OnPython, make_plan
from harness.client.cell import CellOutcome
from harness.core.entries import CellEntry
from harness.core.plan import Cell
from harness.core.probes import read_probe
from harness.machine import locks
from harness.proof import contract
from harness.report.terminal import Screen
from harness.run.run import Run
from harness.run.unit import Unit
from harness.stack.stacks import Stack
from tests.client.conftest import CLIENT, METAFLOW

# It asks what a client asks, once each, and gives up as clients do.
FLOW = """
import json, os, signal, sys, time, urllib.request

class FlowSpec:
    pass

class OddFlow(FlowSpec):
    pass

def ask(path):
    tags = [sys.argv[at + 1] for at, word in enumerate(sys.argv) if word == "--tag"]
    data = json.dumps({{"tags": tags}}).encode()
    request = urllib.request.Request(os.environ["METAFLOW_SERVICE_URL"] + path, data)
    try:
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)
    except OSError as error:
        if getattr(error, "code", 0) == 409:  # the flow is there already
            return None
        sys.exit("ServiceException: Metadata request (%s) failed" % path)

def once():
    try:
        open({once!r}, "x")
    except FileExistsError:
        return False
    return True

def work():
{work}

if __name__ == "__main__":
    work()
    ask("/flows/OddFlow")
    run = str(ask("/flows/OddFlow/run")["run_number"])
    with open(sys.argv[sys.argv.index("--run-id-file") + 1], "w") as file:
        file.write(run)
"""


@dataclass
class Lab:
    """A run that goes on, and its one cell in many shapes."""

    run: Run
    python: Path
    folder: Path
    number: int = 0

    @property
    def stack(self) -> Stack:
        """The stack of the cell, alive."""
        assert self.run.stacks is not None
        cell = self.cell()
        assert cell.service is not None
        return self.run.stacks.get(cell.service, cell.point)

    def cell(self, work: str = "pass") -> Cell:
        """Return a cell whose flow does something before it asks the service."""
        (planned,) = self.run.plan.cells
        self.number += 1
        path = self.folder / str(self.number) / "hello.py"
        path.parent.mkdir()
        once = str(self.folder / f"once-{self.number}")
        path.write_text(FLOW.format(work=f"    {work}", once=once), encoding="utf-8")
        probe = read_probe(path)
        assert probe is not None
        return replace(planned, probe=probe)

    def go(self, work: str = "pass", stacks: Any = None) -> CellOutcome:
        """Run a cell; return what came of it in the end."""
        unit = Unit(self.cell(work), self.python)
        (outcome,) = self.run.execute([unit], stacks or self.run.stacks)
        return outcome

    @property
    def pids(self) -> dict[str, int]:
        """The processes of its parts, which live."""
        running: Any = self.stack.running
        server: Any = self.stack.home
        return {"service": running._process.pid, "database": server._process.pid}

    @property
    def attempts(self) -> list[CellEntry]:
        """The entries of the cell that ran last."""
        view = self.run.record.view
        last = view.finished[-1]
        return [*view.earlier(last), last]

    @property
    def service(self) -> list[str]:
        """What is wrong with the service by itself."""
        (stage,) = self.run.record.view.stages
        return stage.problems

    @property
    def notes(self) -> list[str]:
        """What was repaired."""
        return [text for texts in self.run.record.view.notes.values() for text in texts]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A run over one service, for all tests of a file: each finds what it needs alive."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "lib" / "python3.11").mkdir(parents=True)
    (folder / "bin").mkdir()
    python = folder / "bin" / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={folder / "lib"} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    given = ["--metaflow", CLIENT, "--service", "2.5", "--probe", "hello", "--timeout", "12"]
    given += ["--backend", "embedded", "--results", str(folder / "results")]
    options = parse("compat", given, load())
    (service,) = options.services
    listed = METAFLOW.replace(
        "tags = (", f'tags = ("service_version:{service.name}", "db_version:{service.schema}", '
    )
    (folder / "lib" / "metaflow.py").write_text(listed, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(locks, "RUNS", folder / "runs")
        # Asked anew of each stack, and tested elsewhere.
        patch.setattr(contract, "exercise", lambda *_: contract.Contract({}, ()))
        plan = make_plan(options, [OnPython(one, "3.11") for one in options.clients])
        run = Run(options, plan, Screen(Console(file=io.StringIO())))
        yield Lab(run, python, folder)
        run.end()
