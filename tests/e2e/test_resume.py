"""A run that was killed goes on in its own folder, and what it had finished is not run again."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from harness.core.entries import CellEntry, Planned, StageEntry
from harness.core.journal import read
from harness.machine.processes import kill_marked, wait_until
from tests.e2e.nox_runs import NoxRun, end, environment, finished_run, leftovers, nox, started

pytestmark = pytest.mark.e2e

CLIENT, PROBE = "2.19.39", "hello"


@dataclass(frozen=True)
class Matrix:
    """What is run and killed: a session, its options, the ids of its cells."""

    session: str
    services: tuple[str, ...]
    ids: tuple[str, ...]
    more: tuple[str, ...] = ()
    probes: str = PROBE

    @property
    def words(self) -> tuple[str, ...]:
        """What stands behind ``--``."""
        services = ("--service", ",".join(self.services)) if self.services else ()
        return ("--metaflow", CLIENT, *services, "--probe", self.probes, "--jobs", "1", *self.more)


COMPAT = Matrix(
    "compat",
    ("2.0.4", "2.3", "2.5"),
    tuple(f"compat/{CLIENT}/reference-{one}/local/{PROBE}" for one in ("2.0.4", "2.3", "2.5")),
)
PYTHONS = Matrix(
    "compat",
    ("2.5",),
    # Several of each: on a busy machine a second one may end before the run is told to.
    tuple(
        f"compat/{CLIENT}/reference-2.5/local/{probe}/python={one}"
        for one in ("3.11", "3.12")
        for probe in (PROBE, "parallel")
    ),
    ("--python", "3.11,3.12"),
    f"{PROBE},parallel",
)
LOCAL = Matrix(
    "local",
    (),
    tuple(f"local/{CLIENT}/no-service/local/{one}" for one in (PROBE, "parallel")),
    probes=f"{PROBE},parallel",
)
CROSS = Matrix("cross", ("2.5",), (f"cross/{CLIENT}/reference-2.5/local/{PROBE}/writer={CLIENT}",))
WALK = Matrix(
    "fixed_db",
    ("2.3", "2.5"),
    tuple(
        f"fixed_db/{CLIENT}/{one}/local/{PROBE}" for one in ("01-reference-2.3", "02-reference-2.5")
    ),
)


OBJECTS = replace(
    WALK,
    ids=tuple(one.replace("/local/", "/s3/") for one in WALK.ids),
    more=("--datastore", "s3"),
)


@dataclass(frozen=True)
class Killed:
    """A run that was killed.

    Attributes:
        folder: of its results.
        lines: what its journal held then, whole lines.
    """

    matrix: Matrix
    folder: Path
    lines: list[bytes]

    def of_kind(self, kind: str) -> list[bytes]:
        """The lines of entries of a kind."""
        return [line for line in self.lines if line.startswith(f'{{"kind":"{kind}"'.encode())]

    @property
    def ended(self) -> list[bytes]:
        """The lines of cells that have an outcome; those that Ctrl-C broke have none."""
        return [line for line in self.of_kind("cell") if b'"status":"infra"' not in line]


def lines_of(results: Path) -> list[bytes]:
    """Return the whole lines of the journal of the one run in a folder; none before it begins."""
    journal = results / "latest" / "journal.jsonl"
    return journal.read_bytes().split(b"\n")[:-1] if journal.exists() else []


def kill(
    matrix: Matrix,
    folder: Path,
    *,
    cells: int = 0,
    stages: int = 0,
    seconds: float = 0,
    how: signal.Signals = signal.SIGKILL,
    reboot: bool = False,
    again: bool = False,
) -> Killed:
    """Run a matrix, and kill it once it has so much in its journal, and so many seconds later.

    Args:
        matrix: what is run.
        folder: for its results and what it prints.
        cells: how many have ended then.
        stages: how many have.
        seconds: how much later it is killed.
        how: what its processes are sent.
        reboot: whether all it has started goes, too, as with the machine.
        again: whether it is a run that goes on.
    """
    results, log = folder / "results", folder / "output"

    def there() -> bool:
        seen = Killed(matrix, results, lines_of(results))
        enough = len(seen.of_kind("cell")) >= cells and len(seen.of_kind("stage")) >= stages
        return bool(seen.of_kind("resumed" if again else "planned")) and enough

    given = ("--resume",) if again else matrix.words
    words = ("-s", matrix.session, "--", *given, "--results", str(results))
    with started(words, log, environment()) as process:
        what = f"a plan, {cells} cells and {stages} stages"
        wait_until(there, seconds=240, what=what, log=log)
        time.sleep(seconds)
        end(process, how)
    run = (results / "latest").resolve()
    if reboot:
        assert kill_marked(lambda mark: mark.partition("/")[0] == run.name)
    return Killed(matrix, run, lines_of(results))


def go_on(killed: Killed, *beside: str) -> NoxRun:
    """Go on with the last run of the results folder."""
    results, session = killed.folder.parent, killed.matrix.session
    done = nox("-s", session, "--", "--resume", "--results", str(results), *beside)
    return finished_run(done.returncode, done.stdout + done.stderr, results)


def counted(entries: Iterable[dict[str, Any]]) -> list[str]:
    """Return the ids of the cells with an outcome, without those that were set aside."""
    found: list[str] = []
    for entry in entries:
        if entry["kind"] == "resumed":
            found = [name for name in found if name not in entry["set_aside"]]
        elif entry["kind"] == "cell" and entry["status"] != "infra":
            found.append(entry["id"])
    return found


def told(run: NoxRun) -> tuple[dict[str, dict[str, str]], list[tuple[object, ...]]]:
    """Return what a run says of its cells, check by check, and of its stages."""
    view = run.view
    cells = {
        cell.id: {name: check.status.value for name, check in cell.checks.items()}
        for cell in view.cells
    }
    stages = [
        (stage.stage, stage.status.value, stage.lost, stage.problems, stage.known, stage.rereads)
        for stage in view.stages
    ]
    return cells, stages


def assert_whole(killed: Killed, resumed: NoxRun) -> None:
    """The run is what one that nobody killed would be, and none of its cells counts twice."""
    assert resumed.code == 0, resumed.output
    assert resumed.folder == killed.folder
    entries = (killed.folder / "journal.jsonl").read_bytes().split(b"\n")[:-1]
    assert entries[: len(killed.lines)] == killed.lines
    counts = Counter(entry["kind"] for entry in resumed.entries)
    assert (counts["run"], counts["planned"]) == (1, 1)
    assert sorted(counted(resumed.entries)) == sorted(killed.matrix.ids)
    assert {cell["status"] for cell in resumed.cells} == {"pass"}
    assert resumed.entries[-1]["kind"] == "end"
    view = resumed.view
    assert view.green
    assert not any(stage.lost for stage in view.stages)
    if killed.matrix.session == "fixed_db":
        assert [(stage.stage, stage.rereads) for stage in view.stages] == [(1, 0), (2, 1)]
    for name in ("report.html", "results.json", "junit.xml", "report.md"):
        assert (resumed.folder / name).is_file(), name
    assert leftovers(killed.folder.parent) == []
    assert not (killed.folder / "saved").exists()


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Killed:
    return kill(COMPAT, tmp_path_factory.mktemp("killed"), cells=1)


@pytest.fixture(scope="module")
def resumed(killed: Killed) -> Iterator[NoxRun]:
    with (killed.folder / "journal.jsonl").open("ab") as journal:
        journal.write(b'{"kind":"cell","id":"cut sho')
    return go_on(killed)


def test_a_killed_run_goes_on_where_it_was(killed, resumed):
    assert 0 < len(killed.of_kind("cell")) < len(COMPAT.ids)
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


@pytest.mark.parametrize(
    ("matrix", "cells", "how"),
    [
        (COMPAT, 0, signal.SIGKILL),
        (PYTHONS, 1, signal.SIGINT),
        (LOCAL, 1, signal.SIGKILL),
        (CROSS, 0, signal.SIGKILL),
    ],
    ids=["planned", "pythons, by Ctrl-C", "local", "cross"],
)
def test_so_does_one_without_cells_and_one_of_another_shape(matrix, cells, how, tmp_path):
    killed = kill(matrix, tmp_path, cells=cells, how=how)
    assert len(killed.ended) < len(matrix.ids)
    assert_whole(killed, go_on(killed))


def test_one_that_goes_on_may_be_killed_again(tmp_path):
    kill(LOCAL, tmp_path)
    killed = kill(LOCAL, tmp_path, cells=1, again=True)
    assert len(killed.ended) < len(LOCAL.ids)
    resumed = go_on(killed)
    assert_whole(killed, resumed)
    assert Counter(entry["kind"] for entry in resumed.entries)["resumed"] == 2


@pytest.mark.parametrize(
    ("matrix", "at", "how", "reboot"),
    [
        (WALK, (1, 0), signal.SIGKILL, True),
        (WALK, (1, 1), signal.SIGKILL, False),
        pytest.param(WALK, (1, 1), signal.SIGINT, False, marks=pytest.mark.exhaustive),
        (OBJECTS, (2, 1), signal.SIGKILL, False),
    ],
)
def test_a_killed_walk_goes_on_behind_its_last_stage(matrix, at, how, reboot, tmp_path):
    cells, stages = at
    killed = kill(matrix, tmp_path, cells=cells, stages=stages, how=how, reboot=reboot)
    assert len(killed.of_kind("stage")) < len(matrix.ids)
    cleaned = nox("-s", "clean")
    kept = f"{killed.folder.name}: kept its journal"
    if stages:
        kept += f" and {killed.folder / 'saved'}"
    assert f"{kept}, to go on with: nox -s fixed_db -- --resume {killed.folder}" in cleaned.stdout
    assert leftovers(killed.folder.parent) == []
    resumed = go_on(killed)
    assert_whole(killed, resumed)
    assert resumed.output.count("the walk goes on behind stage 1") == stages


@dataclass(frozen=True)
class Whole:
    """A run that nobody killed, and the seconds of its longest cell or stage with all around it."""

    run: NoxRun
    seconds: float


def whole(matrix: Matrix, folder: Path) -> Whole:
    """Run a matrix to its end; the environments of its clients are made before."""
    words = ("-s", matrix.session, "--", *matrix.words, "--results", str(folder))
    done = nox(*words)
    run = finished_run(done.returncode, done.stdout + done.stderr, folder)
    assert run.code == 0, run.output
    kinds = (Planned, StageEntry if matrix is WALK else CellEntry)
    times = [entry.at for entry in read(run.folder) if isinstance(entry, kinds)]
    return Whole(run, max((b - a).total_seconds() for a, b in pairwise(times)))


def kill_amid(
    matrix: Matrix, folder: Path, seconds: float, *, cells: int = 0, stages: int = 0
) -> Killed:
    """Kill a run as ``kill`` does, sooner where it had come to its end by then."""
    for turn in range(5):
        own = folder / str(turn)
        own.mkdir()
        killed = kill(matrix, own, cells=cells, stages=stages, seconds=seconds / 2**turn)
        if not killed.of_kind("end"):
            return killed
    pytest.fail("each time the run had come to its end")


def go_on_clean(killed: Killed) -> NoxRun:
    """Go on when all that can go has gone, and see that it has."""
    nox("-s", "clean")
    assert leftovers(killed.folder.parent) == []
    return go_on(killed)


@pytest.fixture(scope="module")
def whole_compat(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return whole(COMPAT, tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def whole_walk(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return whole(WALK, tmp_path_factory.mktemp("whole"))


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", range(20))
def test_a_run_killed_at_any_moment_goes_on(seed, whole_compat, tmp_path):
    # Between cells, not seconds from the start: how long that takes depends on the machine.
    draw = random.Random(seed)
    cells = draw.randrange(len(COMPAT.ids))
    killed = kill_amid(COMPAT, tmp_path, draw.uniform(0, whole_compat.seconds), cells=cells)
    resumed = go_on_clean(killed) if seed % 2 else go_on(killed)
    assert_whole(killed, resumed)
    assert told(resumed) == told(whole_compat.run)


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", range(10))
def test_a_walk_killed_at_any_moment_goes_on(seed, whole_walk, tmp_path):
    draw = random.Random(seed)
    stages = draw.randrange(len(WALK.ids))
    killed = kill_amid(WALK, tmp_path, draw.uniform(0, whole_walk.seconds), stages=stages)
    resumed = go_on_clean(killed) if seed % 2 else go_on(killed)
    assert_whole(killed, resumed)
    assert told(resumed) == told(whole_walk.run)
