"""What a person sees: never colour alone, every failure in words, whole lines in a log."""

from __future__ import annotations

import io
import itertools
import logging
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness.core.entries import CellEntry, Note, now
from harness.core.outcome import Status
from harness.core.view import View
from harness.report.summary import unsafe_sentence
from harness.report.terminal import Screen, client_line, grid_tables
from tests.report.journals import cell, stage, write

FAIL = {"run": ("fail", "HTTP 500 [planted]"), "tags": ("not-run", "the run did not end well")}


class _Paper:
    """A screen and what was printed on it."""

    def __init__(self, **console: Any) -> None:
        self._file = io.StringIO()
        self.screen = Screen(Console(file=self._file, soft_wrap=True, **console))

    @property
    def text(self) -> str:
        return self._file.getvalue()


@pytest.fixture
def log() -> _Paper:
    return _Paper()


@pytest.fixture
def terminal() -> _Paper:
    return _Paper(force_terminal=True, width=100, height=40)


def _view(folder: Path, *some: CellEntry) -> View:
    return write(folder, some)


def _printed(view: View) -> str:
    file = io.StringIO()
    Console(file=file, width=100).print(*grid_tables(view, view.cells))
    return file.getvalue()


@pytest.mark.parametrize("status", Status, ids=lambda status: status.value)
def test_every_status_is_shown_by_sign_and_word(status, tmp_path):
    view = _view(tmp_path, cell("2.2.13", "reference-2.5", {"run": status.value}))
    assert f"{status.sign} {status.value}" in _printed(view)


def test_what_is_not_in_the_journal_is_not_green(tmp_path):
    some = (cell("2.2.13", "v2.5.1"), cell("2.7.23", "v2.4.3"))
    assert _printed(_view(tmp_path, *some)).count("not-run") == 2


def test_what_was_planned_and_never_ran_is_in_the_grid(tmp_path):
    view = write(tmp_path, [cell("2.2.13", "v2.5.1")], planned=2, ended=False)
    assert _printed(view).count("not-run") == 3, (
        "its own row and column, and no square of the other"
    )


def test_a_square_counts_its_checks(tmp_path):
    checks = {"run": "pass", "tags": ("unsupported", "too old"), "logs": ("expected-fail", "known")}
    assert "x expected-fail (1 x 1 ✓ 1 –)" in _printed(
        _view(tmp_path, cell("2.2.13", "v2", checks))
    )


def test_the_grid_says_that_levels_are_no_released_services(tmp_path):
    def printed(service: str) -> str:
        return " ".join(_printed(_view(tmp_path / service, cell("2.2.13", service))).split())

    assert "not released services" in printed("reference-2.5")
    assert "not released services" not in printed("v2.5.1")


def test_a_note_marks_its_column_and_is_told_below(log, tmp_path):
    text = "v2.4.3 reports 2.4.2 to clients, not 2.4.3"
    view = _view(tmp_path, cell("2.2.13", "v2.4.3"), cell("2.2.13", "v2.5.1"))
    for _ in range(2):
        view.add(Note(at=now(), run=next(iter(view.runs)), service="v2.4.3", text=text))
    log.screen.end(view, tmp_path)
    assert "v2.4.3*" in log.text
    assert "v2.5.1*" not in log.text
    assert log.text.count(f"* {text}\n") == 1


def test_a_log_gets_a_line_for_every_cell(log, tmp_path):
    good, bad = _view(
        tmp_path, cell("2.2.13", "reference-2.5"), cell("2.7.23", "reference-2.5", FAIL)
    ).cells
    log.screen.cell(good, 1, 2)
    log.screen.cell(bad, 2, 2)
    assert log.text.splitlines() == [
        "[1/2] ✓ pass  compat/2.2.13/reference-2.5/local/basics  3.2 s",
        "[2/2] ✗ fail  compat/2.7.23/reference-2.5/local/basics  (1 ✗ 1 ·)  3.2 s",
    ]


def test_a_terminal_gets_a_line_for_a_bad_cell_only(terminal, tmp_path):
    good, bad = _view(
        tmp_path, cell("2.2.13", "reference-2.5"), cell("2.7.23", "reference-2.5", FAIL)
    ).cells
    terminal.screen.cell(good, 1, 2)
    assert terminal.text == ""
    terminal.screen.cell(bad, 2, 2)
    assert "✗ fail" in terminal.text


def test_a_terminal_shows_the_grid_while_it_fills(terminal, tmp_path):
    view = write(tmp_path, [cell("2.2.13", "reference-2.5")], planned=4)
    with terminal.screen.watching(view, 2) as live:
        assert live is not None
        live.refresh()
    assert "1/4 cells" in terminal.text
    assert "about 5 s to go" in terminal.text  # 3 cells of 3.2 s, two at a time
    assert "✓ pass" in terminal.text


def test_what_nox_logs_meanwhile_stands_above_the_grid(terminal, tmp_path):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    handler = logging.StreamHandler(straight := Terminal())
    logging.getLogger().addHandler(handler)
    try:
        with terminal.screen.watching(_view(tmp_path, cell("2.2.13", "reference-2.5")), 2):
            logging.getLogger("nox").warning("uv pip install metaflow")
        assert straight.getvalue() == ""
        assert "uv pip install metaflow\n" in terminal.text
        logging.getLogger("nox").warning("and then")
        assert straight.getvalue() == "and then\n"
    finally:
        logging.getLogger().removeHandler(handler)


def test_a_log_shows_nothing_while_it_waits(log, tmp_path):
    view = _view(tmp_path, cell("2.2.13", "reference-2.5"))
    with log.screen.watching(view, 2) as live:
        assert live is None
    assert log.text == ""


def test_the_end_has_grid_counts_failures_reruns_and_the_path(log, tmp_path):
    bad = cell("2.7.23", "reference-2.5", FAIL)
    log.screen.end(_view(tmp_path, cell("2.2.13", "reference-2.5"), bad), Path("/results/run"))
    assert "│ 2.7.23 │ ✗ fail (1 ✗ 1 ·) │" in log.text
    assert log.text.splitlines()[-4:] == [
        "1 fail, 1 pass: 2 cells",
        "client 2.7.23 fails on reference service 2.5: basics: run: fail: HTTP 500 [planted]",
        f"  rerun: {bad.rerun}",
        "results: /results/run",
    ]


def test_the_end_of_a_run_without_a_cell(log, tmp_path):
    log.screen.end(_view(tmp_path), Path("/results/run"))
    assert log.text.splitlines() == ["none ran: 0 cells", "results: /results/run"]


def test_many_failures_are_counted_not_all_listed(log, tmp_path):
    clients = [f"2.{minor}.{patch}" for minor, patch in itertools.product(range(5), range(6))]
    codes = range(400, 430)
    some = [
        cell(client, "reference-2.5", {"run": ("fail", f"HTTP {code}")})
        for client, code in zip(clients, codes, strict=True)
    ]
    log.screen.end(_view(tmp_path, *some), tmp_path)
    assert log.text.count("  rerun: ") == 20
    assert "… and 10 more; all are in the results" in log.text


def test_a_dead_stack_is_told_once_with_its_twenty_lines(log: _Paper, tmp_path: Path):
    lines = "\n".join(f"line {number} of the log" for number in range(20))

    def dead(client: str, service: str, probe: str) -> CellEntry:
        why = f"no stack for {service}: GET http://127.0.0.1:{40000 + len(client)}/ping: ended; "
        broken = ("infra", f"{why}last lines of /tmp/{client}/service.log:\n{lines}")
        return cell(client, service, {"run": broken, "tags": broken}, probe=probe)

    clients = ("2.0.5", "2.2.13", "2.7.23")
    some = [
        *(dead(client, "v2.4.0", probe) for client in clients for probe in ("basics", "hello")),
        dead("2.0.5", "v2.5.1", "card"),
        *(cell(client, "v2.5.1", probe="basics") for client in clients),
    ]
    log.screen.end(_view(tmp_path, *some), tmp_path)
    assert log.text.count("line 7 of the log") == 1
    told = log.text.partition("7 infra, 3 pass: 10 cells\n")[2].splitlines()
    assert told[0] == (
        "all 3 clients could not be judged on service v2.4.0: basics, hello: run, tags:"
        " infra: no stack for v2.4.0: GET http://127.0.0.1:40005/ping: ended; last lines of"
        " /tmp/2.0.5/service.log:"
    )
    assert told[21:] == [
        "  the same: client 2.0.5 could not be judged on service v2.5.1: card: run, tags",
        f"  rerun: {some[0].rerun}",
        "  … that is 1 of 7 cells; all are in the results",
        f"results: {tmp_path}",
    ]


def test_a_wide_grid_is_not_folded_in_a_log(log, tmp_path):
    services = [f"v2.4.{patch}" for patch in range(12)]
    some = [cell("2.2.13", service) for service in services]
    log.screen.end(_view(tmp_path, *some), tmp_path)
    row = next(line for line in log.text.splitlines() if "2.2.13" in line)
    assert row.count("✓ pass") == 12


def test_what_looks_like_markup_is_printed_as_it_is(log):
    log.screen.say("[red]not a colour[/red]")
    assert log.text == "[red]not a colour[/red]\n"


def test_the_line_of_a_client_names_where_it_is_red(tmp_path):
    entries = _view(
        tmp_path,
        cell("2.2.13", "reference-2.0", FAIL),
        cell("2.2.13", "reference-2.0", FAIL, probe="card"),
        cell("2.2.13", "reference-2.5"),
        cell("2.7.23", "reference-2.5"),
    )
    assert client_line(entries, "2.2.13") == (
        "2.2.13: 2 fail, 1 pass: 3 cells; red with reference-2.0"
    )
    assert client_line(entries, "2.7.23") == "2.7.23: 1 pass: 1 cell"


def test_the_line_of_a_client_is_of_the_python_that_was_asked_for(tmp_path):
    entries = _view(
        tmp_path,
        cell("2.8.5", "reference-2.5", python="3.11"),
        cell("2.8.5", "reference-2.5", FAIL, python="3.12"),
    )
    assert client_line(entries, "2.8.5", "3.11") == "2.8.5 on Python 3.11: 1 pass: 1 cell"


def test_the_line_of_a_client_is_of_the_dependencies_that_were_asked_for(tmp_path):
    entries = _view(
        tmp_path,
        cell("2.8.5", "reference-2.5"),
        cell("2.8.5", "reference-2.5", FAIL, deps="latest"),
    )
    assert client_line(entries, "2.8.5") == "2.8.5: 1 pass: 1 cell"
    assert client_line(entries, "2.8.5", deps="latest") == (
        "2.8.5 with dependencies latest: 1 fail: 1 cell; red with reference-2.5"
    )


def test_the_end_says_what_was_planned_and_is_unknown(log, tmp_path):
    log.screen.end(write(tmp_path, [cell("2.2.13", "v2.4.3")], planned=3), tmp_path)
    assert "1 of 3 planned cells" in log.text


def test_each_session_has_a_grid_of_its_own(log, tmp_path):
    entries = _view(
        tmp_path,
        cell("2.19.39", "v2.5.1", session="ui v2.3.0"),
        cell("2.19.39", "v2.5.1", FAIL, session="ui v2.5.1"),
    )
    log.screen.end(entries, tmp_path)
    first, second = log.text.split("UI v2.5.1: client × service")
    assert "UI v2.3.0: client × service" in first
    assert "✓ pass" in first
    assert "✗ fail" not in first
    assert "✗ fail" in second


def test_declared_failures_are_told_once_for_all_cells(log, tmp_path):
    known = {"run": "pass", "tags": ("expected-fail", "why it fails: HTTP 400")}
    entries = _view(tmp_path, cell("2.2.13", "v2.5.1", known), cell("2.7.23", "v2.5.1", known))
    log.screen.end(entries, tmp_path)
    told = "known: all 2 clients fail as declared on service v2.5.1: basics: tags: why it fails"
    assert told in log.text
    assert log.text.count("HTTP 400") == 1


def test_checks_that_fail_as_declared_for_one_reason_are_told_once(log: _Paper, tmp_path: Path):
    why = ("expected-fail", "declared: HTTP 400")
    known = {"run": why, "tags": why, "logs": ("expected-fail", "another: HTTP 500")}
    log.screen.end(_view(tmp_path, cell("2.2.13", "v2.5.1", known)), tmp_path)
    where = "known: client 2.2.13 fails as declared on service v2.5.1: basics: "
    assert [line for line in log.text.splitlines() if line.startswith("known: ")] == [
        where + "run, tags: declared: HTTP 400",
        where + "logs: another: HTTP 500",
    ]


def test_a_verdict_on_rollback_is_a_line_and_what_makes_it_unsafe_stands_below(
    log: _Paper, tmp_path: Path
):
    unsafe = ["v2.3.0: Its migration API answers GET /version with 500: no.", "v2.3.0: It starts."]
    stages = [
        stage(1, "v2.3.0", rollback=None, rollback_evidence=[]),
        stage(2, "v2.4.0", rollback="unsafe", rollback_evidence=unsafe),
        stage(3, "v2.5.0", rollback="safe", rollback_evidence=["v2.4.0: It starts."]),
    ]
    log.screen.end(write(tmp_path, [], stages=stages), tmp_path)
    said = log.text.splitlines()
    verdict = said.index("stage 02: rolling back to v2.3.0 is unsafe")
    assert said[verdict + 1 : verdict + 4] == [
        "  Its migration API answers GET /version with 500: no.",
        "  It starts.",
        "stage 03: rolling back to v2.4.0 is safe",
    ]


def test_a_verdict_that_closes_the_gate_is_told_once(log: _Paper, tmp_path: Path):
    evidence = ["v2.3.0: It does not start.", "v2.3.0: It lost a row."]
    unsafe = stage(2, "v2.4.0", rollback="unsafe", rollback_evidence=evidence, status="fail")
    unsafe.problems = [unsafe_sentence(unsafe), "run: refused"]
    log.screen.end(write(tmp_path, [], stages=[unsafe]), tmp_path)
    said = log.text.splitlines()
    assert [line for line in said if "It does not start" in line] == ["  It does not start."]
    assert "stage 02: rolling back to v2.3.0 is unsafe" in said
    assert "stage 02, v2.4.0: run: refused" in said
