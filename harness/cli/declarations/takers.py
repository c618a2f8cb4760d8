"""The sessions that take options, grouped as options are taken."""

from __future__ import annotations

WALKS = ("fixed_db", "full")
CROSS = ("cross",)
CHAOS = ("chaos",)
SHARING = ("compat", *CROSS, *WALKS)
"""Those whose stacks several cells may use at a time."""
STACKS = (*SHARING, *CHAOS)
RUNS = (*STACKS, "local")
SHARDED = ("compat", *CROSS, "fixed_db", "local")
SHOWS = ("full", "ui")
UI = ("ui",)
