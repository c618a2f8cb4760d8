"""Which Pythons are found, by their names alone, and which one a client gets."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path

import pytest

from harness.catalog.interpreters import (
    asked_python,
    choose_python,
    find_interpreters,
    python_of,
)
from harness.catalog.releases import Client
from harness.catalog.versions import load
from harness.machine.errors import UsageError

OWN = f"3.{sys.version_info.minor}"


def _python(path: Path, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Never launched: it would fail if it were.
    path.write_text("#!/bin/false\n", encoding="utf-8")
    path.chmod(mode)
    return path


def _found(home: Path, *, path: str = "", **more: str) -> dict[str, str]:
    """Return what is found under ``home``, without the Python that runs this test."""
    found = find_interpreters({"HOME": str(home), "PATH": path, **more})
    return {
        minor: str(python.relative_to(home))
        for minor, python in found.items()
        if python.is_relative_to(home)
    }


def test_the_python_that_runs_this_is_found_without_any_other(tmp_path):
    assert find_interpreters({"HOME": str(tmp_path)}) == {OWN: Path(sys.executable)}


@pytest.mark.parametrize(
    ("file", "found"),
    [
        (".pyenv/versions/3.6.15/bin/python3.6", "3.6"),
        (".local/share/uv/python/cpython-3.7.9-linux-x86_64-gnu/bin/python3.7", "3.7"),
        ("bin/python3.8", "3.8"),
        (".pyenv/versions/3.13.0t/bin/python3.13", None),
        (".pyenv/versions/3.14.0rc1/bin/python3.14", None),
        (".pyenv/versions/pypy3.10-7.3.15/bin/python3.10", None),
        (
            ".local/share/uv/python/cpython-3.13.1+freethreaded-linux-x86_64-gnu/bin/python3.13",
            None,
        ),
        (".local/share/uv/python/pypy-3.10.1-linux-x86_64-gnu/bin/python3.10", None),
        (".pyenv/versions/3.6.15/bin/pip", None),
        ("bin/python3.13t", None),
        ("bin/python3.8-config", None),
        ("bin/python2.7", None),
        ("bin/python3", None),  # a file that names no version
        ("shims/python3.8", None),
    ],
)
def test_the_version_is_read_from_the_name(tmp_path, file, found):
    _python(tmp_path / file)
    path = f"{tmp_path / 'nowhere'}:{tmp_path / 'bin'}:{tmp_path / 'shims'}"
    assert _found(tmp_path, path=path) == ({found: file} if found else {})


def test_what_python3_is_is_told_by_its_link(tmp_path):
    _python(tmp_path / "opt" / "python3.8")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").symlink_to(tmp_path / "opt" / "python3.8")
    assert _found(tmp_path, path=str(tmp_path / "bin")) == {"3.8": "bin/python3"}


def test_folders_named_by_variables_are_searched(tmp_path):
    _python(tmp_path / "p" / "versions" / "3.6.15" / "bin" / "python3.6")
    _python(tmp_path / "u" / "cpython-3.7.9-linux-x86_64-gnu" / "bin" / "python3.7")
    variables = {"PYENV_ROOT": str(tmp_path / "p"), "UV_PYTHON_INSTALL_DIR": str(tmp_path / "u")}
    assert sorted(_found(tmp_path, **variables)) == ["3.6", "3.7"]


def test_a_broken_python_gives_way_to_the_next(tmp_path):
    versions = tmp_path / ".pyenv" / "versions"
    _python(versions / "3.6.15" / "bin" / "python3.6", mode=0o644)
    (versions / "3.6.14" / "bin").mkdir(parents=True)
    (versions / "3.6.14" / "bin" / "python3.6").symlink_to(tmp_path / "gone")
    _python(versions / "3.6.9" / "bin" / "python3.6")
    assert _found(tmp_path) == {"3.6": ".pyenv/versions/3.6.9/bin/python3.6"}


def test_the_newest_patch_and_the_complete_python_come_first(tmp_path):
    for patch in ("3.8.9", "3.8.18"):
        _python(tmp_path / ".pyenv" / "versions" / patch / "bin" / "python3.8")
    _python(tmp_path / "bin" / "python3.8")
    found = _found(tmp_path, path=str(tmp_path / "bin"))
    assert found == {"3.8": ".pyenv/versions/3.8.18/bin/python3.8"}


def _client(*pythons: str) -> Client:
    return Client("2.0.0", date(2019, 12, 3), (), pythons, {})


@pytest.mark.parametrize(
    ("runs_on", "here", "chosen"),
    [
        ("3.6 3.9 3.10 3.11 3.12", "3.6 3.9 3.10 3.11 3.12", "3.11"),
        ("3.6 3.9 3.10 3.11", "3.10 3.12", "3.10"),
        ("3.6 3.7 3.8 3.9", "3.6 3.7 3.9 3.11", "3.9"),
        ("3.6 3.12", "3.6 3.12", "3.12"),
        ("3.6 3.12", "3.6", "3.6"),
        ("3.13 3.14", "3.14", "3.14"),
    ],
)
def test_the_preferred_python_that_runs_the_client_is_chosen(runs_on, here, chosen):
    interpreters = {python: Path(f"/p/{python}") for python in here.split()}
    assert choose_python(_client(*runs_on.split()), interpreters) == (chosen, Path(f"/p/{chosen}"))


@pytest.mark.parametrize(
    ("here", "found"), [({"3.11": Path("/a"), "3.9": Path("/b")}, "3.9, 3.11"), ({}, "none")]
)
def test_without_a_python_the_reason_names_what_would_do(here, found):
    assert choose_python(_client("3.6", "3.7", "3.8"), here) == (
        f"Metaflow 2.0.0 runs on Python 3.6, 3.7 or 3.8; found: {found} "
        "(looked on PATH, in pyenv's and uv's folders)"
    )


def test_the_cause_is_told_of_the_pythons_that_are_here():
    (old,) = (client for client in load().clients if client.name == "2.0.0")
    reason = choose_python(old, {"3.12": Path("/a"), "3.11": Path("/b")})
    assert isinstance(reason, str)
    assert reason.endswith("; on 3.11 or 3.12: collections.Sequence is gone")
    (imp,) = (client for client in load().clients if client.name == "2.8.5")
    reason = choose_python(imp, {"3.12": Path("/a")})
    assert isinstance(reason, str)
    assert reason.endswith("; on 3.12: No module named 'imp' (zombie-imp would bring it)")


def test_a_python_that_is_asked_for_is_taken_whatever_it_runs():
    here = {"3.12": Path("/a"), "3.9": Path("/b")}
    assert asked_python("3.12", here) == ("3.12", Path("/a"))
    with pytest.raises(UsageError, match=r"^Python 3\.10 is not here; found: 3\.9, 3\.12 \(looked"):
        asked_python("3.10", here)


def test_an_environments_interpreter_tells_its_version_by_its_folder(tmp_path):
    (tmp_path / "lib" / "python3.10").mkdir(parents=True)
    assert python_of(tmp_path / "bin" / "python") == "3.10"
