"""What a UI backend is told, wherever it runs: its settings, and when it is ready."""

from __future__ import annotations

import requests

from harness.machine.errors import InfraError
from harness.machine.processes import wait_until
from harness.machine.web import ask
from harness.stack.database.server import Address
from harness.stack.service.settings import database_settings
from harness.ui.launcher import RunningUI

_READY_SECONDS = 120.0
_REQUEST_SECONDS = 30.0

_SMALL = {
    # Unasked the backend starts 44 processes that take 2.2 GB; like this 7 and 425 MB (measured).
    "CACHE_ARTIFACT_MAX_ACTIONS": "1",
    "CACHE_DAG_MAX_ACTIONS": "1",
    "CACHE_LOG_MAX_ACTIONS": "1",
}


def ui_settings(
    address: Address, host: str, port: int, *, page: bool, whole: bool, triggers: bool
) -> dict[str, str]:
    """Return the variables a UI backend is configured by.

    Args:
        address: of the database, as the backend reaches it.
        host: the address it listens on.
        port: where it listens.
        page: whether it serves the page, too.
        whole: start as many workers as it would unasked.
        triggers: let it make triggers in the database, for news of runs as they come.
    """
    return {
        **database_settings(address),
        "MF_UI_METADATA_HOST": host,
        "MF_UI_METADATA_PORT": str(port),
        # Without its assets a backend answers 500 at /, unless it is told that it has no page.
        "UI_ENABLED": "1" if page else "0",
        # Unasked a UI backend makes them, in a database that may be somebody else's.
        "DB_TRIGGER_CREATE": "1" if triggers else "0",
        # As the published image has them.
        "FEATURE_RUN_GROUPS": "0",
        "FEATURE_DEBUG_VIEW": "1",
        # The backend reads logs and cards with a client of its own, which wants a user.
        "USER": "compat",
        **({} if whole else _SMALL),
    }


def await_ui(running: RunningUI) -> None:
    """Return when API and page answer.

    Raises:
        InfraError: when the UI ends or never answers, with its last log lines.
    """
    for url in (f"{running.api}/features", f"{running.page}/"):
        wait_until(
            lambda url=url: _answers(running, url),  # type: ignore[misc]
            seconds=_READY_SECONDS,
            what=f"the UI of {running.version} at {url}",
            log=running.log,
        )


def _answers(running: RunningUI, url: str) -> bool:
    running.check_alive()
    try:
        answer = ask("GET", url, seconds=_REQUEST_SECONDS)
    except requests.RequestException:
        return False
    # Not asked again: a backend that listens has read its settings and made its routes.
    if not answer.ok:
        raise InfraError(
            f"the UI of {running.version} answers {url} with {answer.status_code}:"
            f" {answer.text[:200]}"
        )
    return True
