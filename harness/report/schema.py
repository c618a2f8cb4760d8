"""The published schemas, generated from the types: ``python -m harness.report.schema``."""

from __future__ import annotations

import json

import msgspec

from harness.core.entries import Entry
from harness.machine.tools import ROOT
from harness.report.results import Results

PUBLISHED: dict[str, tuple[str, object]] = {
    "journal.schema.json": ("A line of journal.jsonl", Entry),
    "results.schema.json": ("results.json", Results),
}
"""By file in docs/: what it describes, and the type of it."""


def render_schema(name: str) -> str:
    """Return the text of one of the published schemas."""
    title, kind = PUBLISHED[name]
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"{title} of the Metaflow compatibility harness",
    }
    return json.dumps(head | msgspec.json.schema(kind), indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write every schema anew."""
    for name in PUBLISHED:
        (ROOT / "docs" / name).write_text(render_schema(name), encoding="utf-8")


if __name__ == "__main__":
    main()
