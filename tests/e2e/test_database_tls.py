"""TLS to the run's own database: the reference goes by what it is told, and the harness, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.nox_runs import run

pytestmark = pytest.mark.e2e


@pytest.mark.usefixtures("with_tls")
def test_the_reference_is_green_in_each_mode(tmp_path: Path) -> None:
    found = run(
        "compat",
        tmp_path / "results",
        *("--metaflow", "2.19.39", "--service", "2.5", "--probe", "hello"),
        *("--database-tls", "verify-full,client-cert"),
    )
    assert found.code == 0, found.output
    assert "TLS client-cert: connections are encrypted, and both sides show a certificate" in (
        found.output
    )
    # They end in any order.
    cells = {cell["database_tls"]: cell for cell in found.cells}
    assert sorted(cells) == ["client-cert", "verify-full"]
    for mode, cell in cells.items():
        assert cell["id"].endswith(f"/hello/database_tls={mode}")
        assert cell["status"] == "pass"
        assert f"--database-tls {mode}" in cell["rerun"]
