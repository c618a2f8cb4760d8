"""The UI over what a walk left: full, ui in the foreground, detached, and nothing left behind.

The UI backend is a stand-in in a small clone; like the real one it ends on SIGKILL only.
"""

from __future__ import annotations

import re
import shlex
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from harness.machine.processes import free_port, marked_processes, wait_until
from harness.machine.tools import ROOT, tool_python
from harness.proof.ui.page import find_browser
from harness.stack.database.cluster import Cluster, end_server
from harness.stack.kept_stack import Kept, all_kept
from harness.stack.service.reference import REQUIREMENTS
from tests.e2e.nox_runs import (
    NOTHING_KNOWN,
    NoxRun,
    end,
    environment,
    finished_run,
    nox,
    started,
)
from tests.stack.service.upstream import build

pytestmark = pytest.mark.e2e

ASSETS = ROOT / "tests" / "ui" / "assets"
PAGES = ("page_list", "page_timeline", "page_dag", "page_log", "page_card")


@dataclass(frozen=True)
class Walked:
    """What ``full`` left."""

    clone: Path
    walk: NoxRun
    ui: NoxRun
    kept: Kept

    def words(self, results: Path, *more: str) -> list[str]:
        """Return the nox command line of ``ui`` over the kept run; ``more`` may say otherwise."""
        usual = {
            "--from": self.kept.run,
            "--results": str(results),
            "--expectations": str(NOTHING_KNOWN),
            "--checkout": str(self.clone),
            "--ui-assets": str(ASSETS),
        }
        words = [word for pair in usual.items() if pair[0] not in more for word in pair]
        return ["-s", "ui", "--", *words, *more]


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walked]:
    """A walk of two stages, kept, and the check of the UI that follows it."""
    clone = build(
        tmp_path_factory.mktemp("upstream") / "clone", tool_python("reference", REQUIREMENTS)
    )
    results = tmp_path_factory.mktemp("results")
    done = nox(
        *("-s", "full", "--", "--checkout", str(clone), "--path", "v2.3.0,v2.5.0"),
        *("--metaflow", "2.2.13,2.19.39", "--probe", "card,failing", "--check"),
        *("--ui-assets", str(ASSETS), "--ui-port", str(free_port()), "--results", str(results)),
        *("--expectations", str(NOTHING_KNOWN)),
    )
    output = done.stdout + done.stderr
    runs = [path for path in results.iterdir() if not path.is_symlink()]
    folders = {path.name.split("-")[2]: path for path in runs}
    assert {"fixed_db", "ui"} <= set(folders), output
    kept = next(one for one in all_kept() if one.run == folders["fixed_db"].name)
    walk = NoxRun(done.returncode, output, folders["fixed_db"])
    yield Walked(clone, walk, finished_run(done.returncode, output, results), kept)
    nox("-s", "clean", "--", kept.run)


def cluster(walked: Walked) -> Cluster:
    return Cluster(Path(walked.kept.place["home"]), Path(walked.kept.place["binaries"]))


def left(results: Path) -> list[str]:
    """Return the processes that runs with results in a folder left."""
    runs = {path.name for path in results.iterdir()}
    return [mark for _, mark in marked_processes() if mark.partition("/")[0] in runs]


def test_full_walks_and_then_judges_the_ui(walked: Walked):
    assert walked.walk.code == 0, walked.walk.output
    assert [cell["status"] for cell in walked.walk.cells] == ["pass"] * 8
    run = walked.ui.entries[0]
    assert run["session"] == "ui"
    assert run["clients"] == ["2.2.13", "2.19.39", "harness"]
    assert run["services"] == ["v2.3.0", "v2.5.0"]
    assert len(walked.ui.entries[1]["cells"]) == 10
    assert {(cell["session"], cell["ui"]) for cell in walked.ui.cells} == {("ui", "v2.5.0")}
    assert {(cell["client"], cell["service"], cell["probe"]) for cell in of_clients(walked)} == {
        (client, service, probe)
        for client in ("2.2.13", "2.19.39")
        for service in ("v2.3.0", "v2.5.0")
        for probe in ("card", "failing")
    }
    assert "client × service" in walked.ui.output


def of_clients(walked: Walked) -> list[dict[str, Any]]:
    return [cell for cell in walked.ui.cells if cell["client"] != "harness"]


def test_a_run_on_its_way_and_one_that_fell_silent_are_shown_so(walked: Walked):
    live = {cell["flow_run"]: cell for cell in walked.ui.cells if cell["client"] == "harness"}
    assert set(live) == {"CompatLiveFlow/alive", "CompatLiveFlow/silent"}
    assert [cell["id"].rpartition("/")[2] for cell in live.values()] == [
        "state=running",
        "state=failed",
    ]
    for run, cell in live.items():
        assert cell["status"] == "pass", cell["checks"]
        assert cell["checks"]["status"]["status"] == "pass"
        assert f" --run {run} --from " in cell["rerun"]
        assert "--metaflow" not in cell["rerun"]


def test_every_run_is_shown_with_its_status_log_and_card(walked: Walked):
    for cell in of_clients(walked):
        checks = {name: one["status"] for name, one in cell["checks"].items()}
        for name in ("listed", "status", "timeline", "tags", "artifact_search", "logs"):
            assert checks[name] == "pass", (cell["id"], cell["checks"][name])
        assert checks["data_kept"] == "pass"
        has_card = cell["probe"] == "card" and cell["client"] == "2.19.39"
        assert checks["card"] == ("pass" if has_card else "unsupported")
        assert cell["rerun"].startswith(
            f"nox -s ui -- --check --ui-version v2.5.0 --metaflow {cell['client']}"
            f" --run {cell['flow_run']} --from {walked.kept.run} "
        )
        assert f" --checkout {walked.clone} " in cell["rerun"]


@pytest.mark.browser
@pytest.mark.skipif(find_browser() is None, reason="needs Chromium and its driver")
def test_pictures_of_the_pages_are_among_the_results(walked: Walked):
    for cell in of_clients(walked):
        judged = [name for name in PAGES if cell["checks"][name]["status"] == "pass"]
        assert {"page_list", "page_timeline", "page_log"} <= set(judged)
        for name in judged:
            picture = walked.ui.folder / cell["evidence"][name]
            assert picture.read_bytes().startswith(b"\x89PNG")


def test_nothing_runs_when_the_check_is_over(walked: Walked):
    assert left(walked.ui.folder.parent) == []
    assert not end_server(cluster(walked).data)
    assert not list(walked.kept.data.glob("before-*"))
    assert "password" not in (walked.ui.folder / "journal.jsonl").read_text(encoding="utf-8")
    assert walked.kept.database.password not in walked.ui.output


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def stopped(request, walked: Walked, tmp_path: Path) -> tuple[int, str, Path]:
    """A UI in the foreground that was looked at and then ended by a signal."""
    port, log = free_port(), tmp_path / "output"
    words = walked.words(tmp_path / "results", "--ui-port", str(port))
    with started(words, log, environment()) as process:
        said = f"http://localhost:{port}"
        wait_until(lambda: said in log.read_text(), seconds=120, what="the UI", log=log)
        page = requests.get(said, timeout=30)
        assert page.ok
        assert "METAFLOW_SERVICE" in page.text
        assert requests.get(f"{said}/flows/CardFlow/runs", timeout=30).json()["data"]
        code = end(process, request.param)
    return code, log.read_text(encoding="utf-8"), tmp_path / "results"


def test_a_signal_stops_the_ui_and_all_its_workers(stopped, walked: Walked, request):
    code, output, results = stopped
    if request.node.callspec.params["stopped"] is signal.SIGINT:
        assert code == 0, output
        assert "stopped" in output
    else:
        assert code != 0
    assert "Traceback" not in output
    assert left(results) == []
    assert not end_server(cluster(walked).data)


def test_a_detached_ui_goes_on_until_it_is_cleaned(walked: Walked, tmp_path: Path):
    port = free_port()
    done = nox(*walked.words(tmp_path, "--ui-port", str(port), "--detach"))
    assert done.returncode == 0, done.stdout + done.stderr
    url = f"http://localhost:{port}"
    assert url in done.stdout
    assert requests.get(f"{url}/features", timeout=30).ok
    assert len(left(tmp_path)) >= 4  # the backend, two workers, the database

    cleaned = nox("-s", "clean")

    assert f"{walked.kept.run}: ended the database server that a UI left" in cleaned.stdout
    assert re.search(r"-ui-\w+: ended \d+ processes", cleaned.stdout)
    assert left(tmp_path) == []
    assert f"remove it with: nox -s clean -- {walked.kept.run}" in cleaned.stdout
    assert cluster(walked).data.is_dir()


def test_several_uis_are_judged_one_after_the_other(walked: Walked, tmp_path: Path):
    done = nox(
        *walked.words(
            tmp_path,
            *("--check", "--ui-version", "v2.3.0,v2.5.0", "--metaflow", "2.19.39"),
        )
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = finished_run(done.returncode, done.stdout, tmp_path)
    assert {cell["session"] for cell in found.cells} == {"ui"}
    assert {cell["ui"] for cell in found.cells} == {"v2.3.0", "v2.5.0"}
    assert {cell["client"] for cell in found.cells} == {"2.19.39"}
    page = (found.folder / "report.html").read_text(encoding="utf-8")
    assert "UI v2.3.0" in page
    assert "UI v2.5.0" in page


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--ui-version", "v2.5.1,v2.5.0"], "selects 2 UIs: only --check takes several"),
        (["--from", "no-such-run"], "the run 'no-such-run' has kept nothing"),
        (["--ui-assets", "absent"], "there is no such file or folder; metaflow-ui-VERSION.zip"),
        (["--check", "--metaflow", "2.7.23"], "no client of 2.7.23 has written a run there"),
        (["--check", "--run", "CardFlow/999"], "--run CardFlow/999: not among the 10 runs"),
    ],
)
def test_bad_input_is_one_clear_error(walked: Walked, tmp_path: Path, more, message):
    done = nox(*walked.words(tmp_path, "--ui-port", str(free_port()), *more))
    assert done.returncode != 0
    assert message in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith("ui-")]
    assert left(tmp_path) == []


@pytest.mark.parametrize("place", [0, -1], ids=["of a client", "live"])
def test_one_cell_is_judged_again_by_its_line(walked: Walked, tmp_path: Path, place: int):
    cell = walked.ui.cells[place]
    line = shlex.split(cell["rerun"])
    again = nox(*line[1:], "--results", str(tmp_path))
    assert again.returncode == 0, again.stdout + again.stderr
    found = finished_run(again.returncode, again.stdout, tmp_path)
    assert [one["id"] for one in found.cells] == [cell["id"]]
