"""Tool environments are made once, made anew when they are incomplete, and explain a failure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.machine import tools
from harness.machine.errors import InfraError
from tests.wheels import tiny


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """A folder of the test's own for tool environments."""
    monkeypatch.setattr(tools, "TOOLS", tmp_path / "tools")
    return tmp_path / "tools"


@pytest.fixture
def package(tmp_path) -> str:
    """A requirement that needs no index."""
    return tiny(tmp_path)


def _answer(python: Path) -> str:
    program = "import tiny; print(tiny.ANSWER)"
    return subprocess.run(
        [str(python), "-c", program], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_an_environment_is_made_once(package, folder):
    python = tools.tool_python("tiny", [package])
    assert python.is_relative_to(folder)
    # By the installer, not by the first programs that use it.
    assert list(folder.rglob("tiny.*.pyc"))
    assert _answer(python) == "42"
    made = python.parent.parent / "complete"
    before = made.stat().st_mtime_ns
    assert tools.tool_python("tiny", [package]) == python
    assert made.stat().st_mtime_ns == before


def test_other_requirements_make_another_environment(package):
    assert tools.tool_python("tiny", [package] * 2) != tools.tool_python("tiny", [package])


def test_one_that_was_not_completed_is_made_anew(package):
    python = tools.tool_python("tiny", [package])
    (python.parent.parent / "complete").unlink()
    stray = python.parent.parent / "stray"
    stray.touch()
    assert _answer(tools.tool_python("tiny", [package])) == "42"
    assert not stray.exists()


@pytest.mark.e2e  # it is slow, as pip is
def test_without_uv_the_standard_library_makes_it(monkeypatch, package):
    monkeypatch.setattr(tools, "find_uv", lambda: None)
    assert _answer(tools.tool_python("tiny", [package])) == "42"


def test_a_failure_shows_the_installers_own_words(tmp_path, folder):
    absent = (tmp_path / "absent-1.0-py3-none-any.whl").as_uri()
    with pytest.raises(InfraError) as caught:
        tools.tool_python("broken", [f"absent @ {absent}"])
    message = str(caught.value)
    assert message.startswith("the tool environment 'broken' could not be made:\n")
    assert "absent-1.0" in message
    assert not list(folder.glob("*/complete"))


def test_a_python_that_is_none_is_a_failure_too(tmp_path):
    with pytest.raises(InfraError, match="could not be made"):
        tools.tool_python("broken", [], python=str(tmp_path / "python"))


def test_uv_is_the_one_nox_brings():
    uv = tools.find_uv()
    assert uv is not None
    assert Path(uv).is_relative_to(Path(sys.executable).parent)


def test_an_index_that_cannot_be_reached_is_named_in_one_line(monkeypatch):
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://someone:hidden@127.0.0.1:9/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with pytest.raises(InfraError) as caught:
        tools.tool_python("lonely", ["no-such-package-of-this-project"])
    told = "the tool environment 'lonely' could not be made: the package index http://127.0.0.1:9"
    assert str(caught.value).startswith(f"{told} cannot be reached: ")
    assert "\n" not in str(caught.value)
