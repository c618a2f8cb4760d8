"""What is wrong with a service by itself, in every report: no stage of a walk, and no cell."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from rich.console import Console

from harness.cli.rerun import bad_stages, cells_of
from harness.core.entries import StageEntry
from harness.core.view import View
from harness.report.diff import compare
from harness.report.findings import known_failures, stage_findings
from harness.report.html import render_html
from harness.report.junit import render_junit
from harness.report.markdown import render_markdown
from harness.report.terminal import Screen
from tests.report import journals

WRONG = "times: GET /flows/F tells 7, stored is 5"
BOTH = ("v2.4.0", "v2.5.1")


def alone(service: str, **fields: object) -> StageEntry:
    """Return the entry of a service by itself."""
    nothing = {"rows": 0, "carried": 0, "rereads": 0, "rollback": None, "rollback_evidence": []}
    return journals.stage(0, service, **nothing, **fields)


def written(folder: Path, **of_second: object) -> View:
    """Return the view of a run over two services, the second of which is as given."""
    cells = [journals.cell("2.19.39", service) for service in BOTH]
    stages = [alone(BOTH[0]), alone(BOTH[1], **of_second)]
    return journals.write(folder, cells, stages=stages)


@pytest.fixture
def wrong(tmp_path: Path) -> View:
    """A run in which one service does not keep its word, and every cell is green."""
    return written(tmp_path, status="fail", problems=[WRONG])


@pytest.fixture
def known(tmp_path: Path) -> View:
    """The same where that is declared."""
    return written(tmp_path, status="expected-fail", known=[f"a reason: {WRONG}"])


def printed(view: View, folder: Path) -> str:
    """Return what a run prints at its end."""
    said = io.StringIO()
    Screen(Console(file=said, width=400)).end(view, folder)
    return said.getvalue()


def test_a_green_grid_does_not_hide_it(wrong: View, tmp_path: Path):
    sentence = f"service v2.5.1, by itself: {WRONG}"
    assert not wrong.green
    assert [stage.service for stage in wrong.stages] == list(BOTH)
    assert sentence in printed(wrong, tmp_path)
    assert "stage by stage" not in printed(wrong, tmp_path)
    assert sentence in render_markdown(wrong)
    assert "| stage |" not in render_markdown(wrong)
    page = "".join(render_html(wrong, tmp_path))
    assert sentence in page
    assert "stage by stage" not in page
    suite = next(
        one for one in ET.fromstring("".join(render_junit(wrong))) if one.get("name") == "services"
    )
    assert [(case.get("name"), len(list(case))) for case in suite.iter("testcase")] == [
        ("v2.4.0", 0),
        ("v2.5.1", 1),
    ]
    assert not [
        one for one in ET.fromstring("".join(render_junit(wrong))) if one.get("name") == "stages"
    ]


def test_what_is_declared_of_it_is_told_and_green(known: View, tmp_path: Path):
    sentence = "service v2.5.1, by itself: fails as declared: a reason"
    assert known.green
    assert f"known: {sentence}" in printed(known, tmp_path)
    assert "1 known failure" in printed(known, tmp_path)
    assert sentence in render_markdown(known)
    assert sentence in "".join(render_html(known, tmp_path))


def test_a_diff_tells_that_it_became_wrong(tmp_path: Path):
    before, after = (
        written(tmp_path / "a"),
        written(tmp_path / "b", status="fail", problems=[WRONG]),
    )
    assert compare(before, after).became_red == (f"service v2.5.1, by itself: {WRONG}",)
    assert compare(before, before).became_red == ()


def test_one_cell_of_it_is_run_again(wrong: View):
    (bad,) = bad_stages(wrong)
    assert [cell.service for cell in cells_of(bad, wrong)] == ["v2.5.1"]


def test_what_was_wrong_before_a_run_went_on_is_told(tmp_path: Path):
    cells = [journals.cell("2.19.39", service) for service in BOTH]
    bad = alone(BOTH[1], status="fail", problems=[WRONG])
    view = journals.write(tmp_path, cells, stages=[alone(BOTH[0]), bad, alone(BOTH[1])])
    assert view.green
    assert [view.flaky_stage(stage) for stage in view.stages] == [False, True]
    (before,) = view.earlier_stages(view.stages[1])
    assert before.problems == [WRONG]
    for report in (printed(view, tmp_path), render_markdown(view)):
        assert "differs: service v2.5.1, by itself: fail, pass" in report
        assert WRONG in report
        assert "1 flaky service" in report
    assert "1 flaky service" in "".join(render_html(view, tmp_path))


def test_equal_attempts_are_not_told(tmp_path: Path):
    bad = alone(BOTH[1], status="fail", problems=[WRONG])
    view = journals.write(tmp_path, [journals.cell("2.19.39", BOTH[1])], stages=[bad, bad])
    assert "differs" not in printed(view, tmp_path)
    assert "flaky" not in printed(view, tmp_path)


def test_what_the_machine_broke_before_is_not_told(tmp_path: Path):
    broken = alone(BOTH[1], status="infra", problems=["the database does not answer any more"])
    cells = [journals.cell("2.19.39", BOTH[1])]
    view = journals.write(tmp_path, cells, stages=[broken, alone(BOTH[1])])
    assert "differs" not in printed(view, tmp_path)


def test_what_several_services_have_in_common_is_told_once(tmp_path: Path):
    names = ("v2.2.4", "v2.3.0", "v2.4.0", "v2.5.1")
    stages = [alone(names[0])]
    for name in names[1:]:
        problem = f"unmigrated: POST /flows/Unmigrated_{name[1:].replace('.', '_')} of {name}: 500"
        stages.append(alone(name, status="fail", problems=[problem], known=["a reason: so"]))
    cells = [journals.cell("2.19.39", name) for name in names]
    view = journals.write(tmp_path, cells, stages=stages)
    where = "services ≥ v2.3.0, by themselves"
    (sentence,) = stage_findings(view)
    assert sentence.startswith(f"{where}: unmigrated: POST /flows/Unmigrated_2_3_0 of v2.3.0")
    assert known_failures(view) == [f"{where}: fails as declared: a reason: so"]
    assert printed(view, tmp_path).count("a reason: so") == 1
    assert render_markdown(view).count("a reason: so") == 1


def test_what_is_alike_in_one_service_is_told_each(tmp_path: Path):
    problems = [f"artifacts: GET /runs/{number}/artifacts answered 404" for number in (17, 1234567)]
    view = written(tmp_path, status="fail", problems=[*problems, "the task 3 is gone"])
    assert stage_findings(view) == [
        f"service v2.5.1, by itself: {line}" for line in (*problems, "the task 3 is gone")
    ]


def test_stages_of_a_walk_that_have_something_in_common_are_told_once(tmp_path: Path):
    stages = [
        journals.stage(number, f"v2.{number}.0", status="fail", problems=[WRONG])
        for number in (1, 2, 3)
    ]
    stages += [journals.stage(4, "v2.4.0", status="fail", problems=["run: refused"])]
    view = journals.write(tmp_path, [], stages=stages)
    assert stage_findings(view) == [
        f"stages 01–03: {WRONG}",
        "stage 04, v2.4.0: run: refused",
    ]


def test_equal_sentences_are_told_once_with_their_count(tmp_path: Path):
    view = written(tmp_path, status="fail", problems=[WRONG, "run: refused", WRONG])
    said = printed(view, tmp_path)
    assert said.count(WRONG) == 1
    assert f"{WRONG} (2 times)" in said
    assert f"{WRONG} (2 times)" in render_markdown(view)
