"""What a UI backend is told, wherever it runs: its settings, and when it is ready."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import requests

from harness.client.program import last_words
from harness.core.blame import Evidence, blame
from harness.core.outcome import Status
from harness.machine.errors import EndedError, InfraError
from harness.machine.processes import wait_until
from harness.machine.web import ask
from harness.stack.database.server import Address
from harness.stack.evidence import silence_of
from harness.stack.service.launcher import ServiceError
from harness.stack.service.settings import database_settings
from harness.ui.launcher import RunningUI

_READY_SECONDS = 120.0
_REQUEST_SECONDS = 30.0
_ASKED = re.compile(r" at \w+://[^/\s]+(?P<path>/\S*): ")
"""In what is said of a UI that cannot be reached."""

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
        ServiceError: when the UI answers an error.
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
        raise ServiceError(
            f"the UI of {running.version} answers {url} with {answer.status_code}:"
            f" {answer.text[:200]}"
        )
    return True


@contextmanager
def blaming_ui(version: str, database: Address) -> Iterator[None]:
    """Say of a block in which a UI ended who is to blame.

    Args:
        version: of the UI.
        database: which it is over.

    Raises:
        ServiceError: when the UI ended by itself, while its database lives.
        InfraError: when somebody else ended it, or its database, and for all else.
    """
    try:
        yield
    except EndedError as error:
        # What was asked when it ended, if anything was.
        asked = _ASKED.search(str(error.__context__))
        evidence = Evidence(
            service=version,
            part=error.what,
            database=silence_of(database),
            ending=error.ending,
            asked=asked["path"] if asked else "",
            served=str(error),
        )
        found = blame(evidence)
        assert found is not None, "something ended"
        if found.status is not Status.FAIL:
            raise InfraError(f"{found.sentence}{error.more}") from error
        said = f"; it said last: {last_words(error.log)}" if error.log else ""
        raise ServiceError(f"{found.sentence}{said}{error.more}") from error
