"""Clients on both sides of 2.17.4 read and resume each other's runs."""

from __future__ import annotations

import shlex

import pytest

from tests.e2e.nox_runs import NoxRun, environment, leftovers, nox, run

pytestmark = pytest.mark.e2e

# Between them are two changes that only a reader or a resumer of another release meets.
OLD, NEW = "2.7.12", "2.17.5"


@pytest.fixture(scope="module")
def crossed(tmp_path_factory) -> NoxRun:
    """The run every test here looks at, with nothing declared."""
    folder = tmp_path_factory.mktemp("crossed")
    nothing = folder / "nothing.json"
    nothing.write_text('{"schema": 1, "expectations": []}')
    options = (
        "--metaflow",
        f"{OLD},{NEW}",
        "--probe",
        "resume,values",
        "--expectations",
        str(nothing),
    )
    return run("cross", folder / "results", *options)


def test_what_was_written_before_2_17_4_is_not_resumed_by_it(crossed):
    # https://github.com/Netflix/metaflow/pull/2601
    found = {
        (cell["writer"], cell["client"], cell["resumer"]): cell["checks"]["resume"]["status"]
        for cell in crossed.cells
        if cell["resumer"] and "resume" in cell["checks"]
    }
    assert found == {
        (OLD, OLD, OLD): "pass",
        (OLD, NEW, NEW): "fail",
        (NEW, OLD, OLD): "pass",
        (NEW, NEW, NEW): "pass",
    }
    assert crossed.code == 1
    assert "cross has unexpected outcomes" in crossed.output


def test_each_reads_what_the_other_wrote(crossed):
    read = {(cell["writer"], cell["client"]) for cell in crossed.cells if not cell["resumer"]}
    assert read == {(one, other) for one in (OLD, NEW) for other in (OLD, NEW)}
    values = {
        (cell["writer"], cell["client"]): cell["checks"]
        for cell in crossed.cells
        if not cell["resumer"] and cell["probe"] == "values"
    }
    assert {checks["kinds"]["status"] for checks in values.values()} == {"pass"}
    # What a client before 2.7.13 wrote of a file that was included, and what such a client reads.
    assert {pair: checks["included_back"]["status"] for pair, checks in values.items()} == {
        (OLD, OLD): "fail",
        (OLD, NEW): "fail",
        (NEW, OLD): "fail",
        (NEW, NEW): "pass",
    }


def test_a_cell_says_what_was_installed_for_each_role(crossed):
    for cell in crossed.cells:
        others = {cell["writer"], cell["resumer"] or cell["client"]} - {cell["client"]}
        assert set(cell["provenance"]["others"]) == others


def test_the_grids_are_reader_by_writer_and_resumer_by_writer(crossed):
    assert "reading: reader × writer" in crossed.output
    assert "resuming: resumer × writer" in crossed.output


def test_its_line_runs_the_cell_again(crossed, tmp_path):
    (bad,) = (
        cell for cell in crossed.cells if cell["probe"] == "resume" and cell["status"] == "fail"
    )
    words = shlex.split(bad["rerun"])
    assert words[:3] == ["nox", "-s", "cross"]
    assert f"{OLD}:{NEW}:{NEW}" in words
    finished = nox(*words[1:], "--results", str(tmp_path), env=environment())
    assert finished.returncode == 1
    again = NoxRun(1, finished.stdout, (tmp_path / "latest").resolve())
    assert [(cell["id"], cell["status"]) for cell in again.cells] == [(bad["id"], "fail")]


def test_nothing_is_left(crossed):
    assert leftovers(crossed.folder.parent) == []
