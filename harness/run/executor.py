"""Work in parallel: threads of one run, that share one queue and one end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from itertools import count
from queue import PriorityQueue
from typing import TypeVar

from harness.machine.errors import InfraError

T = TypeVar("T")

LAST = float("inf")
"""The rank of what is done when nothing else is left."""


class Executor:
    """Does work, up to a number of pieces at a time, over the whole of a run.

    Args:
        jobs: how many at a time.
        cancel: ends what the work waits for, when the run is being ended.
    """

    def __init__(self, jobs: int, cancel: Callable[[], None]) -> None:
        self._jobs = jobs
        self._cancel = cancel
        self._cancelled = threading.Event()
        self._queue: PriorityQueue[tuple[float, int, Callable[[], None] | None]] = PriorityQueue()
        self._numbers = count()
        self._threads: list[threading.Thread] = []
        self._starting = threading.Lock()

    def cancelled(self) -> bool:
        """Tell whether the run is being ended; then no program is started any more."""
        return self._cancelled.is_set()

    def check_not_cancelled(self) -> None:
        """Raise InfraError when the run is being ended: what it needs is ended, too."""
        if self.cancelled():
            raise InfraError("the run was ended meanwhile")

    def queue(self, do: Callable[[], None], rank: float = 0.0) -> None:
        """Queue a piece of work.

        Args:
            do: does it; what it raises it has to tell by itself.
            rank: what has a lower one is begun first; of the same, what was queued first.

        Raises:
            InfraError: when the run is being ended.
        """
        self.check_not_cancelled()
        self._queue.put((rank, next(self._numbers), do))
        # Several queue at a time: whoever plans, and those whose work asks for more.
        with self._starting:
            if len(self._threads) < self._jobs:
                # As daemons: nox may leave without a word, and the end of the run ends them.
                thread = threading.Thread(target=self._work, daemon=True)
                thread.start()
                self._threads.append(thread)

    def submit(self, do: Callable[[], T]) -> Future[T]:
        """Queue a piece of work; return what tells what comes of it, or what it raised."""
        future: Future[T] = Future()

        def work() -> None:
            try:
                result = do()
            except BaseException as error:  # noqa: BLE001 - raised where somebody waits for it
                future.set_exception(error)
            else:
                future.set_result(result)

        self.queue(work)
        return future

    @contextmanager
    def beside(self, do: Callable[[], T]) -> Iterator[Future[T]]:
        """Do a piece of work beside the block, which ends when that has ended, too.

        Where Ctrl-C leaves the block, all work is ended.

        Yields:
            What tells what comes of it, or what it raised.
        """
        future = self.submit(do)
        try:
            try:
                yield future
            except Exception:
                self._await(future)
                raise
            self._await(future)
        except Exception:
            raise
        except BaseException:
            self.cancel()
            raise

    def _await(self, future: Future[T]) -> None:
        # Of a run that is ended, what has not begun never will.
        if not self.cancelled():
            wait([future])

    def _work(self) -> None:
        while True:
            _, _, work = self._queue.get()
            if work is None:
                return
            if not self.cancelled():
                work()

    @contextmanager
    def cancelling(self) -> Iterator[None]:
        """End all work where the block is left by an exception, Ctrl-C above all.

        Every process and part of the run is ended, too: nobody waits for what the work waits for.
        """
        try:
            yield
        except BaseException:
            self.cancel()
            raise

    def cancel(self) -> None:
        """End all work: leave out what is queued, and wait for the end of what is on its way."""
        # First: work whose program is killed must not start the next one.
        self._cancelled.set()
        self._cancel()
        self.close()

    def close(self) -> None:
        """Wait until everything is done that was queued. Safe to call twice."""
        for _ in self._threads:
            self._queue.put((LAST, next(self._numbers), None))
        for thread in self._threads:
            thread.join()
        self._threads.clear()
