"""What goes to the workers of a cluster, and what is taken from them, without one."""

from __future__ import annotations

import base64
import io
import json
import stat
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.catalog.versions import load
from harness.cli.options import parse
from harness.cli.planning import OnPython, make_plan
from harness.core.entries import CellEntry, Entry, now
from harness.core.journal import encode
from harness.core.outcome import CheckOutcome, Status
from harness.core.plan import Cell
from harness.machine.errors import UsageError
from harness.machine.processes import free_port
from harness.machine.tools import ROOT
from harness.run.attempts import Batch
from harness.run.beginning import record_start
from harness.run.cluster import cluster, on_worker
from harness.run.cluster.source import pack, write_module
from harness.run.folder import RunFolder
from harness.run.record import Record
from tests.report import journals


def test_workers_get_all_that_a_run_needs_and_nothing_else():
    with zipfile.ZipFile(io.BytesIO(pack())) as packed:
        names = set(packed.namelist())
    assert {"noxfile.py", "versions.json", "expectations.json", "flows/basics.py"} <= names
    assert "harness/report/templates/report.html.j2" in names
    assert {name.split("/")[0] for name in names} == {
        *("noxfile.py", "versions.json", "expectations.json", "flows", "harness")
    }
    assert not [name for name in names if "__pycache__" in name]


def test_the_same_source_makes_the_same_file(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
    assert write_module(one).read_bytes() == write_module(other).read_bytes()
    assert write_module(one).name == write_module(other).name


def test_a_worker_lays_it_out_once_with_programs_that_can_be_run(tmp_path, monkeypatch):
    monkeypatch.setattr(on_worker, "SOURCE", base64.b64encode(pack()).decode())
    home = on_worker.laid_out(tmp_path)
    for path in (home / "noxfile.py", home / "harness" / "stack" / "goose" / "bin" / "goose"):
        original = ROOT / path.relative_to(home)
        assert path.read_bytes() == original.read_bytes()
        assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(original.stat().st_mode)
    before = home.stat().st_ino
    assert on_worker.laid_out(tmp_path) == home
    assert home.stat().st_ino == before


@pytest.mark.parametrize("name", ["/etc/passwd", "../journal.jsonl", "logs/../../run/x"])
def test_a_worker_writes_nothing_outside_of_its_folder(tmp_path, name):
    with pytest.raises(ValueError, match="no place"):
        cluster._below(tmp_path, name)


def test_files_go_with_the_lines_that_name_them(tmp_path):
    # Two workers may begin in the same second, so that their runs are called the same.
    folder = tmp_path / "rk3j" / "the-run"
    (folder / "logs").mkdir(parents=True)
    (folder / "logs" / "run.txt").write_text("said")
    lines = ['{"kind":"cell","evidence":{"run":"logs/run.txt","rows":"logs/none.json"}}']
    told = on_worker.with_files({"folder": str(folder), "lines": lines})
    assert told["place"] == "the-run.rk3j"
    assert told["lines"] == lines
    assert {name: base64.b64decode(one) for name, one in told["files"].items()} == {
        "logs/run.txt": b"said"
    }


def test_a_workers_own_metaflow_says_nothing_of_a_run(monkeypatch):
    """Else data would go to the bucket of whoever works at that machine."""
    monkeypatch.setenv("METAFLOW_DATASTORE_SYSROOT_S3", "s3://of-its-user/data")
    monkeypatch.setenv("METAFLOW_COMPAT_MARK", "a-run")
    environment = on_worker._environment()
    assert "METAFLOW_DATASTORE_SYSROOT_S3" not in environment
    assert environment["METAFLOW_COMPAT_MARK"] == "a-run"
    assert "PATH" in environment


def test_a_unit_that_is_done_elsewhere_ends_once_with_all_of_its_cells():
    batch: Batch[Status] = Batch(2)
    ended = []
    batch.when_done(lambda: ended.append(batch.done))
    batch.tell(Status.PASS, Status.FAIL)
    assert (batch.left, batch.done, ended) == (1, False, [])
    batch.tell()
    assert (batch.done, ended) == (True, [True])
    assert batch.outcomes() == [Status.PASS, Status.FAIL]


def test_an_address_where_nothing_answers_is_refused_before_anything_starts():
    address = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(UsageError, match=f"{address}: nothing answers there .* dask scheduler"):
        cluster.check_scheduler(address)


DISPATCHER = """
import json, sys

for line in sys.stdin:
    asked = json.loads(line)
    if "end" in asked:
        break
    for told in json.loads(open({told!r}).read()):
        print(json.dumps({{"number": asked["number"], **told}}), flush=True)
"""


class Told:
    """A run on a cluster whose dispatcher answers each unit as a test says.

    Args:
        folder: for its results.
        monkeypatch: puts that dispatcher in its place.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        given = ["--metaflow", "2.19.39", "--service", "2.5", "--probe", "hello"]
        options = parse("compat", [*given, "--results", str(folder)], load())
        self.plan = make_plan(options, [OnPython(one, "3.11") for one in options.clients])
        (self.cell,) = self.plan.cells
        self.run = RunFolder(options.results, "compat")
        self.run.make()
        self.record = Record(self.run.run, self.run.path, ())
        record_start(options, self.plan, self.record, "elsewhere", ())
        self.said: list[str] = []
        self.threads: list[int] = []
        self._answers = folder / "answers.json"
        program = folder / "dispatcher.py"
        program.write_text(DISPATCHER.format(told=str(self._answers)), encoding="utf-8")
        monkeypatch.setattr(cluster, "_DISPATCHER", program)
        monkeypatch.setattr(cluster, "tool_python", lambda *_: sys.executable)
        self.cluster = cluster.Cluster(
            *("tcp://127.0.0.1:1", (), self.plan, self.run, self.record),
            show=lambda _: None,
            fail=self._fail,
            say=self.said.append,
            answered=self.threads.append,
        )

    def _fail(self, cells: Sequence[Cell], status: Status, reason: str) -> list[CellEntry]:
        return [self.record.add(self.entry(status, reason)) for _ in cells]

    def entry(self, status: Status, reason: str = "", **more: Any) -> CellEntry:
        planned = msgspec.structs.asdict(self.plan.planned(self.cell))
        checks = {"run": CheckOutcome(status, reason)}
        at = {"at": now(), "run": "of-a-worker"}
        return CellEntry(**{**planned, **at, "status": status, "checks": checks, **more})

    def ask(self, *told: dict[str, Any]) -> Batch[CellEntry]:
        self._answers.write_text(json.dumps(told), encoding="utf-8")
        return self.cluster.submit([[self.cell]])

    def answer(self, *entries: Entry, place: str = "there", **files: str) -> dict[str, Any]:
        lines = [encode(entry).decode() for entry in entries]
        packed = {path: base64.b64encode(text.encode()).decode() for path, text in files.items()}
        return {"answer": {"place": place, "lines": lines, "files": packed}}


@pytest.fixture
def told(tmp_path, monkeypatch) -> Iterator[Told]:
    told = Told(tmp_path, monkeypatch)
    yield told
    told.cluster.end(now=True)
    told.record._journal.close()


def test_what_a_worker_tells_is_recorded_as_the_runs_own(told):
    found = told.entry(Status.PASS, evidence={"run": "logs/run.txt"})
    (entry,) = told.ask(told.answer(found, **{"logs/run.txt": "said"})).outcomes()
    assert (entry.run, entry.status) == (told.run.run, Status.PASS)
    assert entry.evidence == {"run": "elsewhere/there/logs/run.txt"}
    assert (told.run.path / entry.evidence["run"]).read_text() == "said"
    assert list(told.record.view.attempts) == [entry]


def test_only_files_that_it_brought_are_named_by_what_it_tells(told):
    """Reports show what is in them: nobody elsewhere chooses a file of this machine."""
    found = told.entry(Status.PASS, evidence={"run": "/etc/passwd", "flow": "logs/../../x"})
    service = journals.stage(1, "reference-2.5", stage=0, run="of-a-worker")
    service = msgspec.structs.replace(service, log="/etc/passwd")
    (entry,) = told.ask(told.answer(service, found)).outcomes()
    assert (entry.status, entry.evidence) == (Status.PASS, {})
    (stage,) = told.record.view.stages
    assert stage.log == ""


def test_of_a_unit_that_cannot_be_believed_nothing_is_taken(told):
    """A journal with such a line could not be read any more."""
    good = told.entry(Status.PASS)
    wrong = msgspec.structs.replace(good, status=Status.FAIL)
    (entry,) = told.ask(told.answer(good, wrong)).outcomes()
    assert entry.status is Status.INFRA
    assert "its checks are not" in entry.checks["run"].reason
    assert list(told.record.view.attempts) == [entry]


def test_a_worker_is_told_what_is_planned_and_what_has_been_told_of_it(told):
    told.record.add(msgspec.structs.replace(told.entry(Status.PASS), run=told.run.run))
    again = cluster.Cluster(
        *("tcp://127.0.0.1:1", (), told.plan, told.run, told.record),
        show=lambda _: None,
        fail=told._fail,
        say=told.said.append,
        answered=told.threads.append,
    )
    asked = again._asked_cell(told.cell)
    again.end(now=True)
    assert (asked.planned, asked.told) == (told.plan.planned(told.cell), 1)


def test_a_cell_that_is_another_one_there_is_infra_and_says_why(told):
    why = "its worker has commit of the service v2.5.0-3-gabc for it, and none is planned"
    answer = told.answer()
    answer["answer"]["refused"] = {told.cell.id: why}
    (entry,) = told.ask(answer).outcomes()
    assert (entry.status, entry.checks["run"].reason) == (Status.INFRA, why)


def test_how_many_threads_there_are_is_said_and_told(told):
    there = {"threads": [1, 2], "versions": ["2025.1"]}
    told.ask(there, told.answer(told.entry(Status.PASS))).outcomes()
    assert told.said == ["cluster: 2 workers with 3 threads"]
    assert told.threads == [3]


def test_a_cell_that_its_worker_does_not_tell_of_is_infra(told):
    (entry,) = told.ask(told.answer()).outcomes()
    assert entry.status is Status.INFRA
    assert entry.checks["run"].reason == "its worker ended before it was done"
    (entry,) = told.ask({"error": "EndedError: no room"}).outcomes()
    assert entry.checks["run"].reason == "no worker did it: EndedError: no room"


@pytest.mark.parametrize("place", ["..", "", "/tmp", "a/../.."])
def test_what_cannot_be_taken_fails_its_unit_and_no_other(told, place):
    good = told.answer(told.entry(Status.PASS))
    (entry,) = told.ask(told.answer(told.entry(Status.PASS), place=place)).outcomes()
    assert entry.status is Status.INFRA
    assert "is no place for what a worker brought" in entry.checks["run"].reason
    assert [entry.status for entry in told.ask(good).outcomes()] == [Status.PASS]


def test_where_this_machine_has_no_room_the_run_ends(told, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(told.record, "add", refuse)
    with pytest.raises(OSError, match="No space left"):
        told.ask(told.answer(told.entry(Status.PASS))).outcomes()
    assert "No space left" in told.said[0]


def test_what_nobody_waits_for_any_more_is_left_alone(told):
    good = told.answer(told.entry(Status.PASS))
    (entry,) = told.ask(good, good).outcomes()
    assert [one.status for one in told.ask(good).outcomes()] == [Status.PASS]
    assert entry.status is Status.PASS
    assert told.said == []


def test_a_dispatcher_that_ends_leaves_nobody_waiting(told):
    told.cluster._process.kill()
    (entry,) = told.ask().outcomes()
    assert entry.status is Status.INFRA
    assert "what spoke to the cluster has ended" in entry.checks["run"].reason


def test_a_service_is_as_the_worst_of_its_workers_found_it(told):
    def service(status: Status, *problems: str) -> dict[str, Any]:
        found = journals.stage(1, "reference-2.5", stage=0, run="of-a-worker", status=status)
        return told.answer(msgspec.structs.replace(found, problems=list(problems)))

    told.ask(
        service(Status.INFRA, "no room"),
    ).outcomes()
    (stage,) = told.record.view.stages
    assert stage.status is Status.INFRA
    for told_now, then in (
        (service(Status.PASS), []),
        (service(Status.INFRA, "no room"), []),
        (service(Status.FAIL, "ping: 500"), ["ping: 500"]),
        (service(Status.PASS), ["ping: 500"]),
        (service(Status.FAIL, "tags: lost"), ["ping: 500", "tags: lost"]),
        (service(Status.INFRA, "no room"), ["ping: 500", "tags: lost"]),
    ):
        told.ask(told_now).outcomes()
        (stage,) = told.record.view.stages
        assert (stage.run, stage.problems) == (told.run.run, then)
        assert stage.status is (Status.FAIL if then else Status.PASS)
