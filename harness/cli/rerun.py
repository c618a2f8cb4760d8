"""Running again what failed: the cells, the commands, and both runs put together.

A stage of a walk that is not green is run again by its cells, whatever came of them: none of them
need have failed where a migration did, or lost rows.

A cell that was red and is green when the same is run again is flaky; the summary finds it by the
``rerun`` entry that is written here.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from harness.cli.declared import options_of
from harness.cli.lines import CLIENTS, PAIRS
from harness.cli.nested import journals_below, results_folder, run_nox
from harness.cli.parser import build_parser
from harness.cli.secret import is_reference, read_secret
from harness.core.axes import walk_name
from harness.core.entries import CellEntry, Rerun, StageEntry, now
from harness.core.outcome import Status
from harness.core.view import View, green, key_of
from harness.machine.errors import UsageError, nearest
from harness.machine.secrets import SECRET
from harness.report.files import write_reports
from harness.report.merge import merge, write_journal
from harness.report.summary import place, totals_line
from harness.report.terminal import Screen
from harness.report.text import counted
from harness.run.folder import make_latest
from harness.run.options import value_in

_SERVICE = "--service"
_DATABASE = "--database-url"
_PASSWORD = "PGPASSWORD"  # noqa: S105 - the variable's name
_NAMED = 3
"""Cells that a message names, of all it is about."""

FAILED = (Status.FAIL, Status.TIMEOUT, Status.INFRA)
"""What is run again when no cell is named, beside what was planned and never ran."""


def failed_cells(view: View) -> list[CellEntry]:
    """Return the cells that failed, timed out or were infra, and those that are missing."""
    ran = (cell for cell in view.finished if cell.inferred is None)
    return [*(cell for cell in ran if cell.status in FAILED), *view.missing]


def bad_stages(view: View) -> list[StageEntry]:
    """Return the stages of walks that are not as expected."""
    return [stage for stage in view.stages if not green(stage)]


def cells_of(stage: StageEntry, view: View) -> list[CellEntry]:
    """Return the cells of a stage, whose lines lead to it; of a service by itself, one of them."""
    same = {cell.id for cell in view.attempts if _is_of(cell, stage)}
    found = [cell for cell in view.cells if cell.id in same or _is_of(cell, stage)]
    return found if stage.stage else found[:1]


def _is_of(cell: CellEntry, stage: StageEntry) -> bool:
    of_service = bool(stage.stage) or cell.service == stage.service
    same = (cell.run, cell.stage, walk_name(cell)) == (stage.run, stage.stage, stage.walk)
    return same and of_service


def named_cells(view: View, names: Iterable[str]) -> list[CellEntry]:
    """Return the cells of these ids, or of the names reports show, whatever came of them.

    Raises:
        UsageError: for one that is not in the journal, naming the nearest.
    """
    found: dict[str, list[CellEntry]] = {}
    for cell in view.cells:
        for name in dict.fromkeys((cell.id, view.name(cell))):
            found.setdefault(name, []).append(cell)
    for name in names:
        if name not in found:
            raise UsageError(f"no cell {name!r} in these results{nearest(name, found)}")
    return [cell for name in names for cell in found[name]]


def refuse_databases(view: View, chosen: Iterable[CellEntry]) -> None:
    """Raise UsageError for a cell that ran over a user's database: its line makes a fresh one.

    A red cell that is green there would be called flaky.
    """
    for cell in chosen:
        run = view.runs[cell.run]
        given = value_in(run.options, _DATABASE)
        if given is not None and _DATABASE not in shlex.split(cell.rerun):
            raise UsageError(
                f"{cell.id} ran over the database of {_DATABASE}, and its rerun line makes a"
                " fresh one, which tells nothing about yours: restore the copy and walk again:"
                f" nox -s {run.session} -- {shlex.join(run.options)}"
            )


def refuse_unset(view: View, chosen: Iterable[CellEntry]) -> None:
    """Raise UsageError when a line names a secret that is not there, before anything is run.

    Args:
        view: of the journal, for how the runs were asked for.
        chosen: the cells that are to run again.
    """
    needed: dict[str, list[str]] = {}
    for cell in chosen:
        for problem in _unset(shlex.split(cell.rerun), view.runs[cell.run].options):
            needed.setdefault(problem, []).append(cell.id)
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
        if option.secret is None or written is None:
            continue
        if is_reference(written, option.secret):
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


def commands(chosen: Sequence[CellEntry]) -> list[list[str]]:
    """Return the commands that run these cells again, and no others.

    Cells of one command line but for the service share a run; so do clients with the same
    services, and pairs of clients. Those of a walk share the walk to their stage, and a cell
    without a service, or of a UI, is run by its own line.
    """
    services: dict[tuple[str, str], dict[str, None]] = {}
    found: dict[str, None] = {}
    walks: dict[str, dict[str, None]] = {}
    pairs: dict[str, dict[str, None]] = {}
    for cell in chosen:
        words = shlex.split(cell.rerun)
        if cell.stage:
            line = shlex.join(_replaced(words, CLIENTS, ""))
            walks.setdefault(line, {})[cell.client] = None
        elif cell.writer:
            named = words[words.index(PAIRS) + 1]
            line = shlex.join(_replaced(_replaced(words, CLIENTS, ""), PAIRS, ""))
            pairs.setdefault(line, {})[named] = None
        elif _SERVICE not in words:
            found[cell.rerun] = None
        else:
            named = words[words.index(_SERVICE) + 1]
            blank = shlex.join(_replaced(words, _SERVICE, ""))
            services.setdefault((blank, cell.client), {})[named] = None
    together: dict[tuple[str, str], dict[str, None]] = {}
    for (blank, client), names in services.items():
        line = shlex.join(_replaced(shlex.split(blank), CLIENTS, ""))
        together.setdefault((line, ",".join(names)), {})[client] = None
    for (line, joined), clients in together.items():
        words = _replaced(shlex.split(line), _SERVICE, joined)
        found[shlex.join(_replaced(words, CLIENTS, ",".join(clients)))] = None
    for line, several in pairs.items():
        clients_of = dict.fromkeys(name for pair in several for name in pair.split(":"))
        words = _replaced(shlex.split(line), CLIENTS, ",".join(clients_of))
        found[shlex.join(_replaced(words, PAIRS, ",".join(several)))] = None
    return [
        *(_replaced(shlex.split(line), CLIENTS, ",".join(names)) for line, names in walks.items()),
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
    before = View(merge([raw.source], home))
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
            screen.say("nothing failed, timed out, was infra or is missing: nothing to run again")
        return int(bool(left_out))
    folder = results_folder(home.resolve().parent, "rerun")
    for words in commands(chosen):
        screen.say(f"running again: {shlex.join(words)}")
        run_nox([*words, "--results", str(folder / "runs")])
    journals = journals_below(folder / "runs")
    if not journals:
        shutil.rmtree(folder)
        screen.say("nothing was run again: see above")
        return 1
    view = _together(raw.source, journals, folder)
    screen.end(view, folder)
    return int(not _told(screen, view, {cell.id for cell in chosen}) or bool(left_out))


def _with_stages(view: View, bad: Iterable[StageEntry]) -> list[CellEntry]:
    """Return the cells that failed or are missing, and those of these stages, each once."""
    chosen = [*failed_cells(view), *(cell for stage in bad for cell in cells_of(stage, view))]
    return list({key_of(cell): cell for cell in chosen}.values())


def _named(stage: StageEntry) -> str:
    return f"{place(stage)}: {stage.status.value}"


def _told(screen: Screen, view: View, ids: Collection[str]) -> bool:
    """Say what came of the cells that were run again; return whether all is as expected now.

    Args:
        screen: where to say it.
        view: of both runs; it knows the reruns.
        ids: of the cells.
    """
    again = [cell for cell in view.finished if cell.id in ids and cell.run in view.reruns]
    screen.say(f"run again: {totals_line(view, again)}")
    done = {cell.id for cell in again}
    if len(done) < len(ids):
        screen.say(f"not run again: {counted(len(ids) - len(done), 'cell')}; see above")
    still = [stage for stage in bad_stages(view) if stage.run in view.reruns]
    for stage in still:
        screen.say(f"run again and not green: {_named(stage)}")
    return len(done) == len(ids) and not still and all(map(green, again))


def _together(source: Path, journals: Sequence[Path], folder: Path) -> View:
    """Write the journal and the reports of the first run and of its reruns; return what they say.

    The last entry names the reruns.
    """
    before, again = View(merge([source], folder)), View(merge(journals, folder))
    note = Rerun(at=now(), of=list(before.runs), runs=list(again.runs))
    write_journal([*merge([source, *journals], folder), note], folder)
    # Read as it was written: what repeats others comes after them, whatever the clock says.
    entries = merge([folder], folder)
    write_journal(entries, folder)
    view = View(entries)
    write_reports(view, folder)
    make_latest(folder)
    return view
