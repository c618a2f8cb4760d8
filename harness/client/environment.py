"""What is installed in the environment of a client, and which Python it has."""

from __future__ import annotations

import functools
from importlib import metadata
from pathlib import Path

from harness.catalog.interpreters import python_of
from harness.core.entries import Environment, now
from harness.core.provenance import digest, digest_of_files
from harness.stack import proxy


def describe_environment(run: str, client: str, interpreter: Path) -> Environment:
    """Return what an environment holds, as an entry of a journal.

    Args:
        run: the run's id.
        client: release of the client that it is for.
        interpreter: its Python.
    """
    # Not resolved: the interpreter of an environment is a link to the one it was made from.
    home = interpreter.parent.parent
    packages = _packages(home / "lib" / f"python{python_of(interpreter)}" / "site-packages")
    python = _version(home) or python_of(interpreter)
    return Environment(
        at=now(),
        run=run,
        client=client,
        python=python,
        digest=digest([python, packages]),
        packages=packages,
    )


def _packages(folder: Path) -> dict[str, str]:
    """Return the versions of what is installed in a folder, by name, in order of names."""
    # Read from outside: old Pythons of old clients have no importlib.metadata of their own.
    found = {
        dist.metadata["Name"].lower().replace("_", "-"): dist.version
        for dist in metadata.distributions(path=[str(folder)])
        if dist.metadata["Name"]
    }
    # The order of files in a folder is not that of another machine; the digest must be.
    return dict(sorted(found.items()))


def _version(home: Path) -> str:
    """Return the whole version of the Python that an environment was made with; empty if untold."""
    try:
        lines = (home / "pyvenv.cfg").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return ""
    told = {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}
    # uv and virtualenv say version_info, the latter with more parts; venv says version.
    version = told.get("version_info") or told.get("version", "")
    return ".".join(version.split(".")[:3])


# Asked for by every cell, and the code does not change under a run.
@functools.cache
def digest_of_checks() -> str:
    """Return a digest of the harness's own code that runs clients and judges what they answer.

    The relay between them and a service is a part of it.
    """
    folders = (Path(__file__).parent, Path(proxy.__file__).parent)
    return digest_of_files(path for folder in folders for path in sorted(folder.rglob("*.py")))
