"""The names of all checks of a UI, which expectations are declared by."""

from __future__ import annotations

from harness.ui.acceptance import CHECKS
from harness.ui.page import CHECKS as PAGE_CHECKS

DATA_CHECK = "data_kept"
"""The check of every run of a kept stack: reading local data does not take it away."""

UI_CHECKS = (*CHECKS, *PAGE_CHECKS, DATA_CHECK)
"""In order."""
