"""What is kept of runs, and what is made of it later: reports, reruns and cleaning."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.cli.declarations.running import GATE
from harness.cli.declarations.takers import RUNS, UI
from harness.cli.option import Option, Role
from harness.machine.tools import ROOT

RESULTS = ROOT / "results"
LATEST = RESULTS / "latest"

_AFTER_THE_OUTCOME = "what is kept is kept when the outcome is known"
_NO_CELLS = "no cell comes of this session"

_KEEP_GROUP = "what to keep and show"
_RESULTS = Option(
    "--results",
    RUNS,
    _KEEP_GROUP,
    "folder for the results of runs",
    Role.NOT_NEEDED,
    "it says where the outcome is written; rerun has a folder of its own",
    kind=Path,
    default=RESULTS,
    unasked="results/",
    metavar="DIR",
    aliases=("--results-output-path",),
)
KEEPING = (
    _RESULTS,
    replace(_RESULTS, sessions=UI, group="results"),
    Option(
        "--keep",
        RUNS,
        _KEEP_GROUP,
        "keep the clients' working folders and data, and the last stack: its containers, or the"
        " files of the embedded database (nox -s ui shows what is in it)",
        Role.NOT_NEEDED,
        _AFTER_THE_OUTCOME,
        kind=bool,
        default=False,
        aliases=("--dont-remove-containers",),
    ),
    Option(
        "--with-service-logs",
        RUNS,
        _KEEP_GROUP,
        "show what the services print, as it comes",
        Role.NOT_NEEDED,
        "it shows what is logged anyway",
        kind=bool,
        default=False,
        aliases=("--with-md-logs",),
    ),
)


def _argument(
    name: str, session: str, about: str, count: str = "", kind: type[str | Path] = Path
) -> Option:
    return Option(name, (session,), "", about, Role.NOT_NEEDED, _NO_CELLS, kind=kind, count=count)


COMMANDS = (
    replace(
        _argument("sources", "report", "results folders or journals", "*"), unasked="the latest"
    ),
    Option(
        "--output",
        ("report",),
        "",
        "folder for the reports",
        Role.NOT_NEEDED,
        _NO_CELLS,
        kind=Path,
        metavar="DIR",
        unasked="the source, or results/merged for several",
    ),
    Option(
        "--write-expectations",
        ("report",),
        "",
        "write expectations.proposed.json: what the run's file declares, and all that is red",
        Role.NOT_NEEDED,
        _NO_CELLS,
        kind=bool,
        default=False,
    ),
    replace(
        GATE,
        sessions=("diff",),
        group="",
        help="close for what is an aside otherwise; rollback: a step of a walk that is unsafe in"
        " NEW, and was not in OLD",
        role=Role.NOT_NEEDED,
        why=_NO_CELLS,
    ),
    _argument("old", "diff", "results folder or journal"),
    _argument("new", "diff", "results folder or journal"),
    _argument("cells", "rerun", "ids, such as compat/2.19.39/reference-2.5/…", "*", str),
    Option(
        "--from",
        ("rerun",),
        "",
        "results folder or journal that says what failed",
        Role.NOT_NEEDED,
        "the line itself says what is run again",
        kind=Path,
        default=LATEST,
        unasked="results/latest",
        metavar="RESULTS",
        dest="source",
    ),
    _argument("runs", "clean", "runs whose stacks go, by id or results folder", "*", str),
    Option(
        "--dry-run",
        ("clean",),
        "",
        "remove nothing, and say what would go",
        Role.NOT_NEEDED,
        _NO_CELLS,
        kind=bool,
        default=False,
    ),
)
