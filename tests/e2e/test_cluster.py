"""Units of a run on a Dask cluster: a scheduler, and three workers with folders of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from harness.machine.processes import free_port, wait_until
from tests.e2e.nox_runs import end, environment, finished_run, nox, run, started

pytestmark = pytest.mark.e2e

WORKERS = 3
CLIENTS = ("2.7.23", "2.12.39", "2.19.39")


@dataclass(frozen=True)
class Cluster:
    """A scheduler, its address, and its workers."""

    address: str
    scheduler: subprocess.Popen[bytes]
    workers: Sequence[subprocess.Popen[bytes]]


@contextmanager
def program(log: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "dask", *words],
            env=environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def start(ending: ExitStack, folder: Path, count: int) -> Cluster:
    """Start a cluster of so many workers, with folders of their own in a folder."""
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    said = folder / "scheduler.txt"
    listens = ("--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
    scheduler = ending.enter_context(program(said, "scheduler", *listens))
    workers = []
    for number in range(count):
        home = folder / f"worker-{number}"
        home.mkdir(mode=0o755)
        words = ("worker", address, "--no-nanny", "--nthreads", "1", "--no-dashboard")
        log = folder / f"worker-{number}.txt"
        own = ("--local-directory", str(home), "--name", f"worker-{number}")
        workers.append(ending.enter_context(program(log, *words, *own)))
    wait_until(
        lambda: said.read_text().count("Register worker") == count,
        seconds=60,
        what="a worker",
        log=said,
    )
    return Cluster(address, scheduler, workers)


@pytest.fixture(scope="module")
def cluster(temporary) -> Iterator[Cluster]:
    with ExitStack() as ending:
        yield start(ending, temporary, WORKERS)


def below(worker: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return what works for a worker."""
    return psutil.Process(worker.pid).children(recursive=True)


def cells_in(results: Path) -> int:
    journal = results / "latest" / "journal.jsonl"
    return journal.read_bytes().count(b'"kind":"cell"') if journal.exists() else 0


def await_cell(process: subprocess.Popen[bytes], results: Path, log: Path) -> None:
    """Wait until the run has told of one."""

    def there() -> bool:
        assert process.poll() is None, log.read_text()
        return cells_in(results) >= 1

    wait_until(there, seconds=300, what="a cell", log=log)


def test_a_killed_worker_costs_only_what_it_was_at(cluster, tmp_path):
    results = tmp_path / "results"
    asked = ("--metaflow", ",".join(CLIENTS), "--service", "2.3,2.5", "--probe", "hello")
    words = ("-s", "compat", "--", "--scheduler", cluster.address, "--results", str(results))
    log = tmp_path / "log.txt"
    with started([*words, *asked], log, environment()) as process:
        await_cell(process, results, log)
        killed = next(one for one in cluster.workers if below(one))
        left = below(killed)
        killed.kill()
        code = process.wait(300)
    done = finished_run(code, log.read_text(), results)
    assert code == 0, done.output
    # Each of them once, wherever it ran: what had ended did not run again.
    ended = [entry["id"] for entry in done.entries if entry["kind"] == "cell"]
    assert sorted(ended) == sorted({cell["id"] for cell in done.cells})
    assert len(ended) == len(CLIENTS) * 2
    assert {cell["status"] for cell in done.cells} == {"pass"}
    assert not done.view.incomplete
    # What is told by several workers of a service is told once.
    stages = [entry["service"] for entry in done.entries if entry["kind"] == "stage"]
    assert sorted(stages) == sorted(set(stages))
    assert len(stages) == 2
    places = set()
    for cell in done.cells:
        assert cell["provenance"]["environment"] in done.view.environments
        assert "--scheduler" not in cell["rerun"]
        for path in cell["evidence"].values():
            assert (done.folder / path).read_text()
            places.add(Path(path).parts[1])
    assert len(places) >= 2
    # Nothing is left: not of the worker that was killed, and of the others nothing but them.
    gone, alive = psutil.wait_procs(left, timeout=60)
    assert gone
    assert not alive
    assert not any(below(one) for one in cluster.workers if one is not killed)


def test_clients_alone_run_there_as_often_as_is_asked(cluster, tmp_path):
    asked = ("--metaflow", ",".join(CLIENTS[1:]), "--probe", "hello", "--repeat", "2")
    alone = run("local", tmp_path, "--scheduler", cluster.address, *asked)
    assert alone.code == 0, alone.output
    assert [cell["status"] for cell in alone.cells] == ["pass"] * 2
    assert len([entry for entry in alone.entries if entry["kind"] == "cell"]) == 4


def test_what_shares_a_database_is_one_unit(cluster, tmp_path):
    one, other = CLIENTS[1:]
    pairs = ("--pairs", f"{one}:{other},{other}:{one}")
    asked = ("--metaflow", f"{one},{other}", *pairs, "--probe", "basics")
    crossed = run("cross", tmp_path, "--scheduler", cluster.address, *asked)
    assert crossed.code == 0, crossed.output
    assert len(crossed.cells) == 2
    (place,) = {Path(path).parts[1] for cell in crossed.cells for path in cell["evidence"].values()}
    assert (crossed.folder / "elsewhere" / place).is_dir()


FLOW = """
from metaflow import FlowSpec, metaflow_version, step

CHECKS = {"old": {"about": "it is run by an old client"}}


class OldFlow(FlowSpec):
    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        pass


def check_old(run):
    version = metaflow_version.get_version().split("+")[0]
    assert version != "2.19.39", version


if __name__ == "__main__":
    OldFlow()
"""


def test_each_step_of_a_search_is_done_there(cluster, tmp_path):
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "old.py").write_text(FLOW, encoding="utf-8")
    asked = ("--check", "old/old", "--good", "2.19.38", "--bad", "2.19.39")
    there = ("--scheduler", cluster.address, "--flow-dir", str(tmp_path / "flows"))
    results = tmp_path / "results"
    searched = nox("-s", "bisect", "--", *asked, *there, "--results", str(results))
    assert searched.returncode == 0, searched.stdout + searched.stderr
    assert "first bad client: 2.19.39; 2.19.38 is good" in searched.stdout
    found = finished_run(0, searched.stdout, results)
    assert len(list(found.view.attempts)) == 4
    for cell in found.view.attempts:
        assert all("/elsewhere/" in path for path in cell.evidence.values())
        assert "--scheduler" not in cell.rerun


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_what_runs_elsewhere_ends_with_its_run(cluster, tmp_path, how):
    results, log = tmp_path / "results", tmp_path / "log.txt"
    asked = ("--metaflow", ",".join(CLIENTS), "--service", "2.0,2.3,2.5", "--probe", "basics")
    words = ("-s", "compat", "--", "--scheduler", cluster.address, "--results", str(results))
    with started([*words, *asked], log, environment()) as process:
        await_cell(process, results, log)
        assert end(process, how) != 0
    busy = [worker for worker in cluster.workers if worker.poll() is None]
    assert busy
    wait_until(lambda: not any(map(below, busy)), seconds=45, what="the end of what runs")
    # What had ended has been told, and a run that goes on does the others.
    ended = cells_in(results)
    assert 0 < ended < 9
    resumed = run("compat", results, "--resume")
    assert resumed.code == 0, resumed.output
    assert len(resumed.cells) == 9
    assert cells_in(results) == 9


def test_what_a_worker_cannot_do_is_told_of_its_cells_in_its_words(cluster, tmp_path):
    asked = ("--metaflow", CLIENTS[-1], "--probe", "hello", "--with", "there-is-no-such-package")
    refused = run("local", tmp_path, "--scheduler", cluster.address, *asked)
    assert refused.code != 0
    (cell,) = refused.cells
    assert cell["status"] == "infra"
    (reason,) = {check["reason"] for check in cell["checks"].values()}
    assert "there-is-no-such-package could not be resolved" in reason


# The last one here: it takes the cluster of all with it.
def test_a_scheduler_that_dies_costs_what_was_left(cluster, temporary, tmp_path):
    results, log = tmp_path / "results", tmp_path / "log.txt"
    asked = ("--metaflow", ",".join(CLIENTS), "--service", "2.0,2.3,2.5", "--probe", "hello")
    words = ("-s", "compat", "--", "--scheduler", cluster.address, "--results", str(results))
    with started([*words, *asked], log, environment()) as process:
        await_cell(process, results, log)
        cluster.scheduler.kill()
        code = process.wait(120)
    done = finished_run(code, log.read_text(), results)
    assert code == 1, done.output
    assert len(done.cells) == 9
    left = [cell for cell in done.cells if cell["status"] != "pass"]
    assert 0 < len(left) < 9
    for cell in left:
        assert cell["status"] == "infra"
        assert "the scheduler has gone" in cell["checks"]["run"]["reason"]
    busy = [worker for worker in cluster.workers if worker.poll() is None]
    wait_until(lambda: not any(map(below, busy)), seconds=90, what="the end of what runs")
    # By another one the run goes on.
    folder = temporary / "another"
    folder.mkdir(mode=0o755)
    with ExitStack() as ending:
        another = start(ending, folder, 1)
        resumed = run("compat", results, "--resume", "--scheduler", another.address)
    assert resumed.code == 0, resumed.output
    assert [cell["status"] for cell in resumed.cells] == ["pass"] * 9
    assert cells_in(results) == 9 + len(left)
