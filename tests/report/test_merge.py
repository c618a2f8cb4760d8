"""Journals put together: the later entry of a cell counts, and evidence is still found."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest

from harness.cli.commands import report_main
from harness.core.entries import Rerun
from harness.core.journal import read
from harness.core.view import View
from harness.machine.errors import UsageError
from harness.report.diff import compare
from harness.report.html import render_html
from harness.report.merge import merge, write_journal
from harness.report.summary import totals
from tests.report import journals


def _dated(folder: Path, at: str) -> None:
    """Set the time of every entry of a journal."""
    moment = datetime.fromisoformat(at)
    entries = [msgspec.structs.replace(entry, at=moment) for entry in read(folder)]
    write_journal(entries, folder)


@pytest.fixture
def shards(tmp_path: Path) -> tuple[Path, Path]:
    """Two runs: the first, red and older, shares a cell with the second."""
    one, other = tmp_path / "a", tmp_path / "b"
    red = journals.cell("2.0.5", "v2.3.0", {"run": ("fail", "no")})
    journals.write(one, [journals.evidence(one, red, flow="what it said")], run="a")
    both = [journals.cell("2.0.5", "v2.3.0"), journals.cell("2.2.13", "v2.3.0")]
    journals.write(other, both, run="b")
    _dated(one, "2026-11-01T10:00:00+00:00")
    _dated(other, "2026-11-01T11:00:00+00:00")
    return one, other


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_later_entry_wins_whatever_the_order(shards, tmp_path: Path, order):
    view = View(merge([shards[place] for place in order], tmp_path / "merged"))
    assert totals(view.cells) == {"pass": 2}
    cell = view.cells[0]
    assert cell.run == "b"
    (earlier,) = view.earlier(cell)
    assert (earlier.run, earlier.at.isoformat(), earlier.status.value) == (
        "a",
        "2026-11-01T10:00:00+00:00",
        "fail",
    )
    assert list(view.runs) == ["a", "b"]


def test_a_source_given_twice_counts_once(shards, tmp_path: Path):
    once = merge([shards[0]], tmp_path / "merged")
    assert merge([shards[0], shards[0] / "journal.jsonl"], tmp_path / "merged") == once


def test_evidence_is_found_from_the_new_place(shards, tmp_path: Path):
    folder = tmp_path / "deep" / "merged"
    entries = merge([shards[0]], folder)
    folder.mkdir(parents=True)
    (path,) = View(entries).cells[0].evidence.values()
    assert (folder / path).read_text() == "what it said"


def test_a_merged_journal_is_a_source_like_any_other(shards, tmp_path: Path):
    folder = tmp_path / "merged"
    folder.mkdir()
    entries = merge(shards, folder)
    write_journal(entries, folder)
    assert read(folder) == entries
    assert merge([folder, *shards], folder) == entries


def test_report_draws_shards_as_one_and_says_where_cells_come_from(shards, tmp_path: Path, capsys):
    folder = tmp_path / "out"
    assert report_main([*map(str, shards), "--output", str(folder)]) == 0
    body = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert body["totals"] == {"pass": 2}
    assert [run["run"] for run in body["runs"]] == ["a", "b"]
    assert {cell["run"] for cell in body["cells"]} == {"b"}
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert '<th scope="row">a</th>' in page
    assert "2 pass: 2 cells" in capsys.readouterr().out


def test_report_draws_one_folder_again_in_place(shards, capsys):
    journal = (shards[0] / "journal.jsonl").read_bytes()
    assert report_main([str(shards[0])]) == 0
    assert (shards[0] / "journal.jsonl").read_bytes() == journal
    assert "what it said" in (shards[0] / "report.html").read_text(encoding="utf-8")
    assert "1 fail: 1 cell" in capsys.readouterr().out


def test_a_source_without_a_journal_is_an_error(tmp_path: Path):
    with pytest.raises(UsageError, match="no journal"):
        report_main([str(tmp_path / "nowhere")])


def test_an_unknown_option_is_an_error(tmp_path: Path):
    with pytest.raises(UsageError, match="--outputt"):
        report_main([str(tmp_path), "--outputt", "x"])


def test_report_proposes_expectations_for_what_is_red(shards, capsys):
    report_main([str(shards[0]), "--write-expectations"])
    body = json.loads((shards[0] / "expectations.proposed.json").read_text(encoding="utf-8"))
    declared = body["expectations"]
    assert declared[-1] == {
        "client": "==2.0.5",
        "service": "released ==2.3.0",
        "check": "basics/run",
        "reason": "no",
        "link": None,
        "until": None,
    }
    assert "1 proposed: review" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["--expectations {}", "--expectations={}"])
def test_expectations_are_proposed_beside_those_of_the_run(tmp_path: Path, capsys, form: str):
    own = tmp_path / "known.json"
    own.write_text(json.dumps({"schema": 1, "expectations": [{"reason": "my own"}]}))
    options = ["--jobs", "2", *form.format(own).split()]
    folder = tmp_path / "run"
    journals.write(folder, [journals.cell("2.0.5", "v2.3.0", {"run": "fail"})], options=options)
    report_main([str(folder), "--write-expectations"])
    body = json.loads((folder / "expectations.proposed.json").read_text(encoding="utf-8"))
    assert [one["reason"] for one in body["expectations"]] == ["my own", "fails"]
    assert f"put it in place of {own}" in capsys.readouterr().out
    own.unlink()
    with pytest.raises(UsageError, match=r"the run's --expectations .*known.json: no such file"):
        report_main([str(folder), "--write-expectations"])


def test_of_runs_with_several_files_nothing_is_proposed(tmp_path: Path):
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        options = ["--expectations", str(folder / "known.json")]
        journals.write(folder, [journals.cell("2.0.5", "v2.3.0")], run=folder.name, options=options)
    with pytest.raises(UsageError, match="these runs were given several files"):
        report_main([*map(str, folders), "--output", str(tmp_path), "--write-expectations"])


@pytest.mark.parametrize(
    "differs",
    [
        {"backend": ("embedded", "docker")},
        {"python": ("3.10", "3.11")},
        {"build": ("branch main at 1a2b", "branch main at 3c4d")},
        {"probe_digest": ("aa", "bb")},
    ],
)
def test_runs_that_differ_never_overwrite_one_another(tmp_path: Path, differs):
    ((field, values),) = differs.items()
    folders = [tmp_path / name for name in ("a", "b")]
    for folder, value, status in zip(folders, values, ("fail", "pass"), strict=True):
        one = journals.cell("2.0.5", "HEAD", {"run": status}, **{field: value})
        journals.write(folder, [one], run=folder.name)
    view = View(merge(folders, tmp_path))
    assert totals(view.cells) == {"fail": 1, "pass": 1}
    names = {view.name(cell) for cell in view.cells}
    assert names == {f"compat/2.0.5/HEAD/local/basics ({field}={value})" for value in values}
    page = "".join(render_html(view, tmp_path))
    assert all(name in page for name in names)
    assert compare(view, view).render() == "no difference"


def test_the_same_cell_run_twice_is_one(tmp_path: Path):
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        journals.write(folder, [journals.cell("2.0.5", "HEAD", backend="docker")], run=folder.name)
    assert totals(View(merge(folders, tmp_path)).cells) == {"pass": 1}


def test_a_rerun_comes_after_what_it_repeats_whatever_the_clock_says(tmp_path: Path):
    first = datetime(2026, 11, 1, 12, tzinfo=timezone.utc)
    folders = [tmp_path / name for name in ("a", "b")]
    for folder, status, at in zip(
        folders, ("fail", "pass"), (first, first - timedelta(hours=1)), strict=True
    ):
        cell = journals.cell("2.0.5", "v2.3.0", {"run": status})
        journals.write(folder, [cell], run=folder.name, at=at)
    assert totals(View(merge(folders, tmp_path)).cells) == {"fail": 1}, "the clock alone"
    note = Rerun(at=first, of=["a"], runs=["b"])
    together = tmp_path / "both"
    together.mkdir()
    write_journal([*merge(folders, together), note], together)
    view = View(merge([together], together))
    assert totals(view.cells) == {"pass": 1}
    assert view.flaky(view.cells[0])
