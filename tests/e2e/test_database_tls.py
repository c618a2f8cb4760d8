"""TLS to the run's own database: the reference goes by what it is told, and the harness, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.nox_runs import run

pytestmark = pytest.mark.e2e


@pytest.mark.usefixtures("with_tls")
def test_the_reference_shows_its_certificate_and_is_green(tmp_path: Path) -> None:
    found = run(
        "compat",
        tmp_path / "results",
        *("--metaflow", "2.19.39", "--service", "2.5", "--probe", "hello"),
        *("--database-tls", "client-cert"),
    )
    assert found.code == 0, found.output
    assert "TLS client-cert: connections are encrypted, and both sides show a certificate" in (
        found.output
    )
    (cell,) = found.cells
    assert cell["id"].endswith("/hello/database_tls=client-cert")
    assert (cell["status"], cell["database_tls"]) == ("pass", "client-cert")
    assert "--database-tls client-cert" in cell["rerun"]
