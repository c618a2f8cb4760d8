"""What runs on the workers of a cluster are asked for, by what their run was asked for."""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.cli.option import Option
from harness.cli.secret import FILE, is_reference
from harness.machine.errors import UsageError
from harness.stack.store.objects import S3Root

_OF_THIS_RUN = {
    *("--scheduler", "--results", "--resume", "--plan", "--backend"),
    *("--shard", "--durations", "--strategy", "--verify", "--verify-seed"),
}
"""What says which cells run, and where: workers are told that one by one."""
_MAY_BE_PATHS = {"--checkout", "--metaflow-checkout", "--deps", "--service-deps"}
"""Options whose values, or parts of them, name files, or something else."""
_FOLDERS = {"--postgres"}
"""Options whose parts are folders where they have a slash in them."""


def words_elsewhere(
    session: str,
    raw: argparse.Namespace,
    backend: str,
    s3_root: S3Root | None,
    s3_endpoint: str | None,
) -> tuple[str, ...]:
    """Return what follows ``--`` of the runs of workers; nothing where there are none.

    Paths are absolute, as workers have folders of their own: what they name has to be there, too.

    Args:
        session: of the run.
        raw: its options, as parsed.
        backend: where its database and services come from.
        s3_root: where its S3 data goes, by an option or a variable of this machine; None for
            servers of the workers' own.
        s3_endpoint: address of the server that has it; None for Amazon's.

    Raises:
        UsageError: for a secret that is written out: workers are told by what name they have it.
    """
    if raw.scheduler is None:
        return ()
    words = [] if session == "local" else ["--backend", backend]
    for option in raw.named:
        if option.name not in _OF_THIS_RUN:
            words += option.words(_given(option, raw))
    # By a variable these are of this machine alone.
    for name, value in (("--s3-root", s3_root and s3_root.url), ("--s3-endpoint", s3_endpoint)):
        if value and name not in raw.texts:
            words += [name, value]
    return tuple(words)


def _given(option: Option, raw: argparse.Namespace) -> str:
    """Return what workers are given as the value of an option."""
    text = str(raw.texts[option.name])
    if option.name not in raw.references:
        return _absolute(option, text)
    assert option.secret is not None, "no other is referred to"
    if not is_reference(text, option.secret):
        raise UsageError(
            f"{option.name}: with --scheduler a secret is named, not written out: env:NAME, a"
            " variable that each worker has, or file:PATH, a file there"
        )
    if text.startswith(FILE):
        return f"{FILE}{_resolved(text.removeprefix(FILE))}"
    return text


def _absolute(option: Option, text: str) -> str:
    if option.kind is Path:
        return _resolved(text)
    parts = [part.strip() for part in text.split(",")]
    if option.name in _MAY_BE_PATHS:
        parts = [_resolved(one) if Path(one).expanduser().exists() else one for one in parts]
    elif option.name in _FOLDERS:
        parts = [_resolved(one) if "/" in one else one for one in parts]
    else:
        return text
    return ",".join(parts)


def _resolved(path: str) -> str:
    return str(Path(path).expanduser().resolve())
