"""Runs that are on their way while a UI is judged: those of clients have ended by then.

No service runs beside a UI, so the harness writes the rows that one would write when a client
begins a run and its first task, and sends heartbeats. A UI knows a run that is on its way by its
heartbeats alone.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

from harness.core.actions import FAILED
from harness.proof.ui.sample import CLIENT_TAG
from harness.proof.ui.sample_run import RUNNING, SampleRun, SampleStep
from harness.stack.database.server import Address
from harness.ui.source import reading

WRITER = "harness"
"""What stands for the client that wrote them."""

_FLOW = "CompatLiveFlow"
_TAG = "compat:live"

# By the id of a run: how it must be shown, and how many seconds ago its last heartbeat came. UIs
# wait for the next one for a minute (v2.4.3), or up to six days (v2.2.0).
_SILENT = 14 * 24 * 60 * 60
_RUNS = {"alive": (RUNNING, 0), "silent": (FAILED, _SILENT)}

# As often as clients do.
_BEAT_SECONDS = 10.0

_FLOW_BEGINS = """
    INSERT INTO flows_v3 (flow_id, user_name, ts_epoch, tags, system_tags)
    VALUES (%(flow)s, 'compat', %(began)s, '[]', '[]')
"""
_RUN_BEGINS = """
    INSERT INTO runs_v3 (flow_id, run_id, user_name, ts_epoch, tags, system_tags, last_heartbeat_ts)
    VALUES (%(flow)s, %(run)s, 'compat', %(began)s, %(tags)s, %(system_tags)s, %(beat)s)
"""
_STEP = "start"
_STEP_BEGINS = """
    INSERT INTO steps_v3 (flow_id, run_number, run_id, step_name, user_name, ts_epoch, tags,
        system_tags)
    SELECT flow_id, run_number, run_id, %(step)s, user_name, ts_epoch, tags, system_tags
    FROM runs_v3 WHERE flow_id = %(flow)s AND run_id = %(run)s
"""
_TASK_BEGINS = """
    INSERT INTO tasks_v3 (flow_id, run_number, run_id, step_name, user_name, ts_epoch, tags,
        system_tags, last_heartbeat_ts)
    SELECT s.flow_id, s.run_number, s.run_id, s.step_name, s.user_name, s.ts_epoch, s.tags,
        s.system_tags, r.last_heartbeat_ts
    FROM steps_v3 AS s JOIN runs_v3 AS r USING (flow_id, run_number)
    WHERE s.flow_id = %(flow)s AND s.run_id = %(run)s
"""
# By this a UI knows when the attempt began; one that ended has an "attempt-done", too.
_ATTEMPT_BEGINS = """
    INSERT INTO metadata_v3 (flow_id, run_number, run_id, step_name, task_id, task_name, id,
        field_name, value, type, user_name, ts_epoch, tags, system_tags)
    SELECT flow_id, run_number, run_id, step_name, task_id, task_name, 1, 'attempt', '0', 'attempt',
        user_name, ts_epoch, '["attempt_id:0"]', '[]'
    FROM tasks_v3 WHERE flow_id = %(flow)s AND run_id = %(run)s
"""
_BEAT = """
    UPDATE {table} SET last_heartbeat_ts = %(now)s WHERE flow_id = %(flow)s AND run_id = 'alive'
"""
_BEATS = tuple(_BEAT.format(table=table) for table in ("runs_v3", "tasks_v3"))
_REMOVED = tuple(
    (f"DELETE FROM {table} WHERE flow_id = %(flow)s", {"flow": _FLOW})  # noqa: S608 - ours
    for table in ("metadata_v3", "tasks_v3", "steps_v3", "runs_v3", "flows_v3")
)


class LiveRuns:
    """A run that is alive, and one that fell silent, in a database of the harness's own.

    Args:
        address: of the database, with the schema of service 2.1.0 or newer.
        service: the one that used it last.
    """

    def __init__(self, address: Address, service: str) -> None:
        self._address = address
        self.samples = tuple(_sample(run, status, service) for run, (status, _) in _RUNS.items())

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Begin the runs, anew where they are there; the one is alive until the block ends.

        Raises:
            HarnessError: when the database does not answer, or refuses them.
        """
        self._begin()
        ended = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            beats = pool.submit(self._beat, ended)
            try:
                yield
            finally:
                ended.set()
        beats.result()

    def _begin(self) -> None:
        now = int(time.time())
        values = {
            "flow": _FLOW,
            "tags": json.dumps([_TAG]),
            "system_tags": json.dumps([f"{CLIENT_TAG}{WRITER}", "user:compat"]),
            "began": (now - 2 * _SILENT) * 1000,
        }
        begins = (_RUN_BEGINS, _STEP_BEGINS, _TASK_BEGINS, _ATTEMPT_BEGINS)
        runs = [
            (statement, {**values, "run": run, "step": _STEP, "beat": now - ago})
            for run, (_, ago) in _RUNS.items()
            for statement in begins
        ]
        self._execute([*_REMOVED, (_FLOW_BEGINS, values), *runs])

    def _beat(self, ended: threading.Event) -> None:
        while not ended.wait(_BEAT_SECONDS):
            now = {"flow": _FLOW, "now": int(time.time())}
            self._execute([(statement, now) for statement in _BEATS])

    def remove(self) -> None:
        """Remove all rows of them. Safe to call twice.

        Raises:
            HarnessError: when the database does not answer.
        """
        self._execute(_REMOVED)

    def _execute(self, statements: Sequence[tuple[str, Mapping[str, object]]]) -> None:
        # In one step: who looks meanwhile sees them as they were, or as they are.
        with reading(self._address), closing(self._address.connect()) as connection:
            with connection.cursor() as cursor:
                for statement, values in statements:
                    cursor.execute(statement, values)
            connection.commit()


def _sample(run: str, status: str, service: str) -> SampleRun:
    return SampleRun(
        flow=_FLOW,
        run=run,
        client=WRITER,
        service=service,
        probe="",
        datastore="",
        status=status,
        # Of one that fell silent a UI may make out an end; one that is alive has none.
        steps=(SampleStep(_STEP, tasks=1, timed=0, running=int(status == RUNNING)),),
        log=None,
        card=None,
        artifact=None,
        unread=None,
        tag=_TAG,
        has_graph=False,
        has_code=False,
    )
