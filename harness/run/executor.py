"""Work in parallel: threads that share one end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from typing import TypeVar

from harness.machine.errors import InfraError

T = TypeVar("T")
U = TypeVar("U")


class Executor:
    """Does units of work, up to a number of them at a time.

    Args:
        jobs: how many at a time.
        cancel: ends what the units wait for, when the run is being ended.
    """

    def __init__(self, jobs: int, cancel: Callable[[], None]) -> None:
        self._jobs = jobs
        self._cancel = cancel
        self._cancelled = threading.Event()

    def cancelled(self) -> bool:
        """Tell whether the run is being ended; then no program is started any more."""
        return self._cancelled.is_set()

    def check_not_cancelled(self) -> None:
        """Raise InfraError when the run is being ended: what it needs is ended, too."""
        if self.cancelled():
            raise InfraError("the run was ended meanwhile")

    def run(self, do: Callable[[U], T], units: Iterable[U], each: Callable[[T], object]) -> list[T]:
        """Do units; return what comes of them, in the order in which they end.

        Args:
            do: does one.
            units: what to do.
            each: called with what comes of one, as it ends.
        """
        results = []
        with self.pool() as pool:
            left = {pool.submit(do, unit) for unit in units}
            try:
                for future in as_completed(tuple(left)):
                    left.remove(future)
                    # result() raises what a unit raised: nothing fails unseen.
                    results.append(future.result())
                    each(results[-1])
            except BaseException:
                # What had ended until then is lost to nobody.
                for future in left:
                    if future.done() and not future.cancelled() and not future.exception():
                        with suppress(InfraError):
                            each(future.result())
                raise
        return results

    @contextmanager
    def pool(self) -> Iterator[ThreadPoolExecutor]:
        """Yield the threads, awaited at the end.

        An exception within, Ctrl-C above all, ends every process and part of the run: nobody
        waits for what its threads wait for.
        """
        pool = ThreadPoolExecutor(self._jobs)
        try:
            yield pool
        except BaseException:
            # First: a thread whose program is killed must not start the next one.
            self._cancelled.set()
            self._cancel()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
