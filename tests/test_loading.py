"""The real nox command: loading asks nothing, nox's flags do what nox says, plans are printed."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from nox.__main__ import main

from harness.machine.tools import ROOT
from tests.e2e.nox_runs import environment, nox

Nox = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Nox]:
    """A function that runs nox's own main in this process, which has imported all of it before."""
    for name in [name for name in os.environ if name.startswith(("NOX", "DOCKER_"))]:
        monkeypatch.delenv(name)
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NOX_ENABLE_STALENESS_CHECK", "")
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.chdir(ROOT)
    root = logging.getLogger()
    before = (root.level, root.handlers[:])

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr("sys.argv", ["nox", *words])
        with pytest.raises(SystemExit) as caught:
            main()
        code = caught.value.code
        assert isinstance(code, int)
        return subprocess.CompletedProcess(words, code, *capsys.readouterr())

    yield run
    root.setLevel(before[0])
    root.handlers[:] = before[1]


# Raises where a program is started, a socket opened, or something made, changed or removed.
_WATCHED = """
import os, sys

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
MADE = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.utime"}

def watch(event, arguments):
    started = event.startswith(("subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.system"))
    written = event == "open" and (arguments[2] or 0) & WRITES
    if started or written or event in MADE or event.startswith("socket."):
        raise RuntimeError(f"loading did {event} {arguments}")

from nox.__main__ import main

sys.argv[0] = "nox"
sys.addaudithook(watch)
main()
"""


def _watched(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        # Compiled modules are Python's own affair.
        [sys.executable, "-B", "-c", _WATCHED, *words],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def test_loading_starts_makes_and_reaches_nothing():
    finished = _watched(
        *("-l", "--", "--checkout", "https://example.invalid/metaflow-service"),
        *("--database-url", "postgresql://somebody@127.0.0.1:1/nothing", "--backend", "embedded"),
        *("--datastore", "s3", "--s3-root", "s3://nowhere", "--results", "/nowhere/results"),
    )
    assert finished.returncode == 0, finished.stderr
    assert "compat(2.19.39)" in finished.stdout


def test_what_watches_the_loading_does_watch():
    """Running a session is what loading must not be: it makes an environment."""
    finished = _watched("-s", "clean", "--", "no-such-run")
    assert "loading did" in finished.stderr


def _one_error(finished: subprocess.CompletedProcess[str], words: str) -> None:
    assert finished.returncode == 2, finished.stderr
    assert finished.stdout == ""
    (error,) = [line for line in finished.stderr.splitlines() if line.startswith("error: ")]
    assert words in error
    assert "Traceback" not in finished.stderr
    assert "Creating virtual environment" not in finished.stderr


def _cells(here: Nox, *words: str) -> list[str]:
    """Return the cells of the plan that nox prints, which must be all it prints."""
    finished = here(*words)
    assert finished.returncode == 0, finished.stderr
    assert "Creating virtual environment" not in finished.stderr
    *lines, total = [one for one in finished.stdout.splitlines() if not one.startswith("stage ")]
    assert total == f"{len(lines)} cell{'' if len(lines) == 1 else 's'}"
    return [line.partition(":")[0] for line in lines]


def test_the_plan_is_printed_and_nothing_else(tmp_path):
    results = tmp_path / "results"
    asked = ("--plan", "--service", "2.5", "--probe", "hello", "--results", f"{results}")
    given = ("-s", "compat(2.2.1)", "--", *asked)
    assert nox(*given).stdout == (
        "compat/2.2.1/reference-2.5/local/hello: run, artifacts\n1 cell\n"
    )
    assert not results.exists()


_TWO = ("--metaflow", "2.2.1,2.19.39")


@pytest.mark.parametrize(
    ("words", "options", "cells"),
    [
        (["-k", "local"], _TWO, ["local/2.2.1/no-service", "local/2.19.39/no-service"]),
        (
            ["-k", "fixed_db"],
            ("--seed", "7", "--service", "2.5", "--metaflow", "2.2.1"),
            ["fixed_db/2.2.1/01-reference-2.5"],
        ),
        # nox comes with this one alone, so the plan has no other.
        (["-s", "local(2.2.1)"], (), ["local/2.2.1/no-service"]),
        (["-s", "local(2.2.1)"], _TWO, ["local/2.2.1/no-service"]),
        (["-R", "-s", "local(2.2.1)"], (), ["local/2.2.1/no-service"]),
        (["--no-venv", "-s", "local(2.2.1)"], (), ["local/2.2.1/no-service"]),
        (["--force-python", "3.12", "-s", "local(2.2.1)"], (), ["local/2.2.1/no-service"]),
        ([], ("--service", "2.5", "--metaflow", "2.2.1"), ["compat/2.2.1/reference-2.5"]),
    ],
)
def test_a_plan_has_what_nox_comes_with(here, words, options, cells):
    planned = _cells(here, *words, "--", "--plan", "--probe", "hello", *options)
    assert planned == [f"{cell}/local/hello" for cell in cells]


def test_sessions_named_in_the_environment_are_planned(here, monkeypatch):
    monkeypatch.setenv("NOXSESSION", "local(2.2.1),local(2.2.2)")
    finished = here("--", "--plan", "--probe", "hello")
    cells = re.findall(r"^local/([\d.]+)/", finished.stdout, re.MULTILINE)
    assert cells == ["2.2.1", "2.2.2"]


def _plans(here: Nox, *words: str) -> list[dict[str, Any]]:
    finished = here(*words)
    assert finished.returncode == 0, finished.stderr
    return [json.loads(line) for line in finished.stdout.splitlines()]


_PROBE = """
from metaflow import FlowSpec

CHECKS = {"mutate": {"about": "tags change", "client": ">=2.7"}}


class TagFlow(FlowSpec):
    pass


def check_mutate(run):
    pass
"""


def test_a_plan_for_programs(here, tmp_path):
    (tmp_path / "tags.py").write_text(_PROBE, encoding="utf-8")
    given = ("--metaflow", "2.6.3,2.19.39", "--path", "2.0.4,2.5", "--flow-dir", str(tmp_path))
    given = (*given, "--probe", "tags")
    (plan,) = _plans(here, "-s", "fixed_db", "--", "--plan", "json", *given)
    assert (plan["session"], len(plan["cells"]), len(plan["stages"])) == ("fixed_db", 4, 2)
    assert plan["stages"][0] == {
        "stage": 1,
        "service": "reference-2.0.4",
        "service_kind": "reference",
        "direction": "upgrade",
        "walk": "",
        "postgres": "",
    }
    cell = plan["cells"][-1]
    assert cell["id"] == "fixed_db/2.19.39/02-reference-2.5/local/tags"
    assert (cell["client"], cell["service"], cell["probe"]) == (
        *("2.19.39", "reference-2.5"),
        "tags",
    )
    assert cell["rerun"].startswith("nox -s fixed_db -- --metaflow 2.19.39 --path ")
    assert cell["checks"] == {"run": {"asked": True}, "mutate": {"asked": True}}
    assert plan["cells"][0]["checks"] == {
        "run": {"asked": True},
        "mutate": {"asked": False, "reason": "needs client >=2.7, this is 2.6.3"},
    }
    counts = {"clients": 2, "cells": 4, "stages": 2, "asked": 6, "unsupported": 2}
    assert plan["totals"] == counts


def test_the_python_that_is_forced_is_planned_and_each_session_has_a_plan(here):
    words = ("--force-python", "3.12", "-s", "compat(2.2.1)", "local(2.2.2)")
    first, second = _plans(here, *words, "--", "--plan", "json", "--probe", "hello")
    assert (first["session"], second["session"]) == ("compat", "local")
    cells = [*first["cells"], *second["cells"]]
    assert {(cell["client"], cell["python"]) for cell in cells} == {
        ("2.2.1", "3.12"),
        ("2.2.2", "3.12"),
    }


def test_a_python_chooses_among_clients_as_nox_says(here):
    """2.0.0 runs on none but 3.6 to 3.9, so 3.11 is never the one it gets."""
    words = ("-p", "3.11", "-s", "local", "--", "--metaflow", "2.0.0,2.19.39", "--probe", "hello")
    finished = here(*words, "--plan")
    if finished.returncode == 3:  # no client here gets a 3.11
        assert "Python version selection caused no sessions to be selected" in finished.stderr
    else:
        assert [line.split("/")[1] for line in finished.stdout.splitlines()[:-1]] == ["2.19.39"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-s", "compat", "--", "--metafow", "2.2.1"], "unknown option --metafow"),
        (["-l", "--", "--metaflow", "2.2.99"], "unknown client '2.2.99'"),
        (["-l", "-k", "compat", "--", "--metaflow", "2.2.99"], "unknown client '2.2.99'"),
        (["-k", "compat", "--", "--metaflow", "2.2.99"], "unknown client '2.2.99'"),
        (["-s", "local", "--", "--expectations", "/nowhere"], "/nowhere"),
        (["-s", "compat", "--", "--backend", "docker"], "no Docker engine answers"),
        (["-s", "local", "--", "--postgres", "/nowhere"], "unknown option --postgres"),
        (["-s", "compat", "--", "--postgres", "/nowhere"], "no PostgreSQL at /nowhere"),
        (["-s", "full", "local"], "run it by itself"),
        (["-P", "3.11", "3.12", "-s", "local(2.2.1)"], "local(2.2.1) comes several times"),
        (["-s", "plan"], "nothing is planned"),
        (["-s", "compat(2.2.99)"], "unknown client '2.2.99'"),
        (["-s", "local", "--", "--plan", "yaml"], "invalid choice: 'yaml'"),
    ],
)
def test_what_is_wrong_is_one_line_before_any_environment(here, words, said):
    _one_error(here(*words), said)


def test_clients_need_environments(here, tmp_path):
    finished = here("--no-venv", "-s", "local(2.2.1)", "--", "--results", str(tmp_path / "results"))
    _one_error(finished, "leave out --no-venv")
    assert not (tmp_path / "results").exists()


def test_a_port_in_use_is_refused_unless_sessions_are_only_listed(here):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        words = ("-s", "compat", "--", "--database-port", port)
        _one_error(here(*words), f"port {port} cannot be used")
        assert here("-l", *words).returncode == 0


def test_results_that_cannot_be_written_are_refused(here, tmp_path):
    file = tmp_path / "file"
    file.touch()
    finished = here("-s", "local", "--", "--results", str(file / "a" / "b"))
    _one_error(finished, f"--results {file}/a/b: cannot be written: {file} is no folder")
    assert list(tmp_path.iterdir()) == [file]


def test_postgres_that_is_none_is_refused(here, tmp_path):
    finished = here("-s", "compat", "--", "--postgres", str(tmp_path))
    _one_error(finished, f"no PostgreSQL at {tmp_path}")


def test_a_session_that_cannot_take_the_options_of_another_says_so_beside_its_plan(here):
    finished = here("-s", "compat(2.2.1)", "local", "--", "--service", "2.5", "--plan")
    assert finished.returncode == 2
    assert finished.stdout.endswith("1 cell\n")
    assert "error: unknown option --service: it goes with compat" in finished.stderr


def test_help_is_that_of_the_session_which_runs(here):
    finished = here("-k", "local", "--", "--help")
    assert (finished.returncode, finished.stdout[:26]) == (0, "usage: nox -s local -- [-h")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-t", "none"], "Tag selection caused no sessions"),
        (["-p", "2.7"], "Python version selection caused no sessions"),
        (["-k", "nothing"], "No sessions selected after filtering by keyword"),
        (["-s", "compat(x"], "Sessions not found: compat(x"),
    ],
)
def test_what_nox_itself_finds_wrong_is_left_to_it(here, words, said):
    finished = here(*words)
    assert finished.returncode == 3
    assert said in finished.stderr
    assert "Traceback" not in finished.stderr


def test_listing_by_keyword_marks_what_would_run(here):
    finished = here("-l", "-k", "fixed_db", "--", "--metaflow", "2.2.1")
    assert finished.returncode == 0, finished.stderr
    marked = [line for line in finished.stdout.splitlines() if line.startswith("*")]
    assert [line.split(" -> ")[0] for line in marked] == ["* fixed_db(2.2.1)", "* plan"]
