"""What is installed in the environment of a client is compiled once, and a failure is shown."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TextIO

import pytest
from nox.command import CommandFailed

from harness.cli import installing
from harness.machine.tools import find_uv
from tests.wheels import tiny


@dataclass
class Session:
    """A session of nox, as far as installing goes: its environment is one that uv made."""

    home: Path
    venv_backend: str = "uv"
    logged: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    @property
    def virtualenv(self) -> SimpleNamespace:
        return SimpleNamespace(bin=str(self.home / "bin"))

    def log(self, text: str) -> None:
        self.logged.append(text)

    def install(self, *words: str, silent: bool, stdout: TextIO) -> None:
        assert not silent
        self.asked += words
        python = str(self.home / "bin" / "python")
        command = [str(find_uv()), "pip", "install", "--python", python, *words]
        done = subprocess.run(command, stdout=stdout, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            raise CommandFailed


@pytest.fixture
def session(tmp_path: Path) -> Any:
    home = tmp_path / "client"
    command = [str(find_uv()), "venv", "--quiet", "--python", sys.executable, str(home)]
    subprocess.run(command, check=True)
    return Session(home)


def test_a_client_is_compiled_by_its_installer_and_not_by_the_first_cells(session, tmp_path):
    assert installing._why_not_frozen(session, [tiny(tmp_path)], []) is None
    assert list(session.home.rglob("tiny.*.pyc"))


def test_what_is_not_installed_says_why_and_shows_what_the_installer_printed(session, tmp_path):
    absent = (tmp_path / "absent-1.0-py3-none-any.whl").as_uri()
    assert installing._why_not_frozen(session, [f"absent @ {absent}"], []) == ""
    (shown,) = session.logged
    assert "absent-1.0" in shown


def test_another_installer_is_given_no_flags_of_uv(session, tmp_path):
    session.venv_backend = "virtualenv"
    assert installing._why_not_frozen(session, [tiny(tmp_path)], ["--exclude-newer=x"]) is None
    assert [word for word in session.asked if word.startswith("--")] == []
