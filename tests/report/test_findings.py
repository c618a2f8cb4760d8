"""Failures in words and ranges, and which ones are the same failure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.core.entries import CellEntry
from harness.core.outcome import Status
from harness.core.view import View
from harness.report.findings import (
    Finding,
    by_signature,
    findings,
    headline,
    known_failures,
    signature,
    stage_findings,
)
from harness.report.html import render_html
from harness.report.markdown import render_markdown
from harness.report.sides import blocks, span
from harness.report.terminal import grid_tables
from tests.report import journals

Checks = dict[str, str | tuple[str, str]]
ORDER = ("1.0", "2.0", "2.3", "2.4", "2.5")


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({"2.0"}, "2.0"),
        ({"1.0", "2.0"}, "1.0–2.0"),
        ({"2.3", "2.4", "2.5"}, "≥ 2.3"),
        ({"2.5"}, "2.5"),
        ({"1.0", "2.3", "2.4"}, "1.0, 2.3–2.4"),
        ({"1.0", "2.4", "2.5"}, "1.0, ≥ 2.4"),
    ],
)
def test_spans(chosen: set[str], words: str):
    assert span(ORDER, chosen) == words


def test_blocks_are_runs_of_neighbours():
    assert blocks(ORDER, {"1.0", "2.0", "2.4"}) == [("1.0", "2.0"), ("2.4",)]
    assert blocks(ORDER, set()) == []


def _matrix(tmp_path: Path, checks: Callable[[str, str], Checks]) -> View:
    return journals.write(
        tmp_path,
        [
            journals.cell(client, service, checks(client, service))
            for client in journals.CLIENTS
            for service in ("v2.2.0", "v2.3.0", "v2.4.0")
        ],
    )


def told(found: list[Finding]) -> str:
    """Return the one failure that these findings are, in words."""
    (failure,) = by_signature(found)
    (sentence,) = failure.sentences
    return sentence


def test_alike_failures_are_one_finding_in_ranges(tmp_path: Path):
    def checks(client: str, service: str) -> Checks:
        bad = client in {"2.0.5", "2.2.13"} and service != "v2.2.0"
        reason = f"client {client} got 404 from {service} for BasicsFlow/17 at 0x7f12ab"
        return {"run": "pass", "tags": ("fail", reason) if bad else "pass"}

    (finding,) = findings(_matrix(tmp_path, checks))
    assert finding.where == "clients 2.0.5–2.2.13 fail on services ≥ v2.3.0"
    assert told([finding]) == (
        "clients 2.0.5–2.2.13 fail on services ≥ v2.3.0: basics: tags: "
        "client 2.0.5 got 404 from v2.3.0 for BasicsFlow/17 at 0x7f12ab"
    )
    assert len(finding.cells) == 4
    assert finding.clients == ("2.0.5", "2.2.13")
    assert finding.services == ("v2.3.0", "v2.4.0")


def test_no_range_covers_a_cell_that_passed(tmp_path: Path):
    def checks(client: str, service: str) -> Checks:
        bad = client != "2.7.23" and (client, service) != ("2.0.5", "v2.4.0")
        return {"run": ("fail", "exit code 1") if bad else "pass"}

    entries = _matrix(tmp_path, checks)
    failed = {cell.id for cell in entries.cells if cell.status is Status.FAIL}
    found = findings(entries)
    assert {name for finding in found for name in finding.cells} == failed
    assert sum(len(finding.cells) for finding in found) == len(failed)
    for finding in found:
        assert len(finding.cells) == len(finding.clients) * len(finding.services)
    assert [finding.where for finding in found] == [
        "clients 2.2.13, 2.19.39 fail on all 3 services",
        "client 2.0.5 fails on services v2.2.0–v2.3.0",
    ]
    assert [len(failure.places) for failure in by_signature(found)] == [2]


def test_other_reasons_and_other_checks_are_other_findings(tmp_path: Path):
    def checks(client: str, service: str) -> Checks:
        if service != "v2.2.0":
            return {"run": "pass", "tags": "pass"}
        status = "404" if client == "2.0.5" else "500"
        return {"run": "pass", "tags": ("fail", f"HTTP {status}")}

    entries = _matrix(tmp_path, checks)
    assert [finding.reason for finding in findings(entries)] == ["HTTP 500", "HTTP 404"]


def test_one_reason_for_many_checks_is_one_finding(tmp_path: Path):
    def checks(client: str, _service: str) -> Checks:
        reason = ("not-run", "no Python") if client == "2.0.5" else "pass"
        return {"run": reason, "tags": reason}

    (finding,) = findings(_matrix(tmp_path, checks))
    assert told([finding]) == (
        "client 2.0.5 did not run on all 3 services: basics: run, tags: no Python"
    )


def test_levels_of_the_reference_service_are_named_as_such(tmp_path: Path):
    entries = journals.write(
        tmp_path,
        [
            journals.cell("2.0.5", service, {"run": "timeout" if at > 1 else "pass"})
            for at, service in enumerate(journals.SERVICES)
        ],
    )
    assert [finding.where for finding in findings(entries)] == [
        "client 2.0.5 times out on reference services ≥ 2.3"
    ]


def test_session_and_datastore_are_named_where_there_are_several(tmp_path: Path):
    entries = journals.write(
        tmp_path,
        [
            journals.cell("2.0.5", None, session="local"),
            journals.cell("2.0.5", "v2.3.0"),
            journals.cell("2.0.5", "v2.3.0", {"run": "fail"}, datastore="s3"),
        ],
    )
    (finding,) = findings(entries)
    assert finding.where == "compat: client 2.0.5 fails on service v2.3.0 with s3 data"


def test_without_a_service_none_is_named(tmp_path: Path):
    entries = journals.write(
        tmp_path, [journals.cell("2.0.5", None, {"run": "fail"}, session="local")]
    )
    assert [finding.where for finding in findings(entries)] == ["client 2.0.5 fails"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("at 2026-11-01 17:00:03.12", "at 2026-11-02T09:41:00", True),
        ("[17/start/3 (pid 512)] broke", "[18/start/9 (pid 4)] broke", True),
        ("/tmp/a/b/flow.py line 3", "/var/lib/flow.py line 3", True),
        ("run BasicsFlow/17", "run BasicsFlow/17", True),
        ("port 43211", "port 51234", True),
        ("Step end (task-id 3) failed", "Step end (task-id 6) failed", True),
        ("\x1b[31mred\x1b[0m", "red", True),
        ("HTTP 404", "HTTP 500", False),
        ("exit code 1", "exit code 2", False),
        ("needs 12.0.5.1", "needs 1 CLIENT.1", False),
        ("BasicsFlow is odd", "FLOW is odd", True),
        ("request (/flows/CardFlow) failed", "request (/flows/Mine) failed", True),
        ("CardFlow is odd", "HelloFlow is odd", True),
        # The place: a line of a probe; of what is installed the function, for lines move.
        ("no (basics.py:12)", "no (basics.py:74)", False),
        ("no (basics.py:1234)", "no (basics.py:1235)", False),
        ('File "/a/b.py", line 1234', 'File "/c/b.py", line 1235', False),
        ("no (raised at /x/core.py:1234, in f)", "no (raised at /y/core.py:98, in f)", True),
        ("no (raised at m/core.py:12, in f)", "no (raised at m/core.py:12, in g)", False),
        ("the run 8 is there beside the run 9", "the run 16 is there beside the run 17", True),
        ("of the tasks 55, 56, 55 has no artifacts", "of the tasks 7, 8, 7 has no artifacts", True),
        ("a row with task_id 56 is twice", "a row with task_id 8 is twice", True),
        ("50 runs were asked for", "51 runs were asked for", False),
    ],
)
def test_signatures(one: str, other: str, same: bool):
    cell = journals.cell("2.0.5", "v2.3.0")
    assert (signature(one, cell) == signature(other, cell)) is same


IMPORT = "flow ended with exit code 1: ImportError: cannot import name 'Sequence'"
PROBES = ("basics", "card", "failing", "hello", "logs", "resume", "tags")


def _unimportable(tmp_path: Path) -> View:
    """A run in which two clients cannot be imported, whatever probe, service and datastore."""
    broken = {"run": ("fail", IMPORT), "artifacts": ("not-run", "the run did not end well")}
    return journals.write(
        tmp_path,
        [
            journals.cell(
                client,
                service,
                broken if client in {"2.0.0", "2.0.1"} else {"run": "pass", "artifacts": "pass"},
                probe=probe,
                datastore=datastore,
                flow_run="" if client in {"2.0.0", "2.0.1"} else "AFlow/1",
            )
            for client in ("2.0.0", "2.0.1", "2.19.39")
            for service in ("v2.2.0", "v2.3.0")
            for datastore in ("local", "s3")
            for probe in PROBES
        ],
    )


def test_the_same_failure_of_all_probes_is_told_once_with_its_places(tmp_path: Path):
    view = _unimportable(tmp_path)
    (failure,) = by_signature(findings(view))
    assert failure.where == (
        "clients 2.0.0–2.0.1 fail on all 2 services with local data (and 1 more place)"
    )
    assert failure.what == "basics, card and 5 more probes: run"
    assert failure.reason == IMPORT
    assert [place.where for place in failure.places] == [
        f"clients 2.0.0–2.0.1 fail on all 2 services with {data} data" for data in ("local", "s3")
    ]
    assert len(failure.cells) == 2 * 2 * 2 * len(PROBES)
    assert render_markdown(view).count(IMPORT) == 1
    page = "".join(render_html(view, tmp_path)).partition("<script")[0]
    assert page.count("ImportError: cannot import name") == 1
    assert page.count("</b>: basics, card and 5 more probes: run <a") == 1


def test_what_fails_elsewhere_for_other_probes_is_said_there(tmp_path: Path):
    bad = {"run": ("fail", "exit code 1")}
    view = journals.write(
        tmp_path,
        [
            journals.cell("2.0.5", "v2.2.0", bad),
            journals.cell("2.0.5", "v2.3.0", bad),
            journals.cell("2.2.13", "v2.2.0", {"run": "pass"}),
            journals.cell("2.2.13", "v2.2.0", bad, probe="hello"),
        ],
    )
    (failure,) = by_signature(findings(view))
    assert [(place.where, place.what) for place in failure.places] == [
        ("client 2.0.5 fails on all 2 services", "basics: run"),
        ("client 2.2.13 fails on service v2.2.0", "hello: run"),
    ]
    assert failure.what == "basics: run"


def test_checks_that_are_not_those_of_every_probe_are_counted(tmp_path: Path):
    dead = ("infra", "no stack for v2.2.0")
    view = journals.write(
        tmp_path,
        [
            journals.cell("2.0.5", "v2.2.0", dict.fromkeys(("run", "tags", "logs"), dead)),
            journals.cell("2.0.5", "v2.2.0", {"run": dead}, probe="hello"),
        ],
    )
    (failure,) = by_signature(findings(view))
    assert failure.what == "basics, hello: 4 checks"


def test_without_a_reason_other_checks_are_other_failures(tmp_path: Path):
    checks = {"run": "pass", "tags": "fail"}
    view = journals.write(
        tmp_path,
        [
            journals.cell("2.0.5", "v2.2.0", checks),
            journals.cell("2.0.5", "v2.2.0", checks, probe="hello"),
        ],
    )
    assert [failure.what for failure in by_signature(findings(view))] == [
        "basics: tags",
        "hello: tags",
    ]


def test_the_versions_of_all_roles_are_left_out():
    cells = [
        journals.cell("2.19.39", "v2.5.1", session="cross", writer=writer, resumer=resumer)
        for writer, resumer in (("2.7.23", "2.17.3"), ("2.17.4", "2.18.0"))
    ]
    signed = {
        signature(f"{one.client} reads what {one.resumer} made of {one.writer}", one)
        for one in cells
    }
    assert signed == {"CLIENT reads what RESUMER made of WRITER"}


def test_what_a_stage_lost_is_said_by_stage(tmp_path: Path):
    entries = journals.write(
        tmp_path,
        [],
        stages=[
            journals.stage(1, "1.0.0"),
            journals.stage(2, "v2.3.0", status="fail", lost=["3 artifacts"], problems=["slow"]),
            journals.stage(3, "v2.4.0", status="infra"),
        ],
    )
    assert stage_findings(entries) == [
        "stage 02, v2.3.0: lost 3 artifacts",
        "stage 02, v2.3.0: slow",
        "stage 03, v2.4.0: infra",
    ]


def test_a_walk_that_comes_back_to_a_service_names_the_stage(tmp_path: Path):
    path = ("reference-2.0", "reference-2.3", "reference-2.0")
    entries = journals.write(
        tmp_path,
        [
            journals.cell("2.0.5", service, {"run": "fail" if n == 3 else "pass"}, stage=n)
            for n, service in enumerate(path, start=1)
        ],
    )
    (finding,) = findings(entries)
    assert finding.where == "client 2.0.5 fails on reference service 2.0 at stage 3"


def test_stages_of_two_walks_are_both_kept(tmp_path: Path):
    lost = journals.stage(1, "1.0.0", status="fail", lost=["a row"])
    journals.write(tmp_path / "a", [], run="a", stages=[lost])
    journals.write(tmp_path / "b", [], run="b", stages=[journals.stage(1, "1.0.0")])
    both = [*journals.entries(tmp_path / "a"), *journals.entries(tmp_path / "b")]
    assert stage_findings(View(both)) == ["run a, stage 01, 1.0.0: lost a row"]


def test_the_headline_does_not_hide_that_there_are_more_places(tmp_path: Path):
    def checks(client: str, service: str) -> Checks:
        bad = client == "2.0.5" or (client == "2.7.23" and service == "v2.4.0")
        return {"run": ("fail", "exit code 1") if bad else "pass"}

    entries = _matrix(tmp_path, checks)
    assert headline(entries, findings(entries)) == (
        "Client 2.0.5 fails on all 3 services (and 1 more place): basics: run"
    )


def test_crossed_clients_are_told_by_reader_and_writer(tmp_path: Path):
    names = ("2.7.23", "2.17.3", "2.17.4", "2.19.39")

    def cell(writer: str, client: str, resumer: str) -> CellEntry:
        bad = resumer and names.index(writer) < 2 <= names.index(resumer)
        return journals.cell(
            client,
            "v2.5.1",
            {"run": "pass", "resume": ("fail", "KeyError: 'x'") if bad else "pass"},
            session="cross",
            probe="resume",
            writer=writer,
            resumer=resumer,
        )

    view = journals.write(
        tmp_path,
        [
            cell(writer, client, resumer)
            for client in names
            for writer in names
            for resumer in ("", client)
        ],
    )
    (finding,) = findings(view)
    assert finding.where == "clients ≥ 2.17.4 fail resuming what clients 2.7.23–2.17.3 wrote"
    assert set(finding.cells) == {cell.id for cell in view.cells if cell.status is Status.FAIL}
    tables = list(grid_tables(view, view.cells))
    assert [table.title for table in tables] == [
        "reading: reader × writer",
        "resuming: resumer × writer",
    ]
    assert [str(column.header) for column in tables[0].columns] == ["reader", *names]
    squares = [[str(square) for square in column.cells] for column in tables[1].columns]
    bad = [
        (row, at)
        for at, column in enumerate(squares)
        for row, square in enumerate(column)
        if "fail" in square
    ]
    assert bad == [(2, 1), (3, 1), (2, 2), (3, 2)]
    markdown = render_markdown(view)
    assert markdown.index("| reader |") < markdown.index("| resumer |")
    page = "".join(render_html(view, tmp_path))
    corners = [f'class="corner">{name}</th>' for name in ("reader", "resumer")]
    assert page.index(corners[0]) < page.index(corners[1])


def test_who_resumed_is_blamed_not_who_read_it(tmp_path: Path):
    def cell(client: str, resumer: str) -> CellEntry:
        bad = resumer == "2.17.4"
        checks: Checks = {"resume": ("fail", "KeyError: 'x'") if bad else "pass"}
        fields = {"session": "cross", "writer": "2.17.3", "resumer": resumer, "probe": "resume"}
        return journals.cell(client, "v2.5.1", checks, **fields)

    pairs = [("2.17.4", "2.17.4"), ("2.19.39", "2.17.4"), ("2.17.4", "2.19.39")]
    view = journals.write(tmp_path, [cell(*pair) for pair in pairs])
    (finding,) = findings(view)
    both = ("2.17.4", "2.17.4 (read by 2.19.39)")
    assert set(finding.clients) == set(both)
    assert finding.where == (
        "clients 2.17.4–2.17.4 (read by 2.19.39) fail resuming what client 2.17.3 wrote"
    )
    (grid,) = grid_tables(view, view.cells)
    rows = [str(row) for row in next(iter(grid.columns)).cells]
    assert rows == [*both, "2.19.39 (read by 2.17.4)"]
    page = "".join(render_html(view, tmp_path))
    assert "2.19.39 (read by 2.17.4)" in page


def test_a_failure_in_several_places_has_its_reason_once_in_markdown(tmp_path: Path):
    def checks(client: str, service: str) -> Checks:
        bad = client != "2.7.23" and (client, service) != ("2.0.5", "v2.4.0")
        return {"run": ("fail", "exit code 1") if bad else "pass"}

    view = _matrix(tmp_path, checks)
    text = render_markdown(view)
    assert text.count("exit code 1") == 1
    assert "  - the same: client 2.0.5 fails on services v2.2.0–v2.3.0\n" in text
    (failure,) = by_signature(findings(view))
    assert failure.sentences[1] == (
        "the same: client 2.0.5 fails on services v2.2.0–v2.3.0: basics: run"
    )


def test_known_failures_are_told_once_with_their_ranges_in_every_report(tmp_path: Path):
    def checks(client: str, service: str) -> Checks:
        bad = client in {"2.0.5", "2.2.13"} and service != "v2.2.0"
        return {"tags": ("expected-fail", f"declared: client {client}") if bad else "pass"}

    view = _matrix(tmp_path, checks)
    sentence = (
        "clients 2.0.5–2.2.13 fail as declared on services ≥ v2.3.0: basics: tags: declared:"
        " client 2.0.5"
    )
    assert known_failures(view) == [sentence]
    assert findings(view) == []
    assert sentence in render_markdown(view)
    assert sentence in "".join(render_html(view, tmp_path))
