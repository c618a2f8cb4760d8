"""What a run says of how long it takes, and what it does with that, by the journals of others."""

from __future__ import annotations

import io
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from harness.catalog.versions import load
from harness.cli.options import parse
from harness.cli.planning import OnPython, make_plan
from harness.client.cell import CellOutcome
from harness.core.entries import Begun, CellEntry, Ended, Entry, Inferred, Resumed, Reused
from harness.core.expected import Expected
from harness.core.journal import encode
from harness.core.outcome import CheckOutcome, Status
from harness.core.plan import Cell, Plan
from harness.machine import locks
from harness.report.terminal import Screen
from harness.run import attempts
from harness.run.durations import foretell, seconds_of
from harness.run.options import Options
from harness.run.run import Run
from harness.run.unit import Unit

THEN = datetime(2026, 11, 1, 12, 0, tzinfo=timezone.utc)
THREE = ("--probe", "hello,graph,values")
TOOK = {"hello": 4.0, "graph": 100.0, "values": 20.0}


def at(seconds: float) -> datetime:
    return THEN + timedelta(seconds=seconds)


@dataclass
class Lab:
    """A run that is to come, and what earlier ones left beside it."""

    options: Options
    plan: Plan
    said: list[str] = field(default_factory=list)

    def result(self, cell: Cell, end: float, seconds: float, **fields: Any) -> CellEntry:
        """Return what came of a cell that took some seconds."""
        whole = {"status": Status.PASS, "checks": {"run": CheckOutcome(Status.PASS)}, **fields}
        planned = msgspec.structs.asdict(self.plan.planned(cell))
        return CellEntry(**planned, at=at(end), run="", seconds=seconds, **whole)

    def before(self, *words: str, factor: float = 1.0, more: Sequence[Entry] = ()) -> Path:
        """Leave the journal of a run of all cells, one after the other; return its file."""
        end, cells = 0.0, []
        for cell in self.plan.cells:
            seconds = factor * TOOK[cell.probe.name]
            end += seconds
            cells.append(self.result(cell, end, seconds))
        return self.left([*cells, *more], end, *words)

    def left(self, entries: Sequence[Entry], end: float, *words: str, ended: bool = True) -> Path:
        session, day = self.options.session, len([*self.options.results.glob("*")]) + 1
        run = f"202611{day:02}-120000-{session}-1a2b"
        named = {"session": session, "clients": [], "services": []}
        begun = Begun(at=THEN, run=run, options=[*words], backend="", **named)
        lines: list[Entry] = [begun, *(msgspec.structs.replace(one, run=run) for one in entries)]
        lines += [Ended(at=at(end), run=run)] if ended else []
        journal = self.options.results / run / "journal.jsonl"
        journal.parent.mkdir(parents=True)
        journal.write_bytes(b"".join(map(encode, lines)))
        return journal

    def foretold(self, run: str = "", threads: int = 0) -> Expected | None:
        return foretell(self.options, self.plan, run, self.said.append, threads)


@pytest.fixture
def lab(tmp_path: Path) -> Callable[..., Lab]:
    def make(session: str = "local", *given: str) -> Lab:
        words = ["--metaflow", "2.19.39", "--results", str(tmp_path / "results"), *given]
        options = parse(session, words, load())
        clients = [OnPython(one, "3.11") for one in options.clients]
        return Lab(options, make_plan(options, clients))

    return make


def test_what_a_run_is_going_to_take_is_said_by_what_it_took(lab):
    found = lab("local", *THREE)
    assert found.foretold() is None
    assert found.said == []
    found.before()
    expected = found.foretold()
    assert found.said == ["expected: about 2 min 4 s, by what earlier runs took"]
    assert [expected.of(found.plan.planned(one)) for one in found.plan.cells] == [4, 100, 20]


def test_the_newest_tells_and_neither_this_run_nor_another_session_does(lab):
    found = lab("local", *THREE)
    other = lab("compat", "--service", "2.5", *THREE)
    found.before(factor=2)
    newest = found.before()
    other.before(factor=9)
    found.foretold()
    found.foretold(run=newest.parent.name)
    assert found.said == [
        f"expected: about {told}, by what earlier runs took" for told in ("2 min 4 s", "4 min 8 s")
    ]


def test_only_five_runs_are_read(lab):
    found = lab("local", *THREE)
    found.before()
    for _ in range(4):
        found.left([found.result(found.plan.cells[0], 1, 1)], 1)
    assert found.foretold().took[found.plan.cells[1].id] == 100
    found.left([found.result(found.plan.cells[0], 1, 1)], 1)
    assert found.plan.cells[1].id not in found.foretold().took


def test_what_nobody_ran_is_told_by_the_like_of_it_and_is_counted(lab):
    found = lab("local", *THREE)
    hello, graph, _ = found.plan.cells
    found.left([found.result(hello, 10, 10), found.result(graph, 40, 30)], 40)
    found.foretold()
    assert found.said == [
        "expected: about 1 min 0 s, by what earlier runs took; 1 of 3 by the like of them"
    ]


def test_what_was_left_out_and_what_the_machine_broke_keep_no_run_from_telling(lab):
    found = lab("local", *THREE)
    hello, graph, values = found.plan.cells
    broken = {"status": Status.INFRA, "checks": {"run": CheckOutcome(Status.INFRA, "no room")}}
    skipped = {"status": Status.NOT_RUN, "checks": {"run": CheckOutcome(Status.NOT_RUN, "3.6")}}
    found.left(
        [
            found.result(hello, 0, 0, **skipped),
            found.result(graph, 30, 30, **broken),
            found.result(values, 50, 20),
            found.result(graph, 80, 30),
        ],
        80,
    )
    found.foretold()
    assert found.said == ["expected: about 50 s, by what earlier runs took"]


@pytest.mark.parametrize(("word", "told"), [((), "10 s"), (("--no-dedupe",), "20 s")])
def test_a_service_of_the_same_code_takes_its_time_where_each_is_run(lab, word, told):
    found = lab("compat", "--service", "2.3,2.5", "--probe", "hello", *word)
    one, other = found.plan.cells
    run = "20261101-120000-compat-1a2b"
    reused = Reused(run=run, at=at(10), service="reference-2.3")
    found.left([found.result(one, 10, 10), found.result(other, 10, 10, reused=reused)], 10)
    found.foretold()
    assert found.said == [f"expected: about {told}, by what earlier runs took"]


@pytest.mark.parametrize("how", ["went on", "has no end", "is torn", "cannot be read"])
def test_what_does_not_tell_all_of_its_times_tells_none(lab, how):
    found = lab("local", *THREE)
    went_on = [Resumed(at=at(50), run="", options=[])] if how == "went on" else []
    journal = found.before(more=went_on)
    lines = journal.read_bytes().split(b"\n")
    if how == "has no end":
        journal.write_bytes(b"\n".join(lines[:-2]) + b"\n")
    if how == "is torn":
        journal.write_bytes(b"\n".join([lines[0], b"{", *lines[1:]]))
    if how == "cannot be read":
        journal.unlink()
        journal.mkdir()
    assert found.foretold() is None
    assert found.said == []


def test_a_run_with_other_jobs_tells_no_pace(lab):
    found = lab("local", "--jobs", "2", *THREE)
    found.before("--jobs", "4")
    assert found.foretold() is None
    found.before("--jobs", "2")
    assert found.foretold() is not None


def test_attempts_that_are_asked_for_and_results_that_may_be_taken_are_told(lab):
    found = lab("local", "--repeat", "3", *THREE)
    found.before()
    found.foretold()
    again = lab("local", "--reuse", *THREE)
    again.foretold()
    assert [*found.said, *again.said] == [
        "expected: about 6 min 12 s, by what earlier runs took",
        "expected: about 2 min 4 s, less what is reused, by what earlier runs took",
    ]


def test_a_walk_is_told_where_it_was_walked(lab):
    found = lab("fixed_db", "--path", "2.3,2.5", "--probe", "hello")
    assert len(found.plan.cells) == 2
    first, second = found.plan.cells
    # Twice as long as its cells: what is around them comes again.
    found.left([found.result(first, 20, 10), found.result(second, 50, 15)], 60)
    found.foretold()
    assert found.said == ["expected: about 50 s, by what earlier runs took"]
    longer = lab("fixed_db", "--path", "2.3,2.5,2.3", "--probe", "hello")
    assert longer.foretold() is None
    assert longer.said == []


def test_a_search_is_told_by_a_search_of_all_of_its_cells(lab):
    found = lab("compat", "--service", "2.5", "--strategy", "boundaries", *THREE)
    found.before()
    assert found.foretold() is None, "of a run without it the pace is another"
    hello, graph, values = found.plan.cells
    inferred = Inferred(beside=[hello.id])
    told = [found.result(hello, 10, 10), found.result(graph, 40, 20)]
    found.left(
        [*told, found.result(values, 60, 0, inferred=inferred)], 60, "--strategy", "boundaries"
    )
    found.foretold()
    assert found.said == ["expected: about 1 min 0 s, by what earlier runs took"]
    more = lab(
        "compat",
        "--service",
        "2.5",
        "--strategy",
        "boundaries",
        "--probe",
        "hello,graph,values,card",
    )
    assert more.foretold() is None
    assert more.said == []


def test_on_a_cluster_it_is_told_when_its_threads_are_known(lab):
    found = lab("local", "--scheduler", "tcp://127.0.0.1:1", *THREE)
    found.before("--jobs", "2")
    assert found.foretold() is None
    expected = found.foretold(threads=4)
    assert found.said == [
        "expected: at least 31 s, by what earlier runs took, with 4 threads busy all the time"
    ]
    assert expected.pace == 0.25
    several = lab("cross", "--service", "2.5", "--scheduler", "tcp://127.0.0.1:1", *THREE)
    several.before()
    assert several.foretold(threads=4) is None
    here = lab("local", *THREE)
    here.before("--scheduler", "tcp://127.0.0.1:1")
    assert here.foretold() is None, "how many it had at work is not told"


def test_a_run_on_a_cluster_tells_it_when_that_has_answered(lab, tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "RUNS", tmp_path / "runs")
    asked: dict[str, Any] = {}

    class Cluster:
        busy = False

        def __init__(self, *_: object, **how: Any) -> None:
            asked.update(how)

        def end(self, *, now: bool) -> list[str]:
            return [f"ended, now: {now}"]

    monkeypatch.setattr("harness.run.run.Cluster", Cluster)
    found = lab("local", "--scheduler", "tcp://127.0.0.1:1", *THREE)
    found.before()
    with begun(found) as run:
        assert run._expected is None
        asked["answered"](4)
        assert run._expected is not None
        assert run._expected.pace == 0.25
        printed = run.screen.console.file.getvalue()
        assert "expected: at least 31 s" in printed
        assert "expected: about" not in printed


def test_what_is_kept_is_done_in_the_order_of_the_plan(lab):
    found = lab("local", *THREE)
    found.before()
    expected = found.foretold()
    seconds = seconds_of(found.options, found.plan, expected)
    assert [seconds(cell) for cell in found.plan.cells] == [4, 100, 20]
    assert seconds_of(found.options, found.plan, None) is None
    kept = lab("local", "--keep", *THREE)
    assert seconds_of(kept.options, kept.plan, expected) is None


@contextmanager
def begun(lab: Lab) -> Iterator[Run]:
    before = signal.getsignal(signal.SIGTERM)
    run = Run(lab.options, lab.plan, Screen(Console(file=io.StringIO(), soft_wrap=True)))
    try:
        yield run
    finally:
        run.end()
        signal.signal(signal.SIGTERM, before)


@pytest.fixture
def run(lab: Callable[..., Lab], tmp_path, monkeypatch) -> Iterator[Run]:
    """A run that knows how long its cells take."""
    monkeypatch.setattr(locks, "RUNS", tmp_path / "runs")
    found = lab("local", "--jobs", "1", *THREE)
    found.before("--jobs", "1")
    with begun(found) as run:
        yield run


def test_a_run_begins_with_what_takes_longest(run, monkeypatch):
    begun: list[str] = []

    def execute(unit: Unit, *_: Any) -> CellOutcome:
        begun.append(unit.cell.probe.name)
        return CellOutcome(unit.cell, {"run": CheckOutcome(Status.PASS)}, seconds=1.0)

    monkeypatch.setattr(attempts, "execute", execute)
    run.begin(run.plan.cells, lambda _: Path("python")).outcomes()
    assert [cell.probe.name for cell in run.plan.cells] == ["hello", "graph", "values"]
    assert begun == ["graph", "values", "hello"]


def test_what_is_left_of_a_run_is_told_by_that_too(run, monkeypatch):
    shown: list[Expected | None] = []

    @contextmanager
    def watching(_: object, jobs: int, expected: Expected | None = None) -> Iterator[None]:
        assert jobs == 1
        shown.append(expected)
        yield

    monkeypatch.setattr(run.screen, "watching", watching)
    with run.watched():
        pass
    (expected,) = shown
    assert expected is not None
    planned = [run.plan.planned(cell) for cell in run.plan.cells]
    assert expected.left(planned, []) == pytest.approx(124)
