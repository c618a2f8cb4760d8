"""results.json: what the journal comes to, for programs; docs/results.schema.json describes it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from harness.journal import SCHEMA, Entry
from harness.report.findings import findings, headline, stage_findings
from harness.report.summary import (
    all_green,
    cells,
    flaky_count,
    incomplete,
    runs,
    stages,
    totals,
)


def render_results(entries: Sequence[Entry]) -> str:
    """Return the JSON text."""
    found = findings(entries)
    body: dict[str, Any] = {
        "schema": SCHEMA,
        "green": all_green(entries),
        "headline": headline(entries, found),
        "totals": totals(entries),
        "flaky": flaky_count(entries),
        "incomplete": incomplete(entries),
        "findings": [asdict(finding) for finding in found],
        "stage_findings": stage_findings(entries),
        "runs": runs(entries),
        "stages": stages(entries),
        "cells": cells(entries),
    }
    return json.dumps(body, indent=1, ensure_ascii=False) + "\n"
