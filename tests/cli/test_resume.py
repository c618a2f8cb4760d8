"""What --resume takes from a journal, and what it refuses, in one line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import asdict

from harness.catalog.versions import load
from harness.cli.clean import clear
from harness.cli.options import parse
from harness.cli.planning import OnPython, make_plan
from harness.core.entries import Begun, CellEntry, Ended, Entry, Resumed, StageEntry, now
from harness.core.journal import Journal, read
from harness.core.outcome import CheckOutcome, Status
from harness.core.plan import Plan, planned_stage
from harness.core.view import View
from harness.machine import locks
from harness.machine.errors import UsageError
from harness.machine.locks import RunLock, lock_path
from harness.machine.secrets import SECRET
from harness.run.folder import RunFolder
from harness.run.options import Options
from harness.run.resume import left_of, view_before
from harness.stack.database.server import Address
from harness.stack.kept_stack import Kept

CATALOG = load()
RUN = "20261101-120000-compat-1a2b"
GIVEN = ["--probe", "hello", "--service", "2.3,2.5", "--jobs", "1"]


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(locks, "RUNS", tmp_path / "runs")
    return tmp_path / "runs"


def planned(options: Options, python: str = "3.11") -> Plan:
    return make_plan(options, [OnPython(one, python) for one in options.clients])


@pytest.fixture
def leave(tmp_path: Path) -> Callable[..., Path]:
    """A function that leaves the folder of a run that was cut short."""

    def leave_run(
        given: list[str] = GIVEN, *, run: str = RUN, more: list[Entry] | None = None, **fields: Any
    ) -> Path:
        folder = tmp_path / "results" / run
        folder.mkdir(parents=True)
        begun = {"session": "compat", "backend": "b", "services": [], "clients": ["2.19.39"]}
        journal = Journal(folder / "journal.jsonl")
        journal.append(Begun(at=now(), run=run, options=given, **(begun | fields)))
        for entry in more or []:
            journal.append(entry)
        journal.close()
        return folder

    return leave_run


def ask(folder: Path, *words: str, session: str = "compat") -> Options:
    return parse(session, ["--results", str(folder.parent), *words], CATALOG)


def refused(folder: Path, *words: str, session: str = "compat") -> str:
    with pytest.raises(UsageError) as caught:
        ask(folder, *words, session=session)
    said = str(caught.value)
    assert "\n" not in said
    return said


def test_it_is_what_the_run_was_given(leave):
    folder = leave()
    for words in (["--resume"], ["--resume", RUN], [f"--resume={folder}"]):
        options = ask(folder, *words)
        assert (options.resumed, options.results) == (folder, folder.parent)
        assert [client.name for client in options.clients] == ["2.19.39"]
        assert [service.name for service in options.services] == ["reference-2.3", "reference-2.5"]
        assert options.jobs == 1


def test_a_run_that_begins_goes_on_with_nothing():
    options = parse("compat", GIVEN, CATALOG)
    assert options.resumed is None
    assert not list(view_before(options, planned(options)).attempts)


def test_unasked_it_is_the_last_of_the_session(leave):
    last = leave(run="20261102-120000-compat-1a2b")
    leave()
    leave(run="20261103-120000-local-1a2b", session="local")
    assert ask(last, "--resume").resumed == last


def test_a_session_without_jobs_goes_on_without_them(leave):
    given = ["--probe", "hello", "--metaflow", "2.19.39", "--scenario", "service-restart=4"]
    folder = leave(run="20261103-120000-chaos-1a2b", session="chaos", given=given)
    options = ask(folder, "--resume", session="chaos")
    assert (options.resumed, options.scenarios) == (folder, ("service-restart=4",))
    assert refused(folder, "--resume", "--probe", "basics", session="chaos").endswith(
        "beside --resume go: --plan, --results, --keep, --with-service-logs"
    )


def test_what_changes_no_outcome_may_stand_beside_it(leave):
    folder = leave()
    options = ask(folder, "--resume", "--jobs", "3", "--keep")
    assert (options.jobs, options.keep) == (3, True)
    assert options.given[:4] == ("--probe", "hello", "--service", "2.3,2.5")
    assert refused(folder, "--resume", "--probe", "basics") == (
        "--probe was settled when the run began: leave it out; beside --resume go: --jobs, --plan,"
        " --reuse, --no-dedupe, --scheduler, --allow-existing, --results, --keep,"
        " --with-service-logs"
    )


def test_what_is_no_run_of_the_session_is_refused(leave, tmp_path):
    folder = leave()
    assert refused(folder, "--resume", RUN[:-1]) == (
        f"--resume {RUN[:-1]}: no such run in {folder.parent} (nearest: {RUN})"
    )
    assert refused(folder, "--resume", session="local") == (
        f"--resume: no run of local in {folder.parent}; name the folder of one"
    )
    assert refused(folder, "--resume", RUN, session="local") == (
        f"--resume: {RUN} is a run of compat: nox -s compat -- --resume {RUN}"
    )
    merged = folder.rename(tmp_path / "results" / "merged")
    assert "is not the folder of one run" in refused(merged, "--resume", "merged")


def test_full_says_what_goes_on_with_its_walk(leave):
    said = refused(leave(), "--resume", session="full")
    assert said.startswith("--resume: full cannot go on by itself: run nox -s fixed_db")


WALK = "20261101-120000-fixed_db-1a2b"


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (["--datastore", "s3", "--s3-root", "s3://b"], "a walk with objects in a bucket of your"),
        (["--database-url", "postgresql://u:p@h/d"], "a walk over a database of your own cannot"),
    ],
)
def test_a_walk_that_is_not_saved_says_why_it_cannot_go_on(leave, more, why):
    folder = leave([*GIVEN, "--backend", "external"] if "url" in more[0] else GIVEN, run=WALK)
    options = replace(parse("fixed_db", [*GIVEN, *more], CATALOG), resumed=folder)
    with pytest.raises(UsageError, match=f"--resume {WALK}: {why}"):
        view_before(options, planned(options))


@pytest.fixture
def of_walk(leave: Callable[..., Path]) -> Callable[..., tuple[Path, Plan, View]]:
    """A function that leaves a walk that was cut short, with stages that ended and saved ones."""

    def leave_walk(
        ends: list[Status], saved: list[int], cells: list[Status]
    ) -> tuple[Path, Plan, View]:
        options = parse("fixed_db", ["--metaflow", "2.19.39", *GIVEN], CATALOG)
        plan = planned(options)
        told: list[Entry] = [
            StageEntry(at=now(), run=WALK, status=end, **asdict(planned_stage(step, "")))
            for end, step in zip(ends, plan.path, strict=False)
        ]
        told += [
            CellEntry(
                **asdict(plan.planned(cell)),
                at=now(),
                run=WALK,
                status=status,
                checks={"run": CheckOutcome(status)},
            )
            for cell, status in zip(plan.cells, cells, strict=False)
        ]
        folder = leave(run=WALK, session="fixed_db", more=[plan.entry(WALK), *told])
        for number in saved:
            (folder / "saved" / "walk" / f"{number:02d}").mkdir(parents=True)
            (folder / "saved" / "walk" / f"{number:02d}" / "stage.json").touch()
        return folder, plan, View(read(folder))

    return leave_walk


PASS, FAIL, INFRA, NOT_RUN = Status.PASS, Status.FAIL, Status.INFRA, Status.NOT_RUN


@pytest.mark.parametrize(
    ("ends", "saved", "cells", "left"),
    [
        ([], [], [PASS], 2),
        ([PASS], [1], [PASS], 1),
        ([PASS], [1], [PASS, PASS], 1),  # killed while earlier runs were read again
        ([PASS], [], [PASS], 2),
        ([], [1], [PASS], 2),  # killed before the journal had the stage
        ([INFRA], [], [INFRA, NOT_RUN], 2),
        ([PASS, INFRA], [1], [PASS, INFRA], 1),
        ([PASS, PASS], [1], [PASS, PASS], 0),
        ([PASS, FAIL], [1], [PASS, NOT_RUN], 0),
        ([FAIL], [], [NOT_RUN, NOT_RUN], 0),  # the walk ended by itself
        ([FAIL], [], [NOT_RUN], 2),
    ],
)
def test_a_walk_goes_on_behind_its_last_stage_that_is_saved(of_walk, ends, saved, cells, left):
    folder, plan, view = of_walk(ends, saved, cells)
    place = RunFolder(folder.parent, "fixed_db", folder)
    options = parse("fixed_db", GIVEN, CATALOG)
    assert left_of(options, plan, view, place).cells == plan.cells[len(plan.cells) - left :]


def test_what_is_set_aside_counts_no_more(of_walk):
    _, plan, view = of_walk([PASS, FAIL], [1], [PASS, FAIL])
    assert view.totals[FAIL] == 1
    view.add(Resumed(at=now(), run=WALK, options=[], set_aside=[plan.cells[1].id]))
    assert view.totals.total() == 1
    assert [cell.id for cell in view.finished] == [plan.cells[0].id]
    assert [stage.status for stage in view.stages] == [PASS, NOT_RUN]
    assert [cell.id for cell in view.missing] == [plan.cells[1].id]


def test_a_secret_has_to_be_given_again(leave, monkeypatch):
    folder = leave([*GIVEN, "--database-password", SECRET])
    variable = "COMPAT_DATABASE_PASSWORD"
    monkeypatch.delenv(variable, raising=False)
    assert refused(folder, "--resume") == (
        f"--resume: --database-password env:{variable}: the variable {variable} is not set; it"
        " must hold what --database-password was"
    )
    monkeypatch.setenv(variable, "quiet")
    assert ask(folder, "--resume").database_password == "quiet"


def test_what_was_secret_elsewhere_too_is_not_guessed(leave):
    folder = leave([*GIVEN, "--database-name", SECRET])
    assert "--database-name was what is kept secret, too" in refused(folder, "--resume")


def go_on(leave: Callable[..., Path], *, python: str = "3.11", **fields: Any) -> str:
    """Return why a run whose plan was made on Python 3.11 does not go on."""
    before = planned(parse("compat", ["--metaflow", "2.19.39", *GIVEN], CATALOG))
    folder = leave(more=[before.entry(RUN)], **fields)
    options = ask(folder, "--resume")
    with pytest.raises(UsageError) as caught:
        view_before(options, planned(options, python))
    return str(caught.value)


def test_a_plan_that_is_another_now_is_refused_with_what_changed(leave):
    said = go_on(leave, python="3.12")
    assert said.startswith(
        f"--resume {RUN}: 2 cells would not be what was planned: compat/2.19.39/"
    )
    assert ": python was 3.11 and is 3.12" in said
    assert said.endswith("; run anew: nox -s compat -- --probe hello --service 2.3,2.5 --jobs 1")


def test_cells_that_are_gone_or_new_are_told(leave):
    said = go_on(leave, given=["--probe", "hello", "--service", "2.3,2.0.4"])
    assert "compat/2.19.39/reference-2.5/local/hello is not there any more" in said
    assert "compat/2.19.39/reference-2.0.4/local/hello is new" in said


def test_a_run_without_a_plan_is_refused(leave):
    options = ask(leave(), "--resume")
    with pytest.raises(UsageError, match="it was cut short before it had a plan; run anew: nox -s"):
        view_before(options, planned(options))


def test_a_run_that_lives_is_refused(leave):
    folder = leave()
    lock = RunLock(RUN, folder)
    options = ask(folder, "--resume")
    with pytest.raises(UsageError, match=f"--resume {RUN}: it is still running"):
        view_before(options, planned(options))
    assert list(clear(RUN, containers=False)) == []
    lock.release()


def test_a_stack_that_was_kept_is_in_the_way(leave, runs):
    folder = leave()
    runs.mkdir()
    Kept(RUN, folder, "embedded", "v2.5.1", Address("h", 1, "u", "p", "d")).write()
    options = ask(folder, "--resume")
    with pytest.raises(UsageError, match=f"nox -s clean -- {RUN} removes it"):
        view_before(options, planned(options))


def test_what_a_killed_run_left_goes_and_its_results_stay(leave, runs):
    folder = leave()
    (folder / "work" / "a cell").mkdir(parents=True)
    runs.mkdir()
    lock_path(RUN).write_text(str(folder))
    assert list(clear(RUN, containers=False)) == [
        f"{RUN}: ended 0 processes, removed its working folder"
    ]
    assert [path.name for path in folder.iterdir()] == ["journal.jsonl"]
    assert list(clear(RUN, containers=False)) == []


def test_a_run_that_ended_is_read_whole(leave):
    before = planned(parse("compat", ["--metaflow", "2.19.39", *GIVEN], CATALOG))
    folder = leave(more=[before.entry(RUN), Ended(at=now(), run=RUN)])
    options = ask(folder, "--resume")
    view = view_before(options, planned(options))
    assert planned(options).minus(view.attempts).cells == before.cells
