"""Drives a service's migration endpoints the way an operator is told to.

GET /db_schema_status; when not up to date PATCH /upgrade; ask again until it is; restart the
service (upgrading does not); check again. Source: facts about the released migration services.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urljoin

import requests

from harness.machine.errors import InfraError
from harness.machine.processes import tail_note, wait_until
from harness.machine.web import ask
from harness.stack.service.launcher import RunningService, ServiceError
from harness.stack.service.settings import MIGRATION_SECONDS

# A process takes 0.6 s (measured), but an image's start script migrates before that.
READY_SECONDS = 60.0
_REQUEST_SECONDS = 30.0


_ERROR = "error"
"""Field of a status that stands for an answer that was none."""


class MigrationError(ServiceError):
    """The service could not bring the schema up to date."""


@dataclass(frozen=True)
class SchemaStatus:
    """What GET /db_schema_status answers.

    Attributes:
        current: the newest applied migration; 0 for none.
        unapplied: migrations the service brings that the database lacks.
    """

    up_to_date: bool
    current: int
    unapplied: tuple[str, ...]
    raw: dict[str, object] = field(repr=False, default_factory=dict)


@dataclass(frozen=True)
class Migration:
    """One migration, as it went.

    Attributes:
        before: None where the service has no migration API.
        seconds: from the first question to the restarted service's answer.
        output: what the upgrade answered; empty when there was nothing to do.
    """

    before: SchemaStatus | None
    after: SchemaStatus | None
    seconds: float
    output: str = ""

    @property
    def applied(self) -> tuple[str, ...]:
        """The migrations that were applied."""
        return self.before.unapplied if self.before else ()


def schema_status(running: RunningService) -> SchemaStatus:
    """Ask the migration API how the schema stands.

    Raises:
        MigrationError: when it answers anything but 200 with the documented fields.
        InfraError: when it does not answer at all.
    """
    response = request(
        "GET", f"{running.migration_url}/db_schema_status", running, seconds=MIGRATION_SECONDS
    )
    try:
        body = response.json()
        return SchemaStatus(
            up_to_date=bool(body["is_up_to_date"]),
            current=int(body["current_version"]),
            unapplied=tuple(str(name) for name in body["unapplied_migrations"]),
            raw=body,
        )
    # However odd it is, the answer is the product's fault.
    except (ValueError, KeyError, TypeError) as error:
        raise MigrationError(
            f"{running.service.name}: /db_schema_status answered {response.status_code}:"
            f" {response.text[:500]}"
        ) from error


def bring_up(running: RunningService, seconds: float = MIGRATION_SECONDS) -> Migration:
    """Take a service that was just started to the point where clients may use it.

    Args:
        running: the service.
        seconds: how long its migration may take.

    Raises:
        MigrationError: naming service, schema and the answer, when the upgrade fails.
        InfraError: when the service ends by itself or never answers.
    """
    started = time.monotonic()
    if running.migration_url is None:
        await_ready(running)
        return Migration(None, None, round(time.monotonic() - started, 2))
    # By /ping: asking its /version would migrate an empty database by the way.
    _await_api(running, f"{running.migration_url}/ping", "migration API")
    if running.picks_release:
        await_ready(running)
    before = _status_before(running)
    if before.up_to_date and running.picks_release:
        # It has started the release that fits, and an operator restarts after an upgrade only.
        return Migration(before, before, round(time.monotonic() - started, 2))
    output = "" if before.up_to_date else _upgrade(running, before, seconds)
    running.restart()
    _await_api(running, f"{running.migration_url}/ping", "migration API")
    await_ready(running)
    after = schema_status(running)
    if not after.up_to_date:
        raise MigrationError(
            f"{running.service.name}: after the restart the schema is {after.current} and not up"
            f" to date; unapplied: {', '.join(after.unapplied) or 'none named'}"
        )
    if _ERROR in before.raw:
        # It could not name them before; on an empty schema they were all it knows.
        versions = after.raw.get("db_schema_versions")
        known = versions if isinstance(versions, list) else []
        before = replace(before, unapplied=tuple(map(str, known)))
    return Migration(before, after, round(time.monotonic() - started, 2), output)


def start_on_newer(running: RunningService) -> Migration:
    """Start a service over a schema newer than its own, as when its image alone goes back.

    Raises:
        MigrationError: when it does not start.
    """
    started = time.monotonic()
    try:
        running.restart()  # the metadata API of some kinds starts only then
        await_ready(running)
    except InfraError as error:
        name = running.service.name
        raise MigrationError(f"{name} does not start on the newer schema: {error}") from error
    return Migration(None, None, round(time.monotonic() - started, 2))


def _status_before(running: RunningService) -> SchemaStatus:
    """Ask how the schema stands before the upgrade.

    2.0.0 and 2.0.1 answer with an error where nothing was ever migrated: schema 0 is none of
    those they know. An upgrade mends that; if it does not, that is what fails.
    """
    try:
        return schema_status(running)
    except MigrationError as error:
        # Repaired in 2.0.2: https://github.com/Netflix/metaflow-service/pull/19
        return SchemaStatus(up_to_date=False, current=0, unapplied=(), raw={_ERROR: str(error)})


def await_ready(running: RunningService) -> None:
    """Return when the metadata API answers /ping.

    Raises:
        InfraError: with the service's last log lines, when it ends or never answers.
    """
    _await_api(running, f"{running.url}/ping", "metadata API")


def _upgrade(running: RunningService, before: SchemaStatus, seconds: float) -> str:
    response = request("PATCH", f"{running.migration_url}/upgrade", running, seconds=seconds)
    text = response.text.strip()
    if not response.ok:
        raise MigrationError(_upgrade_failure(running, before, f"{response.status_code}: {text}"))
    # The answer may come before a long migration is done; the status tells.
    wait_until(
        lambda: not schema_status(running).raw.get("migration_in_progress"),
        seconds=seconds,
        what=f"the migration of {running.service.name}",
        log=running.log,
    )
    status = schema_status(running)
    if not status.up_to_date:
        raise MigrationError(_upgrade_failure(running, before, text))
    return text


def _upgrade_failure(running: RunningService, before: SchemaStatus, answer: str) -> str:
    service = running.service
    at = _status_before(running).current
    stopped = next((f" at {name}" for name in before.unapplied if _number(name) > at), "")
    return (
        f"{service.name}: the migration from schema {before.current} to {service.schema} failed"
        f"{stopped} (the schema is now {at}); /upgrade answered {answer}{tail_note(running.log)}"
    )


def _number(migration: str) -> int:
    digits = migration.rsplit("/", 1)[-1].split("_", 1)[0]
    return int(digits) if digits.isdigit() else 0


def await_answer(
    running: RunningService, url: str, *, what: str, seconds: float, log: Path | None = None
) -> None:
    """Return when GET ``url`` is answered well.

    Args:
        running: the service, whose end by itself ends the wait.
        url: what is asked, again and again.
        what: what is awaited, for the error.
        seconds: how long to ask at most.
        log: a file whose last lines explain why no answer came.

    Raises:
        InfraError: when the service ends or does not answer in time.
    """

    def answers() -> bool:
        running.check_alive()
        try:
            return ask("GET", url, seconds=_REQUEST_SECONDS).ok
        except requests.RequestException:
            return False

    wait_until(answers, seconds=seconds, what=what, log=log)


def _await_api(running: RunningService, url: str, api: str) -> None:
    name = f"the {api} of {running.service.name} at {url}"
    await_answer(running, url, what=name, seconds=READY_SECONDS, log=running.log)


def request(method: str, url: str, running: RunningService, *, seconds: float) -> requests.Response:
    """Ask a service that is up; return the answer, whatever its status.

    Args:
        method: ``GET``, ``PATCH``.
        url: of one of its APIs.
        running: the service.
        seconds: how long to wait for each part of the answer.

    Raises:
        ServiceError: when it hangs up instead, though it goes on answering others.
        InfraError: with the service's last log lines, when it does not answer.
    """
    try:
        return ask(method, url, seconds=seconds)
    except requests.RequestException as error:
        # Its end explains more than a connection that was refused.
        running.check_alive()
        # One that is being killed may be neither dead yet nor answer any more.
        if _is_hung_up(error) and _answers(url):
            why = f"{method} {url}: it closed the connection without an answer"
            raise ServiceError(f"{running.service.name}: {why}{tail_note(running.log)}") from error
        raise InfraError(f"{method} {url}: {error}{tail_note(running.log)}") from error


def _is_hung_up(error: requests.RequestException) -> bool:
    """Tell whether a connection was taken, and ended before or within the answer."""
    cut = isinstance(error, requests.exceptions.ChunkedEncodingError)
    return cut or (isinstance(error, requests.ConnectionError) and "aborted" in str(error))


def _answers(url: str) -> bool:
    """Tell whether whoever listens at an address answers a harmless question, however."""
    try:
        ask("GET", urljoin(url, "/ping"), seconds=_REQUEST_SECONDS)
    except requests.RequestException:
        return False
    return True
