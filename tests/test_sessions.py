"""What nox's command line chooses, before any session runs."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import nox.project
import pytest
from packaging.requirements import Requirement

from harness.sessions import Choice, choose
from harness.tools import ROOT


def _choose(*words: str, environment: dict[str, str] | None = None) -> Choice:
    # Without a Docker engine, so that the choice is the same wherever the tests run.
    return choose(["nox", *words], {"DOCKER_HOST": "unix:///none", **(environment or {})})


def _sessions(choice: Choice, session: str) -> list[str]:
    return [str(parameter) for parameter in choice.parameters(session)]


def _refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as caught:
        _choose(*words)
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"error: [^\n]+\n", err)
    return err


def test_each_session_has_one_entry_per_default_client():
    choice = _choose("-l")
    for session in ("compat", "fixed_db", "local"):
        names = _sessions(choice, session)
        assert len(names) == 20
        assert names[-1] == "2.19.39"


def test_all_clients_are_listed():
    assert len(_sessions(_choose("-l", "--", "--metaflow", "all"), "compat")) == 267


def test_a_named_client_joins_the_list():
    choice = _choose("-s", "compat(2.2.1)")
    names = _sessions(choice, "compat")
    assert len(names) == 21
    assert "2.2.1" in names
    assert "2.2.1" not in _sessions(choice, "local")
    # nox comes with this one alone, so the plan has no other.
    assert [client.name for client in choice.expected("compat")] == ["2.2.1"]


def test_a_client_named_in_the_environment_joins_too():
    choice = _choose(environment={"NOXSESSION": "local(2.2.1)"})
    assert [client.name for client in choice.expected("local")] == ["2.2.1"]


def test_a_named_client_that_does_not_exist_is_refused(capsys):
    assert "unknown client '2.2.99'" in _refused(capsys, "-s", "compat(2.2.99)")


@pytest.mark.parametrize("session", ["tests", "lint"])
def test_what_follows_the_dashes_is_left_to_other_sessions(session):
    choice = _choose("-s", session, "--", "-k", "journal", "--metaflow", "nonsense")
    assert choice.options["compat"].given == ()


def test_without_a_session_one_must_take_the_options():
    choice = _choose("-l", "--", "--seed", "7")
    assert list(choice.options) == ["fixed_db"]
    assert set(choice.refused) == {"compat", "local"}
    choice = _choose("-l", "--", "--service", "2.5")
    assert set(choice.refused) == {"local"}


def test_without_a_session_nox_runs_compat(capsys):
    assert "unknown option --seed" in _refused(capsys, "--", "--seed", "7")


def test_the_plan_is_printed_and_nothing_else(capsys, tmp_path):
    results = tmp_path / "results"
    with pytest.raises(SystemExit) as caught:
        _choose(
            "-s", "compat(2.2.1)", "--", "--plan", "--service", "2.5", "--results", f"{results}"
        )
    assert caught.value.code == 0
    assert capsys.readouterr().out == (
        "compat/2.2.1/reference-2.5/local/basics:"
        " run, parameters, artifacts, foreach, join, tags, namespace\n1 cells\n"
    )
    assert not results.exists()


def test_a_port_in_use_is_refused_unless_sessions_are_only_listed(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert f"port {port} cannot be used" in _refused(
            capsys, "-s", "compat", "--", "--database-port", port
        )
        assert _choose("-l", "-s", "compat", "--", "--database-port", port)
        assert _choose("--list", "--", "--database-port", port)


def test_results_that_cannot_be_written_are_refused(capsys, tmp_path):
    file = tmp_path / "file"
    file.touch()
    message = _refused(capsys, "-s", "local", "--", "--results", str(file / "a" / "b"))
    assert f"--results {file}/a/b: cannot be written: {file} is no folder" in message
    assert list(tmp_path.iterdir()) == [file]


def test_postgres_that_is_none_is_refused(capsys, tmp_path):
    message = _refused(capsys, "-s", "compat", "--", "--postgres", str(tmp_path))
    assert f"no PostgreSQL at {tmp_path}" in message


def test_an_interpreter_that_is_missing_is_a_reason_not_an_error():
    choice = _choose("-l", "--", "--metaflow", "2.0.0,2.19.39")
    for python in choice.pythons.values():
        # A client that no Python of this machine runs has a sentence in place of a path.
        assert isinstance(python, Path) or "runs on Python" in python


def test_dependencies_stand_in_one_place():
    pyproject = nox.project.load_toml(str(ROOT / "pyproject.toml"))
    script = nox.project.load_toml(str(ROOT / "noxfile.py"))
    assert script["requires-python"] == ">=3.10"
    assert "project" not in pyproject
    groups = nox.project.dependency_groups(pyproject, "tests", "lint")
    names = [Requirement(one).name for one in (*script["dependencies"], *groups)]
    assert len(names) == len(set(names))
