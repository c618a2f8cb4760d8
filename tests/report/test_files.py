"""The files of a report: each valid for its own readers, all with the same totals."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import jsonschema
import pytest
from junitparser import JUnitXml
from lxml import etree

from harness.core.journal import read
from harness.core.outcome import Status
from harness.core.view import View
from harness.machine.tools import ROOT
from harness.report.badge import render_badge
from harness.report.files import write_reports
from harness.report.html import render_html
from harness.report.junit import render_junit
from harness.report.markdown import code, escaped, render_markdown
from harness.report.results import render_results
from harness.report.summary import totals, totals_line
from tests.report import journals

DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def entries(results: Path) -> View:
    return View(read(results))


@pytest.fixture
def walk(tmp_path: Path) -> View:
    """A walk that lost something and did not come to its end, with a flaky cell."""
    red = journals.cell("2.0.5", "reference-1.0", {"run": "fail"}, session="fixed_db", stage=1)
    cells = [
        journals.cell(client, service, session="fixed_db", stage=number)
        for client in journals.CLIENTS
        for number, service in enumerate(journals.SERVICES, start=1)
    ]
    stages = [journals.stage(n, s) for n, s in enumerate(journals.SERVICES[:3], start=1)]
    stages.append(journals.stage(4, "reference-2.5", status="infra", lost=["a | b"], log="no.log"))
    return journals.write(tmp_path, [red, *cells], stages=stages, ended=False)


def test_results_json_is_what_its_schema_says(entries: View, walk: View):
    schema = json.loads((DOCS / "results.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for journal in (entries, walk):
        assert [error.message for error in validator.iter_errors(_results(journal))] == []


def test_the_schema_refuses_what_is_not_a_result(entries: View):
    schema = json.loads((DOCS / "results.schema.json").read_text(encoding="utf-8"))
    body = _results(entries)
    body["cells"][0]["status"] = "green"
    with pytest.raises(jsonschema.ValidationError, match="'green' is not one of"):
        jsonschema.validate(body, schema)


def _results(entries: View) -> dict[str, object]:
    found: dict[str, object] = json.loads("".join(render_results(entries)))
    return found


def test_junit_xml_is_what_its_schema_says(entries: View, walk: View):
    schema = etree.XMLSchema(etree.parse(DOCS / "junit.xsd"))
    for journal in (entries, walk):
        schema.assertValid(etree.fromstring("".join(render_junit(journal)).encode()))


def test_junit_has_a_case_for_each_cell_and_check_as_a_ci_server_counts_it(entries: View):
    parsed = JUnitXml.fromstring("".join(render_junit(entries)).encode())
    found = {
        (case.classname, case.name): [type(result).__name__.lower() for result in case.result]
        for suite in parsed
        for case in suite
    }
    expected = {
        (entry.id, name): _counted(check.status.value)
        for entry in entries.cells
        for name, check in entry.checks.items()
    }
    assert found == expected
    assert parsed.tests == len(expected)
    assert parsed.failures == sum(counted == ["failure"] for counted in expected.values())
    assert parsed.errors == sum(counted == ["error"] for counted in expected.values())


def _counted(status: str) -> list[str]:
    kinds = {
        "failure": {"fail", "timeout", "unexpected-pass"},
        "error": {"infra"},
        "skipped": {"unsupported", "expected-fail", "not-run"},
    }
    return [kind for kind, statuses in kinds.items() if status in statuses]


def test_junit_has_the_time_of_each_cell_once(entries: View):
    root = ET.fromstring("".join(render_junit(entries)))
    seconds = sum(entry.seconds for entry in entries.cells)
    assert float(root.get("time", "0")) == pytest.approx(seconds)


def test_junit_has_a_long_reason_once_and_says_where(tmp_path: Path):
    lines = "\n".join(f"line {number} of the log" for number in range(20))
    cells = [
        journals.cell(client, "v2.3.0", dict.fromkeys(("run", "tags"), ("infra", f"dead\n{lines}")))
        for client in ("2.0.5", "2.2.13")
    ]
    root = ET.fromstring("".join(render_junit(journals.write(tmp_path, cells))))
    texts = [error.text or "" for error in root.iter("error")]
    assert [lines in text for text in texts] == [True, False, False, False]
    assert all(f"in full: {cells[0].id} run\n" in text for text in texts[1:])
    assert len({error.get("message") for error in root.iter("error")}) == 1


def test_stages_are_cases_too(walk: View):
    suite = next(s for s in ET.fromstring("".join(render_junit(walk))) if s.get("name") == "stages")
    assert [case.get("name") for case in suite.iter("testcase")] == [
        f"{number:02d} {service}" for number, service in enumerate(journals.SERVICES, start=1)
    ]
    (error,) = suite.iter("error")
    assert "lost a | b" in (error.text or "")


def test_a_stage_that_fails_as_declared_is_told_and_is_no_finding(tmp_path: Path):
    stage = journals.stage(
        *(1, "2.0.0"), status="expected-fail", known=["tables are made twice: HTTP 500"]
    )
    cell = journals.cell("2.0.5", "2.0.0", {"run": "expected-fail"}, session="fixed_db", stage=1)
    entries = journals.write(tmp_path, [cell], stages=[stage])
    said = "stage 01, 2.0.0: fails as declared: tables are made twice: HTTP 500"
    assert said in render_markdown(entries)
    assert render_markdown(entries).startswith("## ✓")
    (skipped,) = ET.fromstring("".join(render_junit(entries))).findall(
        ".//*[@name='01 2.0.0']/skipped"
    )
    assert skipped.get("message") == f"expected-fail: {said}"
    assert "<b>x known</b> tables are made twice: HTTP 500" in "".join(
        render_html(entries, tmp_path)
    )


def test_totals_are_equal_in_all(entries: View, walk: View):
    for journal in (entries, walk):
        expected = totals(journal.cells)
        words = totals_line(journal)
        assert _results(journal)["totals"] == expected
        assert words in render_markdown(journal)
        assert words in render_badge(journal)
        found: dict[str, int] = {}
        for one in ET.fromstring("".join(render_junit(journal))).iter("property"):
            status = one.get("name", "").removeprefix("cells.")
            if status != one.get("name"):
                found[status] = found.get(status, 0) + int(one.get("value", "0"))
        assert found == expected


def test_flaky_cells_are_counted_everywhere(walk: View):
    cell = "fixed_db/2.0.5/01-reference-1.0/local/basics"
    assert _results(walk)["flaky"] == 1
    assert f'name="flaky {cell}"' in "".join(render_junit(walk))
    assert "(1 flaky)" in render_markdown(walk)
    assert "(1 flaky)" in render_badge(walk)


def test_the_badge_is_an_image_of_its_words(entries: View):
    image = ET.fromstring(render_badge(entries))
    (title,) = image.iter("{http://www.w3.org/2000/svg}title")
    assert title.text == f"metaflow compat: ✗ {totals_line(entries)}"
    assert int(image.get("width", "0")) > 200


@pytest.mark.parametrize(
    ("checks", "fields", "colour"),
    [
        ({"run": "pass"}, {}, "#1b7a3a"),
        ({"run": "fail"}, {}, "#c62828"),
        ({"run": "not-run"}, {}, "#59606d"),
        ({"run": "pass"}, {"planned": 9}, "#59606d"),
    ],
)
def test_the_badge_is_green_only_when_everything_is_known(
    tmp_path: Path, checks, fields, colour: str
):
    journal = journals.write(tmp_path, [journals.cell("2.0.5", "v2.3.0", checks)], **fields)
    assert f'fill="{colour}"' in render_badge(journal)


def test_markdown_says_the_findings_and_folds_the_grid(entries: View):
    text = render_markdown(entries)
    assert "**✗ fail** client 2.2.13 fails on reference services ≥ 2.3: basics: tags" in text
    assert "<details><summary>compat, local data: client × service</summary>" in text
    assert "| 2.2.13 | ✓ pass | ✓ pass | ✗ fail | ✗ fail |" in text
    assert "`nox -s compat -- --metaflow 2.2.13 --service reference-2.3" in text


def test_markdown_merges_clients_with_the_same_squares(tmp_path: Path):
    journal = journals.write(
        tmp_path, [journals.cell(client, "v2.3.0") for client in journals.CLIENTS]
    )
    assert "| ≥ 2.0.5 | ✓ pass |" in render_markdown(journal)


def test_what_a_flow_printed_does_nothing_in_markdown(entries: View):
    text = render_markdown(entries)
    assert "\x1b" not in text
    outside_of_code = re.sub(r"(`+).+?\1", "", text)
    assert "<script" not in outside_of_code
    assert "<b>" not in outside_of_code


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a | b", r"a \| b"), ("<b>&", "&lt;b\\>&amp;"), ("*x*_y_", r"\*x\*\_y\_"), ("`", r"\`")],
)
def test_escaping(text: str, expected: str):
    assert escaped(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a", "`a`"), ("a`b", "`` a`b ``"), ("``", "``` `` ```"), ("a\nb", "`a b`")],
)
def test_code_spans(text: str, expected: str):
    assert code(text) == expected


def test_the_timeline_is_in_markdown(walk: View):
    assert "| 4 | reference-2.5 | ⚠ infra | 3 → 4 | 480 | 1 | safe |" in render_markdown(walk)


def test_a_big_report_fits_a_step_summary():
    cells = [
        journals.cell(f"2.{n}.0", f"v2.{m}.0", {"run": ("fail", f"{n} {m} {'x' * 400}")})
        for n in range(60)
        for m in range(45)
    ]
    assert len(render_markdown(View(cells)).encode()) < 1_000_000


def test_all_files_are_written_and_nothing_half(tmp_path: Path, entries: View):
    write_reports(entries, tmp_path, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "badge.svg",
        "junit.xml",
        "report.html",
        "report.md",
        "results.json",
    ]


def test_the_summary_of_a_ci_step_gets_the_markdown_once_more(tmp_path: Path, entries: View):
    summary = tmp_path / "summary.md"
    summary.write_text("before\n", encoding="utf-8")
    write_reports(entries, tmp_path, {"GITHUB_STEP_SUMMARY": str(summary)})
    assert summary.read_text(encoding="utf-8") == "before\n" + render_markdown(entries)


def test_an_empty_journal_makes_every_file(tmp_path: Path):
    write_reports(journals.write(tmp_path, []), tmp_path, {})
    assert json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["green"] is False
    assert "none ran" in (tmp_path / "badge.svg").read_text(encoding="utf-8")
    assert all(Status(word) for word in totals([]))
