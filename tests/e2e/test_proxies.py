"""A real client behind a proxy in front of the reference service."""

from __future__ import annotations

import pytest

from tests.e2e.nox_runs import leftovers, run

pytestmark = pytest.mark.e2e


def test_the_newest_client_finds_a_service_below_a_path(tmp_path):
    options = ("--metaflow", "2.19.39", "--service", "2.5", "--probe", "hello")
    found = run("compat", tmp_path, *options, "--scenario", "path-prefix")
    assert found.code == 0, found.output
    (cell,) = found.cells
    assert cell["id"] == "compat/2.19.39/reference-2.5/local/hello/scenario=path-prefix"
    assert "--scenario path-prefix" in cell["rerun"]
    assert set(found.checks().values()) == {"pass"}
    asked = (found.folder / cell["evidence"]["proxy"]).read_text(encoding="utf-8").splitlines()
    assert "POST /flows/HelloFlow/run: 200" in asked
    assert leftovers(tmp_path) == []
