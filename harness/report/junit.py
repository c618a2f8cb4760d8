"""junit.xml: one case per cell and check, and one per stage, for CI servers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple
from xml.etree import ElementTree as ET

from harness.journal import Entry
from harness.outcome import Status
from harness.report.findings import stage_findings
from harness.report.summary import (
    cells,
    column,
    known_sentences,
    runs,
    stage_sentences,
    stages,
    totals,
)
from harness.report.text import plain, shortened

# How a CI server counts a status: as failed, as an error that judged nothing, or as skipped.
_ELEMENTS = {
    Status.FAIL: "failure",
    Status.UNEXPECTED_PASS: "failure",
    Status.TIMEOUT: "failure",
    Status.INFRA: "error",
    Status.UNSUPPORTED: "skipped",
    Status.EXPECTED_FAIL: "skipped",
    Status.NOT_RUN: "skipped",
}


class _Case(NamedTuple):
    """One case; ``text`` is what a server shows of it when it is not a pass."""

    classname: str
    name: str
    status: Status
    reason: str
    text: str
    seconds: float


def render_junit(entries: Sequence[Entry]) -> str:
    """Return the XML.

    A suite is a client in a session; its properties hold the totals of its cells
    (``cells.pass``). Stages are suites of their own. Every case but a pass, and but the skipped
    ones of the client's age, says in ``type`` which status it is.
    """
    root = ET.Element("testsuites", {"name": "metaflow-compat"})
    suites: dict[str, list[Entry]] = {}
    for cell in cells(entries):
        suites.setdefault(f"{cell['session']} {cell['client']}", []).append(cell)
    begun: dict[str, str] = {run["run"]: run["at"] for run in runs(entries)}
    for name, found in suites.items():
        cases = [case for cell in found for case in _cell_cases(cell)]
        suite = _suite(root, name, cases, begun.get(found[0]["run"]) or found[0]["at"])
        counts = {f"cells.{status}": n for status, n in totals(found).items()}
        flaky = [cell["id"] for cell in found if "flaky" in cell]
        _properties(suite, counts | dict.fromkeys((f"flaky {cell}" for cell in flaky), 1))
    if stages(entries):
        cases = [_stage_case(stage) for stage in stages(entries)]
        _suite(root, "stages", cases, stages(entries)[0]["at"])
    _add_up(root)
    ET.indent(root, " ")
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _cell_cases(cell: Entry) -> Iterable[_Case]:
    where = f"client {cell['client']} × {column(cell)}, {cell['datastore']} data"
    evidence = "".join(f"\n{kind}: {path}" for kind, path in cell["evidence"].items())
    seconds = cell["seconds"]
    for name, check in cell["checks"].items():
        text = f"{where}\n{check['reason']}\nrerun: {cell['rerun']}{evidence}"
        # The first case carries the time of the cell: its checks are not timed apart.
        yield _Case(cell["id"], name, Status(check["status"]), check["reason"], text, seconds)
        seconds = 0.0


def _stage_case(stage: Entry) -> _Case:
    said = stage_findings([stage]) or known_sentences(stage)
    reason = said[0] if said else ""
    name = f"{stage['stage']:02d} {stage['service']}"
    text = "\n".join(stage_sentences(stage))
    return _Case(stage["run"], name, Status(stage["status"]), reason, text, stage["seconds"])


def _suite(root: ET.Element, name: str, cases: Iterable[_Case], begun: str) -> ET.Element:
    suite = ET.SubElement(root, "testsuite", {"name": name, "timestamp": begun[:19]})
    _properties(suite, {})
    for case in cases:
        element = ET.SubElement(
            suite,
            "testcase",
            {"classname": case.classname, "name": case.name, "time": f"{case.seconds:.2f}"},
        )
        if case.status in _ELEMENTS:
            said = {
                "type": case.status.value,
                "message": shortened(f"{case.status.value}: {case.reason}"),
            }
            outcome = ET.SubElement(element, _ELEMENTS[case.status], said)
            if _ELEMENTS[case.status] != "skipped":
                outcome.text = plain(case.text)
    return suite


def _properties(suite: ET.Element, values: dict[str, int]) -> None:
    """Set the properties of a suite; the element comes first and is always there."""
    properties = suite.find("properties")
    if properties is None:
        properties = ET.SubElement(suite, "properties")
    for name, value in values.items():
        ET.SubElement(properties, "property", {"name": name, "value": str(value)})


def _add_up(root: ET.Element) -> None:
    """Set the counts that servers read from suites, and from all of them."""
    for suite in (*root.iter("testsuite"), root):
        cases = list(suite.iter("testcase"))
        for name, element in (
            ("tests", None),
            ("failures", "failure"),
            ("errors", "error"),
            ("skipped", "skipped"),
        ):
            count = sum(element is None or case.find(element) is not None for case in cases)
            if suite is not root or name != "skipped":  # Jenkins knows no such sum of all suites
                suite.set(name, str(count))
        suite.set("time", f"{sum(float(case.get('time', 0)) for case in cases):.2f}")
