"""What nox's command line chooses, before any session runs."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nox.project
import pytest
from packaging.requirements import Requirement

from harness.catalog.versions import load
from harness.cli import sessions
from harness.cli.asked import Asked
from harness.cli.choice import Choice, choose, choose_from
from harness.cli.coming import Coming
from harness.cli.options import parse
from harness.cli.sessions import Sessions
from harness.machine.errors import UsageError
from harness.machine.tools import ROOT

PREPARED = {"a client": "its Python"}


def _choose(*arguments: str, sessions: tuple[str, ...] = (), lists: bool = True) -> Choice:
    return choose_from(Asked(sessions=sessions, lists=lists, arguments=arguments), load())


def _sessions(choice: Choice, session: str) -> list[str]:
    return [str(parameter) for parameter in choice.parameters(session)]


def test_each_session_has_one_entry_per_default_client():
    choice = _choose()
    for session in ("compat", "fixed_db", "local"):
        names = _sessions(choice, session)
        assert len(names) == 20
        assert names[-1] == "2.19.39"


def test_all_clients_are_listed():
    assert len(_sessions(_choose("--metaflow", "all"), "compat")) == 267


def test_a_named_client_joins_the_list():
    choice = _choose(sessions=("compat(2.2.1)",))
    names = _sessions(choice, "compat")
    assert len(names) == 21
    assert "2.2.1" in names
    assert "2.2.1" not in _sessions(choice, "local")


def test_a_named_client_that_does_not_exist_is_refused():
    with pytest.raises(UsageError, match=re.escape("unknown client '2.2.99'")):
        _choose(sessions=("compat(2.2.99)",))


def test_what_is_wrong_is_one_line_and_the_end(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["nox", "-s", "compat", "--", "--metafow", "2.2.1"])
    with pytest.raises(SystemExit) as caught:
        choose()
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"error: unknown option --metafow[^\n]+\n", err)


@pytest.mark.parametrize("session", ["tests", "lint"])
def test_what_follows_the_dashes_is_left_to_other_sessions(session):
    choice = _choose("-k", "journal", "--metaflow", "nonsense", "--help", sessions=(session,))
    assert len(_sessions(choice, "compat")) == 20


def test_without_a_session_one_must_take_the_options():
    choice = _choose("--seed", "7", "--metaflow", "2.2.1")
    assert _sessions(choice, "fixed_db") == ["2.2.1"]
    with pytest.raises(UsageError, match="unknown option --sed "):
        _choose("--sed", "7")


def test_without_a_session_nox_runs_compat():
    with pytest.raises(UsageError, match="unknown option --seed: it goes with fixed_db"):
        _choose("--seed", "7", lists=False)


def test_of_several_sessions_one_must_take_the_options():
    sessions = ("compat", "local")
    given = ("--service", "2.5", "--metaflow", "2.2.1")
    assert _sessions(_choose(*given, sessions=sessions), "local") == ["2.2.1"]
    with pytest.raises(UsageError, match="unknown option --seed"):
        _choose("--seed", "7", sessions=sessions)


def test_help_of_sessions_that_only_nox_knows_waits_for_them(capsys):
    asked = Asked(by_expression=True, arguments=("--help",))
    assert len(_sessions(choose_from(asked, load()), "local")) == 20
    assert capsys.readouterr().out == ""


def test_refs_of_a_checkout_have_sessions_which_nobody_has_looked_for():
    given = ("--metaflow-checkout", "/not/looked/for")
    choice = _choose("--metaflow", "feature/x,2.2.1,HEAD", *given)
    assert _sessions(choice, "compat") == ["2.2.1", "feature/x", "HEAD"]
    named = _choose(*given, "--metaflow", "2.2.1", sessions=("compat(HEAD)",))
    assert _sessions(named, "compat") == ["2.2.1", "HEAD"]
    with pytest.raises(UsageError, match="'HEAD'; git refs, such as HEAD, need --m"):
        _choose("--metaflow", "HEAD")


def test_an_interpreter_that_is_missing_is_a_reason_not_an_error():
    choice = _choose("--metaflow", "2.0.0,2.19.39")
    for one in choice.chosen["compat"]:
        # A client that no Python of this machine runs has a sentence in place of a path.
        if isinstance(one.found, str):
            assert "runs on Python" in one.found
        else:
            assert isinstance(one.found[1], Path)


PYTHONS = {minor: Path(f"/p/bin/python{minor}") for minor in ("3.9", "3.11", "3.12")}


@pytest.fixture
def pythons(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let 3.9, 3.11 and 3.12 be the Pythons that are here."""
    monkeypatch.setattr("harness.cli.choice.find_interpreters", lambda: PYTHONS)


@pytest.mark.usefixtures("pythons")
def test_each_client_has_a_session_on_each_python_that_is_asked_for():
    choice = _choose("--metaflow", "2.8.5,2.8.6", "--python", "3.12,3.9")
    for session in ("compat", "local"):
        assert {str(one): one.args for one in choice.parameters(session)} == {
            f"{client}, {python}": (str(PYTHONS[python]), f"{client}, {python}")
            for client in ("2.8.5", "2.8.6")
            for python in ("3.9", "3.12")
        }
    # Whether it works there is for the run to show: nothing runs 2.8.5 on 3.12.
    assert choice.one("compat", "2.8.5, 3.12").found == ("3.12", PYTHONS["3.12"])


@pytest.mark.usefixtures("pythons")
def test_a_session_may_be_named_with_its_python():
    choice = _choose("--metaflow", "2.8.6", sessions=("compat(2.8.5, 3.12)",))
    assert _sessions(choice, "compat") == ["2.8.5, 3.12", "2.8.6"]
    assert [one.asked for one in choice.chosen["compat"]] == ["3.12", ""]
    assert _sessions(choice, "local") == ["2.8.6"]


@pytest.mark.usefixtures("pythons")
@pytest.mark.parametrize(
    ("options", "session", "said"),
    [
        (
            ["--python", "3.12,3.14"],
            "compat",
            "--python: Python 3.14 is not here; found: 3.9, 3.11, 3.12 (looked on PATH, in",
        ),
        (["--python", "3.14"], "local", "folders); for example: uv python install 3.14"),
        (["--python", "3.6"], "local", "for example: pyenv install 3.6"),
        ([], "compat(2.8.5, 3.14)", "Python 3.14 is not here"),
        ([], "compat(2.8.5, 3)", "'3' is no minor version of Python"),
        (["--python", "3.12"], "compat(2.8.5)", "(2.8.5) names no Python, and --python names 3.12"),
    ],
)
def test_a_python_that_cannot_be_had_is_one_line(options, session, said):
    with pytest.raises(UsageError) as caught:
        _choose(*options, sessions=(session,))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("pythons")
def test_each_client_has_a_session_with_each_of_its_dependencies(tmp_path):
    (tmp_path / "req.txt").write_text("requests<2.30\n", encoding="utf-8")
    given = ("--metaflow", "2.8.6", "--python", "3.9,3.12")
    choice = _choose(*given, "--deps", f"pinned,latest,{tmp_path / 'req.txt'}")
    assert _sessions(choice, "compat") == [
        f"2.8.6, {python}{deps}"
        for python in ("3.9", "3.12")
        for deps in ("", ", latest", ", req.txt")
    ]


@pytest.mark.usefixtures("pythons")
def test_a_session_may_be_named_with_its_dependencies(tmp_path):
    (tmp_path / "req.txt").write_text("requests<2.30\n", encoding="utf-8")
    choice = _choose("--metaflow", "2.8.6", sessions=("compat(2.8.5, 3.12, release-day)",))
    assert _sessions(choice, "compat") == ["2.8.5, 3.12, release-day", "2.8.6"]
    given = ("--metaflow", "2.8.6", "--deps", str(tmp_path / "req.txt"))
    named = _choose(*given, sessions=("compat(2.8.5, req.txt)",))
    assert _sessions(named, "compat") == ["2.8.5, req.txt", "2.8.6, req.txt"]
    with pytest.raises(UsageError, match=r"\(2\.8\.5, newest\): 'newest' is not there: p"):
        _choose(sessions=("compat(2.8.5, newest)",))
    with pytest.raises(UsageError, match=r"\(2\.8\.5\) names no dependencies, .* names latest"):
        _choose("--deps", "latest", sessions=("compat(2.8.5)",))


@pytest.mark.usefixtures("pythons")
@pytest.mark.parametrize("session", ["cross", "fixed_db"])
def test_clients_that_run_together_have_dependencies_of_one_kind(session):
    options = parse(session, ["--metaflow", "2.8.6", "--deps", "pinned,latest"], load())
    choice = _choose("--metaflow", "2.8.6", "--deps", "pinned,latest")
    own = [Coming(session, one.name, "3.9", True) for one in choice.chosen[session]]
    with pytest.raises(UsageError, match="name one --deps, not pinned and latest; compat and lo"):
        Sessions(choice)._run_of(options, own, None)
    one = Sessions(choice)._run_of(options, own[1:], None)
    assert {cell.deps for cell in one.plan.cells} == {"latest"}


@pytest.mark.usefixtures("pythons")
@pytest.mark.parametrize("session", ["cross", "fixed_db"])
def test_clients_that_run_together_are_on_one_python(session):
    options = parse(session, ["--metaflow", "2.8.5,2.8.6"], load())
    choice = _choose("--metaflow", "2.8.5,2.8.6", "--python", "3.9,3.12")
    own = [Coming(session, one.name, one.asked, True) for one in choice.chosen[session]]
    with pytest.raises(UsageError, match=r"name one Python, not 3\.9 and 3\.12; compat and local"):
        Sessions(choice)._run_of(options, own, None)
    (found,) = {
        cell.point.python for cell in Sessions(choice)._run_of(options, own[::2], None).plan.cells
    }
    assert found == "3.9"


@pytest.mark.usefixtures("pythons")
def test_what_nox_is_told_of_pythons_does_not_replace_the_one_asked_for():
    options = parse("local", ["--metaflow", "2.8.5"], load())
    choice = _choose("--metaflow", "2.8.5", "--python", "3.12")
    with pytest.raises(UsageError, match=r"is for Python 3\.12, and nox was told to take 3\.9"):
        Sessions(choice)._run_of(options, [Coming("local", "2.8.5, 3.12", "3.9", True)], None)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(24, "Too many open files"), "the machine: Too many open files"),
        (MemoryError(), "the machine: memory ran out"),
    ],
)
def test_what_the_machine_refuses_a_command_is_one_line(monkeypatch, error, said):
    def refuse(_: object) -> int:
        raise error

    def red(why: str) -> None:
        raise SystemExit(why)

    monkeypatch.setitem(sessions._COMMANDS, "report", refuse)  # type: ignore[arg-type]
    session: Any = SimpleNamespace(posargs=(), error=red)
    with pytest.raises(SystemExit, match=f"^{said}$"):
        Sessions(_choose()).run_command(session, "report")


def test_what_the_machine_refuses_a_walk_ends_its_run_in_one_line(monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def red(why: str) -> None:
        raise SystemExit(why)

    ended: list[str] = []
    monkeypatch.setattr(sessions, "walk", refuse)
    monkeypatch.setattr(sessions, "what_is_wrong", lambda *_: "")
    session: Any = SimpleNamespace(error=red)
    run: Any = SimpleNamespace(end=lambda: ended.append("ended"))
    planned: Any = SimpleNamespace(run=run, rounds=None, prepared=PREPARED, ui=None)
    found = Sessions(_choose())
    found._planned["fixed_db"] = planned
    with pytest.raises(SystemExit, match=r"^the machine: No space left on device$"):
        found.end_runs(session)
    assert ended == ["ended"]


def test_full_says_how_its_walk_goes_on_before_it_begins(monkeypatch):
    said: list[str] = []
    begun: list[list[str]] = []
    monkeypatch.setattr(sessions, "walk", lambda *_: begun.append([*said]))
    monkeypatch.setattr(sessions, "what_is_wrong", lambda *_: "")
    session: Any = SimpleNamespace(notify=lambda *_, **__: None)
    run: Any = SimpleNamespace(
        end=lambda: None,
        ask_services=lambda: None,
        screen=SimpleNamespace(say=said.append),
        folder=SimpleNamespace(run="20260101-full"),
    )
    planned: Any = SimpleNamespace(run=run, rounds=None, prepared=PREPARED, ui="v2.5.1")
    found = Sessions(_choose())
    found._planned["fixed_db"] = planned
    found.end_runs(session)
    again = "nox -s fixed_db -- --resume 20260101-full"
    assert begun == [[f"cut short, this walk goes on by: {again}"]]


def test_pythons_are_named_as_nox_is_told_to_choose_them():
    names = {str(one): one.args[0] for one in _choose().parameters("local")}
    told = choose_from(Asked(lists=True, pythons=("3.11",)), load())
    for parameter in told.parameters("local"):
        path = str(names[str(parameter)])
        assert parameter.args[0] == (
            "3.11" if path.endswith("python3.11") else names[str(parameter)]
        )


def test_dependencies_stand_in_one_place():
    pyproject = nox.project.load_toml(str(ROOT / "pyproject.toml"))
    script = nox.project.load_toml(str(ROOT / "noxfile.py"))
    assert script["requires-python"] == ">=3.10"
    assert "project" not in pyproject
    groups = pyproject["dependency-groups"].values()
    named = [one for group in groups for one in group if isinstance(one, str)]
    names = [Requirement(one).name for one in (*script["dependencies"], *named)]
    assert len(names) == len(set(names))
