"""Runs that are on their way while a UI is judged: those of clients have ended by then.

No service runs beside a UI, so the harness writes the rows that one would write when a client
begins a run and sends heartbeats. A UI knows a run that is on its way by its heartbeats alone.
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
from harness.proof.ui.sample_run import RUNNING, SampleRun
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
_BEAT = """
    UPDATE runs_v3 SET last_heartbeat_ts = %(now)s WHERE flow_id = %(flow)s AND run_id = 'alive'
"""
_REMOVED = (
    ("DELETE FROM runs_v3 WHERE flow_id = %(flow)s", {"flow": _FLOW}),
    ("DELETE FROM flows_v3 WHERE flow_id = %(flow)s", {"flow": _FLOW}),
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
        runs = [
            (_RUN_BEGINS, {**values, "run": run, "beat": now - ago})
            for run, (_, ago) in _RUNS.items()
        ]
        self._execute([*_REMOVED, (_FLOW_BEGINS, values), *runs])

    def _beat(self, ended: threading.Event) -> None:
        while not ended.wait(_BEAT_SECONDS):
            self._execute([(_BEAT, {"flow": _FLOW, "now": int(time.time())})])

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
        steps=(),
        log=None,
        card=None,
        artifact=None,
        unread=None,
        tag=_TAG,
        has_graph=False,
        has_code=False,
    )
