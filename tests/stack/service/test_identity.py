"""What a service says of itself, when it says anything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.catalog.releases import Catalog, Service
from harness.machine.errors import InfraError
from harness.machine.processes import free_port
from harness.stack.service.identity import identified_version, identity_notes


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
