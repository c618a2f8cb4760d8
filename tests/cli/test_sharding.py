"""The shard of a run, the matrix of all, and which of them is missing from results."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from harness.catalog.releases import Catalog
from harness.catalog.versions import load
from harness.cli.commands import report_main
from harness.cli.options import parse
from harness.cli.planning import OnPython, make_plan
from harness.cli.sharding import matrix, own_part, wrong_shards
from harness.core.journal import read
from harness.core.plan import Plan
from harness.core.view import View
from harness.machine.errors import UsageError
from harness.machine.tools import ROOT
from harness.run.options import Options
from tests.report import journals


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load()


def planned(catalog: Catalog, *arguments: str, session: str = "compat") -> tuple[Options, Plan]:
    options = parse(session, arguments, catalog)
    return options, make_plan(options, [OnPython(one, "3.11") for one in options.clients])


def ids(plan: Plan) -> list[str]:
    return [cell.id for cell in plan.cells]


def test_jobs_of_the_matrix_run_all_cells_once(catalog, tmp_path):
    given = ("--metaflow", ">=2.17", "--probe", "basics,hello", "--results", str(tmp_path))
    whole = planned(catalog, *given, "--plan", "github", "--shard", "5")
    text = matrix([whole])
    assert "\n" not in text
    jobs = json.loads(text)["include"]
    assert [job["shard"] for job in jobs] == ["1/5", "2/5", "3/5", "4/5", "5/5"]
    assert sum(job["cells"] for job in jobs) == len(whole[1].cells)
    done = []
    for job in jobs:
        words = shlex.split(job["run"])
        assert words[:4] == ["nox", "-s", "compat", "--"]
        own = own_part(*planned(catalog, *words[4:]))
        assert len(own.cells) == job["cells"]
        assert " ".join(client.name for client in own.clients) == job["clients"]
        done += ids(own)
    assert sorted(done) == sorted(ids(whole[1]))


def test_a_matrix_of_several_sessions_has_256_jobs_at_most(catalog):
    given = ("--metaflow", "all", "--plan", "github", "--shard", "150")
    both = [planned(catalog, *given, session=session) for session in ("compat", "local")]
    assert len(json.loads(matrix(both[:1]))["include"]) == 150
    with pytest.raises(UsageError, match="300 jobs, and a matrix has 256 at most"):
        matrix(both)


def test_no_secret_is_in_a_matrix(catalog):
    given = ("--database-password", "not to be written", "--plan", "github", "--shard", "2")
    text = matrix([planned(catalog, *given)])
    assert "not to be written" not in text
    assert "env:COMPAT_DATABASE_PASSWORD" in text


def test_durations_of_a_run_that_was_decide(catalog, tmp_path):
    options, plan = planned(catalog, "--metaflow", "2.12.8,2.17.3,2.19.39", "--service", "2.5")
    first, *others = plan.cells
    journals.write(
        tmp_path,
        [
            journals.cell("x", "y", id=cell.id, seconds=90.0 if cell is first else 3.0)
            for cell in (first, *others)
        ],
    )
    words = (*options.given, "--shard", "1/2", "--durations", str(tmp_path))
    assert ids(own_part(*planned(catalog, *words))) == [first.id]
    (again,) = json.loads(matrix([planned(catalog, *words[:-4], "--plan=github", "--shard=1")]))[
        "include"
    ]
    assert again["cells"] == 3


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--shard", "4/3"], "--shard 4/3: no part of several, such as 1/3"),
        (["--shard", "3"], "--shard 3: which of them? name one, such as 1/3"),
        (["--plan", "github"], "--plan github needs --shard N"),
        (["--plan", "github", "--shard", "1/3"], "--plan github needs --shard N"),
        (["--durations", "x"], "--durations is of no use without --shard"),
        (["--shard", "1/200"], "--shard 1/200: compat has 80 units here, so 80 shards at most"),
        (["--shard", "1/2", "--durations", "/absent"], "no journal"),
    ],
)
def test_bad_input(catalog, words, told):
    with pytest.raises(UsageError, match=told.replace("?", r"\?")):
        own_part(*planned(catalog, *words))


def shard(folder: Path, text: str, client: str, *more: str, cut: str = "") -> Path:
    """Write what a shard of a run left."""
    options = ["--shard", text, "--metaflow", "minors", *more]
    cells = [journals.cell(client, "v2.3.0")]
    place = folder / text.replace("/", "-")
    journals.write(place, cells, run=f"run-{text[0]}", options=options, cut=cut)
    return place


def test_a_shard_that_is_missing_is_told_and_turns_the_report_red(tmp_path, capsys):
    sources = [
        shard(tmp_path, "1/3", "2.0.5", "--results", "/a", "--jobs", "2"),
        shard(tmp_path, "3/3", "2.2.13", "--results", "/b"),
    ]
    folder = tmp_path / "out"
    assert report_main([*map(str, sources), "--output", str(folder)]) == 1
    told = "--shard 2/3 is missing: nox -s compat -- --metaflow minors --shard 2/3"
    assert told in capsys.readouterr().out
    assert told in View(read(folder)).notes[""]
    sources.append(shard(tmp_path, "2/3", "2.7.23"))
    assert report_main([*map(str, sources), "--output", str(folder)]) == 0
    view = View(read(folder))
    assert wrong_shards(view) == []
    assert {cell.client for cell in view.cells} == {"2.0.5", "2.7.23", "2.2.13"}


def test_shards_of_different_durations_turn_the_report_red(catalog, tmp_path, capsys):
    given = ("--metaflow", "2.12.8,2.17.3,2.19.39", "--service", "2.5")
    _, plan = planned(catalog, *given)
    for slow in (0, 2):
        cells = [
            journals.cell("x", "y", id=cell.id, seconds=90.0 if at == slow else 3.0)
            for at, cell in enumerate(plan.cells)
        ]
        journals.write(tmp_path / f"slow-{slow}", cells)

    def cut(number: int, slow: int) -> str:
        words = ("--shard", f"{number}/2", "--durations", str(tmp_path / f"slow-{slow}"))
        return own_part(*planned(catalog, *given, *words)).cut

    first = shard(tmp_path, "1/2", "2.0.5", cut=cut(1, 0))
    other = shard(tmp_path / "other", "2/2", "2.7.23", cut=cut(2, 2))
    same = shard(tmp_path / "same", "2/2", "2.7.23", cut=cut(2, 0))
    folder = tmp_path / "out"
    assert report_main([str(first), str(other), "--output", str(folder)]) == 1
    told = "--shard 1/2 and --shard 2/2 are of different plans: cells may be in none of them"
    assert told in capsys.readouterr().out
    assert any(note.startswith(told) for note in View(read(folder)).notes[""])
    assert report_main([str(first), str(same), "--output", str(folder)]) == 0


def test_the_workflow_of_the_docs_puts_its_shards_together(tmp_path, monkeypatch):
    text = (ROOT / "docs" / "bisect-and-shards.md").read_text(encoding="utf-8")
    (kept,) = re.findall(r"name: \"shard-.*path: \"(.*?)\"", text)
    (words,) = re.findall(r"- run: nox -s report -- (.*)", text)
    monkeypatch.chdir(tmp_path)
    for number, client in ((1, "2.0.5"), (2, "2.7.23")):
        run = shard(tmp_path / f"machine-{number}", f"{number}/2", client, cut="aa")
        results = tmp_path / f"machine-{number}" / "results"
        results.mkdir()
        run.rename(results / f"20261127-12000{number}-compat-1a2b")
        (results / "latest").symlink_to(f"20261127-12000{number}-compat-1a2b")
        # An artifact has what is below the first star, each in a folder of its own.
        artifact = tmp_path / "shards" / f"shard-{number - 1}"
        for found in results.glob(kept.removeprefix("results/")):
            shutil.copytree(found, artifact / found.name)
    given = [str(path) for word in words.split() for path in sorted(Path().glob(word)) or [word]]
    assert len(given) == 4
    assert report_main(given) == 0
    assert len(View(read(tmp_path / "merged")).runs) == 2


def test_shards_of_an_older_harness_are_put_together_as_they_were(tmp_path):
    sources = [shard(tmp_path, "1/2", "2.0.5", cut="aa"), shard(tmp_path, "2/2", "2.7.23")]
    journal = sources[1] / "journal.jsonl"
    text = journal.read_text(encoding="utf-8")
    assert ',"cut":""' in text
    journal.write_text(text.replace(',"cut":""', ""), encoding="utf-8")
    assert report_main([*map(str, sources), "--output", str(tmp_path / "out")]) == 0
