"""junit.xml: one case per cell and check, and one per stage, for CI servers."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple
from xml.etree import ElementTree as ET

from harness.core.entries import CellEntry, StageEntry
from harness.core.outcome import Status
from harness.core.view import View, green
from harness.machine.plain import plain
from harness.report.findings import signature
from harness.report.summary import (
    cell_words,
    known_sentences,
    page_words,
    place,
    source_words,
    stage_sentences,
    totals,
)
from harness.report.text import shortened

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

_COUNTED = {"tests": None, "failures": "failure", "errors": "error", "skipped": "skipped"}


class _Case(NamedTuple):
    """One case.

    Attributes:
        text: what a server shows of it when it is not a pass.
        seconds: that it took; none where it did not run.
        source: where it was taken from, in words; empty for what ran.
        inferred: whether nobody ran it, here or elsewhere: to a server it is skipped.
    """

    classname: str
    name: str
    status: Status
    reason: str
    text: str
    seconds: float
    source: str = ""
    inferred: bool = False


def render_junit(view: View) -> Iterator[str]:
    """Yield the XML in pieces.

    A suite is a client in a session; its properties hold the totals of its cells
    (``cells.pass``). Stages, and services by themselves, are suites of their own. Every case but a
    pass, and but the skipped ones of the client's age, says in ``type`` which status it is.
    """
    suites, sums = [], dict.fromkeys((*_COUNTED, "time"), 0.0)
    for suite in _suites(view):
        _add_up(suite)
        sums = {name: sum_ + float(suite.get(name, 0)) for name, sum_ in sums.items()}
        ET.indent(suite, " ", level=1)
        # The sums of all come first in the file, and a suite of elements is large.
        suites.append(zlib.compress(ET.tostring(suite, encoding="utf-8"), level=1))
    # Jenkins knows no sum of what was skipped in all suites.
    counts = {name: f"{sum_:.0f}" for name, sum_ in sums.items() if name not in {"skipped", "time"}}
    told = {"name": "metaflow-compat", **counts, "time": f"{sums['time']:.2f}"}
    root = ET.tostring(ET.Element("testsuites", told), encoding="unicode", xml_declaration=True)
    yield f"{root.removesuffix(' />')}>"
    for packed in suites:
        yield f"\n {zlib.decompress(packed).decode().rstrip()}"
    yield "\n</testsuites>\n"


def _suites(view: View) -> Iterator[ET.Element]:
    suites: dict[str, list[CellEntry]] = {}
    told: dict[str, str] = {}
    for cell in view.cells:
        session = f"{cell.session} {cell.ui}" if cell.ui else cell.session
        suites.setdefault(f"{session} {cell.client}", []).append(cell)
    for name, found in suites.items():
        cases = [case for cell in found for case in _cell_cases(view, cell, told)]
        suite = _suite(name, cases, view.runs[found[0].run].at)
        counts = {f"cells.{status}": n for status, n in totals(found).items()}
        counts["reused"] = sum(cell.reused is not None for cell in found)
        counts["inferred"] = sum(cell.inferred is not None for cell in found)
        flaky = [view.name(cell) for cell in found if view.flaky(cell)]
        _properties(suite, counts | dict.fromkeys((f"flaky {cell}" for cell in flaky), 1))
        yield suite
    for name, walked in (("services", False), ("stages", True)):
        stages = [stage for stage in view.stages if bool(stage.stage) is walked]
        if stages:
            yield _suite(name, [_stage_case(stage) for stage in stages], stages[0].at)


def _cell_cases(view: View, cell: CellEntry, told: dict[str, str]) -> Iterable[_Case]:
    """Yield the cases of a cell.

    Args:
        view: the journal.
        cell: of it.
        told: by signature, the case that has a long reason in full.
    """
    where = f"{cell_words(cell)}, {page_words(cell)}"
    evidence = "".join(f"\n{kind}: {path}" for kind, path in cell.evidence.items())
    seconds, source = (0.0 if cell.reused else cell.seconds), source_words(cell)
    inferred = cell.inferred is not None
    for name, check in cell.checks.items():
        reason = shortened(check.reason)
        if reason != check.reason and not green(check):
            case = f"{view.name(cell)} {name}"
            first = told.setdefault(signature(check.reason, cell), case)
            # A dead service's last lines are in hundreds of cases; once is enough.
            reason = check.reason if first == case else f"{reason}\nin full: {first}"
        text = f"{where}\n{reason}\nrerun: {cell.rerun}{evidence}"
        # The first case carries the time of the cell: its checks are not timed apart.
        yield _Case(
            *(view.name(cell), name, check.status, check.reason, text, seconds, source), inferred
        )
        seconds = 0.0


def _stage_case(stage: StageEntry) -> _Case:
    bare = [] if green(stage) else [f"{place(stage)}: {stage.status.value}"]
    said = stage_sentences(stage) or bare or known_sentences(stage)
    name = place(stage).removeprefix("stage ").replace(",", "", 1) if stage.stage else stage.service
    text = "\n".join(stage_sentences(stage))
    seconds, first = (0.0 if stage.reused else stage.seconds), said[0] if said else ""
    return _Case(stage.run, name, stage.status, first, text, seconds, source_words(stage))


def _suite(name: str, cases: Iterable[_Case], begun: datetime) -> ET.Element:
    # The schemas of JUnit reports know no time zone.
    suite = ET.Element("testsuite", {"name": name, "timestamp": begun.isoformat()[:19]})
    _properties(suite, {})
    for case in cases:
        element = ET.SubElement(
            suite,
            "testcase",
            {"classname": case.classname, "name": case.name, "time": f"{case.seconds:.2f}"},
        )
        kind = "skipped" if case.inferred else _ELEMENTS.get(case.status)
        if kind is not None:
            words = f"{case.status.value}: {case.reason}"
            said = {
                "type": "inferred" if case.inferred else case.status.value,
                "message": shortened(f"inferred, not run: {words}" if case.inferred else words),
            }
            outcome = ET.SubElement(element, kind, said)
            if kind != "skipped":
                outcome.text = plain(case.text)
        if case.source:
            ET.SubElement(element, "system-out").text = case.source
    return suite


def _properties(suite: ET.Element, values: dict[str, int]) -> None:
    """Set the properties of a suite; the element comes first and is always there."""
    properties = suite.find("properties")
    if properties is None:
        properties = ET.SubElement(suite, "properties")
    for name, value in values.items():
        ET.SubElement(properties, "property", {"name": name, "value": str(value)})


def _add_up(suite: ET.Element) -> None:
    """Set the counts that servers read from a suite."""
    cases = list(suite.iter("testcase"))
    for name, element in _COUNTED.items():
        count = sum(element is None or case.find(element) is not None for case in cases)
        suite.set(name, str(count))
    suite.set("time", f"{sum(float(case.get('time', 0)) for case in cases):.2f}")
