"""A run that was killed goes on in its own folder, and what it had finished is not run again."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.machine.processes import wait_until
from tests.e2e.nox_runs import NoxRun, end, environment, finished_run, leftovers, nox, started

pytestmark = pytest.mark.e2e

CLIENT, PROBE = "2.19.39", "hello"
SERVICES = ("2.0.4", "2.3", "2.5")
IDS = [f"compat/{CLIENT}/reference-{service}/local/{PROBE}" for service in SERVICES]
WORDS = ("--metaflow", CLIENT, "--probe", PROBE, "--service", ",".join(SERVICES), "--jobs", "1")


@dataclass(frozen=True)
class Killed:
    """A run that was killed.

    Attributes:
        folder: of its results.
        lines: what its journal held then, whole lines.
    """

    folder: Path
    lines: list[bytes]

    @property
    def cells(self) -> list[bytes]:
        """The lines of finished cells."""
        return [line for line in self.lines if b'"kind":"cell"' in line]


def lines_of(results: Path) -> list[bytes]:
    """Return the whole lines of the journal of the one run in a folder; none before it begins."""
    journal = results / "latest" / "journal.jsonl"
    return journal.read_bytes().split(b"\n")[:-1] if journal.exists() else []


def kill(results: Path, log: Path, *, cells: int = 0, seconds: float = 0) -> Killed:
    """Run the matrix, and kill it once it has so many cells, and so many seconds later."""
    words = ("-s", "compat", "--", *WORDS, "--results", str(results))
    with started(words, log, environment()) as process:
        if cells:
            wait_until(
                lambda: len(Killed(results, lines_of(results)).cells) >= cells,
                seconds=120,
                what=f"{cells} finished cells",
                log=log,
            )
        else:
            wait_until(lambda: len(lines_of(results)) > 1, seconds=120, what="its plan", log=log)
        time.sleep(seconds)
        end(process, signal.SIGKILL)
    return Killed((results / "latest").resolve(), lines_of(results))


def go_on(killed: Killed, *beside: str) -> NoxRun:
    """Go on with the last run of the results folder."""
    results = killed.folder.parent
    done = nox("-s", "compat", "--", "--resume", "--results", str(results), *beside)
    return finished_run(done.returncode, done.stdout + done.stderr, results)


def assert_whole(killed: Killed, resumed: NoxRun) -> None:
    """The run is what one that nobody killed would be, and none of its cells ran twice."""
    assert resumed.code == 0, resumed.output
    assert resumed.folder == killed.folder
    entries = (killed.folder / "journal.jsonl").read_bytes().split(b"\n")[:-1]
    assert entries[: len(killed.lines)] == killed.lines
    counts = Counter(entry["kind"] for entry in resumed.entries)
    assert (counts["run"], counts["planned"], counts["cell"]) == (1, 1, len(IDS))
    assert sorted(cell["id"] for cell in resumed.cells) == sorted(IDS)
    assert {cell["status"] for cell in resumed.cells} == {"pass"}
    assert resumed.entries[-1]["kind"] == "end"
    assert resumed.view.green
    for name in ("report.html", "results.json", "junit.xml", "report.md"):
        assert (resumed.folder / name).is_file(), name
    assert leftovers(killed.folder.parent) == []


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Killed:
    folder = tmp_path_factory.mktemp("killed")
    return kill(folder / "results", folder / "output", cells=1)


@pytest.fixture(scope="module")
def resumed(killed: Killed) -> Iterator[NoxRun]:
    with (killed.folder / "journal.jsonl").open("ab") as journal:
        journal.write(b'{"kind":"cell","id":"cut sho')
    return go_on(killed)


def test_a_killed_run_goes_on_where_it_was(killed, resumed):
    assert 0 < len(killed.cells) < len(IDS)
    assert_whole(killed, resumed)
    assert Counter(entry["kind"] for entry in resumed.entries)["resumed"] == 1


def test_what_it_left_is_gone_before_it_goes_on(killed, resumed):
    assert f"{killed.folder.name}: ended" in resumed.output
    cleaned = nox("-s", "clean")
    assert killed.folder.name not in cleaned.stdout


@pytest.mark.usefixtures("resumed")
def test_nothing_is_left_of_a_whole_run(killed):
    before = (killed.folder / "journal.jsonl").read_bytes()
    again = go_on(killed)
    assert again.code == 0, again.output
    assert f"nothing is left to do: {killed.folder} is complete" in again.output
    assert (killed.folder / "journal.jsonl").read_bytes() == before


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", range(20))
def test_a_run_killed_at_any_moment_goes_on(seed, tmp_path):
    seconds = random.Random(seed).uniform(0, 12)
    killed = kill(tmp_path / "results", tmp_path / "output", seconds=seconds)
    assert_whole(killed, go_on(killed))
