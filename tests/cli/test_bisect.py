"""What ``bisect`` asks for, what it makes of the steps, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from harness.catalog.versions import load
from harness.cli.bisect import bisect_main
from harness.cli.options import parse
from harness.core.entries import CellEntry
from harness.core.journal import read
from harness.core.outcome import CheckOutcome, Status
from harness.core.view import View
from harness.machine.errors import HarnessError, InfraError, UsageError
from harness.run.options import value_in
from tests.report import journals
from tests.stack.service import upstream

CLIENTS = [client.name for client in load().clients]
CHECK = ("--check", "basics/resume")
RESUME = (*CHECK, "--good", "2.12.5", "--bad", "2.12.11")
BROKEN = CLIENTS[CLIENTS.index("2.12.9") : CLIENTS.index("2.12.13")]

Outcomes = Callable[[str, int], "str | tuple[str, str]"]


def no_engine() -> str:
    raise InfraError("no Docker engine answers")


def cell_of(client: str, service: str, outcome: str | tuple[str, str]) -> CellEntry:
    """Return a cell; of two words the first is how a check is told, the second what came of it."""
    told, found = (outcome, "") if isinstance(outcome, str) else outcome
    undeclared = {"resume": CheckOutcome(Status(found))} if found else {}
    checks = {"run": "pass"} | ({} if told == "not asked" else {"resume": told})
    return journals.cell(client, service, checks, undeclared=undeclared)


def error_of(words: Sequence[str]) -> str:
    """Return what a run of compat says before it does nothing; of a sound one, what is planted."""
    try:
        parse("compat", words[words.index("--") + 1 :], load(), no_engine)
    except UsageError as error:
        return str(error)
    return "it went wrong"


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch):
    """Plant what comes of steps; hand back the commands that were run."""

    def plant(outcomes: Outcomes) -> list[list[str]]:
        commands: list[list[str]] = []

        def run(words: Sequence[str], log: Path) -> None:
            commands.append(list(words))
            variant, service = (value_in(words, name) for name in ("--metaflow", "--service"))
            results = Path(str(value_in(words, "--results")))
            searched = service if "--checkout" in words else variant
            came = [
                outcomes(str(searched), len(commands) + turn)
                for turn in range(int(str(value_in(words, "--repeat"))))
            ]
            cells = [cell_of(str(variant), str(service), one) for one in came if one != "nothing"]
            log.write_text(f"error: {error_of(words)}\n", encoding="utf-8")
            if cells:
                name = f"run-{len(commands):02d}"
                journals.write(results / name, cells, run=name)

        monkeypatch.setattr("harness.cli.bisect.run_nox", run)
        return commands

    return plant


def bisect(tmp_path: Path, *words: str) -> int:
    return bisect_main([*words, "--results", str(tmp_path / "results")], no_engine)


def resume_of(client: str, _: int) -> str:
    return "fail" if client in BROKEN else "pass"


def test_the_first_bad_release_is_found_and_shown_again(ran, tmp_path, capsys):
    commands = ran(resume_of)
    assert bisect(tmp_path, *RESUME) == 0
    output = capsys.readouterr().out
    assert "basics/resume over reference-2.5: 7 clients, 2.12.5 to 2.12.11" in output
    assert "first bad client: 2.12.9; 2.12.8 is good" in output
    assert "it shows again by: nox -s compat -- --metaflow 2.12.9 " in output
    assert "4 of 7" not in output
    # What the answer rests on was run once more.
    asked = [value_in(words, "--metaflow") for words in commands]
    assert asked == ["2.12.8", "2.12.9", "2.12.8", "2.12.9"]
    assert "tried 2 cells of 7 clients, 4 attempts: 2.12.8 2 of 2 pass" in output
    assert all(value_in(words, "--probe") == "basics" for words in commands)
    folder = (tmp_path / "results" / "latest").resolve()
    view = View(read(folder))
    assert {cell.client for cell in view.finished} == {"2.12.8", "2.12.9"}
    assert any("first bad client: 2.12.9" in note for note in view.notes[""])
    assert (folder / "report.html").exists()


def test_the_first_good_release_is_found_the_other_way_round(ran, tmp_path, capsys):
    ran(resume_of)
    assert bisect(tmp_path, *CHECK, "--good", "2.12.15", "--bad", "2.12.11") == 0
    output = capsys.readouterr().out
    assert "first good client: 2.12.13; 2.12.12 is bad" in output
    assert "it shows again by: nox -s compat -- --metaflow 2.12.12 " in output


@pytest.mark.parametrize(
    ("came", "counts"),
    [
        (("expected-fail", "fail"), "bad"),
        (("expected-fail", "timeout"), "bad"),
        ("timeout", "bad"),
        (("unexpected-pass", "pass"), "good"),
    ],
)
def test_what_is_declared_changes_no_verdict(ran, tmp_path, capsys, came, counts):
    def outcome(client: str, _: int) -> str | tuple[str, str]:
        bad = client in BROKEN
        return came if bad is (counts == "bad") else ("fail" if bad else "pass")

    ran(outcome)
    assert bisect(tmp_path, *RESUME) == 0
    assert "first bad client: 2.12.9" in capsys.readouterr().out


def test_a_step_that_differs_stops_the_search_and_says_which(ran, tmp_path, capsys):
    commands = ran(lambda client, turn: "pass" if turn == 4 else resume_of(client, turn))
    assert bisect(tmp_path, *RESUME) == 1
    output = capsys.readouterr().out
    assert len(commands) == 4
    assert "stopped: client 2.12.9 is flaky: 1 of 2 fail, 1 of 2 pass (flaky); --repeat 3" in output
    assert "first bad" not in output


def test_with_repeat_the_majority_counts(ran, tmp_path, capsys):
    commands = ran(lambda client, turn: "pass" if turn == 2 else resume_of(client, turn))
    assert bisect(tmp_path, *RESUME, "--repeat", "3") == 0
    output = capsys.readouterr().out
    assert "client 2.12.9: 1 of 3 pass, 2 of 3 fail (flaky)" in output
    assert "first bad client: 2.12.9" in output
    assert [value_in(words, "--repeat") for words in commands] == ["3"] * 2


def test_where_no_majority_is_the_search_stops(ran, tmp_path, capsys):
    statuses = iter(["pass", "fail", "infra"])
    ran(lambda _client, _turn: next(statuses))
    assert bisect(tmp_path, *RESUME, "--repeat", "3") == 1
    assert "client 2.12.8 is flaky, and has no majority" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("came", "told"),
    [
        ("infra", "infra"),
        ("not-run", "not-run"),
        ("unsupported", "unsupported"),
        # What kept it from running failed as declared.
        (("expected-fail", "not-run"), "not-run"),
        ("not asked", "not-run"),
    ],
)
def test_what_tells_nothing_is_skipped(ran, tmp_path, capsys, came, told):
    commands = ran(lambda client, turn: came if client == "2.12.9" else resume_of(client, turn))
    assert bisect(tmp_path, *RESUME) == 1
    output = capsys.readouterr().out
    assert "first bad client: one of 2.12.9, 2.12.10" in output
    assert f"2.12.9 {told}" in output
    # The one before them and the last of them ran once more: the answer rests on these.
    assert [value_in(words, "--metaflow") for words in commands[-2:]] == ["2.12.8", "2.12.10"]


def test_an_end_that_is_not_as_it_was_said_is_told(ran, tmp_path, capsys):
    commands = ran(lambda *_: "pass")
    assert bisect(tmp_path, *RESUME) == 1
    assert "nothing turns: 2.12.11 is good, and so is all" in capsys.readouterr().out
    assert [value_in(words, "--metaflow") for words in commands[-2:]] == ["2.12.11"] * 2


def test_an_end_that_passes_once_by_chance_stops_the_search(ran, tmp_path, capsys):
    def outcome(client: str, turn: int) -> str:
        return "fail" if client == "2.12.11" and turn > ends[0] else "pass"

    ends = [99]
    commands = ran(outcome)
    bisect(tmp_path, *RESUME)
    ends = [len(commands) - 1]
    commands.clear()
    capsys.readouterr()
    assert bisect(tmp_path, *RESUME) == 1
    output = capsys.readouterr().out
    assert "stopped: client 2.12.11 is flaky: 1 of 2 pass, 1 of 2 fail (flaky)" in output
    assert "nothing turns" not in output


def test_an_end_that_cannot_be_tested_leaves_the_answer_unproven(ran, tmp_path, capsys):
    ran(lambda client, _: "infra" if client == "2.12.11" else "pass")
    assert bisect(tmp_path, *RESUME) == 1
    output = capsys.readouterr().out
    assert "first bad client: 2.12.11; 2.12.10 is good" in output
    assert "by your word alone, for it could not be tested: 2.12.11" in output
    assert "it shows again" not in output


def test_releases_that_run_nothing_stop_the_search(ran, tmp_path, capsys):
    ran(lambda *_: "nothing")
    assert bisect(tmp_path, *RESUME, "--database-password", "not to be written") == 1
    output = capsys.readouterr().out
    assert "stopped: 2.12.8 ran no cell: error: it went wrong" in output
    assert "not to be written" not in output


def test_a_search_that_breaks_reports_what_it_has(ran, tmp_path, capsys):
    def outcome(client: str, turn: int) -> str:
        if turn == 2:
            raise KeyboardInterrupt
        return resume_of(client, turn)

    ran(outcome)
    with pytest.raises(KeyboardInterrupt):
        bisect(tmp_path, *RESUME)
    assert "tried 1 cell of 7 clients, 1 attempt: 2.12.8 pass" in capsys.readouterr().out


def test_services_are_searched_where_the_client_stays(ran, tmp_path, capsys):
    commands = ran(lambda *_: "pass")
    words = ("--metaflow", "2.12.8", "--good", "2.0", "--bad", "reference-2.5", "--timeout", "99")
    bisect(tmp_path, *CHECK, *words)
    assert "with client 2.12.8" in capsys.readouterr().out
    assert {value_in(words, "--metaflow") for words in commands} == {"2.12.8"}
    assert all(value_in(words, "--timeout") == "99" for words in commands)
    assert str(value_in(commands[0], "--service")).startswith("reference-2.")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of services: ``side`` leads nowhere near ``master``, before ``gap`` there is none."""
    folder = upstream.build(tmp_path_factory.mktemp("upstream") / "clone", Path("absent"))

    def commit(branch: str, parent: str, tree: str) -> None:
        words = ("commit-tree", f"{tree}^{{tree}}", "-p", parent, "-m", branch)
        made = upstream.git(folder, *words).strip()
        upstream.git(folder, "update-ref", f"refs/heads/{branch}", made)

    commit("side", "v2.3.0", "v2.3.0")
    commit("empty", "v2.5.1", upstream.BEFORE)
    commit("gap", "empty", "v2.5.1")
    return folder


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("harness.stack.service.git.CHECKOUTS", tmp_path / "checkouts")


def test_commits_that_hold_nothing_to_run_are_skipped(ran, clone, tmp_path, capsys):
    old, empty, new = (
        upstream.git(clone, "rev-parse", f"{name}^{{commit}}").strip()
        for name in ("v2.5.1", "empty", "gap")
    )
    outcomes = {old: "pass", empty: "nothing", new: "fail"}
    commands = ran(lambda commit, _: outcomes[commit])
    words = ("--checkout", str(clone), "--good", "2.5.1", "--bad", "gap")
    assert bisect(tmp_path, *CHECK, *words) == 1
    output = capsys.readouterr().out
    assert "3 commits, " in output
    assert f"cannot be tested: error: --checkout {clone}: {empty} ({empty[:7]}) holds no" in output
    assert "first bad commit: one of " in output
    asked = [value_in(words, "--service") for words in commands]
    assert asked == [empty, new, old, old, new]


def test_what_concerns_all_commits_stops_the_search_at_once(ran, clone, tmp_path, capsys):
    commands = ran(lambda *_: "nothing")
    words = ("--checkout", str(clone), "--good", "2.3.0", "--bad", "master")
    assert bisect(tmp_path, *CHECK, *words) == 1
    assert "ran no cell: error: it went wrong; see " in capsys.readouterr().out
    assert len(commands) == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--good", "2.12.5", "--bad", "2.12.9"), "--check is missing"),
        ((*CHECK, "--good", "2.12.5"), "--bad is missing"),
        (("--check", "basics", "--good", "2.12.5", "--bad", "2.12.9"), "named PROBE/CHECK"),
        (("--check", "basics/resum", *RESUME[2:]), "has no such check (nearest: resume, "),
        (("--check", "basic/resume", *RESUME[2:]), "nearest: basics"),
        ((*CHECK, "--good", "2.12.5", "--bad", "2.12.5"), "are the same"),
        ((*CHECK, "--good", "2.12.5", "--bad", "2.12.99", "--service", "2.5"), "nearest: 2.12.39"),
        ((*CHECK, "--good", "nope", "--bad", "HEAD"), "commits need --metaflow-checkout or"),
        (
            (*CHECK, "--good", "2.0.5", "--bad", "2.3", "--metaflow", "2.12.5"),
            "--good: '2.0.5' is a rel",
        ),
        ((*RESUME, "--metaflow", "latest", "--service", "2.5"), "leave out the one that is"),
        ((*RESUME, "--service", "2.3,2.5"), "each step is one cell, and these are 2"),
        ((*RESUME, "--repeat", "2"), "an odd number is needed"),
        ((*RESUME, "--jobs", "2"), "unknown option --jobs: it goes with compat"),
        ((*RESUME, "--reuse"), "unknown option --reuse: it goes with compat"),
        ((*RESUME, "--scheduler", "tcp://127.0.0.1:1"), "nothing answers there"),
        ((*CHECK, "--checkout", "CLONE", "--good", "side", "--bad", "master"), "where they part"),
        ((*CHECK, "--checkout", "CLONE", "--good", "mastr", "--bad", "v2.5.0"), "nearest: master"),
    ],
)
def test_bad_input_is_one_line_before_anything_starts(ran, clone, tmp_path, words, told):
    commands = ran(lambda *_: "pass")
    given = [str(clone) if word == "CLONE" else word for word in words]
    with pytest.raises(UsageError) as raised:
        bisect(tmp_path, *given)
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not commands
    assert not (tmp_path / "results").exists()


def test_an_end_that_no_python_here_runs_is_refused(ran, tmp_path, monkeypatch):
    ran(lambda *_: "pass")
    monkeypatch.setattr("harness.cli.searched.find_interpreters", dict)
    with pytest.raises(HarnessError, match=r"--good 2.12.5 cannot be tested here: Metaflow 2.12.5"):
        bisect(tmp_path, *RESUME)
