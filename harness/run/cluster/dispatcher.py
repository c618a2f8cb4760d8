"""Gives units of a run to the workers of a Dask cluster. Run by the Python of the Dask environment.

``python dispatcher.py ADDRESS MODULE RUN``: the cluster's scheduler, the file that its workers do
units by (``on_worker.py`` with the harness in it), and the run's id. Requests come as lines of JSON
on standard input: ``number``, ``near``, what units have in common that are best done by one worker,
and ``unit``, as ``on_worker`` has it; or ``end``, whether at once. Answers go to
standard output, each a line with one of: ``threads`` of the workers when there is a connection;
``number`` with ``answer`` or ``error``; ``note``, a sentence; ``ended``, a list of answers, and
``refused``, why the connection could not be made. Where the requests end, so does the run.
It imports nothing of the harness.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import distributed
from distributed.diagnostics.plugin import SchedulerUploadFile, UploadFile

_CONNECT_SECONDS = 15
_LOOK_SECONDS = 5.0
# Where machines come and go, the next one may take minutes to come.
_ALONE_SECONDS = 300.0
# What its harness could not do, or what ended it, may be over on another worker.
_RETRIES = 1


def _tell(**told: Any) -> None:
    line = json.dumps(told)
    with _TELLING:
        print(line, flush=True)


_TELLING = threading.Lock()


@dataclass
class _Given:
    """A unit that is on its way.

    Attributes:
        number: by which it was asked for.
        unit: what is to be done.
        failed: how often it did, though whoever did it can do others.
        where: addresses of the workers that are to do it; empty for any.
        only: whether no other may.
    """

    number: int
    unit: dict[str, Any]
    failed: int = 0
    where: frozenset[str] = frozenset()
    only: bool = False


class Dispatcher:
    """The units of one run on a cluster.

    Args:
        client: of the cluster.
        module: name of the module that workers do units by.
        run: the run's id.
    """

    def __init__(self, client: distributed.Client, module: str, run: str) -> None:
        self._client = client
        self._module = importlib.import_module(module)
        self._run = run
        self._waiting: dict[int, tuple[_Given, distributed.Future]] = {}
        self._homes: dict[str, str] = {}
        self._given: Counter[str] = Counter()
        self._threads: dict[str, int] = {}
        self._looked = 0.0
        self._useless: set[str] = set()
        """Addresses of workers that can do nothing."""
        self._ended = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def submit(self, number: int, near: str, unit: dict[str, Any]) -> None:
        """Give a unit to the cluster: where what it needs is there, or else elsewhere."""
        home = self._home(near)
        where = frozenset(filter(None, [home]))
        self._give(_Given(number, {**unit, "run": self._run}, where=where))

    def _give(self, given: _Given) -> None:
        future = self._client.submit(
            self._module.do,
            given.unit,
            workers=[*given.where] or None,
            allow_other_workers=bool(given.where) and not given.only,
            pure=False,
        )
        self._waiting[given.number] = given, future
        future.add_done_callback(lambda done: self._done(given, done))

    def _home(self, near: str) -> str:
        """Return the worker for what is near to some units: always the same while it is there."""
        fit = self._fit()
        if self._homes.get(near) not in fit:
            if not fit:
                return ""
            share = {one: self._given[one] / count for one, count in fit.items()}
            self._homes[near] = min(share, key=share.__getitem__)
        self._given[self._homes[near]] += 1
        return self._homes[near]

    def _fit(self) -> dict[str, int]:
        """Return the threads of the workers that can do anything, by their addresses."""
        if time.monotonic() - self._looked > _LOOK_SECONDS:
            # Where the scheduler does not answer, in whatever way a client says it that is being
            # closed, what is on its way will tell.
            with contextlib.suppress(Exception):
                self._threads = self._client.nthreads()
            self._looked = time.monotonic()
        return {one: count for one, count in self._threads.items() if one not in self._useless}

    def _done(self, given: _Given, future: distributed.Future) -> None:
        """Tell what came of a unit, or let another worker do it."""
        try:
            self._settle(given, future)
        except Exception as error:  # noqa: BLE001 - of a client that is closed; who waits is told
            self._give_one_up(given.number, self._why(error))

    def _why(self, error: BaseException) -> str:
        if self._client.status != "running":
            return "the scheduler has gone"
        return f"{type(error).__name__}: {error}"

    def _settle(self, given: _Given, future: distributed.Future) -> None:
        try:
            answer = future.result()
        except (Exception, CancelledError) as error:  # noqa: BLE001 - told, whatever it is
            # Also of workers that died with it in their queue, which it had no part in.
            answer = {"failed": self._why(error), "useless": False, "worker": ""}
        # The cluster need not keep it.
        future.release()
        waiting = self._waiting.get(given.number)
        if waiting is None or waiting[1] is not future:
            return
        why = answer.get("failed")
        if why is None:
            del self._waiting[given.number]
            _tell(number=given.number, answer=answer)
            return
        if answer["useless"] and answer["worker"] not in self._useless:
            self._useless.add(answer["worker"])
            _tell(note=f"worker {answer['worker']} is given nothing more: {why}")
        given.failed += not answer["useless"]
        given.where, given.only = frozenset(self._fit()) - {answer["worker"]}, True
        if given.failed <= _RETRIES and given.where and not self._ended.is_set():
            self._give(given)
            return
        del self._waiting[given.number]
        _tell(number=given.number, error=why)

    def _watch(self) -> None:
        """Tell of units that nobody is there to do, and give them up in the end."""
        alone = 0.0
        while not self._ended.wait(_LOOK_SECONDS):
            if self._client.status == "closed":
                self._give_up("the scheduler has gone")
                continue
            fit = self._fit()
            self._give_to_others(fit)
            if not self._waiting or fit:
                alone = 0.0
                continue
            if not alone:
                _tell(note="the cluster has no worker any more; waiting for one")
            alone += _LOOK_SECONDS
            if alone > _ALONE_SECONDS:
                self._give_up(f"the cluster had no worker for {_ALONE_SECONDS:.0f} seconds")

    def _give_to_others(self, fit: Mapping[str, int]) -> None:
        """Let anybody do what those were to do who have gone.

        Where no other was there then, Dask leaves it to them, also when others come.
        """
        for given, future in list(self._waiting.values()) if fit else ():
            if given.where and not given.where & fit.keys():
                given.where, given.only = frozenset(), False
                # Where the scheduler has gone meanwhile, the next look finds that out.
                with contextlib.suppress(Exception):
                    self._give(given)
                    future.cancel()

    def _give_up(self, why: str) -> None:
        for number in list(self._waiting):
            self._give_one_up(number, why)

    def _give_one_up(self, number: int, why: str) -> None:
        _, future = self._waiting.pop(number, (None, None))
        if future is not None:
            _tell(number=number, error=why)
            with contextlib.suppress(Exception):  # nobody need be there to be told
                future.cancel()

    def end(self, *, now: bool) -> list[Any]:
        """End what serves the run on its workers; return what is left to be told."""
        self._ended.set()
        waiting = [future for _, future in self._waiting.values()]
        self._waiting.clear()
        self._client.cancel(waiting, force=True)
        # Which of them that was, only they know.
        told = self._client.run(self._module.finish, self._run, now=now, on_error="return")
        return list(_answers(told.values()))


def _answers(told: Any) -> Iterator[Any]:
    for one in told:
        if isinstance(one, BaseException):
            _tell(note=f"a worker did not end its part: {type(one).__name__}: {one}")
        else:
            yield from one


def _main(address: str, module: str, run: str) -> None:
    try:
        client = distributed.Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        _tell(refused=str(error) or type(error).__name__)
        return
    # By a name each, so that they are there but once: for workers that are still to come, and for
    # the scheduler, which reads what workers are asked for.
    for kind in (SchedulerUploadFile, UploadFile):
        try:
            client.register_plugin(kind(module), name=f"{Path(module).stem}-{kind.__name__}")
        except Exception as error:  # noqa: BLE001 - of one worker, which others make up for
            _tell(note=f"a worker has not got the harness: {type(error).__name__}: {error}")
    sys.path.insert(0, str(Path(module).parent))
    dispatcher = Dispatcher(client, Path(module).stem, run)
    versions = client.get_versions(check=False)
    _tell(threads=list(client.nthreads().values()), versions=_versions(versions))
    now = True
    for line in sys.stdin:
        asked = json.loads(line)
        if "end" in asked:
            now = asked["end"]
            break
        dispatcher.submit(**asked)
    _tell(ended=dispatcher.end(now=now))
    client.close()


def _versions(told: Any) -> list[str]:
    """Return the versions of Dask that have a part in it: here, at the scheduler, at workers."""
    several = [told["client"], told["scheduler"], *told["workers"].values()]
    return sorted({one["packages"]["distributed"] for one in several if one})


if __name__ == "__main__":
    _main(*sys.argv[1:])
