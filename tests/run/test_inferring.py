"""What earlier runs saw is tried early; what they inferred, or nobody can read, is not."""

from __future__ import annotations

from pathlib import Path

import msgspec

from harness.catalog.versions import load
from harness.cli.options import parse
from harness.cli.planning import OnPython, make_plan
from harness.core.entries import Inferred
from harness.core.gridsearch import grids
from harness.run.inferring import Known
from tests.report import journals

CLIENTS = ("2.19.35", "2.19.36", "2.19.37")
BROKEN = {"run": ("fail", "broken")}


def rows_tried_early(results: Path) -> set[str]:
    """Return the clients at which something may change, for the last level of the reference."""
    given = ["--metaflow", ",".join(CLIENTS), "--probe", "hello", "--results", str(results)]
    options = parse("compat", given, load())
    plan = make_plan(options, [OnPython(one, "3.11") for one in options.clients])
    ((cells,), _) = grids(plan)
    return {cells[row, 0].client.name for row in Known(options).hints(cells).rows}


def test_a_boundary_that_an_earlier_run_saw_is_tried_early(tmp_path: Path):
    cells = [
        journals.cell(name, "reference-2.5", BROKEN if name == CLIENTS[1] else None, probe="hello")
        for name in CLIENTS
    ]
    assert rows_tried_early(tmp_path) == set()
    (tmp_path / "20261126-120000-compat-1a2b").mkdir()
    journals.write(tmp_path / "20261126-120000-compat-1a2b", cells)
    assert rows_tried_early(tmp_path) == {*CLIENTS[1:]}


def test_what_was_inferred_or_cannot_be_read_is_no_hint(tmp_path: Path):
    ran = journals.cell(CLIENTS[0], "reference-2.5", probe="hello")
    guessed = journals.cell(CLIENTS[1], "reference-2.5", BROKEN, probe="hello")
    guessed = msgspec.structs.replace(guessed, inferred=Inferred(beside=[ran.id]))
    folder = tmp_path / "20261126-120000-compat-1a2b"
    folder.mkdir()
    journals.write(folder, [ran, guessed])
    assert rows_tried_early(tmp_path) == set()
    (folder / "journal.jsonl").write_text('{"kind":"cell","schema":1}\n', encoding="utf-8")
    assert rows_tried_early(tmp_path) == set()
