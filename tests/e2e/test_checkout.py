"""Services of a clone through the real nox command, without the upstream repository."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.machine.tools import tool_python
from harness.stack.service.reference import REQUIREMENTS
from tests.e2e.nox_runs import leftovers, nox, run, without_faults_of_1_0
from tests.stack.service import upstream

pytestmark = pytest.mark.e2e

SMALLEST = ("--metaflow", "latest", "--probe", "hello")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone whose work tree holds a change nobody committed."""
    reference = tool_python("reference", REQUIREMENTS)
    folder = upstream.build(tmp_path_factory.mktemp("upstream") / "clone", reference)
    (folder / "README.md").write_text("changed\n", encoding="utf-8")
    return folder


def test_compat(clone, tmp_path):
    options = (*SMALLEST, "--checkout", str(clone), "--service", "2.0.0,v2.5.1,HEAD")
    done = run("compat", tmp_path, *options)
    assert done.code == 0, done.output
    assert [cell["status"] for cell in done.cells] == ["pass"] * 3
    assert {cell["service"]: cell["service_kind"] for cell in done.cells} == {
        "2.0.0": "released",
        "v2.5.1": "released",
        "HEAD": "checkout",
    }
    reused = {cell["service"]: cell["reused"] for cell in done.cells}
    assert (reused["2.0.0"], reused["v2.5.1"]) == (None, None)
    assert reused["HEAD"]["service"] == "v2.5.1", "only its README is another"
    notes = {entry["text"] for entry in done.entries if entry["kind"] == "note"}
    assert "v2.5.1 reports 2.5.0 to clients; 2.5.1 was expected" in notes
    (label,) = (note for note in notes if note.startswith("HEAD is "))
    assert label.startswith("HEAD is branch master at ")
    assert label.endswith(", with uncommitted changes")
    assert label in done.output
    assert "goose: " in done.entries[0]["backend"]
    assert leftovers(tmp_path) == []


def test_fixed_db(clone, tmp_path):
    options = (*SMALLEST, "--checkout", str(clone), "--service", "1.0.0,2.0.4,v2.5.0")
    declared = without_faults_of_1_0(tmp_path / "declared.json")
    done = run("fixed_db", tmp_path / "results", *options, "--expectations", str(declared))
    stages = [entry for entry in done.entries if entry["kind"] == "stage"]
    assert done.code == 0, done.output
    assert [(stage["service"], stage["status"]) for stage in stages] == [
        ("1.0.0", "pass"),
        ("2.0.4", "pass"),
        ("v2.5.0", "pass"),
    ]
    assert stages[1]["migrations"] == ["1", "20200603104139"]


def test_the_wrong_order_is_reported_as_a_failure_and_as_such(clone, tmp_path):
    options = (*SMALLEST, "--checkout", str(clone), "--scenario", "wrong-order")
    done = run("compat", tmp_path, *options, "--service", "2.0.0,v2.3.0")
    assert done.code == 1
    assert "scenario wrong-order: the metadata service is started on the empty" in done.output
    assert {cell["service"]: cell["status"] for cell in done.cells} == {
        "2.0.0": "fail",
        "v2.3.0": "pass",
    }
    (bad,) = (cell for cell in done.cells if cell["status"] == "fail")
    assert "already exists" in bad["checks"]["run"]["reason"]
    assert "--scenario wrong-order" in bad["rerun"]


def test_a_password_that_a_service_does_not_quote_is_red_and_one_that_it_does_is_green(
    clone, tmp_path
):
    """As of metaflow-service #152: the password is glued into what goose is given."""
    mended = shutil.copytree(clone, tmp_path / "mended", symlinks=True)
    server = mended / "services" / "migration_service" / "migration_server.py"
    text = server.read_text(encoding="utf-8")
    glued = '"=" + os.environ["MF_METADATA_DB_" + name] for'
    assert glued in text
    quoted = '"=" + quoted(os.environ["MF_METADATA_DB_" + name]) for'
    quote = r"""quoted = lambda text: "'" + text.replace("\\", r"\\").replace("'", r"\'") + "'" """
    server.write_text(f"{quote}\n{text.replace(glued, quoted)}", encoding="utf-8")
    options = ("--checkout", str(mended), "--service", "v2.5.1,HEAD", "--probe", "hello")
    given = ("--metaflow", "latest", "--scenario", "awkward-password")
    done = run("compat", tmp_path / "results", *given, *options)
    assert done.code == 1, done.output
    assert {cell["service"]: cell["status"] for cell in done.cells} == {
        "v2.5.1": "fail",
        "HEAD": "pass",
    }
    (red,) = (cell for cell in done.cells if cell["status"] == "fail")
    hung_up = "/db_schema_status: it closed the connection without an answer"
    assert hung_up in red["checks"]["run"]["reason"]
    assert "--scenario awkward-password" in red["rerun"]
    assert leftovers(tmp_path / "results") == []


def test_bisect_finds_the_commit_that_broke_a_service(clone, tmp_path):
    planted = shutil.copytree(clone, tmp_path / "planted", symlinks=True)
    server = planted / "services" / "metadata_service" / "server.py"
    for number in range(5):
        if number == 3:
            text = server.read_text(encoding="utf-8")
            fault = "import os; os.environ['METAFLOW_COMPAT_FAULT'] = 'lose-artifact:greeting'"
            server.write_text(f"{fault}\n{text}", encoding="utf-8")
        (planted / "README.md").write_text(f"{number}\n", encoding="utf-8")
        upstream.git(planted, "commit", "--quiet", "--all", "--message", f"change {number}")
    ends = ("--good", "HEAD~4", "--bad", "HEAD", "--checkout", str(planted))
    done = run("bisect", tmp_path / "results", "--check", "hello/artifacts", *ends)
    assert done.code == 0, done.output
    broken = upstream.git(planted, "rev-parse", "HEAD~1").strip()
    assert f"first bad commit: {broken[:7]} (change 3); " in done.output
    assert "tried 2 cells of 5 commits, 4 attempts: " in done.output
    assert (
        f"it shows again by: nox -s compat -- --metaflow 2.19.39 --service {broken}" in done.output
    )
    assert {cell["service"]: cell["status"] for cell in done.cells}[broken] == "fail"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--checkout", "TMP/absent"], "TMP/absent: there is no such folder"),
        (["--checkout", "file://TMP/absent.git"], "the repository cannot be read"),
        (["--checkout", "CLONE", "--service", "v0.1-alpha"], "holds no metadata service"),
        (["--checkout", "CLONE", "--service", "mastr"], "nearest: master"),
        (["--scenario", "wrong-order"], "needs services from a clone: --checkout PATH|URL"),
        (["--checkout", "CLONE", "--scenario", "wrong"], "no such scenario (nearest: wrong-order)"),
    ],
)
def test_bad_input(clone, tmp_path, options, words):
    places = {"CLONE": str(clone), "TMP": str(tmp_path)}
    given = [_in(places, option) for option in options]
    finished = nox("-s", "compat", "--", "--results", str(tmp_path / "results"), *given)
    output = finished.stdout + finished.stderr
    assert finished.returncode == 2
    assert _in(places, words) in output
    assert output.count("error: ") == 1
    assert "Traceback" not in output
    assert not (tmp_path / "results").exists()


def _in(places: dict[str, str], text: str) -> str:
    """Return the text with the names of places replaced by where they are."""
    for name, place in places.items():
        text = text.replace(name, place)
    return text
