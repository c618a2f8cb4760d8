"""results.json: the journal's cells with their totals, for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from harness.journal import SCHEMA, Entry
from harness.report.summary import cells, totals


def write_results(entries: Sequence[Entry], path: Path) -> None:
    """Write results.json anew, in one step, so that a reader never sees half of it."""
    run = next(entry for entry in entries if entry["kind"] == "run")
    body = {"schema": SCHEMA, "run": run, "totals": totals(entries), "cells": cells(entries)}
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps(body, indent=1, ensure_ascii=False), encoding="utf-8")
    unfinished.replace(path)
