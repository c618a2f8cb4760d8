"""What a run makes of a cell when a part of it breaks, and of a probe that is odd."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from harness.catalog.versions import load
from harness.client.reading import EarlierRun, WrittenRun
from harness.core.outcome import Status
from harness.machine.errors import InfraError
from harness.machine.processes import marked_processes, wait_until
from harness.machine.tools import ROOT
from harness.run.rereads import runs_by_client
from harness.run.unit import Unit, execute
from harness.stack.database.server import Address, Database
from tests.client.conftest import FLOW

REFUSED = """
import sys

class FlowSpec:
    pass

class OddFlow(FlowSpec):
    pass

if __name__ == "__main__":
    sys.exit("ServiceException: 500")
"""


@pytest.fixture
def shut(database: Database) -> Iterator[Address]:
    """A database in which the user may not read a table of the service's."""
    user = f"reader_{database.address.name}"
    with closing(database.address.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE flows_v3 (flow_id text)")
        cursor.execute(f"CREATE USER {user} PASSWORD 'x'")
        yield replace(database.address, user=user, password="x")
        cursor.execute(f"DROP USER {user}")


def test_a_client_that_fails_over_a_dead_database_is_infra(in_run, stack_over, nowhere):
    outcome = in_run.run.clients.cell(in_run.cell(REFUSED), in_run.python, stack_over(nowhere))
    assert outcome.status is Status.INFRA
    assert "the database does not answer any more" in outcome.checks["run"].reason


def test_a_client_that_fails_over_a_living_database_has_failed(in_run, stack_over, database):
    outcome = in_run.run.clients.cell(
        in_run.cell(REFUSED), in_run.python, stack_over(database.address)
    )
    assert outcome.status is Status.FAIL
    assert outcome.checks["run"].reason.endswith("ServiceException: 500")


def test_a_run_that_was_interrupted_starts_no_more_programs(in_run):
    with pytest.raises(KeyboardInterrupt), in_run.run.executor.cancelling():
        raise KeyboardInterrupt
    outcome = in_run.run.clients.cell(in_run.cell(), in_run.python, None)
    assert outcome.status is Status.INFRA
    assert outcome.checks["run"].reason == "the run was ended meanwhile"


def test_a_run_that_ends_while_cells_are_on_their_way_waits_for_none(in_run, tmp_path):
    begun = tmp_path / "begun"
    waits = f'import time; open({str(begun)!r}, "x"); time.sleep(600)'
    cell = in_run.cell(REFUSED.replace('sys.exit("ServiceException: 500")', waits))
    batch = in_run.run.attempts.submit([Unit(cell, in_run.python)], None)
    wait_until(begun.exists, seconds=15, what="the client")
    # As nox ends it that is interrupted between two sessions.
    in_run.run.end()
    assert in_run.run.executor.cancelled()
    with pytest.raises(InfraError, match="the run was ended meanwhile"):
        batch.outcomes()
    mark = f"{in_run.run.folder.run}/"
    assert not [pid for pid, its in marked_processes() if its.startswith(mark)]


def test_a_table_that_may_not_be_read_is_infra(in_run, stack_over, shut):
    outcome = in_run.run.clients.cell(in_run.cell(), in_run.python, stack_over(shut))
    assert outcome.status is Status.INFRA
    reason = outcome.checks["run"].reason
    assert reason == "the database could not be read: permission denied for table flows_v3"


# The last words are what the service's log grows by.
WELL = FLOW.replace('__main__":', '__main__":\n    open(LOG, "a").write("meanwhile")')


def test_an_infra_cell_keeps_what_was_found_before(in_run, stack_over, nowhere):
    stack = stack_over(nowhere)
    cell = in_run.cell(WELL.replace("LOG", repr(str(stack.running.log))))
    outcome = in_run.run.clients.cell(cell, in_run.python, stack)
    assert {check.status for check in outcome.checks.values()} == {Status.INFRA}
    assert outcome.pathspec == "OddFlow/1"
    assert outcome.seconds > 0
    texts = {kind: path.read_text(encoding="utf-8") for kind, path in outcome.evidence.items()}
    assert list(texts) == ["flow", "readback", "service"]
    assert texts["service"] == "meanwhile"


def test_an_infra_cell_keeps_what_was_read_again(in_run, stack_over, database, monkeypatch):
    run, stack = in_run.run, stack_over(database.address)
    first = run.clients.cell(in_run.cell(stage=1), in_run.python, stack)
    assert first.written is not None
    again = [EarlierRun(first.written, checked=False)]

    def dead() -> None:
        raise InfraError("the service ended")

    monkeypatch.setattr(stack.running, "check_alive", dead)
    second = run.clients.cell(in_run.cell(stage=2), in_run.python, stack, earlier=again)
    assert second.checks["run"].reason == "the service ended"
    assert second.written is not None
    assert (second.rereads, second.reread_problems) == (1, [])


def test_an_infra_cell_says_that_earlier_runs_were_not_read_again(in_run, stack_over, nowhere):
    run = in_run.run
    first = run.clients.cell(in_run.cell(stage=1), in_run.python, None)
    assert first.written is not None
    again = [EarlierRun(first.written, checked=True)]
    second = run.clients.cell(
        in_run.cell(stage=2), in_run.python, stack_over(nowhere), earlier=again
    )
    (problem,) = second.reread_problems
    assert problem.startswith(
        "client 2.19.39: earlier runs not read again: the database does not answer any more"
    )


def test_each_client_makes_its_checks_again_on_its_own_first_and_latest_runs(in_run):
    new, old = in_run.run.options.clients[0], load().clients[0]
    cells = [
        replace(in_run.cell(stage=number), client=client)
        for client, stages in {new: (1, 2, 3, 4), old: (2, 3)}.items()
        for number in stages
    ]
    written = [WrittenRun(cell, str(cell.stage), {}, ("run",)) for cell in cells]
    checked = {
        client: [again.run.cell.stage for again in runs if again.checked]
        for (client, _), runs in runs_by_client(written).items()
    }
    assert checked == {new: [1, 4], old: [2, 3]}


ELSEWHERE = """
import pickle, sys
from pathlib import Path
from harness.core.entries import Provenance
from harness.run.clients import Clients
from harness.run.folder import RunFolder
from harness.run.record import Record
from harness.run.unit import execute
from harness.stack.store.datastore import LocalDatastore

folder = RunFolder(Path(sys.argv[1]), "elsewhere")
folder.make()
record = Record(folder.run, folder.path, [])
stores = {"local": LocalDatastore()}
clients = Clients(
    folder,
    record,
    stores,
    timeout=20,
    keep=False,
    decided=Provenance(),
    cancelled=lambda: False,
)
unit = pickle.load(sys.stdin.buffer)
pickle.dump(execute(unit, clients, None), sys.stdout.buffer)
"""


def test_a_unit_can_be_executed_in_another_process(in_run, tmp_path):
    unit = Unit(in_run.cell(), in_run.python)
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(tmp_path / "elsewhere")],
        input=pickle.dumps(unit),
        stdout=subprocess.PIPE,
        cwd=ROOT,
        check=True,
    )
    outcome = pickle.loads(done.stdout)
    assert outcome.cell == unit.cell
    assert outcome.checks == execute(unit, in_run.run.clients, None).checks
    assert outcome.checks["run"].status is Status.PASS
    written = outcome.written
    again = Unit(in_run.cell(stage=2), in_run.python, earlier=(EarlierRun(written, checked=True),))
    assert pickle.loads(pickle.dumps(again)) == again
