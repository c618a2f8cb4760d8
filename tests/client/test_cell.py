"""One cell, with a client of a few lines."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.catalog.versions import load
from harness.client.cell import CellOutcome, run_cell
from harness.client.program import Surroundings
from harness.client.reading import EarlierRun
from harness.core.outcome import Status
from harness.core.plan import Cell
from harness.machine.errors import InfraError
from harness.stack.database.server import Address
from tests.client.conftest import CLIENT, FLOW, MakeCell, MakeSurroundings


def _run(cell: Cell, surroundings: Surroundings, earlier: Sequence[EarlierRun] = ()) -> CellOutcome:
    outcome = CellOutcome(cell)
    run_cell(outcome, surroundings, earlier)
    return outcome


def _statuses(outcome: CellOutcome) -> dict[str, str]:
    return {name: check.status.value for name, check in outcome.checks.items()}


def test_a_check_that_failed_is_not_told_again_at_later_stages(
    cell: MakeCell, surroundings: MakeSurroundings
):
    first = _run(cell(stage=1), surroundings())
    assert _statuses(first) == {"run": "pass", "good": "pass", "bad": "fail"}
    assert first.written is not None
    second = _run(cell(stage=2), surroundings(), [EarlierRun(first.written, checked=True)])
    assert second.rereads == 1
    assert second.reread_problems == []
    assert second.checks["bad"].status is Status.FAIL


def test_a_check_that_passed_is_made_again_at_later_stages(
    cell: MakeCell, surroundings: MakeSurroundings
):
    first = _run(cell(stage=1), surroundings())
    assert first.written is not None
    now = cell(FLOW.replace("pass\n\ndef check_bad", "assert 0, 'lost'\n\ndef check_bad"), stage=2)
    second = _run(now, surroundings(), [EarlierRun(first.written, checked=True)])
    assert [text.rpartition(": ")[2] for text in second.reread_problems] == ["lost (odd.py:13)"]
    third = _run(now, surroundings(), [EarlierRun(first.written, checked=False)])
    assert third.reread_problems == []


def test_a_run_must_have_the_tags_that_the_harness_gave_it(
    cell: MakeCell, surroundings: MakeSurroundings, monkeypatch: pytest.MonkeyPatch
):
    tag = f"mf-version:{CLIENT}"
    assert _run(cell(), surroundings(tags=(tag,))).checks["run"].status is Status.PASS
    lost = _run(cell(), surroundings(tags=(tag, "db_version:3"))).checks["run"]
    assert lost.status is Status.FAIL
    assert lost.reason == (
        "the run was given the tags ['db_version:3'], and its client does not list them"
    )
    # Its client may list what the service said, and did not store.
    rows = {"runs_v3": [{"flow_id": "OddFlow", "run_number": 1, "tags": []}]}
    monkeypatch.setattr("harness.client.cell.run_rows", lambda *_: rows)
    monkeypatch.setattr(
        "harness.client.reading.rows_of_runs",
        lambda _address, _flow, runs: dict.fromkeys(runs, rows),
    )
    there = surroundings(tags=(tag,), database=Address("h", 1, "u", "p", "d"))
    assert _run(cell(), there).checks["run"].reason == (
        f"runs_v3 has no row of this run with tags ['{tag}']"
    )


HANGS = FLOW.replace('__main__":', '__main__":\n    import time; time.sleep(600)')


def test_a_cell_that_times_out_still_reads_earlier_runs_again(
    cell: MakeCell, surroundings: MakeSurroundings
):
    first = _run(cell(stage=1), surroundings())
    assert first.written is not None
    again = [EarlierRun(first.written, checked=True)]
    second = _run(cell(HANGS, stage=2), surroundings(timeout=2), again)
    assert second.checks["run"].status is Status.TIMEOUT
    assert second.checks["run"].reason == "flow was not done within 2 s (--timeout)"
    assert (second.rereads, second.reread_problems) == (1, [])


def test_earlier_runs_that_are_slow_to_read_do_not_time_the_cell_out(
    cell: MakeCell, surroundings: MakeSurroundings
):
    first = _run(cell(stage=1), surroundings())
    assert first.written is not None
    slow = dataclasses.replace(first.written, run_id="slow")
    second = _run(cell(stage=2), surroundings(timeout=2), [EarlierRun(slow, checked=False)])
    assert _statuses(second) == {"run": "pass", "good": "pass", "bad": "fail"}
    assert second.written is not None
    assert second.rereads == 0
    (problem,) = second.reread_problems
    assert problem.startswith(f"client {CLIENT}: earlier runs not read again: ")
    assert problem.endswith("reread was not done within 2 s (--timeout)")


def test_nothing_is_read_again_when_the_run_is_being_ended(
    cell: MakeCell, surroundings: MakeSurroundings, tmp_path: Path
):
    first = _run(cell(stage=1), surroundings())
    assert first.written is not None
    ended = tmp_path / "ended"
    interrupted = FLOW.replace('__main__":', f'__main__":\n    open({str(ended)!r}, "w"); exit(1)')
    with pytest.raises(InfraError, match="the run was ended meanwhile"):
        _run(
            cell(interrupted, stage=2),
            surroundings(cancelled=ended.exists),
            [EarlierRun(first.written, checked=True)],
        )
    assert not (surroundings().logs / "reread.txt").exists()


def test_what_starts_while_the_run_is_being_ended_is_ended(
    cell: MakeCell, surroundings: MakeSurroundings
):
    cancelled = iter([False, True])
    with pytest.raises(InfraError, match="the run was ended meanwhile"):
        _run(cell(HANGS), surroundings(cancelled=lambda: next(cancelled)))


@pytest.mark.parametrize("where", ["check", "module"])
def test_a_probe_that_ends_the_client_that_reads_it_fails(
    cell: MakeCell, surroundings: MakeSurroundings, where: str
):
    ends = 'print("enough"); sys.exit()'
    text = {
        "check": FLOW.replace("pass\n\ndef check_bad", f"{ends}\n\ndef check_bad"),
        "module": f"{FLOW}else:\n    {ends}\n",
    }[where]
    outcome = _run(cell(text), surroundings())
    assert _statuses(outcome) == {"run": "pass", "good": "fail", "bad": "fail"}
    assert outcome.checks["good"].reason.startswith("SystemExit (odd.py:")
    assert "enough" in outcome.evidence["readback"].read_text(encoding="utf-8")


def test_a_check_that_never_ends_leaves_time_to_the_others(
    cell: MakeCell, surroundings: MakeSurroundings
):
    text = FLOW.replace("pass\n\ndef check_bad", "while True: pass\n\ndef check_bad")
    outcome = _run(cell(text), surroundings(timeout=6))
    assert _statuses(outcome) == {"run": "pass", "good": "timeout", "bad": "fail"}


def test_a_run_that_its_own_client_cannot_list_fails(
    cell: MakeCell, surroundings: MakeSurroundings, python: Path
):
    client = python.parent.parent / "lib" / "metaflow.py"
    listed = client.read_text(encoding="utf-8").replace("iter(())", "iter([None])")
    client.write_text(listed, encoding="utf-8")
    outcome = _run(cell(), surroundings())
    assert _statuses(outcome) == {"run": "fail", "good": "pass", "bad": "fail"}
    assert outcome.checks["run"].reason.startswith("the run cannot be listed: TypeError: ")
    assert outcome.written is None


def test_a_check_on_rows_that_nobody_can_see_is_not_asked_and_the_cell_is_not_green(
    cell: MakeCell, surroundings: MakeSurroundings
):
    text = FLOW.replace("def check_bad(run):", "def check_bad(run, rows):")
    of_somebody = dataclasses.replace(cell(text), service=load().reference[-1])
    outcome = _run(of_somebody, surroundings(service_url="http://127.0.0.1:1"))
    assert _statuses(outcome) == {"run": "pass", "good": "pass", "bad": "not-run"}
    assert "no --database-url names them" in outcome.checks["bad"].reason
    assert outcome.status is Status.NOT_RUN
