"""A real client behind a proxy in front of the reference service."""

from __future__ import annotations

import pytest

from tests.e2e.nox_runs import leftovers, run

pytestmark = pytest.mark.e2e


def test_the_newest_client_does_what_each_proxy_wants(tmp_path):
    names = ("path-prefix", "auth-key", "auth-headers")
    options = ("--metaflow", "2.19.39", "--service", "2.5", "--probe", "hello")
    found = run("compat", tmp_path, *options, "--scenario", ",".join(names))
    assert found.code == 0, found.output
    cells = {cell["id"]: (number, cell) for number, cell in enumerate(found.cells)}
    place = "compat/2.19.39/reference-2.5/local/hello/scenario="
    assert set(cells) == {f"{place}{name}" for name in names}
    for name in names:
        number, cell = cells[f"{place}{name}"]
        assert f"--scenario {name}" in cell["rerun"]
        assert set(found.checks(number).values()) == {"pass"}
        asked = (found.folder / cell["evidence"]["proxy"]).read_text(encoding="utf-8").splitlines()
        assert "POST /flows/HelloFlow/run: 200" in asked
        assert not [line for line in asked if line.endswith(": 401")]
    assert leftovers(tmp_path) == []
