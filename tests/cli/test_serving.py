"""Cells are served as they are planned by who asks for them, or not at all."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from harness.catalog.versions import load
from harness.cli.options import parse
from harness.cli.planning import OnPython, make_plan
from harness.cli.serving import Serving
from harness.core.plan import Cell
from harness.report.terminal import Screen
from harness.run.attempts import Batch, Begun
from harness.run.cluster.cluster import AskedCell
from harness.run.run import Run


class Served:
    """A run that is served, whose cells are only noted.

    Args:
        folder: for its results.
    """

    def __init__(self, folder: Path) -> None:
        words = ["--metaflow", "2.19.38,2.19.39", "--probe", "hello", "--repeat", "3"]
        options = parse("local", [*words, "--results", str(folder)], load())
        plan = make_plan(options, [OnPython(client, "3.11") for client in options.clients])
        self.run = Run(options, plan, Screen(Console(file=io.StringIO())))
        self.begun: list[str] = []
        self.planned = [plan.planned(cell) for cell in plan.cells]

    def _begin(self, cells: Sequence[Cell]) -> Begun:
        self.begun += [cell.id for cell in cells]
        return Batch(0)

    def ask(self, *cells: AskedCell) -> dict[str, Any]:
        """Return the answer to one unit."""
        request = msgspec.json.encode({"number": 1, "cells": cells})
        answers = io.BytesIO()
        Serving(self.run, self._begin, answers).serve([request])
        answer, last = (json.loads(line) for line in answers.getvalue().splitlines())
        assert (answer["number"], last["number"]) == (1, None)
        return answer


@pytest.fixture
def served(tmp_path) -> Iterator[Served]:
    served = Served(tmp_path)
    yield served
    served.run.end()


def test_what_is_planned_alike_here_and_there_begins(served):
    answer = served.ask(*map(AskedCell, served.planned))
    assert served.begun == [planned.id for planned in served.planned]
    assert answer["refused"] == {}


@pytest.mark.parametrize(
    ("field", "there", "why"),
    [
        ("python", "3.12", "has Python 3.11 for it, and 3.12 is planned: --python names another"),
        ("python", "", "has Python 3.11 for it, and none is planned: --python names another"),
        ("build", "v2.5.0-3-gabc", "has no commit of the service for it, and v2.5.0-3-gabc is"),
        ("client_build", "0a1b2c", "has no client build for it, and 0a1b2c is planned"),
        ("probe_digest", "0a1b2c", "has a probe of digest .* for it, and 0a1b2c is planned"),
        ("deps_build", "0a1b2c", "has no deps build for it, and 0a1b2c is planned"),
        ("id", "local/2.19.39/none/hello", "has no such cell: what names its versions is not the"),
    ],
)
def test_another_cell_than_was_planned_is_not_run_in_its_place(served, field, there, why):
    """Else what a commit, a file or a Python of the worker's own did is told of another."""
    first, second = served.planned
    other = msgspec.structs.replace(first, **{field: there})
    answer = served.ask(AskedCell(other), AskedCell(second))
    assert served.begun == [second.id]
    assert list(answer["refused"]) == [other.id]
    assert re.search(why, answer["refused"][other.id])


def test_a_line_that_runs_it_again_may_have_other_words(served):
    first, _ = served.planned
    answer = served.ask(AskedCell(msgspec.structs.replace(first, rerun="nox -s local")))
    assert (served.begun, answer["refused"]) == ([first.id], {})


def test_attempts_that_were_told_elsewhere_count(served):
    first, second = served.planned
    served.ask(AskedCell(first, told=2), AskedCell(second))
    assert served.run.attempts._told == {first.id: 2, second.id: 0}
