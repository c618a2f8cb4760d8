"""What runs on the workers of a cluster are asked for, by what their run was asked for."""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.cli.option import Option

_OF_THIS_RUN = {
    *("--scheduler", "--results", "--resume", "--plan", "--backend"),
    *("--shard", "--durations", "--strategy", "--verify", "--verify-seed"),
}
"""What says which cells run, and where: workers are told that one by one."""
_MAY_BE_PATHS = {"--checkout", "--metaflow-checkout", "--deps", "--service-deps"}
"""Options whose values, or parts of them, name files, or something else."""


def words_elsewhere(session: str, raw: argparse.Namespace, backend: str) -> tuple[str, ...]:
    """Return what follows ``--`` of the runs of workers; nothing where there are none.

    Paths are absolute, as workers have folders of their own: what they name has to be there, too.

    Args:
        session: of the run.
        raw: its options, as parsed.
        backend: where its database and services come from.
    """
    if raw.scheduler is None:
        return ()
    words = [] if session == "local" else ["--backend", backend]
    for option in raw.named:
        if option.name not in _OF_THIS_RUN:
            given = raw.references.get(option.name) or _absolute(option, raw.texts[option.name])
            words += option.words(given)
    return tuple(words)


def _absolute(option: Option, text: str) -> str:
    if option.kind is Path:
        return str(Path(text).resolve())
    if option.name not in _MAY_BE_PATHS:
        return text
    parts = (part.strip() for part in text.split(","))
    return ",".join(str(Path(one).resolve()) if Path(one).exists() else one for one in parts)
