"""What is installed in the environment of a client, and which Python it has."""

from __future__ import annotations

import functools
import json
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path, PurePosixPath

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from harness.catalog.interpreters import python_of
from harness.core.entries import Environment, now
from harness.core.provenance import digest, digest_of_files
from harness.machine.tools import ROOT, distributions_in


def describe_environment(run: str, client: str, interpreter: Path) -> Environment:
    """Return what an environment holds, as an entry of a journal.

    Args:
        run: the run's id.
        client: release of the client that it is for.
        interpreter: its Python.
    """
    packages = _packages(interpreter)
    python = _version(interpreter.parent.parent) or python_of(interpreter)
    return Environment(
        at=now(),
        run=run,
        client=client,
        python=python,
        digest=digest([python, packages]),
        packages=packages,
    )


def lacking(interpreter: Path, requirements: Sequence[str]) -> list[str]:
    """Return the requirements that what is installed in an environment does not meet.

    Args:
        interpreter: its Python.
        requirements: what was asked to be installed there.
    """
    installed = _by_name(interpreter)
    minor = {"python_version": python_of(interpreter)}
    return [
        text
        for text, wanted in ((text, Requirement(text)) for text in requirements)
        if wanted.marker is None or wanted.marker.evaluate(minor)
        if (dist := installed.get(canonicalize_name(wanted.name))) is None
        # packaging leaves pre-releases out of a range unless it is asked for them.
        or not wanted.specifier.contains(dist.version, prereleases=True)
        # What lies elsewhere is named in several ways.
        or (str(wanted.url).startswith("file:") and wanted.url != _url(dist))
    ]


def holds(interpreter: Path, lines: Sequence[str]) -> bool:
    """Return whether an environment holds what a whole list names, and nothing else.

    Args:
        interpreter: its Python.
        lines: a requirement for each package, with its version.
    """
    named = {canonicalize_name(Requirement(line).name) for line in lines}
    return named == set(_by_name(interpreter)) and not lacking(interpreter, lines)


def beside(interpreter: Path, requirements: Sequence[str]) -> list[str]:
    """Return the names of what is installed in an environment and no requirement asks for.

    Neither do the requirements of what one asks for. Installers are not counted.

    Args:
        interpreter: its Python.
        requirements: what was asked to be installed there.
    """
    left = _by_name(interpreter)
    reached = [Requirement(text) for text in (*requirements, "pip", "setuptools", "wheel")]
    while reached:
        wanted = reached.pop()
        dist = left.pop(canonicalize_name(wanted.name), None)
        needed = map(Requirement, (dist and dist.requires) or ())
        # What an extra brings, where one is asked for; markers of machines count as met.
        reached += [one for one in needed if wanted.extras or "extra" not in str(one.marker)]
    return sorted(left)


def _by_name(interpreter: Path) -> dict[str, metadata.Distribution]:
    """Return what is installed in an environment, by normalized name."""
    found = distributions_in(interpreter)
    return {canonicalize_name(dist.metadata["Name"]): dist for dist in found}


def _packages(interpreter: Path) -> dict[str, str]:
    """Return the versions of what is installed in an environment, by name, in order of names."""
    found = {
        dist.metadata["Name"].lower().replace("_", "-"): _told_version(dist)
        for dist in distributions_in(interpreter)
    }
    # The order of files in a folder is not that of another machine; the digest must be.
    return dict(sorted(found.items()))


def _url(dist: metadata.Distribution) -> str:
    """Return where a package was installed from; empty for an index."""
    text = dist.read_text("direct_url.json")
    return str(json.loads(text)["url"]) if text else ""


def _told_version(dist: metadata.Distribution) -> str:
    """Return the version of a package; of one from files also the name of their folder.

    That of a checkout tells its commit and what was changed.
    """
    folder = PurePosixPath(_url(dist).removesuffix(".whl")).name if _url(dist) else ""
    return f"{dist.version} ({folder})" if folder else dist.version


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


@functools.cache
def describe_machine() -> str:
    """Return what of a machine may decide what comes of a client: ``Linux x86_64 glibc 2.36``."""
    libc = " ".join(platform.libc_ver())
    return f"{platform.system()} {platform.machine()} {libc}".strip()


_DECIDES_NOTHING = ("cli", "report", "ui")
"""Folders of the harness: what they read is in points and settings, and they draw what came."""


# Asked for by every cell, and the code does not change under a run.
@functools.cache
def digest_of_harness() -> str:
    """Return a digest of all of the harness's own code that has a part in what comes of a cell."""
    harness = ROOT / "harness"
    folders = sorted(set(harness.iterdir()) - {harness / name for name in _DECIDES_NOTHING})
    return digest_of_files(path for folder in folders for path in sorted(folder.rglob("*.py")))
