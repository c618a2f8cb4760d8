"""What nox's command line chooses, before any session runs."""

from __future__ import annotations

import re
from pathlib import Path

import nox.project
import pytest
from packaging.requirements import Requirement

from harness.catalog.versions import load
from harness.cli.asked import Asked
from harness.cli.choice import Choice, choose, choose_from
from harness.machine.errors import UsageError
from harness.machine.tools import ROOT


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


def test_an_interpreter_that_is_missing_is_a_reason_not_an_error():
    choice = _choose("--metaflow", "2.0.0,2.19.39")
    for found in choice.pythons.values():
        # A client that no Python of this machine runs has a sentence in place of a path.
        if isinstance(found, str):
            assert "runs on Python" in found
        else:
            assert isinstance(found[1], Path)


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
