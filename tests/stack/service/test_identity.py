"""What a service says of itself, when it says anything."""

from __future__ import annotations

from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from harness.catalog.releases import Catalog, Service
from harness.machine.errors import InfraError
from harness.machine.processes import free_port
from harness.stack.service.identity import identified_version, identity_notes
from harness.stack.service.launcher import ServiceError
from harness.stack.service.migration import request


@dataclass
class Silent:
    """A service that was there a moment ago, and does not answer any more."""

    service: Service
    log: Path
    url: str
    migration_url: str | None
    origin: str = ""
    picks_release: bool = True

    def restart(self) -> None:
        """Do nothing."""

    def check_alive(self) -> None:
        """Do nothing: its process is there."""

    def stop(self) -> None:
        """Do nothing."""


@pytest.fixture
def silent(catalog: Catalog, tmp_path: Path) -> Silent:
    log = tmp_path / "service.log"
    log.write_text("its last words\n", encoding="utf-8")
    url = f"http://127.0.0.1:{free_port()}"
    return Silent(catalog.released[-1], log, url, url)


def test_a_service_that_stops_answering_is_infra_with_its_last_words(silent: Silent) -> None:
    with pytest.raises(InfraError, match=rf"(?s)^GET {silent.url}/ping: .*its last words"):
        identified_version(silent, 0)
    with pytest.raises(InfraError, match=rf"^GET {silent.url}/version: "):
        identity_notes(silent, None, 0)


def test_so_is_a_migration_api_that_stops_answering(silent: Silent, catalog: Catalog) -> None:
    silent.service = catalog.released[0]  # no migrations, so no /version of its own
    assert not silent.service.migrates
    with pytest.raises(InfraError, match=rf"^GET {silent.migration_url}/version: "):
        identity_notes(silent, None, 0)


@pytest.mark.parametrize("ends", [False, True], ids=["goes_on", "ends"])
def test_a_service_that_hangs_up_fails_while_it_goes_on_answering(silent: Silent, ends: bool):
    """One that ends at this moment is judged by how it ended, as everywhere."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/ping":
                self.send_response(200)
                self.end_headers()
            elif ends:
                server.socket.close()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    silent.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.handle_request if ends else server.serve_forever)
    thread.start()
    hung_up = "GET .*/version: it closed the connection without an answer; last lines"
    told = (InfraError, "^GET .*/version: .*aborted") if ends else (ServiceError, hung_up)
    try:
        with pytest.raises(told[0], match=told[1]):
            request("GET", f"{silent.url}/version", silent, seconds=10)
    finally:
        if not ends:
            server.shutdown()
        thread.join()
        server.server_close()
