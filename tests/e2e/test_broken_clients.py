"""A client with one line broken on purpose turns exactly the checks red that look at it.

The client is an installed one, copied, and alone with local metadata. Which lines they are,
and which checks, is declared in ``broken_lines.py``.
"""

from __future__ import annotations

import io
import itertools
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from harness.catalog.versions import load
from harness.cli.options import parse
from harness.cli.planning import OnPython, make_plan
from harness.client.actions import Doer
from harness.client.reading import Request, read_runs
from harness.core.actions import FIRST_RUN
from harness.core.outcome import CheckOutcome
from harness.core.plan import Cell
from harness.core.probes import FLOWS, find_probes
from harness.machine.tools import tool_python
from harness.report.terminal import Screen
from harness.run.judged import judge_checks
from harness.run.run import Run
from tests.e2e.broken_lines import BROKEN, READS, Broken

pytestmark = [pytest.mark.e2e, pytest.mark.exhaustive]

CLIENT = "2.19.39"
MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture(scope="module")
def python(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a copy of an installed client."""
    needed = run.clients.requirements(run.plan.cells[0].client, run.plan.cells, MINOR)
    made = tool_python(f"client-{CLIENT}", needed).parent.parent
    copy = tmp_path_factory.mktemp("client") / "copied"
    # Links: a file that is broken is one of its own then, and the rest takes no room.
    shutil.copytree(made, copy, symlinks=True, copy_function=os.link)
    script = copy / "bin" / "metaflow"
    text = script.read_text(encoding="utf-8")
    script.unlink()
    script.write_text(text.replace(str(made), str(copy)), encoding="utf-8")
    script.chmod(0o755)
    return copy / "bin" / "python"


@contextmanager
def _broken(python: Path, one: Broken) -> Iterator[None]:
    """Break a line of the client for a while."""
    (package,) = (python.parent.parent / "lib").glob("python*/site-packages/metaflow")
    file = package / one.file
    text = file.read_text(encoding="utf-8")
    assert text.count(one.old) == 1, f"{one.file} has {text.count(one.old)} times {one.old!r}"

    def write(words: str) -> None:
        file.unlink()
        file.write_text(words, encoding="utf-8")
        # Its age in whole seconds may be the same.
        for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"):
            compiled.unlink()

    write(text.replace(one.old, one.new))
    try:
        yield
    finally:
        write(text)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run of all probes, of which each test does what it needs."""
    results = str(tmp_path_factory.mktemp("results"))
    probes = ",".join(find_probes(FLOWS))
    given = ["--metaflow", CLIENT, "--probe", probes, "--datastore", "local,s3", "--keep"]
    options = parse("local", [*given, "--results", results], load())
    plan = make_plan(options, [OnPython(options.clients[0], MINOR)])
    made = Run(options, plan, Screen(Console(file=io.StringIO())))
    try:
        yield made
    finally:
        made.end()


class Whole:
    """Does all of a probe's actions, and reads them back, as a cell does."""

    def __init__(self, run: Run, python: Path) -> None:
        self._run, self._python = run, python
        self._kept: dict[str, Doer] = {}
        self._attempts = itertools.count(2)

    def cell(self, probe: str) -> Cell:
        """Return the cell of a probe."""
        cells = [cell for cell in self._run.plan.cells if cell.probe.name == probe]
        return next(cell for cell in cells if cell.probe.is_for(cell.datastore))

    def red(self, probe: str, made: Mapping[str, CheckOutcome]) -> dict[str, CheckOutcome]:
        """Return the checks that are red, and not for what the release is declared to fail."""
        checks = judge_checks(self._run.options.expectations, self.cell(probe), made)
        return {name: check for name, check in checks.items() if not check.status.expected}

    def made(self, probe: str) -> dict[str, CheckOutcome]:
        """Run a probe's cell, and return what came of its checks."""
        cell, attempt = self.cell(probe), next(self._attempts)
        return self._run.clients.cell(cell, self._python, None, attempt=attempt).checks

    def read(self, probe: str) -> dict[str, CheckOutcome]:
        """Read once more what the whole client left, and return what came of the checks."""
        kept = self._kept[probe]
        (answer,) = read_runs(
            kept.surroundings,
            [Request(kept.cell, kept.done[FIRST_RUN].run_id, _read_checks(kept), kept.done)],
            name="again",
            deadline=time.monotonic() + kept.surroundings.timeout,
        )
        return answer.checks

    def keep(self, probe: str) -> None:
        """Do a probe's actions for those that read; with the client whole nothing is red."""
        if probe in self._kept:
            return
        cell = self.cell(probe)
        surroundings = self._run.clients.surroundings(
            probe, cell.client, self._python, None, datastore="local", data=None
        )
        surroundings.make_folders()
        doer = Doer(cell, surroundings, time.monotonic() + surroundings.timeout)
        for action in cell.probe.actions:
            if action.verb != "read":
                doer.do(action)
        self._kept[probe] = doer
        assert self.red(probe, self.read(probe)) == {}


def _read_checks(kept: Doer) -> tuple[str, ...]:
    """Return the checks that a read makes: all but those of commands."""
    made = {action.name for action in kept.cell.probe.actions if not action.makes_run}
    # It changes the run, which local metadata takes for a new one.
    made.add("changed_tags")
    asked = [check for check in kept.cell.checks if not kept.cell.unsupported(check)]
    return tuple(check.name for check in asked if check.name not in made)


@pytest.fixture(scope="module")
def whole(run: Run, python: Path) -> Whole:
    """What does a probe's actions with the copied client."""
    return Whole(run, python)


@pytest.mark.parametrize("one", BROKEN, ids=lambda one: f"{one.probe}-{one.red.replace(' ', '-')}")
def test_exactly_the_checks_that_look_at_it_are_red(
    whole: Whole, python: Path, one: Broken
) -> None:
    if one.file in READS:
        whole.keep(one.probe)
        with _broken(python, one):
            made = whole.read(one.probe)
    else:
        with _broken(python, one):
            made = whole.made(one.probe)
    red = whole.red(one.probe, made)
    assert sorted(red) == sorted(one.red.split()), f"{sorted(red)} in {red}"
