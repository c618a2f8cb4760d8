"""Packages that are asked for beside clients."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.catalog.interpreters import find_interpreters
from tests.e2e.nox_runs import run

pytestmark = pytest.mark.e2e


@pytest.mark.exhaustive
def test_the_card_of_a_data_frame_is_red_before_the_client_knows_pandas_3(tmp_path: Path) -> None:
    if "3.12" not in find_interpreters():
        pytest.skip("there is no Python 3.12 here")
    # The first release with metaflow PR #3290, and the one before it.
    options = ("--metaflow", "2.19.36,2.19.37", "--probe", "card", "--python", "3.12")
    found = run("local", tmp_path / "results", *options, "--with", "pandas>=3")
    cells = {cell["client"]: cell for cell in found.cells}
    assert found.code != 0, found.output
    old, new = cells["2.19.36"], cells["2.19.37"]
    red = [name for name, check in old["checks"].items() if check["status"] == "fail"]
    assert red == ["frame"], old
    assert "the data frame's rows are not in the card" in old["checks"]["frame"]["reason"]
    assert "packages=pandas>=3" in old["id"]
    assert "--with 'pandas>=3'" in old["rerun"]
    assert new["checks"]["frame"]["status"] == "pass", new
