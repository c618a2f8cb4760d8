"""An old, a middle and the newest client, unasked services: one run, seen from all sides."""

from __future__ import annotations

import json

import pytest

from tests.e2e.nox_runs import NoxRun, environment, leftovers, run

pytestmark = pytest.mark.e2e

CLIENTS = ("2.2.13", "2.7.23", "2.19.39")
LEVELS = ("reference-1.0", "reference-2.0.6", "reference-2.3", "reference-2.5")
PASSWORD = "S3cret-of-the-run"


@pytest.fixture(scope="module")
def matrix(temporary, tmp_path_factory) -> NoxRun:
    """The run every test here looks at."""
    results = tmp_path_factory.mktemp("results")
    return run(
        "compat",
        results,
        *("--metaflow", ",".join(CLIENTS), "--database-password", PASSWORD),
        env=environment(TMPDIR=str(temporary)),
    )


def test_every_cell_passes_or_is_unsupported(matrix):
    assert matrix.code == 0, matrix.output
    assert {(cell["client"], cell["service"]) for cell in matrix.cells} == {
        (client, level) for client in CLIENTS for level in LEVELS
    }
    assert {cell["status"] for cell in matrix.cells} <= {"pass", "unsupported"}
    for cell in matrix.cells:
        assert list(cell["checks"])[0] == "run"  # noqa: RUF015 - the probe's order
        assert cell["flow_run"].startswith("BasicsFlow/")
        assert 0 < cell["seconds"] < 300
        assert cell["service_kind"] == "reference"


def test_the_journal_is_whole(matrix):
    kinds = [entry["kind"] for entry in matrix.entries]
    assert kinds[0] == "run"
    assert kinds[-1] == "end"
    assert kinds.count("cell") == len(CLIENTS) * len(LEVELS)
    start = matrix.entries[0]
    assert kinds[1] == "planned"
    assert [cell["id"] for cell in matrix.entries[1]["cells"]] == [
        f"compat/{client}/{level}/local/basics" for client in CLIENTS for level in LEVELS
    ]
    assert start["clients"] == list(CLIENTS)
    assert start["services"] == list(LEVELS)
    assert {entry["run"] for entry in matrix.entries} == {matrix.folder.name}


def test_results_json_says_what_the_journal_says(matrix):
    results = json.loads((matrix.folder / "results.json").read_text(encoding="utf-8"))
    cells = {cell["id"]: cell for cell in results["cells"]}
    for cell in matrix.cells:
        assert cells[cell["id"]].items() >= cell.items()
    assert len(results["cells"]) == len(matrix.cells)
    assert sum(results["totals"].values()) == len(matrix.cells)
    assert results["runs"] == [matrix.entries[0]]


def test_the_newest_run_has_a_link(matrix):
    latest = matrix.folder.parent / "latest"
    assert latest.is_symlink()
    assert latest.resolve() == matrix.folder


def test_the_output_has_backend_grid_counts_and_path(matrix):
    assert "backend: embedded" in matrix.output
    for client in CLIENTS:
        assert f"│ {client}" in matrix.output
    assert "columns are levels of the reference service" in matrix.output
    assert f": {len(matrix.cells)} cells" in matrix.output
    assert f"results: {matrix.folder}" in matrix.output


def test_each_service_has_a_log(matrix):
    logs = {path.stem for path in (matrix.folder / "logs" / "services").glob("*.log")}
    assert logs >= set(LEVELS)


def test_the_password_stands_nowhere(matrix):
    assert PASSWORD not in matrix.output
    for path in matrix.folder.rglob("*"):
        if path.is_file():
            assert PASSWORD.encode() not in path.read_bytes(), path


def test_nothing_is_left(matrix, temporary):
    assert leftovers(matrix.folder.parent) == []
    assert list(temporary.iterdir()) == []


def test_each_postgresql_that_is_named_is_there_and_has_cells_of_its_own(tmp_path):
    options = ("--metaflow", "2.19.39", "--service", "2.5", "--probe", "hello")
    found = run("compat", tmp_path, *options, "--postgres", "16,18")
    assert found.code == 0, found.output
    assert {cell["id"]: cell["status"] for cell in found.cells} == {
        f"compat/2.19.39/reference-2.5/local/hello/postgres={major}": "pass"
        for major in ("16", "18")
    }
    for cell in found.cells:
        # What the server says itself, not what it was asked for.
        assert cell["provenance"]["database"].split(".")[0] == cell["postgres"]
    assert leftovers(tmp_path) == []
