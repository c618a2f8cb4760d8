"""The names of all checks of a UI, which expectations are declared by."""

from __future__ import annotations

API_CHECKS = (
    *("listed", "status", "timeline", "dag", "tags"),
    *("artifact_search", "logs", "search_after_log", "card"),
)
"""Those of harness.proof.ui.acceptance."""

PAGE_CHECKS = ("page_list", "page_timeline", "page_dag", "page_log", "page_card")
"""Those of harness.proof.ui.page."""

DATA_CHECK = "data_kept"
"""The check of every run of a kept stack: reading local data does not take it away."""

UI_CHECKS = (*API_CHECKS, *PAGE_CHECKS, DATA_CHECK)
"""In order."""
