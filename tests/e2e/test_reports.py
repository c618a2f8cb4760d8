"""A red cell from the journal to the page: its line reruns it, and what it printed harms nobody."""

from __future__ import annotations

import html
import json
import re
import shlex
from pathlib import Path

import pytest

from harness.machine.secrets import SECRET
from tests.e2e.nox_runs import NoxRun, environment, finished_run, nox, run

pytestmark = pytest.mark.e2e

PASSWORD = "S3cret-of-the-run"
FLOW = """
import os
from metaflow import FlowSpec, step

class HarmFlow(FlowSpec):
    @step
    def start(self):
        print("</script><script>document.title='owned'</script> \\x1b[31mred\\x1b[0m")
        print("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI Authorization: Bearer abcdef123456")
        self.next(self.end)

    @step
    def end(self):
        above = os.path.dirname(os.path.dirname(__file__))
        assert os.path.exists(os.path.join(above, "repaired")), "planted"

if __name__ == "__main__":
    HarmFlow()
"""


@pytest.fixture(scope="module")
def flows(temporary: Path) -> Path:
    """A folder, with a space in its name, whose flow fails until a file lies above it.

    Not beside it: with that it would be another probe, and not a flaky one.
    """
    folder = temporary / "my flows"
    folder.mkdir()
    (folder / "harm.py").write_text(FLOW, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def red(flows: Path, temporary: Path, tmp_path_factory: pytest.TempPathFactory) -> NoxRun:
    """A run with one red cell."""
    return run(
        "compat",
        tmp_path_factory.mktemp("results"),
        *("--metaflow", "2.19.39", "--service", "2.5", "--flow-dir", str(flows)),
        *("--probe", "harm", "--database-password", PASSWORD),
        env=environment(TMPDIR=str(temporary)),
    )


def test_the_cell_is_red_and_every_report_says_so(red: NoxRun):
    assert red.code != 0
    assert red.checks() == {"run": "fail"}
    names = {path.name for path in red.folder.iterdir() if path.is_file()}
    assert names >= {"report.html", "junit.xml", "report.md", "badge.svg", "results.json"}
    page = (red.folder / "report.html").read_text(encoding="utf-8")
    assert "Client 2.19.39 fails on reference service 2.5" in page
    assert "1 fail: 1 cell" in (red.folder / "badge.svg").read_text(encoding="utf-8")


COUNTING = """
import os
from metaflow import FlowSpec, step

COUNTER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "attempts")

class CountingFlow(FlowSpec):
    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        with open(COUNTER, "a+") as counter:
            counter.write("x")
            counter.seek(0)
            assert len(counter.read()) != 2, "planted"

if __name__ == "__main__":
    CountingFlow()
"""


def test_repeated_cells_tell_what_differs_and_the_run_is_red(tmp_path: Path):
    (tmp_path / "counting.py").write_text(COUNTING, encoding="utf-8")
    flows = ["--flow-dir", str(tmp_path), "--probe", "counting"]
    done = run("local", tmp_path / "results", "--metaflow", "2.19.39", "--repeat", "3", *flows)
    assert done.code != 0, "the last attempt is good, and one was not"
    attempts = [entry for entry in done.entries if entry["kind"] == "cell"]
    assert [attempt["status"] for attempt in attempts] == ["pass", "fail", "pass"]
    # Each has evidence of its own.
    assert len({attempt["evidence"]["flow"] for attempt in attempts}) == 3
    line = "differs: local/2.19.39/no-service/local/counting: run: pass, fail, pass"
    assert line in done.output.splitlines()
    assert json.loads((done.folder / "results.json").read_text())["cells"][0]["differences"]
    assert re.search(r"✗ fail  local/\S+  [\d.]+ s  attempt 2", done.output)
    assert "--repeat 3" in done.cells[0]["rerun"]


def test_no_secret_is_in_any_file_though_the_flow_printed_it(red: NoxRun):
    files = [path for path in red.folder.rglob("*") if path.is_file()]
    texts = {path: path.read_text(encoding="utf-8", errors="replace") for path in files}
    for secret in (PASSWORD, "wJalrXUtnFEMI", "abcdef123456"):
        assert [path.name for path, text in texts.items() if secret in text] == []
    flow = red.folder / red.cells[0]["evidence"]["flow"]
    assert f"AWS_SECRET_ACCESS_KEY={SECRET}" in texts[flow]


def test_what_the_flow_printed_is_text_in_the_page(red: NoxRun):
    page = (red.folder / "report.html").read_text(encoding="utf-8")
    assert len(re.findall(r"<script\b", page)) == 3
    evidence = re.search(r'id="evidence">(.*?)</script>', page, re.DOTALL)
    assert evidence is not None
    (items,) = json.loads(evidence[1]).values()
    flow = next(item["text"] for item in items if item["kind"] == "flow")
    assert "<script>document.title='owned'</script> red" in flow


def test_the_line_of_the_report_reproduces_the_verdict(
    red: NoxRun, temporary: Path, tmp_path: Path
):
    markdown = (red.folder / "report.md").read_text(encoding="utf-8")
    line = html.unescape(re.findall(r"`(nox -s compat[^`]+)`", markdown)[0])
    page = (red.folder / "report.html").read_text(encoding="utf-8")
    assert json.dumps(line)[1:-1].replace("'", "\\u0027") in page
    finished = nox(
        *shlex.split(line)[1:],
        *("--results", str(tmp_path)),
        env=environment(TMPDIR=str(temporary), COMPAT_DATABASE_PASSWORD=PASSWORD),
    )
    again = finished_run(finished.returncode, finished.stdout + finished.stderr, tmp_path)
    assert again.code != 0
    assert [(c["id"], c["checks"]["run"]["status"]) for c in again.cells] == [
        (red.cells[0]["id"], "fail")
    ]


def test_rerun_finds_the_cell_flaky_and_diff_tells(red: NoxRun, flows: Path, temporary: Path):
    results = red.folder.parent
    env = environment(TMPDIR=str(temporary))
    without = nox("-s", "rerun", "--", "--from", str(red.folder), env=env)
    assert without.returncode != 0
    assert "the variable COMPAT_DATABASE_PASSWORD is not set" in without.stdout + without.stderr
    env["COMPAT_DATABASE_PASSWORD"] = PASSWORD
    (flows.parent / "repaired").touch()
    finished = nox("-s", "rerun", "--", "--from", str(red.folder), env=env)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    body = json.loads((results / "latest" / "results.json").read_text(encoding="utf-8"))
    assert (body["totals"], body["flaky"]) == ({"pass": 1}, 1)
    latest, first = str(results / "latest"), str(red.folder)
    better = nox("-s", "diff", "--", first, latest, env=env)
    worse = nox("-s", "diff", "--", latest, first, env=env)
    assert (better.returncode, worse.returncode) == (0, 1)
    assert "became green: client 2.19.39 went from fail to pass" in better.stdout
    assert "became red: client 2.19.39 fails on reference service 2.5" in worse.stdout
