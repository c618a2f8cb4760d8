"""Running again what failed: the cells, the commands, and both runs put together.

A stage of a walk that is not green is run again by its cells, whatever came of them: none of them
need have failed where a migration did, or lost rows.

A cell that was red and is green when the same is run again is flaky; the summary finds it by the
``rerun`` entry that is written here.
"""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path

from harness.cli.declared import options_of
from harness.cli.option import value_in
from harness.cli.parser import build_parser
from harness.cli.secret import is_reference, read_secret
from harness.errors import UsageError, nearest
from harness.journal import SCHEMA, Entry, now
from harness.outcome import Status
from harness.redact import SECRET
from harness.report.files import write_reports
from harness.report.merge import merge, write_journal
from harness.report.summary import cells, green, runs, stages, totals_line
from harness.report.terminal import Screen
from harness.report.text import counted
from harness.tools import ROOT

_SERVICE = "--service"
_CLIENTS = "--metaflow"
_DATABASE = "--database-url"
_PASSWORD = "PGPASSWORD"  # noqa: S105 - the variable's name
_NAMED = 3
"""Cells that a message names, of all it is about."""

FAILED = (Status.FAIL, Status.TIMEOUT, Status.INFRA)
"""What is run again when no cell is named."""


def failed_cells(entries: Sequence[Entry]) -> list[Entry]:
    """Return the cells that failed, timed out or were infra."""
    return [cell for cell in cells(entries) if Status(cell["status"]) in FAILED]


def bad_stages(entries: Sequence[Entry]) -> list[Entry]:
    """Return the stages of walks that are not as expected."""
    return [stage for stage in stages(entries) if not green(stage)]


def cells_of(stage: Entry, entries: Sequence[Entry]) -> list[Entry]:
    """Return the cells of a stage, whose lines lead to it."""
    found = [entry for entry in entries if entry["kind"] == "cell" and entry["run"] == stage["run"]]
    ids = {cell["id"] for cell in found if cell["stage"] == stage["stage"]}
    return [cell for cell in cells(entries) if cell["id"] in ids]


def named_cells(entries: Sequence[Entry], ids: Iterable[str]) -> list[Entry]:
    """Return the cells of these ids, whatever came of them.

    Raises:
        UsageError: for an id that is not in the journal, naming the nearest.
    """
    by_id = {cell["id"]: cell for cell in cells(entries)}
    for name in ids:
        if name not in by_id:
            raise UsageError(f"no cell {name!r} in these results{nearest(name, by_id)}")
    return [by_id[name] for name in ids]


def refuse_databases(entries: Sequence[Entry], chosen: Iterable[Entry]) -> None:
    """Raise UsageError for a cell that ran over a user's database: its line makes a fresh one.

    A red cell that is green there would be called flaky.
    """
    begun = {run["run"]: run for run in runs(entries)}
    for cell in chosen:
        run = begun[cell["run"]]
        given = value_in(run["options"], _DATABASE)
        if given is not None and _DATABASE not in shlex.split(cell["rerun"]):
            raise UsageError(
                f"{cell['id']} ran over the database of {_DATABASE}, and its rerun line makes a"
                " fresh one, which tells nothing about yours: restore the copy and walk again:"
                f" nox -s {run['session']} -- {shlex.join(run['options'])}"
            )


def refuse_unset(entries: Sequence[Entry], chosen: Iterable[Entry]) -> None:
    """Raise UsageError when a line names a secret that is not there, before anything is run.

    Args:
        entries: of the journal, for how the runs were asked for.
        chosen: the cells that are to run again.
    """
    begun = {run["run"]: run for run in runs(entries)}
    needed: dict[str, list[str]] = {}
    for cell in chosen:
        for problem in _unset(shlex.split(cell["rerun"]), begun[cell["run"]]["options"]):
            needed.setdefault(problem, []).append(cell["id"])
    if needed:
        said = [f"{problem} (for {_some(ids)})" for problem, ids in needed.items()]
        raise UsageError(f"nothing was run again: {'; '.join(said)}")


def _unset(line: Sequence[str], given: Sequence[str]) -> Iterator[str]:
    """Yield what must be set before a line runs, for a line holds no secret.

    Args:
        line: its words.
        given: the options of the run it is from.
    """
    for option in options_of(value_in(line, "-s") or ""):
        written = value_in(line, option.name)
        if option.secret is not None and written is not None and is_reference(written):
            try:
                read_secret(option.name, written)
            except UsageError as error:
                yield f"{error}; it must hold what {option.name} was"
    # The line names the database without the password its URL had.
    had_password = SECRET in (value_in(given, _DATABASE) or "")
    if had_password and value_in(line, _DATABASE) and not os.environ.get(_PASSWORD):
        yield f"{_DATABASE}: the variable {_PASSWORD} is not set; it must hold the URL's password"


def _some(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return ", ".join(ids[:_NAMED]) + more


def commands(chosen: Sequence[Entry]) -> list[list[str]]:
    """Return the commands that run these cells again, and no others.

    Cells of one command line but for the service share a run; so do clients with the same
    services. Those of a walk share the walk to their stage, and a cell without a service, or of a
    UI, is run by its own line.
    """
    services: dict[tuple[str, str], dict[str, None]] = {}
    found: dict[str, None] = {}
    walks: dict[str, dict[str, None]] = {}
    for cell in chosen:
        if cell["stage"]:
            line = shlex.join(_replaced(shlex.split(cell["rerun"]), _CLIENTS, ""))
            walks.setdefault(line, {})[cell["client"]] = None
        elif _SERVICE not in shlex.split(cell["rerun"]):
            found[cell["rerun"]] = None
        else:
            blank = shlex.join(_replaced(shlex.split(cell["rerun"]), _SERVICE, ""))
            services.setdefault((blank, cell["client"]), {})[cell["service"]] = None
    together: dict[tuple[str, str], dict[str, None]] = {}
    for (blank, client), names in services.items():
        line = shlex.join(_replaced(shlex.split(blank), _CLIENTS, ""))
        together.setdefault((line, ",".join(names)), {})[client] = None
    for (line, joined), clients in together.items():
        words = _replaced(shlex.split(line), _SERVICE, joined)
        found[shlex.join(_replaced(words, _CLIENTS, ",".join(clients)))] = None
    return [
        *(_replaced(shlex.split(line), _CLIENTS, ",".join(names)) for line, names in walks.items()),
        *map(shlex.split, found),
    ]


def _replaced(words: Sequence[str], option: str, value: str) -> list[str]:
    at = list(words).index(option) + 1
    return [*words[:at], value, *words[at + 1 :]]


def rerun_main(arguments: Sequence[str]) -> int:
    """Run cells again and draw the reports of both; return 1 while one of them is not as expected.

    So it does while a stage on the way to them is not, or one cannot be run again.

    Raises:
        UsageError: when there are no results, no such cell in them, or cells that no line runs
            again as they were.
    """
    raw = build_parser("rerun").read(arguments)
    home = raw.source if raw.source.is_dir() else raw.source.parent
    before = merge([raw.source], home)
    bad = [] if raw.cells else bad_stages(before)
    chosen = named_cells(before, raw.cells) if raw.cells else _with_stages(before, bad)
    refuse_databases(before, chosen)
    refuse_unset(before, chosen)
    screen = Screen()
    left_out = [stage for stage in bad if not cells_of(stage, before)]
    for stage in left_out:
        screen.say(f"not run again: {_named(stage)}: these results have no cell that leads to it")
    if not chosen:
        if not bad:
            screen.say("nothing failed, timed out or was infra: nothing to run again")
        return int(bool(left_out))
    folder = _folder(home.resolve().parent)
    for words in commands(chosen):
        screen.say(f"running again: {shlex.join(words)}")
        _run([*words, "--results", str(folder / "runs")])
    journals = _journals(folder)
    if not journals:
        shutil.rmtree(folder)
        screen.say("nothing was run again: see above")
        return 1
    entries = _together(raw.source, journals, folder)
    screen.end(entries, folder)
    return int(not _told(screen, entries, {cell["id"] for cell in chosen}) or bool(left_out))


def _with_stages(entries: Sequence[Entry], bad: Iterable[Entry]) -> list[Entry]:
    """Return the cells that failed, and those of these stages, each once."""
    chosen = [*failed_cells(entries), *(cell for stage in bad for cell in cells_of(stage, entries))]
    return list({cell["id"]: cell for cell in chosen}.values())


def _named(stage: Entry) -> str:
    return f"stage {stage['stage']:02d}, {stage['service']}: {stage['status']}"


def _told(screen: Screen, entries: Sequence[Entry], ids: Collection[str]) -> bool:
    """Say what came of the cells that were run again; return whether all is as expected now.

    Args:
        screen: where to say it.
        entries: of both runs; the last names the reruns.
        ids: of the cells.
    """
    new = set(entries[-1]["runs"])
    again = [cell for cell in cells(entries) if cell["id"] in ids and cell["run"] in new]
    screen.say(f"run again: {totals_line(again)}")
    if len(again) < len(ids):
        screen.say(f"not run again: {counted(len(ids) - len(again), 'cell')}; see above")
    still = [stage for stage in bad_stages(entries) if stage["run"] in new]
    for stage in still:
        screen.say(f"run again and not green: {_named(stage)}")
    return len(again) == len(ids) and not still and all(map(green, again))


def _folder(results: Path) -> Path:
    moment = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S")
    folder = results / f"{moment}-rerun-{secrets.token_hex(2)}"
    folder.mkdir(parents=True)
    return folder


def _run(words: Sequence[str]) -> None:
    """Run one nox command; its cells say how it ended, so its exit code does not."""
    program, *rest = words
    command = [sys.executable, "-m", program, "--noxfile", str(ROOT / "noxfile.py"), *rest]
    subprocess.run(command, check=False)


def _journals(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.glob("runs/*/journal.jsonl") if not path.parent.is_symlink()
    )


def _together(source: Path, journals: Sequence[Path], folder: Path) -> list[Entry]:
    """Write the journal and the reports of the first run and of its reruns; return the entries.

    The last entry names the reruns.
    """
    again = [run["run"] for run in runs(merge(journals, folder))]
    note = {"kind": "rerun", "schema": SCHEMA, "at": now(), "runs": again}
    entries = [*merge([source, *journals], folder), note]
    write_journal(entries, folder)
    write_reports(entries, folder)
    newest = folder.with_name(f".latest-{folder.name}")
    newest.symlink_to(folder.name)
    newest.replace(folder.with_name("latest"))
    return entries
