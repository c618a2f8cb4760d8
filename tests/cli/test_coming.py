"""Clients whose sessions are to come: begun with while one waits, red in their own sessions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nox.command import CommandFailed

from harness.catalog.versions import load
from harness.cli import sessions
from harness.cli.asked import Asked
from harness.cli.choice import choose_from
from harness.cli.coming import Coming
from harness.cli.sessions import Sessions
from harness.machine.errors import InfraError
from harness.machine.tools import ROOT
from harness.run.attempts import Batch

NOXFILE = """
import sys
import nox
sys.path.insert(0, {root!r})
from harness.cli.coming import coming

nox.options.default_venv_backend = "uv|virtualenv"

@nox.session
@nox.parametrize("client", ["a", "b"])
def compat(session, client):
    print(client, "reused" if session.virtualenv._reused else "new", *session.env_dir.glob("mark"))
    for one in coming(session):
        if one.selected and not one.waits:
            its = one.environment()
            its.run("python", "-c", "print(1)", silent=True)
            (its.env_dir / "mark").touch()
            print(session.name, "made that of", one.client)
"""


def _nox(folder: Path, *flags: str) -> list[str]:
    noxfile = folder / "noxfile.py"
    noxfile.write_text(NOXFILE.format(root=str(ROOT)), encoding="utf-8")
    command = [sys.executable, "-m", "nox", "-f", str(noxfile), *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_nox_takes_the_environment_that_was_made_for_its_session(tmp_path):
    made = "b reused .nox/compat-client-b/mark"
    assert _nox(tmp_path, "-R") == ["a new", "compat(client='a') made that of b", made]
    assert _nox(tmp_path, "-r", "-x") == ["a reused", made], "it may not come to the second"
    assert _nox(tmp_path, "-N") == ["a new", "b new"], "it makes each anew when it comes"


def runner(made: list[str], name: str, refused: Exception | None = None) -> Any:
    def create() -> None:
        made.append(name)
        if refused is not None:
            raise refused

    return SimpleNamespace(
        global_config=SimpleNamespace(stop_on_first_error=False),
        reuse_existing_venv=lambda: True,
        _create_venv=create,
    )


class Lab:
    """The sessions of a few clients, of which only the beginning with one is made up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        names = ["2.2.13", "2.12.39", "2.19.39"]
        asked = Asked(lists=True, arguments=("--metaflow", ",".join(names)))
        self.sessions = Sessions(choose_from(asked, load()))
        self.made: list[str] = []
        self.begun: list[str] = []
        self.comes: dict[str, Batch | Exception] = {}
        self.planned = SimpleNamespace(run=SimpleNamespace(), begun={}, now=lambda cells: cells)
        self.sessions._planned["local"] = self.planned  # type: ignore[assignment]
        self.coming = [Coming("local", one, "p", True, runner(self.made, one)) for one in names]
        monkeypatch.setattr(sessions, "coming", lambda _: self.coming)
        monkeypatch.setattr(self.sessions, "_begin", self.begin)

    def begin(self, _: object, name: str, client: str) -> Batch:
        self.begun.append(f"{name} {client}")
        found = self.comes.get(client, Batch(1))
        if isinstance(found, Exception):
            raise found
        return found

    def go(self, own: Batch) -> None:
        """Begin with others while a session's own cells run."""
        self.sessions._begin_others(Any, "local", own)


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Lab:
    return Lab(monkeypatch)


def test_each_client_is_begun_with_once(lab):
    lab.go(Batch(1))
    lab.go(Batch(1))
    assert lab.made == ["2.2.13", "2.12.39", "2.19.39"]
    assert lab.begun == [f"local {name}" for name in lab.made]


def test_nothing_is_begun_with_when_no_cell_is_waited_for(lab):
    lab.go(Batch(0))
    assert lab.made == []


def test_what_does_not_come_or_is_of_another_session_is_left_alone(lab):
    there = runner(lab.made, "x")
    lab.coming = [
        Coming("local", "2.2.13", "p", False, there),
        Coming("compat", "2.12.39", "p", True, there),
    ]
    lab.go(Batch(1))
    assert lab.made == lab.begun == []


@pytest.mark.parametrize("refused", [CommandFailed("no"), OSError(28, "No space left on device")])
def test_an_environment_that_cannot_be_made_is_left_to_its_session(lab, refused):
    lab.coming[1] = Coming("local", "2.12.39", "p", True, runner(lab.made, "2.12.39", refused))
    lab.go(Batch(1))
    assert lab.begun == ["local 2.2.13", "local 2.19.39"]
    assert lab.planned.begun["2.12.39"] is None


@pytest.fixture
def session() -> Any:
    def red(why: str) -> None:
        raise SystemExit(why)

    return SimpleNamespace(error=red, venv_backend="uv", python="p")


@pytest.mark.parametrize("error", [InfraError("it could not be installed"), SystemError("a bug")])
def test_what_kept_a_client_from_beginning_is_told_in_its_own_session(lab, session, error):
    lab.comes["2.12.39"] = error
    lab.go(Batch(1))
    lab.planned.run.plan = SimpleNamespace(of_client=lambda *_: ())
    with pytest.raises((SystemExit, SystemError), match=f"^{error}$"):
        lab.sessions.run_client(session, "local", "2.12.39")
    assert lab.begun == ["local 2.2.13", "local 2.12.39", "local 2.19.39"], "not begun anew"
