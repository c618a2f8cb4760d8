"""Tool environments: parts with dependencies of their own get a virtual environment each.

They are made on first use under .nox/tools/ and reused as long as their requirements stay.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.machine.errors import InfraError
from harness.machine.installer import index_trouble

ROOT = Path(__file__).resolve().parents[2]
"""The top folder of the project."""

TOOLS = ROOT / ".nox" / "tools"


def find_uv() -> str | None:
    """Return the path of uv: the one nox brings with its ``uv`` extra, or one on PATH."""
    try:
        from uv import find_uv_bin  # noqa: PLC0415 - optional: absent without the extra
    except ImportError:
        return shutil.which("uv")
    try:
        return str(find_uv_bin())
    except FileNotFoundError:
        return shutil.which("uv")


def tool_python(
    name: str,
    requirements: Sequence[str],
    python: str = sys.executable,
    flags: Sequence[str] = (),
) -> Path:
    """Return the Python of the tool environment ``name``, made now if it is not there yet.

    Args:
        name: a word for the folder.
        requirements: PEP 508 requirements; another list makes another environment.
        python: the interpreter to base it on.
        flags: of ``uv pip install``.

    Raises:
        InfraError: when it cannot be made, with the index that cannot be reached, or else the
            installer's own last lines.
    """
    # The interpreter counts: what was installed for one is of no use to another.
    decided = "\n".join([python, *requirements, *flags])
    digest = hashlib.sha256(decided.encode()).hexdigest()[:12]
    folder = TOOLS / f"{name}-{digest}"
    # Written last: an environment whose making was cut short is made anew.
    done = folder / "complete"
    interpreter = folder / "bin" / "python"
    TOOLS.mkdir(parents=True, exist_ok=True)
    # Two runs side by side may want the same tool at the same time.
    with (TOOLS / f"{name}-{digest}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            wanted = [*flags, *requirements]
            for command in _install_commands(folder, interpreter, wanted, python):
                _run(command, name)
            done.touch()
    return interpreter


def compiling(environment: Path) -> list[str]:
    """Return the flags by which uv compiles what it installs, as pip does unasked.

    Else the first programs of the environment do it, each for itself when they start together.
    """
    # uv's own program for it does not run on 3.6.
    return [] if (environment / "lib" / "python3.6").exists() else ["--compile-bytecode"]


def _install_commands(
    folder: Path, interpreter: Path, requirements: Sequence[str], python: str
) -> Iterator[list[str]]:
    """Yield one command after the other, each when those before it are done."""
    # uv makes one in about 2 s, venv and pip take 10 (measured).
    uv = find_uv()
    if uv:
        yield [uv, "venv", "--quiet", "--python", python, str(folder)]
        install = [uv, "pip", "install", "--quiet", *compiling(folder)]
        yield [*install, "--python", str(interpreter), *requirements]
        return
    yield [python, "-m", "venv", str(folder)]
    yield [str(interpreter), "-m", "pip", "install", "--quiet", *requirements]


def _run(command: list[str], name: str) -> None:
    finished = subprocess.run(
        command, capture_output=True, encoding="utf-8", errors="replace", check=False
    )
    if finished.returncode:
        said = finished.stdout + finished.stderr
        last = "\n" + "\n".join(said.splitlines()[-15:])
        why = index_trouble(said)
        told = f" {why}" if why else last
        raise InfraError(f"the tool environment {name!r} could not be made:{told}")
