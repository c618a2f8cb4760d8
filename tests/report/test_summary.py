"""What a journal says, counted and put in a grid."""

from __future__ import annotations

from typing import Any

import pytest

from harness.core.entries import CellEntry
from harness.core.outcome import Status
from harness.core.view import View
from harness.report.sides import Sides
from harness.report.summary import (
    causes,
    column,
    difference_lines,
    flaky_count,
    gate_line,
    tally,
    totals,
    totals_line,
    unsafe_sentence,
)
from tests.report.journals import cell, stage, write

PASS = {"run": "pass"}
FAIL = {"run": ("fail", "HTTP 500"), "tags": ("not-run", "the run did not end well")}


@pytest.fixture
def entries(tmp_path):
    """Return a function that writes cells to a journal and gives what it says."""

    def written(*some: CellEntry, **fields: Any) -> View:
        return write(tmp_path, some, **fields)

    return written


def test_totals_name_what_is_not_as_expected_first(entries):
    found = entries(
        cell("2.0.5", "reference-1.0", PASS),
        cell("2.0.5", "reference-2.0", FAIL),
        cell("2.2.13", "reference-1.0", PASS),
        cell("2.2.13", "reference-2.0", {"run": "unsupported"}),
    )
    assert totals(found.cells) == {"fail": 1, "pass": 2, "unsupported": 1}
    assert list(totals(found.cells))[0] == "fail"  # noqa: RUF015 - the order is the point
    assert totals_line(found) == "1 fail, 2 pass, 1 unsupported: 4 cells"


def test_one_cell_is_one_cell_and_none_are_none(entries):
    assert totals_line(entries(cell("2.0.5", None, PASS))) == "1 pass: 1 cell"
    assert totals_line(View()) == "none ran: 0 cells"


def test_a_square_says_how_its_checks_came_out(entries):
    known = {"run": "pass", "tags": "pass", "logs": ("expected-fail", "known")}
    found = entries(cell("2.2.13", "v2.3.0", known), cell("2.2.13", "v2.3.0", FAIL, probe="hello"))
    assert tally(found.cells) == "1 ✗ 1 · 1 x 2 ✓"
    assert tally(found.cells[:1]) == "1 x 2 ✓"
    assert tally([cell("2.2.13", "v2.3.0", PASS)]) == "", "its own word says it"


def test_the_grid_keeps_the_order_of_the_plan(entries):
    found = entries(
        cell("2.19.39", "reference-2.5", PASS),
        cell("2.2.13", "reference-2.0", PASS),
        clients=["2.2.13", "2.7.23", "2.19.39"],
        services=["reference-2.0", "reference-2.5"],
    )
    session = Sides(found).sessions["compat"]
    assert session.rows == ("2.2.13", "2.19.39"), "a client without a cell has no row"
    assert session.columns == ("reference-2.0", "reference-2.5")


def test_cells_without_a_service_have_a_column(entries):
    found = entries(cell("2.2.13", None, PASS))
    session = Sides(found).sessions["compat"]
    assert session.columns == (column(found.cells[0]),) == ("no service",)


def test_the_last_of_several_entries_counts_and_keeps_the_earlier(entries):
    found = entries(cell("2.2.13", "reference-2.5", FAIL), cell("2.2.13", "reference-2.5", PASS))
    (last,) = found.cells
    assert last.status is Status.PASS
    assert [entry.status for entry in found.earlier(last)] == [Status.FAIL]
    assert flaky_count(found) == 1
    assert totals_line(found) == "1 pass (1 flaky): 1 cell"


def test_what_differs_between_attempts_of_a_run_is_told(entries):
    one = {"run": "pass", "logs": "pass"}
    two = {"run": "pass", "logs": ("fail", "a line is missing")}
    found = entries(*(cell("2.2.13", "reference-2.5", checks) for checks in (one, two, one)))
    line = "compat/2.2.13/reference-2.5/local/basics: logs: pass, fail, pass"
    assert difference_lines(found) == [f"differs: {line}"]
    assert found.flaky(found.cells[0])


@pytest.mark.parametrize("later", [[], [cell("2.2.13", "reference-2.5", FAIL, run="later")]])
def test_attempts_that_are_alike_and_those_of_a_later_run_tell_no_difference(later):
    alike = [cell("2.2.13", "reference-2.5", PASS)] * 3
    assert difference_lines(View([*alike, *later])) == []


def test_a_cell_that_fails_again_is_not_flaky(entries):
    found = entries(cell("2.2.13", "reference-2.5", FAIL), cell("2.2.13", "reference-2.5", FAIL))
    assert flaky_count(found) == 0
    assert totals(found.cells) == {"fail": 1}


def test_a_cause_is_not_what_followed(entries):
    (found,) = entries(cell("2.2.13", "reference-2.5", FAIL)).cells
    assert list(causes(found)) == ["run"]


@pytest.mark.parametrize(
    ("checks", "planned", "ended", "green"),
    [
        ([PASS], 1, True, True),
        ([PASS, {"run": "unsupported"}], 2, True, True),
        ([{"run": "unsupported"}], 1, True, False),
        ([], 0, True, False),
        ([PASS], 2, True, False),
        ([PASS], 1, False, False),
        ([PASS, FAIL], 2, True, False),
        ([PASS, {"run": ("not-run", "")}], 2, True, False),
    ],
)
def test_green_means_all_that_was_planned_ran_well(entries, checks, planned, ended, green):
    found = entries(
        *(cell(f"2.{number}.0", "reference-2.5", some) for number, some in enumerate(checks)),
        planned=planned,
        ended=ended,
    )
    assert found.green is green
    assert bool(found.incomplete) is (planned != len(checks) or not ended)


def test_a_step_that_is_no_way_back_is_told_with_its_first_reason():
    evidence = [
        "v2.3.0: Its migration API answers GET /version with 500: no.",
        "v2.3.0: It starts.",
    ]
    unsafe = stage(2, "v2.4.0", rollback="unsafe", rollback_evidence=evidence)
    assert unsafe_sentence(unsafe) == (
        "rolling back to v2.3.0 is unsafe: Its migration API answers GET /version with 500: no."
    )


def test_a_gate_names_every_stage_that_closes_it(tmp_path):
    unsafe = [stage(2, "v2.4.0", rollback="unsafe"), stage(4, "v2.5.0", rollback="unsafe")]
    walked = [stage(1, "v2.3.0", rollback=None), unsafe[0], stage(3, "v2.4.1"), unsafe[1]]
    assert gate_line(write(tmp_path / "walked", [], stages=walked)) == (
        "--gate rollback is closed by stage 02, v2.4.0; stage 04, v2.5.0"
    )
    assert gate_line(write(tmp_path / "safe", [], stages=walked[:1])) == ""
