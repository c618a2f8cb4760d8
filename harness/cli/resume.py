"""Going on with a run that was cut short, by what its journal says it was asked for."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from harness.cli.asked import FULL
from harness.cli.declarations.running import METAFLOW, RESUME
from harness.cli.declared import options_of
from harness.cli.option import Option, Role
from harness.cli.parser import Parser
from harness.cli.secret import is_reference, read_secret
from harness.core.entries import Begun
from harness.core.journal import read
from harness.machine.errors import UsageError, nearest
from harness.machine.secrets import SECRET

_RESULTS = "--results"
_JOBS = "--jobs"


def resumed(session: str, parser: Parser, raw: argparse.Namespace) -> argparse.Namespace:
    """Return the options that the run named by ``--resume`` was given, and those beside it.

    Args:
        session: its name.
        parser: of its options.
        raw: what follows ``--``, parsed.

    Returns:
        What ``Parser.read`` does; ``resume`` is the folder of the run.

    Raises:
        UsageError: for an option that cannot stand beside it, or when no such run can go on.
    """
    if session == FULL:
        raise UsageError(
            f"--resume: {FULL} cannot go on by itself: run nox -s fixed_db with this --resume, then"
            " nox -s ui"
        )
    beside = _beside(session)
    for option in raw.named:
        if option not in beside and option.name != RESUME.name:
            names = ", ".join(one.name for one in beside)
            raise UsageError(
                f"{option.name} was settled when the run began: leave it out; beside --resume go:"
                f" {names}"
            )
    folder = _folder(session, raw.results.resolve(), raw.resume)
    given = _given(parser, session, folder)
    now = {name: text for name, text in raw.texts.items() if name != RESUME.name}
    given.texts |= now | {_RESULTS: str(folder.parent)}
    given = parser.validated(given)
    given.resume = folder
    return given


def _beside(session: str) -> list[Option]:
    """Return the options that change no outcome: they may stand beside ``--resume``."""
    of_session = options_of(session)
    free = [option for option in of_session if option.role is Role.NOT_NEEDED]
    jobs = [option for option in of_session if option.name == _JOBS]
    return [*jobs, *(one for one in free if one.name != RESUME.name)]


def _folder(session: str, results: Path, text: str) -> Path:
    """Return the folder of a run that is named by its id or its folder, or of the last run."""
    journals = results.glob(f"*-{session}-*/journal.jsonl")
    runs = sorted(path.parent.name for path in journals)
    if text == RESUME.bare:
        if not runs:
            raise UsageError(f"--resume: no run of {session} in {results}; name the folder of one")
        return results / runs[-1]
    folder = (Path(text) if os.sep in text else results / text).resolve()
    if not (folder / "journal.jsonl").is_file():
        where = folder.parent
        raise UsageError(f"--resume {text}: no such run in {where}{nearest(folder.name, runs)}")
    return folder


def _given(parser: Parser, session: str, folder: Path) -> argparse.Namespace:
    """Return what a run was given, parsed: its options, its clients, where its secrets are."""
    begun = read(folder)[0]
    if not isinstance(begun, Begun) or begun.run != folder.name:
        raise UsageError(f"--resume: {folder} is not the folder of one run: name that of the run")
    if begun.session != session:
        raise UsageError(
            f"--resume: {begun.run} is a run of {begun.session}:"
            f" nox -s {begun.session} -- --resume {begun.run}"
        )
    raw = parser.parsed(begun.options)
    # nox may have chosen them: compat(2.19.39). The same ones are what goes on.
    raw.texts[METAFLOW.name] = ",".join(begun.clients)
    for option in options_of(session):
        _refer_to_secret(raw.texts, option)
    return raw


def _refer_to_secret(texts: dict[str, str], option: Option) -> None:
    """Say where the secret of an option is now, in place of what a journal holds for it."""
    text = texts.get(option.name)
    if text is None:
        return
    if SECRET in text and option.secret is None:
        raise UsageError(
            f"--resume: {option.name} was what is kept secret, too: its journal does not hold it"
        )
    if SECRET in text:
        text = texts[option.name] = f"env:{option.variable}"
    if option.secret is not None and is_reference(text, option.secret):
        try:
            read_secret(option.name, text)
        except UsageError as error:
            raise UsageError(f"--resume: {error}; it must hold what {option.name} was") from error
