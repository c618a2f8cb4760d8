"""Which PostgreSQL databases are on: what ``--postgres`` and ``--postgres-upgrade`` name."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from docker.utils import parse_repository_tag

from harness.catalog.versions import load
from harness.machine.errors import InfraError, UsageError, nearest
from harness.run.options import Options
from harness.stack.containers.engine import find_engine
from harness.stack.containers.images import Images
from harness.stack.database.binaries import system_majors
from harness.stack.database.wheel import MAJORS

_ALONE = "--postgres"
_UPGRADE = "--postgres-upgrade"
_IMAGE = "--postgres-image"


def _given(raw: argparse.Namespace) -> tuple[str, str | None]:
    """Return the option that names what databases are on, and what it was given."""
    if raw.postgres_upgrade is not None:
        return _UPGRADE, raw.postgres_upgrade
    return _ALONE, raw.postgres


def of_folders(raw: argparse.Namespace) -> list[str]:
    """Return the option that names a folder of this machine's, which no container has."""
    name, text = _given(raw)
    return [name] if text and "/" in text else []


def variants_of(raw: argparse.Namespace, backend: str, tags: Sequence[str]) -> tuple[str, ...]:
    """Return every PostgreSQL that is asked for, paths whole; an empty one unasked.

    Args:
        raw: the options, as parsed.
        backend: where databases come from.
        tags: those of the image that are known.

    Raises:
        UsageError: for one that is not to be had, or given twice; for several on one port; for an
            upgrade from one to none.
    """
    name, text = _given(raw)
    if text is None:
        return ("",)
    variants = tuple(part.strip() for part in text.split(","))
    for variant in variants:
        if variants.count(variant) > 1:
            raise UsageError(f"{name} {text}: {variant!r} is given twice")
        if not re.fullmatch(r"[\w./~-]+", variant):
            raise UsageError(f"{name} {text}: {variant!r} is no major, tag or folder")
        if backend == "embedded":
            _check_here(name, variant)
        else:
            _check_tag(name, variant, tags)
    if name == _UPGRADE and len(variants) == 1:
        raise UsageError(f"{name} {text}: name where the database moves, too, as in 16,18")
    if raw.database_port is not None and len(variants) > 1:
        raise UsageError(
            f"--database-port {raw.database_port}: one port, and {name} names"
            f" {len(variants)} servers"
        )
    return tuple(str(Path(one).resolve()) if "/" in one else one for one in variants)


def _check_here(name: str, variant: str) -> None:
    """Refuse a major that this machine has not; folders are looked into later."""
    of_system = [major for major in system_majors() if major not in MAJORS]
    if "/" in variant or variant in {*MAJORS, *of_system}:
        return
    also = f", this machine {' and '.join(of_system)}" if of_system else ""
    raise UsageError(
        f"{name} {variant}: the wheel has {' and '.join(MAJORS)}{also}"
        f"{nearest(variant, [*MAJORS, *of_system])}; name a folder of binaries, such as"
        f" /usr/lib/postgresql/{variant}/bin, or use --backend docker"
    )


def _check_tag(name: str, variant: str, tags: Sequence[str]) -> None:
    """Refuse a bare major that no service is known to run on; the registry knows other tags."""
    if variant.isdecimal() and variant not in tags:
        raise UsageError(
            f"{name} {variant}: the image postgres is taken from {tags[0]} to {tags[-1]}"
            f"{nearest(variant, tags)}; versions.json lists them"
        )


def check_images(options: Options) -> None:
    """Refuse an image of PostgreSQL that a run over containers would not get; none is pulled.

    Raises:
        UsageError: which one, why, and what there is instead.
        InfraError: when the engine is gone.
    """
    with closing(find_engine()) as engine:
        images = Images(engine, options.pull, options.registry, lambda _: None)
        for variant, image in options.postgres_images.items():
            try:
                images.check(image)
            except InfraError as error:
                asked = f"{_UPGRADE if options.postgres_upgrade else _ALONE} {variant}"
                instead = _instead(image, images.tags_here(image), options.pull)
                raise UsageError(
                    f"{asked if variant else f'{_IMAGE} {image}'}: {error}{instead}"
                ) from error


def _instead(image: str, here: Sequence[str], pull: str) -> str:
    """Return which tags there are instead of that of an image that cannot be had."""
    repository, tag = parse_repository_tag(image)
    known = load().postgres.tags if repository == "postgres" and pull != "never" else ()
    if not known and not here:
        return ""
    # Of 18-alpin all that is like a major is its beginning.
    close = nearest(tag or "", [*here, *known]) or nearest((tag or "")[:2], known)
    told = [f"versions.json lists {known[0]} to {known[-1]}"] if known else []
    told += [f"the engine has {', '.join(here)}"] if here else []
    return f"{close}; {', '.join(told)}"
