"""The sessions that take options, grouped as options are taken."""

from __future__ import annotations

WALKS = ("fixed_db", "full")
CROSS = ("cross",)
STACKS = ("compat", *CROSS, *WALKS)
RUNS = (*STACKS, "local")
SHOWS = ("full", "ui")
UI = ("ui",)
