"""What is installed in the environment of a client, and which Python it has."""

from __future__ import annotations

import functools
import platform
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from harness.catalog.interpreters import python_of
from harness.core.entries import Environment, now
from harness.core.provenance import digest, digest_of_files
from harness.machine.installed import distributions_in, url_of, versions_in, whole_version
from harness.machine.tools import ROOT
from harness.stack.service.git import CHECKOUTS


def describe_environment(run: str, client: str, interpreter: Path) -> Environment:
    """Return what an environment holds, as an entry of a journal.

    Args:
        run: the run's id.
        client: release of the client that it is for.
        interpreter: its Python.

    Raises:
        InfraError: when that does not run.
    """
    whole, packages = whole_version(interpreter), versions_in(interpreter)
    python, _, build = whole.partition(" ")
    return Environment(
        at=now(),
        run=run,
        client=client,
        python=python,
        build=build,
        digest=digest([whole, packages]),
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
        or (str(wanted.url).startswith("file:") and wanted.url != url_of(dist))
    ]


def holds(interpreter: Path, lines: Sequence[str]) -> bool:
    """Return whether an environment holds what a whole list names, and nothing else.

    Nobody knows that of files of a user, which may have changed since they were installed.

    Args:
        interpreter: its Python.
        lines: a requirement for each package, with its version.
    """
    named = {canonicalize_name(Requirement(line).name) for line in lines}
    as_named = named == set(_by_name(interpreter)) and not lacking(interpreter, lines)
    return as_named and not of_files(lines)


def of_files(lines: Sequence[str]) -> list[str]:
    """Return the names of packages that are files of a user: they change, and keep their version.

    Those of a checkout lie in a folder that is named by what it holds.
    """
    named = map(Requirement, lines)
    ours = f"{CHECKOUTS.as_uri()}/"
    return [
        one.name
        for one in named
        if (one.url or "").startswith("file:") and not (one.url or "").startswith(ours)
    ]


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


@functools.cache
def describe_machine() -> str:
    """Return what of a machine may decide what comes of a client: ``Linux x86_64 glibc 2.36``."""
    libc = " ".join(platform.libc_ver())
    return f"{platform.system()} {platform.machine()} {libc}".strip()


_DECIDES_NOTHING = ("cli", "report", "ui")
"""Folders of the harness: what they read is in points and settings, and they draw what came."""

RESTS_ON = ("docker", "msgspec", "packaging", "psutil", "psycopg2-binary", "requests", "urllib3")
"""What the harness reads rows, asks services, judges ranges and looks after processes by.

Not what draws (jinja2, rich), nor what installs (nox, uv): an environment's digest tells that.
"""


# Asked for by every cell, and the code does not change under a run.
@functools.cache
def digest_of_harness() -> str:
    """Return a digest of the harness's code that has a part in a cell, and of what runs it."""
    harness = ROOT / "harness"
    files = [
        path
        for path in sorted(harness.rglob("*"))
        if path.is_file() and path.parent.name != "__pycache__"
        if path.relative_to(harness).parts[0] not in _DECIDES_NOTHING
    ]
    return digest([sys.version, list(map(_here, RESTS_ON)), digest_of_files(files)])


def _here(name: str) -> str:
    """Return the version of a package of the harness's own; empty where another stands for it."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
