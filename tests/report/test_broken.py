"""What every command says of a journal that cannot be believed: one line, never a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.cli.commands import diff_main, report_main
from harness.cli.rerun import rerun_main
from harness.machine.errors import UsageError
from tests.report import journals

Lines = list[dict[str, Any]]


def _set(kind: str, field: str, value: object) -> Callable[[Lines], None]:
    def spoil(lines: Lines) -> None:
        next(line for line in lines if line["kind"] == kind)[field] = value

    return spoil


def _without(kind: str, field: str) -> Callable[[Lines], None]:
    def spoil(lines: Lines) -> None:
        del next(line for line in lines if line["kind"] == kind)[field]

    return spoil


def _first_gone(lines: Lines) -> None:
    del lines[0]


SPOILED: dict[str, Callable[[Lines], None]] = {
    "the first line is gone": _first_gone,
    "a status that is none": _set("cell", "status", "green"),
    "a status that is a number": _set("cell", "status", 7),
    "a check that is no object": _set("cell", "checks", {"run": "pass"}),
    "a check without a status": _set("cell", "checks", {"run": {"reason": ""}}),
    "checks that are a list": _set("cell", "checks", ["run"]),
    "a cell without an id": _without("cell", "id"),
    "a cell without a client": _without("cell", "client"),
    "a cell without a rerun line": _without("cell", "rerun"),
    "seconds that are words": _set("cell", "seconds", "long"),
    "evidence that is no path": _set("cell", "evidence", {"flow": None}),
    "a time that is none": _set("cell", "at", "yesterday"),
    "a time without a zone": _set("run", "at", "2026-11-01T12:00:00"),
    "a run without clients": _without("run", "clients"),
    "a cell of another run": _set("cell", "run", "other"),
    "a stage that is a word": _set("stage", "stage", "first"),
    "a direction that is none": _set("stage", "direction", "sideways"),
    "a field nobody knows": _set("end", "finished", "2026-11-01T12:00:00Z"),
    "a kind nobody knows": _set("end", "kind", "over"),
    "a schema of before": _set("run", "schema", 1),
    "a plan that is no list": _set("planned", "cells", {}),
}

COMMANDS: dict[str, Callable[[Path, Path], int]] = {
    "report": lambda broken, _: report_main([str(broken)]),
    "report of two": lambda broken, whole: report_main(
        [str(broken), str(whole), "--output", str(whole.parent / "out")]
    ),
    "diff to": lambda broken, whole: diff_main([str(whole), str(broken)]),
    "diff from": lambda broken, whole: diff_main([str(broken), str(whole)]),
    "rerun": lambda broken, _: rerun_main(["--from", str(broken)]),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("how", SPOILED)
def test_a_broken_journal_is_one_line_that_names_the_place(tmp_path: Path, how: str, command: str):
    for name in ("whole", "broken"):
        journals.write(
            tmp_path / name,
            [journals.cell("2.0.5", "v2.3.0", session="fixed_db", stage=1)],
            stages=[journals.stage(1, "v2.3.0")],
        )
    broken = tmp_path / "broken" / "journal.jsonl"
    lines = [json.loads(line) for line in broken.read_text(encoding="utf-8").splitlines()]
    SPOILED[how](lines)
    broken.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    with pytest.raises(UsageError) as refused:
        COMMANDS[command](tmp_path / "broken", tmp_path / "whole")
    assert str(refused.value).startswith(f"{broken}:")
    assert "\n" not in str(refused.value)
