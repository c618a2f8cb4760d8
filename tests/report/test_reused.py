"""What was not run is told as such, with its run and its day, in every report."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest

from harness.core.entries import Reused
from harness.core.view import View
from harness.report.badge import render_badge
from harness.report.findings import asides
from harness.report.html import render_html
from harness.report.junit import render_junit
from harness.report.markdown import render_markdown
from harness.report.results import render_results
from harness.report.summary import source_lines, totals_line
from tests.report import journals

EARLIER = "20261101-120000-compat-1a2b"
NOW = "20261102-120000-compat-2b3c"
THEN = Reused(run=EARLIER, at=datetime(2026, 11, 1, 12, 5, tzinfo=timezone.utc))
SAME = Reused(run=NOW, at=THEN.at, service="v2.4.2")
FROM = f"as run {EARLIER} found on 2026-11-01 12:05 UTC"
WITH = "reused: as with v2.4.2, whose code is the same"


@pytest.fixture
def view(tmp_path: Path) -> View:
    """One cell that ran, one of an earlier run, which failed, and one of a service like it."""
    cells = [
        journals.cell("2.19.39", "v2.4.2"),
        msgspec.structs.replace(journals.cell("2.19.39", "v2.4.3"), reused=SAME),
        msgspec.structs.replace(
            journals.cell("2.19.39", "v2.5.1", {"run": ("fail", "broken")}), reused=THEN
        ),
    ]
    alone = journals.stage(0, "v2.5.1", carried=0, rereads=0, reused=THEN)
    return journals.write(tmp_path, cells, run=NOW, stages=[alone])


def test_counts_say_how_many(view: View):
    assert totals_line(view) == "1 fail, 2 pass (2 reused): 3 cells"
    assert "2 of 3 cells reused" in asides(view)
    assert source_lines(view) == [
        "reused, not run: 1 cell, as with a service of the same code",
        f"reused, not run: 1 cell and 1 service by itself, as run {EARLIER} found on 2026-11-01",
    ]
    assert "(2 reused)" in render_badge(view)


def test_markdown_marks_its_squares(view: View):
    text = render_markdown(view)
    assert "| ✓ pass | ✓ pass reused | ✗ fail reused |" in text
    assert f"as run {EARLIER} found on 2026-11-01" in text


def test_junit_gives_it_no_time_and_says_from_where(view: View):
    root = ET.fromstring("".join(render_junit(view)))
    told = {case.get("classname", ""): case for case in root.iter("testcase")}
    ran, same, earlier = (told[f"compat/2.19.39/{name}/local/basics"] for name in V)
    assert ran.find("system-out") is None
    assert same.findtext("system-out") == WITH
    assert earlier.findtext("system-out") == f"reused: {FROM}"
    assert (same.get("time"), earlier.get("time")) == ("0.00", "0.00")
    assert {one.get("name"): one.get("value") for one in root.iter("property")}["reused"] == "2"


V = ("v2.4.2", "v2.4.3", "v2.5.1")


def test_the_page_marks_squares_and_panels(view: View, tmp_path: Path):
    page = "".join(render_html(view, tmp_path))
    assert "✓ pass reused" in page
    assert "✗ fail reused" in page
    assert FROM in page
    assert WITH in page


def test_results_json_has_it_at_the_cell_and_the_service(view: View):
    results = json.loads("".join(render_results(view)))
    assert results["reused"] == 2
    assert [cell["reused"] and cell["reused"]["run"] for cell in results["cells"]] == [
        None,
        NOW,
        EARLIER,
    ]
    (alone,) = results["stages"]
    assert alone["reused"]["run"] == EARLIER
