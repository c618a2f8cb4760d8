"""Running again what failed: the cells, the commands, and both runs put together.

A cell that was red and is green when the same is run again is flaky; the summary finds it by the
``rerun`` entry that is written here.
"""

from __future__ import annotations

import secrets
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from pathlib import Path

from harness.errors import UsageError, nearest
from harness.journal import SCHEMA, Entry, now
from harness.outcome import Status
from harness.parser import Parser
from harness.report.commands import LATEST
from harness.report.files import write_reports
from harness.report.merge import merge, write_journal
from harness.report.summary import cells, green, runs, totals_line
from harness.report.terminal import Screen
from harness.report.text import counted
from harness.tools import ROOT

_SERVICE = "--service"

FAILED = (Status.FAIL, Status.TIMEOUT, Status.INFRA)
"""What is run again when no cell is named."""


def failed_cells(entries: Sequence[Entry]) -> list[Entry]:
    """Return the cells that failed, timed out or were infra."""
    return [cell for cell in cells(entries) if Status(cell["status"]) in FAILED]


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


def commands(chosen: Sequence[Entry]) -> list[list[str]]:
    """Return the commands that run these cells again, and no others.

    Cells of one command line but for the service share a run; so do clients with the same
    services. A cell of a walk is run by its own line, with the stages before it, and so is one of
    a UI.
    """
    services: dict[tuple[str, str], dict[str, None]] = {}
    found: dict[str, None] = {}
    for cell in chosen:
        if _SERVICE not in shlex.split(cell["rerun"]) or cell["stage"]:
            found[cell["rerun"]] = None
        else:
            blank = shlex.join(_replaced(shlex.split(cell["rerun"]), _SERVICE, ""))
            services.setdefault((blank, cell["client"]), {})[cell["service"]] = None
    together: dict[tuple[str, str], dict[str, None]] = {}
    for (blank, client), names in services.items():
        line = shlex.join(_replaced(shlex.split(blank), "--metaflow", ""))
        together.setdefault((line, ",".join(names)), {})[client] = None
    for (line, joined), clients in together.items():
        words = _replaced(shlex.split(line), _SERVICE, joined)
        found[shlex.join(_replaced(words, "--metaflow", ",".join(clients)))] = None
    return [shlex.split(line) for line in found]


def _replaced(words: Sequence[str], option: str, value: str) -> list[str]:
    at = list(words).index(option) + 1
    return [*words[:at], value, *words[at + 1 :]]


def rerun_main(arguments: Sequence[str]) -> int:
    """Run cells again and draw the reports of both; return 1 while one of them is not as expected.

    Raises:
        UsageError: when there are no results, or no such cell in them.
    """
    parser = Parser(
        prog="nox -s rerun --",
        description="Runs again what failed, timed out or was infra in the last results, or the"
        " cells that are named. Red before and green now is flaky. Both runs, put together, are the"
        " latest results then.",
    )
    parser.add_argument("cells", nargs="*", help="ids, such as compat/2.19.39/reference-2.5/…")
    parser.add_argument("--from", dest="source", type=Path, default=LATEST, metavar="RESULTS")
    raw = parser.parse_args(list(arguments))
    home = raw.source if raw.source.is_dir() else raw.source.parent
    before = merge([raw.source], home)
    chosen = named_cells(before, raw.cells) if raw.cells else failed_cells(before)
    screen = Screen()
    if not chosen:
        screen.say("nothing failed, timed out or was infra: nothing to run again")
        return 0
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
    ids = {cell["id"] for cell in chosen}
    new = set(entries[-1]["runs"])
    again = [cell for cell in cells(entries) if cell["id"] in ids and cell["run"] in new]
    screen.say(f"run again: {totals_line(again)}")
    if len(again) < len(ids):
        screen.say(f"not run again: {counted(len(ids) - len(again), 'cell')}; see above")
    return int(len(again) < len(ids) or not all(map(green, again)))


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
