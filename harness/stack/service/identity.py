"""Whether a service that runs is the one that was asked for: notes, never a verdict.

Some releases say they are another one (v2.4.3 says 2.4.2), and clients believe what they say.
"""

from __future__ import annotations

from harness.catalog.releases import Service
from harness.machine.errors import InfraError
from harness.stack.service.launcher import RunningService
from harness.stack.service.migration import request

_SECONDS = 30.0
_FITS = "latest"
"""What a migration service answers when its own metadata service fits the schema."""


def reported_version(running: RunningService) -> str | None:
    """Return the version header of /ping, which clients gate features on; None without one.

    Raises:
        InfraError: when it does not answer.
    """
    response = request("GET", f"{running.url}/ping", running, seconds=_SECONDS)
    version: str | None = response.headers.get("METADATA_SERVICE_VERSION")
    return version


def identified_version(running: RunningService, schema: int) -> str | None:
    """Return the version that a migrated service reports.

    Raises:
        InfraError: when an image's start script has picked another release than was asked for:
            what clients do with it would be put down to the wrong one; when it does not answer.
    """
    reported = reported_version(running)
    service = running.service
    if running.picks_release and service.kind == "released" and reported != service.reported:
        raise InfraError(
            f"{service.name} was asked for, and {reported or 'a service without version'} answers, "
            f"on schema {schema}, from {running.origin}; {running.log} tells what the start script "
            f"chose. If the image was published anew, correct 'reported' in versions.json"
        )
    return reported


def identity_notes(running: RunningService, reported: str | None, schema: int) -> tuple[str, ...]:
    """Compare what a migrated service says of itself with what was asked for.

    Args:
        running: answers already.
        reported: the header of its /ping.
        schema: the newest migration in its database.

    Returns:
        A sentence on what exactly runs where the name does not say it, and one for each difference.

    Raises:
        InfraError: when it does not answer.
    """
    service = running.service
    notes = [f"{service.name} is {running.origin}"] if running.origin else []
    notes += reported_notes(service, reported, schema)
    return tuple(notes + _version_note(running, reported or "no version") + _start_note(running))


def reported_notes(service: Service, reported: str | None, schema: int) -> list[str]:
    """Return a sentence for each difference between what a service reports and its name.

    Args:
        service: that was asked for.
        reported: the version that its code reports.
        schema: the newest migration in its database.
    """
    own = service.version.public
    told = reported or "no version"
    notes = []
    if reported != service.reported:
        expected = service.reported or "no version"
        notes.append(f"{service.name} reports {told} to clients; {expected} was expected")
    elif service.kind == "released" and reported != own:
        notes.append(f"{service.name} reports {told} to clients, not {own}")
    if schema != service.schema:
        notes.append(f"{service.name} runs on schema {schema}; {service.schema} was expected")
    return notes


def _version_note(running: RunningService, told: str) -> list[str]:
    """Hold GET /version (2.0.0+) against the header of /ping."""
    if not running.service.migrates:
        return []
    response = request("GET", f"{running.url}/version", running, seconds=_SECONDS)
    answer = response.text.strip() if response.ok else f"{response.status_code}"
    if answer == told:
        return []
    return [f"{running.service.name} answers /version with {answer}, and /ping with {told}"]


def _start_note(running: RunningService) -> list[str]:
    """Ask which code an image's start script would start on this schema."""
    if running.migration_url is None:
        return []
    # Only ever of a migrated database: of an empty one this very question runs goose up.
    response = request("GET", f"{running.migration_url}/version", running, seconds=_SECONDS)
    answer = response.text.strip() if response.ok else f"{response.status_code}"
    if answer == _FITS:
        return []
    name = running.service.name
    return [
        f"{name}: its migration API answers /version with {answer}: an image would start another"
    ]
