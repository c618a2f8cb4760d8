"""What nobody ran is told as inferred, in every report, and taken for no result."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest

from harness.cli.rerun import failed_cells
from harness.core.entries import CellEntry, Inferred
from harness.core.view import View
from harness.report.badge import render_badge
from harness.report.diff import compare
from harness.report.findings import by_signature, findings, headline
from harness.report.html import render_html
from harness.report.junit import render_junit
from harness.report.markdown import render_markdown
from harness.report.proposals import propose
from harness.report.results import render_results
from harness.report.summary import source_lines, totals_line
from tests.report import journals

SERVICES = ("v2.4.2", "v2.4.3", "v2.5.1")
BROKEN = {"run": ("fail", "broken")}
BESIDE = "compat/2.19.39/v2.5.1/local/basics"


def inferred(service: str, checks: journals.Checks | None = None) -> CellEntry:
    entry = journals.cell("2.19.39", service, checks, seconds=0.0, flow_run="")
    return msgspec.structs.replace(entry, inferred=Inferred(beside=[BESIDE]))


@pytest.fixture
def view(tmp_path: Path) -> View:
    """One cell that is inferred to pass, one to fail, and the one that ran and failed."""
    cells = [
        inferred("v2.4.2", {"run": "pass"}),
        inferred("v2.4.3", BROKEN),
        journals.cell("2.19.39", "v2.5.1", BROKEN),
    ]
    return journals.write(tmp_path, cells)


def test_counts_and_findings_say_how_many(view: View):
    assert totals_line(view) == "2 fail, 1 pass (2 inferred): 3 cells"
    assert "2 of 3 cells inferred" in headline(view, findings(view))
    line = "inferred, not run: 2 cells, from those that ran around them"
    assert source_lines(view) == [line]
    assert "(2 inferred)" in render_badge(view)
    (failure,) = by_signature(findings(view))
    assert failure.where.endswith("(1 of 2 cells inferred)")
    assert failure.cells[0] == BESIDE, "what ran is shown, and run again"


def test_markdown_marks_its_squares_and_runs_only_again_what_ran(view: View):
    text = render_markdown(view)
    assert "| ✓ pass inferred | ✗ fail inferred | ✗ fail |" in text
    assert "How to run 1 cell again" in text


def test_to_a_server_it_is_skipped(view: View):
    root = ET.fromstring("".join(render_junit(view)))
    told = {case.get("classname", "").split("/")[2]: case for case in root.iter("testcase")}
    passed, failed, ran = (told[name] for name in SERVICES)
    for case, word in ((passed, "pass"), (failed, "fail")):
        skipped = case.find("skipped")
        assert skipped is not None
        assert skipped.get("type") == "inferred"
        assert skipped.get("message", "").startswith(f"inferred, not run: {word}")
        assert case.get("time") == "0.00"
        assert case.find("failure") is None
        assert case.findtext("system-out") == f"inferred, not run: as {BESIDE}"
    assert ran.find("failure") is not None
    (suite,) = root.iter("testsuite")
    assert (suite.get("failures"), suite.get("skipped")) == ("1", "2")
    values = {one.get("name"): one.get("value") for one in root.iter("property")}
    assert values["inferred"] == "2"


def test_the_page_marks_squares_and_panels(view: View, tmp_path: Path):
    page = "".join(render_html(view, tmp_path))
    assert "✓ pass inferred" in page
    assert "✗ fail inferred" in page
    assert f"inferred, not run: as {BESIDE}" in page


def test_results_json_counts_and_names_them(view: View):
    results = json.loads("".join(render_results(view)))
    assert results["inferred"] == 2
    assert [cell["inferred"] and cell["inferred"]["beside"] for cell in results["cells"]] == [
        [BESIDE],
        [BESIDE],
        None,
    ]


def test_what_is_proposed_to_be_declared_says_that_it_rests_on_them(view: View):
    (proposed,) = propose(view)
    assert proposed["reason"] == "broken (inferred in part)"


def test_rerun_takes_only_what_ran_for_failed(view: View):
    assert [cell.service for cell in failed_cells(view)] == ["v2.5.1"]


def test_diff_compares_only_what_ran(tmp_path: Path):
    def written(name: str, *cells: CellEntry) -> View:
        return journals.write(tmp_path / name, list(cells))

    ran = journals.cell("2.19.39", "v2.4.2")
    passes, fails = inferred("v2.4.2"), inferred("v2.4.2", BROKEN)
    green, guessed, worse = written("a", ran), written("b", passes), written("c", fails)
    for new in (guessed, worse):
        found = compare(green, new)
        assert found.became_red == found.became_green == found.new == found.gone == ()
        assert found.unknown == (f"1 cell that ran before, such as {ran.id}: inferred now",)
        assert found.worse, "what was green is not known to be"
    assert compare(guessed, worse).render() == "no difference"
    red = written("d", journals.cell("2.19.39", "v2.4.2", BROKEN))
    found = compare(guessed, red)
    assert found.new_red, "nobody had run it"
    assert not found.became_red
