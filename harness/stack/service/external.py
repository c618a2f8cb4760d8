"""A metadata service that somebody else runs, named by ``--service-url``: it is only ever asked."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import requests
from packaging.version import InvalidVersion, Version

from harness.catalog.releases import Service
from harness.machine.errors import InfraError, UsageError, one_line
from harness.machine.web import ask
from harness.stack.database.external import ExternalPostgres
from harness.stack.database.rows import TABLES, tables_there
from harness.stack.database.server import Database
from harness.stack.service.launcher import RunningService

NAME = "external"
"""What reports call the service; where it is, is what the name stands for."""

_SECONDS = 30.0
_VERSION = "METADATA_SERVICE_VERSION"
_NO_FLOW = "NoFlowOfAnybody"
_SHOWN = 3
"""Flows that an error names."""


def find_external(url: str) -> Service:
    """Ask an address whether it is that of a metadata service, and which one it says it is.

    Args:
        url: of ``--service-url``, perhaps with a path.

    Raises:
        UsageError: for a URL of another shape, and for what answers otherwise or not at all.
    """
    address = _address(url)
    ping = _get(f"{address}/ping")
    reported = ping.headers.get(_VERSION)
    # Migration services and UI backends answer /ping alike, and know no flows there.
    unknown = _get(f"{address}/flows/{_NO_FLOW}") if ping.ok else ping
    if not ping.ok or not _is_refusal(unknown):
        asked = "/ping" if not ping.ok else f"/flows/{_NO_FLOW}"
        raise UsageError(
            f"--service-url {url}: no metadata service answers there: GET {asked} is answered"
            f" {unknown.status_code} {one_line(unknown.text)[:80]!r}"
        )
    try:
        # Every release reports one; clients take a service without for one of the oldest.
        version = Version(reported or "1.0.0")
    except InvalidVersion:
        raise UsageError(
            f"--service-url {url}: it reports {reported!r}, which is no version that a client could"
            " compare"
        ) from None
    return Service(
        name=NAME,
        kind=NAME,
        version=version,
        reported=reported,
        group=NAME,
        schema=0,
        migrates=False,
        image=None,
        ref=None,
        released=None,
        label=address,
    )


def check_external(service: Service, database_url: str | None, *, allow: bool) -> None:
    """Refuse a service that has somebody's flows already, or a database that is not one.

    Args:
        service: as found.
        database_url: of its database; None where that is not known.
        allow: whether it may have flows (``--allow-existing``).

    Raises:
        UsageError: when it has any without leave, or does not list them; when the database cannot
            be reached or has no tables of a metadata service.
    """
    if database_url is not None:
        server = ExternalPostgres(database_url)
        address = server.existing().address
        server.start()
        lacks = sorted(set(TABLES) - tables_there(address))
        if lacks:
            raise UsageError(
                f"--database-url: the database {address.name!r} is not that of a metadata service:"
                f" it has no table {', '.join(lacks)}"
            )
    if allow:
        return
    answer = _get(f"{service.label}/flows")
    leave = "name one without flows, or say --allow-existing: it gets those of the run"
    flows = _flows(answer)
    if flows is None:
        raise UsageError(
            f"--service-url {service.label}: it does not list its flows (GET /flows is answered"
            f" {answer.status_code}), so nobody can tell whether it has any; {leave}"
        )
    if flows:
        more = f" and {len(flows) - _SHOWN} more" if len(flows) > _SHOWN else ""
        raise UsageError(
            f"--service-url {service.label}: it has somebody's flows already:"
            f" {', '.join(flows[:_SHOWN])}{more}; {leave}"
        )


class ExternalLauncher:
    """Hands out the one service; it is never started, restarted or stopped.

    Args:
        url: its address.
    """

    def __init__(self, url: str) -> None:
        self.description = f"service at {url}, which somebody else runs"

    start_unmigrated = None

    def prepare(self, services: tuple[Service, ...]) -> None:
        """Do nothing: it runs."""

    def code(self, service: Service) -> str:
        """Return where it is; what runs there nobody here knows."""
        return service.label

    def start(
        self,
        service: Service,
        database: Database | None,  # noqa: ARG002 - it has its own
        log: Path,
        scenario: str = "",  # noqa: ARG002 - it runs as it is
    ) -> RunningService:
        """Return the service as it runs."""
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(f"what {service.label} logs is with whoever runs it\n", encoding="utf-8")
        return _RunningExternal(service, log)


class _RunningExternal:
    picks_release = False

    def __init__(self, service: Service, log: Path) -> None:
        self.migration_url: str | None = None
        self.service = service
        self.log = log
        self.url = service.label
        self.origin = f"at {service.label}, which somebody else runs"
        self.code = self.url

    def restart(self) -> None:
        """Raise InfraError: only whoever runs it could."""
        raise InfraError(f"the service at {self.url} is somebody else's and cannot be restarted")

    def check_alive(self) -> None:
        """Raise InfraError when it does not answer any more."""
        try:
            answer = ask("GET", f"{self.url}/ping", seconds=_SECONDS)
        except requests.RequestException as error:
            raise InfraError(f"the service at {self.url} does not answer: {error}") from error
        if not answer.ok:
            raise InfraError(f"the service at {self.url} answers /ping with {answer.status_code}")

    def stop(self) -> None:
        """Let it run."""


def _address(url: str) -> str:
    try:
        parts = urlsplit(url)
        shaped = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        shaped = False
    if not shaped or parts.query or parts.fragment or "@" in parts.netloc:
        # Not repeated: it may hold a password.
        raise UsageError(
            "--service-url: write it as http://HOST:PORT or with a path, without a user, ? or #"
        )
    return url.rstrip("/")


def _get(url: str) -> requests.Response:
    try:
        return ask("GET", url, seconds=_SECONDS)
    except requests.RequestException as error:
        raise UsageError(f"--service-url: GET {url} is not answered: {one_line(error)}") from error


def _is_refusal(answer: requests.Response) -> bool:
    """Tell whether this is what a metadata service says of a flow it has not: JSON, and 404."""
    try:
        answer.json()
    except ValueError:
        return False
    return answer.status_code == HTTPStatus.NOT_FOUND


def _flows(answer: requests.Response) -> list[str] | None:
    """Return the names of the flows that are listed; None where that is no list of flows."""
    try:
        body = answer.json()
        return [str(one["flow_id"]) for one in body] if answer.ok else None
    except (ValueError, KeyError, TypeError):
        return None
