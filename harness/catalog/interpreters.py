"""The Pythons of this machine, and which of them a client gets.

Nothing is launched: ``nox -l`` asks for every client and must answer at once, so the version is
read from the name of a file or folder, and a Python counts when its file is there and executable.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from harness.catalog.releases import Client
from harness.machine.errors import UsageError

PREFERENCE = ("3.11", "3.10", "3.9", "3.8", "3.7", "3.12", "3.13", "3.6")
"""Which Python to take when several run a client.

3.11 or 3.10 runs every release but 2.0.0 and 2.0.1, so most clients share one Python and one
cache of wheels; 3.9 to 3.7 run those two as well. 3.12 and 3.13 lack modules that old dependencies
of old clients import, and 3.6 is the one that fewest package indexes and tools still serve.
"""

_LOOKED = "PATH, in pyenv's and uv's folders"
"""Where Pythons are looked for, in words."""

# A free-threaded build is named 3.13t; the clients were never tried on one.
_FILE_NAME = re.compile(r"python(3\.\d+)")
_PYENV_FOLDER = re.compile(r"(3\.\d+)\.\d+")
_UV_FOLDER = re.compile(r"cpython-(3\.\d+)\.\d+-[^+]+")


def choose_python(client: Client, interpreters: Mapping[str, Path]) -> tuple[str, Path] | str:
    """Return the minor version and the path of the Python that ``client`` runs on.

    When none is there, return the reason instead, as a sentence for the user.

    Args:
        client: names the Pythons that run it.
        interpreters: what ``find_interpreters`` returns.
    """
    preferred = [python for python in PREFERENCE if python in client.pythons]
    others = [python for python in client.pythons if python not in PREFERENCE]
    for python in (*preferred, *others):
        if python in interpreters:
            return python, interpreters[python]
    return (
        f"Metaflow {client.name} runs on Python {_in_words(client.pythons)}; "
        f"{_found(interpreters)}{_causes(client, interpreters)}"
    )


def asked_python(python: str, interpreters: Mapping[str, Path]) -> tuple[str, Path]:
    """Return the minor version and the path of a Python that was asked for.

    Args:
        python: its minor version.
        interpreters: what ``find_interpreters`` returns.

    Raises:
        UsageError: when it is not here, with what is, and how to get it.
    """
    if python not in interpreters:
        # The builds that uv installs begin with 3.7.
        tool = "pyenv" if python == "3.6" else "uv python"
        raise UsageError(
            f"Python {python} is not here; {_found(interpreters)};"
            f" for example: {tool} install {python}"
        )
    return python, interpreters[python]


def _found(interpreters: Mapping[str, Path]) -> str:
    here = ", ".join(sorted(interpreters, key=by_minor)) or "none"
    return f"found: {here} (looked on {_LOOKED})"


def _causes(client: Client, interpreters: Mapping[str, Path]) -> str:
    """Return why the Pythons that are here do not run a client, as the end of a sentence."""
    by_cause: dict[str, list[str]] = {}
    for python in sorted(interpreters, key=by_minor):
        if python in client.fails:
            by_cause.setdefault(client.fails[python].why, []).append(python)
    told = [f"on {_in_words(tuple(pythons))}: {cause}" for cause, pythons in by_cause.items()]
    return f"; {'; '.join(told)}" if told else ""


def python_of(interpreter: Path) -> str:
    """Return the minor version, such as ``3.11``, of an environment's interpreter."""
    folders = (interpreter.parent.parent / "lib").glob("python3.*")
    return next(folder.name for folder in folders).removeprefix("python")


def find_interpreters(environ: Mapping[str, str] = os.environ) -> dict[str, Path]:
    """Return the Pythons of this machine: minor version, such as ``3.11``, and path.

    Of several with the same minor version the first counts: pyenv's newest patch, uv's newest
    patch, PATH, the Python that runs this. pyenv's and uv's come first because they are complete:
    a distribution's may lack distutils or the headers that old dependencies are built with.

    Args:
        environ: PATH, HOME, and where pyenv and uv keep theirs.
    """
    found: dict[str, Path] = {}
    for minor, path in _candidates(environ):
        if minor not in found and os.access(path, os.X_OK) and path.is_file():
            found[minor] = path
    return found


def _candidates(environ: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    home = Path(environ.get("HOME") or Path.home())
    pyenv = Path(environ.get("PYENV_ROOT") or home / ".pyenv")
    data = Path(environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    uv = Path(environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv" / "python")
    yield from _in_folders(pyenv / "versions", _PYENV_FOLDER)
    yield from _in_folders(uv, _UV_FOLDER)
    yield from _on_path(environ.get("PATH", ""))
    if "t" not in sys.abiflags:
        yield f"3.{sys.version_info.minor}", Path(sys.executable)


def _on_path(path: str) -> Iterator[tuple[str, Path]]:
    """Yield the Pythons of PATH, without shims: one may stand for a Python that is not there."""
    for folder in (Path(entry) for entry in path.split(os.pathsep) if entry):
        # A PATH kept by sudo may name folders of another user that this one cannot look into.
        if folder.name == "shims" or not _may_look_into(folder):
            continue
        for file in sorted(folder.glob("python*")):
            # What python3 and python are is told by the file they link to.
            name = file.resolve().name if file.name in {"python3", "python"} else file.name
            match = _FILE_NAME.fullmatch(name)
            if match:
                yield match[1], file


def _in_folders(parent: Path, name: re.Pattern[str]) -> Iterator[tuple[str, Path]]:
    """Yield the Python of each folder whose name tells its version, newest patch first."""
    if not _may_look_into(parent):
        return
    # By numbers: as texts 3.11.9 comes after 3.11.10.
    folders = sorted(parent.glob("*"), key=lambda folder: _numbers(folder.name), reverse=True)
    for folder in folders:
        match = name.fullmatch(folder.name)
        if match:
            yield match[1], folder / "bin" / f"python{match[1]}"


def _may_look_into(folder: Path) -> bool:
    return os.access(folder, os.R_OK | os.X_OK)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def by_minor(python: str) -> int:
    """Return what puts minor versions in order: as texts 3.9 comes after 3.10."""
    return int(python.split(".")[1])


def _in_words(pythons: tuple[str, ...]) -> str:
    return pythons[0] if len(pythons) == 1 else f"{', '.join(pythons[:-1])} or {pythons[-1]}"
