"""One run of ui, of stand-ins: what it leaves, what is the latest run, and how it is refused."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import uuid4

import pytest

from harness.catalog.versions import load
from harness.cli.ui_options import parse_ui
from harness.core.journal import read
from harness.core.outcome import CheckOutcome, Status
from harness.core.view import View
from harness.machine import locks
from harness.machine.errors import EndedError, Ending, InfraError, UsageError
from harness.machine.locks import RunLock
from harness.machine.processes import ManagedProcess
from harness.proof.ui.page import CHECKS as PAGE_CHECKS
from harness.report.terminal import Screen
from harness.stack.database.server import Address, Database, Tls
from harness.stack.kept_stack import Kept
from harness.ui import backend, check
from harness.ui import run as ui_run
from harness.ui.run import UIRun, show
from tests.ui.conftest import standin_process
from tests.ui.test_source import execute, make_tables

CATALOG = load()
NOTHING_KNOWN = Path(__file__).with_name("expectations.json")


@dataclass
class FakeUI:
    """A UI that is somewhere already."""

    api: str
    log: Path
    version: str = "v2.5.1"
    origin: str = "a stand-in"
    where_log: str = "its log is elsewhere"
    stopped: bool = False

    @property
    def page(self) -> str:
        return self.api

    def check_alive(self) -> None:
        """Do nothing: it lives."""

    def stop(self) -> None:
        self.stopped = True


@dataclass
class FakeLauncher:
    """Starts nothing, and writes what a UI could say into its log."""

    api: str = "http://127.0.0.1:1"
    says: str = ""
    description: str = "stand-ins"
    started: list[FakeUI] = field(default_factory=list)

    def prepare(self, versions: object) -> None:
        """Do nothing."""

    def notes(self, version: object) -> list[str]:  # noqa: ARG002 - as of a launcher
        return ["it rests on a pin"]

    def start(self, *given: object) -> FakeUI:
        log = given[-1]
        assert isinstance(log, Path)
        log.write_text(self.says)
        # As a server below it does.
        log.with_name("s3.log").write_text(self.says)
        self.started.append(FakeUI(self.api, log))
        return self.started[-1]


@dataclass
class FakeSource:
    """A kept database that is served already."""

    database: Database
    description: str = "a stand-in's database"

    def start(self) -> Database:
        return self.database

    def stop(self) -> None:
        """Do nothing."""


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the locks, away from those of real runs."""
    monkeypatch.setattr(locks, "RUNS", tmp_path / "runs")
    return tmp_path / "runs"


@pytest.fixture(autouse=True)
def launcher(monkeypatch: pytest.MonkeyPatch) -> FakeLauncher:
    one = FakeLauncher()
    monkeypatch.setattr(UIRun, "_launcher", lambda _, *, processes: one)  # noqa: ARG005
    monkeypatch.setattr(ui_run, "needs_processes", lambda *_: "")
    monkeypatch.setattr(ui_run, "await_ui", lambda _: None)
    return one


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Results of an earlier run, the latest."""
    folder = tmp_path / "results"
    (folder / "earlier").mkdir(parents=True)
    (folder / "latest").symlink_to("earlier")
    return folder


def show_ui(results: Path, *words: str) -> int:
    always = ("--ui-version", "v2.5.1", "--expectations", str(NOTHING_KNOWN))
    options = parse_ui([*always, "--results", str(results), *words], CATALOG)
    return show(options, CATALOG, Screen())


def latest(results: Path) -> str:
    return str((results / "latest").readlink())


def test_a_check_that_is_refused_leaves_the_latest_run_what_it_was(results, database: Database):
    make_tables(database.address, 1)
    with pytest.raises(UsageError, match="too old for the UI"):
        show_ui(results, "--check", "--database-url", database.address.url)
    assert latest(results) == "earlier"
    assert {path.name for path in results.iterdir()} == {"earlier", "latest"}


@pytest.mark.e2e
def test_a_backend_that_hangs_at_its_start_twice_is_not_started_again(
    results, database: Database, launcher, monkeypatch
):
    make_tables(database.address, 20230118020300)

    def await_ui(_: FakeUI) -> None:
        raise InfraError("the UI of v2.5.1 was not ready within 120 s; last lines of LOG:")

    monkeypatch.setattr(ui_run, "await_ui", await_ui)
    with pytest.raises(InfraError, match="was not ready"):
        show_ui(results, "--database-url", database.address.url)
    assert [one.stopped for one in launcher.started] == [True, True]


@dataclass
class StandIn(FakeUI):
    """A stand-in's process."""

    process: ManagedProcess | None = None

    def check_alive(self) -> None:
        assert self.process is not None
        self.process.check_alive("the UI backend of v2.5.1")

    def stop(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.stopped = True


@dataclass
class StandInLauncher(FakeLauncher):
    """Starts stand-ins, with variables of a test's own."""

    clone: Path = Path()
    more: dict[str, str] = field(default_factory=dict)

    def start(self, *given: object) -> FakeUI:
        _, _, database, port, log = given
        assert isinstance(database, Database)
        assert isinstance(port, int)
        assert isinstance(log, Path)
        process = standin_process(self.clone, database.address, port, log, **self.more)
        self.started.append(StandIn(f"http://127.0.0.1:{port}", log, process=process))
        return self.started[-1]


@pytest.fixture
def standins(standin_clone: Path, monkeypatch: pytest.MonkeyPatch) -> StandInLauncher:
    """A launcher of stand-ins, which are really waited for."""
    one = StandInLauncher(clone=standin_clone)
    monkeypatch.setattr(UIRun, "_launcher", lambda _, *, processes: one)  # noqa: ARG005
    monkeypatch.setattr(ui_run, "await_ui", backend.await_ui)
    monkeypatch.setattr(backend, "_READY_SECONDS", 15.0)
    monkeypatch.setattr(UIRun, "_wait", lambda _, running: running.check_alive())
    return one


@pytest.mark.e2e
def test_a_backend_that_hangs_at_its_start_is_started_once_more(
    results, database: Database, standins, tmp_path, capsys
):
    make_tables(database.address, 20230118020300)
    standins.more = {"STANDIN_HANG_ONCE": str(tmp_path / "once"), "UI_ENABLED": "1"}
    assert show_ui(results, "--database-url", database.address.url) == 0
    assert [one.stopped for one in standins.started] == [True, True]
    said = capsys.readouterr().out
    assert re.search(r"the UI of v2\.5\.1 at \S+ .*within 15 s.*: it is started once more", said)


@pytest.fixture
def no_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = dict.fromkeys(PAGE_CHECKS, CheckOutcome(Status.UNSUPPORTED, "not looked at"))
    monkeypatch.setattr(check, "look", lambda _page, _api, runs, *_, **__: [outcome for _ in runs])


@pytest.mark.e2e
@pytest.mark.parametrize("deaths", [1, 2])
def test_a_backend_that_dies_during_a_check_is_started_once_more(
    results, standins, written, monkeypatch, deaths
):
    def look(_page: str, _api: str, runs: Sequence[object], *_: object, **__: object) -> object:
        if len(standins.started) <= deaths:
            process = standins.started[-1].process
            os.kill(process.pid, signal.SIGKILL)
            process.wait(10)
            raise InfraError("the page does not answer any more")
        skipped = CheckOutcome(Status.UNSUPPORTED, "not looked at")
        return [dict.fromkeys(PAGE_CHECKS, skipped) for _ in runs]

    monkeypatch.setattr(check, "look", look)
    address = written.database.address
    wanted = ("--run", written.runs["card"].pathspec)
    code = show_ui(results, "--check", *wanted, "--database-url", address.url)
    first, last = View(read(results / "latest")).attempts
    assert [one.stopped for one in standins.started] == [True, True]
    assert (code, last.status) == ((0, Status.PASS) if deaths == 1 else (1, Status.INFRA))
    assert first.status is Status.INFRA
    reasons = {outcome.reason for outcome in first.checks.values()}
    assert reasons == {"the UI backend of v2.5.1 was killed from outside, by SIGKILL"}


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("exit", "ended with exit code 1 by itself"),
        ("SIGSEGV", "ended with exit code -11 (SIGSEGV) by itself"),
        ("SIGABRT", "ended with exit code -6 (SIGABRT) by itself"),
        ("SIGKILL", "was killed from outside, by SIGKILL"),
    ],
)
def test_a_backend_that_ends_at_its_start_fails_unless_it_is_killed(
    results, standins, written, how, said
):
    standins.more = {"STANDIN_ENDS": f"start:{how}"}
    address = written.database.address
    assert show_ui(results, "--check", "--database-url", address.url) == 1
    cells = View(read(results / "latest")).cells
    killed = how == "SIGKILL"
    assert {one.status for one in cells} == {Status.INFRA if killed else Status.FAIL}
    assert len(standins.started) == (2 if killed else 1), "what the product does is not done again"
    (reason,) = {outcome.reason for cell in cells for outcome in cell.checks.values()}
    assert reason.startswith(f"the UI backend of v2.5.1 {said}")
    if how == "exit":
        words = "ModuleNotFoundError: No module named 'planted'"
        assert reason.endswith(f", while its database lives; it said last: {words}")
    log = results / "latest" / cells[0].evidence["ui"]
    assert log.is_file()


@pytest.mark.e2e
@pytest.mark.usefixtures("no_browser")
def test_a_backend_that_ends_by_itself_fails_whom_it_was_asked_about(
    results, standins, written, monkeypatch
):
    asked, other = replace(written.runs["card"], client="2.19.38"), written.runs["failing"]
    monkeypatch.setattr(ui_run, "sample", lambda *_, **__: (asked, other))
    standins.more = {"STANDIN_ENDS": f"{asked.run}/dag:SIGSEGV", "UI_ENABLED": "1"}
    assert show_ui(results, "--check", "--database-url", written.database.address.url) == 1
    failed, well = View(read(results / "latest")).attempts
    assert (failed.client, failed.status) == ("2.19.38", Status.FAIL)
    under_way = f"; under way: /flows/CardFlow/runs/{asked.run}/dag"
    assert under_way in failed.checks["dag"].reason
    assert (well.client, well.status, len(standins.started)) == ("2.19.39", Status.PASS, 2)


def test_a_backend_whose_database_is_gone_is_not_to_blame():
    gone = Address("127.0.0.1", 1, "u", "p", "d")
    with (
        pytest.raises(InfraError, match="the database does not answer any more"),
        backend.blaming_ui("v2.5.1", gone),
    ):
        raise EndedError("the UI backend of v2.5.1", Ending(1))


@pytest.mark.e2e
@pytest.mark.usefixtures("no_browser")
def test_a_check_is_the_latest_run(results, launcher, written, standin):
    wanted = written.runs["card"].pathspec
    url = written.database.address.url
    with standin(written.database.address) as (api, _):
        launcher.api = api
        assert show_ui(results, "--check", "--run", wanted, "--database-url", url) == 0
    assert "-ui-" in latest(results)
    assert (results / "latest" / "journal.jsonl").is_file()
    with pytest.raises(UsageError, match="--run CardFlow/99: not among the 2 runs"):
        show_ui(results, "--check", "--run", "CardFlow/99", "--database-url", url)
    assert (results / "latest" / "journal.jsonl").is_file()


@pytest.mark.e2e
@pytest.mark.usefixtures("no_browser")
def test_a_line_that_reruns_a_cell_works_with_pgpassword(
    results, launcher, written, standin, monkeypatch
):
    address = written.database.address
    wanted = ("--run", written.runs["failing"].pathspec)
    with standin(address) as (launcher.api, _):
        assert show_ui(results, "--check", *wanted, "--database-url", address.url) == 0
        (cell,) = View(read(results / "latest")).cells
        assert "[secret]" not in cell.rerun
        assert address.password not in cell.rerun
        again = shlex.split(cell.rerun.partition(" -- ")[2])
        monkeypatch.setenv("PGPASSWORD", address.password)
        assert show(parse_ui([*again, "--results", str(results)], CATALOG), CATALOG, Screen()) == 0
    assert [one.id for one in View(read(results / "latest")).cells] == [cell.id]


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ends what a detached UI leaves to the end of its process."""
    locks: list[RunLock] = []

    def lock(run_id: str, folder: Path) -> RunLock:
        locks.append(RunLock(run_id, folder))
        return locks[-1]

    monkeypatch.setattr(ui_run, "RunLock", lock)
    yield
    for one in locks:
        one.release()


@pytest.mark.usefixtures("left")
def test_a_ui_that_judges_nothing_is_never_the_latest_run(results, launcher, migrated, capsys):
    database, _ = migrated
    launcher.says = f"connected with {database.address.password}\n"
    assert show_ui(results, "--detach", "--database-url", database.address.url) == 0
    (ui,) = launcher.started
    assert latest(results) == "earlier"
    assert "it goes on; its log is elsewhere; nox -s clean ends it" in capsys.readouterr().out
    assert not ui.stopped
    assert ui.log.read_text() == "connected with [secret]\n"
    assert ui.log.with_name("s3.log").read_text() == "connected with [secret]\n"


@pytest.fixture
def stranger(migrated: tuple[Database, str]) -> Iterator[Address]:
    """A user who may connect, and see that there are tables, and no more."""
    database, _ = migrated
    name = f"u{uuid4().hex}"
    execute(database.address, f"CREATE ROLE {name} LOGIN PASSWORD 'word'")
    address = database.address
    yield Address(address.host, address.port, name, "word", address.name)
    execute(database.address, f"DROP ROLE {name}")


def test_a_user_who_may_not_read_is_told(results, stranger):
    with pytest.raises(UsageError, match=f"cannot be read as user '{stranger.user}': permission"):
        show_ui(results, "--check", "--database-url", stranger.url)
    assert {path.name for path in results.iterdir()} == {"earlier", "latest"}


@pytest.fixture
def kept(migrated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kept:
    """A run that kept local data; its database is served already."""
    database, _ = migrated
    monkeypatch.setattr(UIRun, "_source", lambda _: FakeSource(database))
    one = Kept("a-run", tmp_path / "a-run", "embedded", "v2.5.1", database.address)
    (one.data / "data").mkdir(parents=True)
    for name in ("a", "b"):
        (one.data / "data" / name).write_text(name)
    one.write()
    return one


def test_a_ui_that_cannot_be_told_of_tls_is_refused(results, kept: Kept):
    replace(kept, database=replace(kept.database, tls=Tls("require"))).write()
    words = ("--ui-version", "v2.4.3,v2.5.1", "--check", "--results", str(results))
    with pytest.raises(UsageError) as told:
        show(parse_ui(words, CATALOG), CATALOG, Screen())
    assert str(told.value) == (
        "--ui-version v2.4.3: the database that a-run kept takes TLS alone, and a UI backend needs"
        " settings for TLS, which there are since v2.4.4, this is v2.4.3: --ui-version '>=2.4.4'"
    )
    assert {path.name for path in results.iterdir()} == {"earlier", "latest"}


def test_a_file_of_dependencies_that_does_not_parse_starts_nothing(results, kept, tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text("small\nno requirement\n", encoding="utf-8")
    subprocess.run(["git", "init", "--quiet", str(tmp_path / "clone")], check=True)
    words = ("--checkout", str(tmp_path / "clone"), "--service-deps", str(file))
    with pytest.raises(UsageError, match=r"^--service-deps \S+mine\.txt, line 2: Couldn't parse"):
        show_ui(results, "--from", kept.run, *words)
    assert {path.name for path in results.iterdir()} == {"earlier", "latest"}


def test_a_kept_run_whose_results_were_deleted_is_said(results, kept, runs):
    (kept.data / "data" / "a").unlink()
    (kept.data / "data" / "b").unlink()
    (kept.data / "data").rmdir()
    kept.data.rmdir()
    with pytest.raises(UsageError, match="nox -s clean -- a-run forgets it"):
        show_ui(results, "--from", "a-run")
    assert {path.name for path in results.iterdir()} == {"earlier", "latest"}
    assert not list(runs.glob("*.lock"))


def test_links_that_were_made_half_way_are_removed(
    results, launcher, kept: Kept, monkeypatch, runs
):
    really = os.link

    def link(source: str, target: str, **_: object) -> None:
        if Path(source).name == "b":
            raise OSError(18, "Invalid cross-device link")
        really(source, target)

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(InfraError, match=r"cannot be linked: .*Invalid cross-device link"):
        show_ui(results, "--from", "a-run", "--detach")
    assert not list(kept.data.glob("before-*"))
    assert not list(runs.glob("*.lock"))
    assert launcher.started == []


def test_a_database_that_dies_while_it_is_read_is_no_verdict(results, monkeypatch):
    dead = Database(Address("127.0.0.1", 1, "u", "p", "d"), Address("127.0.0.1", 1, "u", "p", "d"))
    monkeypatch.setattr(UIRun, "_source", lambda _: FakeSource(dead))
    with pytest.raises(InfraError, match=r"the database 'd' at 127\.0\.0\.1:1 does not answer"):
        show_ui(results, "--check", "--database-url", dead.address.url)
    assert latest(results) == "earlier"
