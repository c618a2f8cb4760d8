"""What the sessions ``report`` and ``diff`` do with the arguments after ``--``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.cli.declarations.results import LATEST, RESULTS
from harness.cli.option import listed
from harness.cli.parser import build_parser
from harness.cli.sharding import wrong_shards
from harness.core import expectations
from harness.core.entries import Note, now
from harness.core.journal import read
from harness.core.outcome import ROLLBACK
from harness.core.view import View
from harness.machine.errors import UsageError
from harness.report.diff import compare
from harness.report.files import write_reports
from harness.report.merge import merge, write_journal
from harness.report.proposals import write_proposals
from harness.report.terminal import Screen
from harness.run.folder import make_private
from harness.run.options import value_in


def report_main(arguments: Sequence[str]) -> int:
    """Draw all reports again from the journals of one run or of several put together.

    Returns 1 when a shard of a run is missing, whose others are there, or shards are of different
    plans.

    Raises:
        UsageError: when there is nothing to draw from.
    """
    raw = build_parser("report").read(arguments)
    sources = raw.sources or [LATEST]
    folder = (raw.output or _default_output(sources)).resolve()
    entries = merge(sources, folder)
    wrong = wrong_shards(View(entries))
    if wrong:
        *_, last = View(entries).runs
        entries += [Note(at=now(), run=last, service="", text=told) for told in wrong]
    view = View(entries)
    declared = _declared(view) if raw.write_expectations else expectations.FILE
    try:
        if not raw.output and not folder.exists():
            make_private(folder)
        # Whoever names a folder may mean others to read it.
        folder.mkdir(parents=True, exist_ok=True)
        # Where a report is drawn again in its place, its journal is the source and stays as it is.
        if [journal_of(source) for source in sources] != [folder / "journal.jsonl"]:
            write_journal(entries, folder)
        write_reports(view, folder)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written: {error.strerror}") from error
    screen = Screen()
    screen.end(view, folder)
    if raw.write_expectations:
        proposed = folder / "expectations.proposed.json"
        count = write_proposals(view, proposed, declared)
        screen.say(f"{count} proposed: review {proposed}, then put it in place of {declared}")
    for told in wrong:
        screen.say(told)
    return int(bool(wrong))


def _declared(view: View) -> Path:
    """Return the file of expectations that the runs were given.

    Raises:
        UsageError: when they were given several, or one that is not here.
    """
    found = (value_in(run.options, "--expectations") for run in view.runs.values())
    given = {expectations.FILE if value is None else Path(value).resolve() for value in found}
    if len(given) > 1:
        files = ", ".join(map(str, sorted(given)))
        raise UsageError(f"--write-expectations: these runs were given several files: {files}")
    file = given.pop() if given else expectations.FILE
    if file != expectations.FILE and not file.is_file():
        raise UsageError(f"--write-expectations: the run's --expectations {file}: no such file")
    return file


def journal_of(source: Path) -> Path:
    """Return the journal a source names: itself, or the one in a folder."""
    return (source / "journal.jsonl" if source.is_dir() else source).resolve()


def _default_output(sources: Sequence[Path]) -> Path:
    if len(sources) > 1:
        return RESULTS / "merged"
    return sources[0] if sources[0].is_dir() else sources[0].parent


def diff_main(arguments: Sequence[str]) -> int:
    """Print what changed from one journal to another; return 1 when the gate closes.

    Raises:
        UsageError: when one of the two cannot be read.
    """
    raw = build_parser("diff").read(arguments)
    gated = ROLLBACK in listed(raw.gate)
    difference = compare(View(read(raw.old)), View(read(raw.new)), rollback=gated)
    Screen().say(difference.render())
    return int(difference.worse)
