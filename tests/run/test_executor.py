"""One queue for a whole run: in which order, how many at a time, and how it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from harness.machine.errors import InfraError
from harness.run.executor import LAST, Executor


def nothing() -> None:
    """End nothing."""


def test_what_is_queued_while_all_threads_are_busy_begins_by_its_rank():
    executor, gate, begun = Executor(1, nothing), threading.Event(), list[str]()
    first = executor.submit(lambda: gate.wait(10))
    for name, rank in (("last", LAST), ("b", 0.0), ("c", 0.0), ("a", -3.0)):
        executor.queue(partial(begun.append, name), rank)
    gate.set()
    executor.close()
    assert first.result()
    assert begun == ["a", "b", "c", "last"]


def test_as_many_work_at_a_time_as_may():
    executor, both = Executor(2, nothing), threading.Barrier(2, timeout=10)
    places = [executor.submit(both.wait) for _ in range(2)]
    executor.close()
    assert {one.result() for one in places} == {0, 1}


def test_several_may_queue_at_a_time(monkeypatch: pytest.MonkeyPatch):
    made: list[threading.Thread] = []

    class Slow(threading.Thread):
        """One whose making takes so long that all others come in between."""

        def __init__(self, target: Callable[[], None], *, daemon: bool) -> None:
            time.sleep(0.1)
            super().__init__(target=target, daemon=daemon)
            made.append(self)

    executor, together, done = Executor(2, nothing), threading.Barrier(5), list[int]()

    def ask(number: int) -> None:
        together.wait(10)
        executor.queue(partial(done.append, number))

    with ThreadPoolExecutor(4) as pool:
        places = [pool.submit(ask, number) for number in range(4)]
        # The pool has its own by then.
        monkeypatch.setattr("harness.run.executor.threading.Thread", Slow)
        together.wait(10)
        for place in places:
            place.result()
    executor.close()
    assert sorted(done) == [0, 1, 2, 3]
    assert len(made) == 2


def test_what_work_raises_is_raised_where_it_is_waited_for():
    executor = Executor(1, nothing)

    def broken() -> None:
        raise InfraError("no room")

    with pytest.raises(InfraError, match="no room"):
        executor.submit(broken).result()
    assert executor.submit(lambda: 7).result() == 7, "and the thread goes on"
    executor.close()


def test_an_interrupt_ends_what_is_on_its_way_and_leaves_out_what_is_queued():
    killed, begun, late = threading.Event(), threading.Event(), list[str]()
    executor = Executor(1, killed.set)

    def work() -> bool:
        begun.set()
        return killed.wait(10)

    on_its_way = executor.submit(work)
    executor.submit(lambda: late.append("began"))
    assert begun.wait(10)
    with pytest.raises(KeyboardInterrupt), executor.cancelling():
        raise KeyboardInterrupt
    assert on_its_way.result(), "it ended, and was awaited"
    assert not late
    assert executor.cancelled()
    with pytest.raises(InfraError, match="ended meanwhile"):
        executor.submit(nothing)


def test_what_is_done_beside_a_block_ends_before_it_whatever_comes_of_both():
    executor, done = Executor(1, nothing), threading.Event()

    def work() -> int:
        assert together.wait(10) >= 0, "the block goes on meanwhile"
        time.sleep(0.1)
        done.set()
        return 7

    together = threading.Barrier(2)
    with executor.beside(work) as future:
        together.wait(10)
    assert done.is_set()
    assert future.result() == 7
    done.clear()

    def fail() -> None:
        together.wait(10)
        raise InfraError("no room")

    with pytest.raises(InfraError, match="no room"), executor.beside(work):
        fail()
    assert done.is_set()
    assert not executor.cancelled(), "an error of the block is no end of the run"
    executor.close()


@pytest.mark.parametrize("busy", [False, True])
def test_an_interrupt_of_a_block_ends_what_is_done_beside_it(busy):
    killed, begun = threading.Event(), threading.Event()
    executor = Executor(1, killed.set)

    def work() -> bool:
        begun.set()
        return killed.wait(10)

    def interrupt() -> None:
        assert begun.wait(10)
        raise KeyboardInterrupt

    if busy:
        executor.submit(work)
    with pytest.raises(KeyboardInterrupt), executor.beside(work) as future:
        interrupt()
    assert killed.is_set()
    assert future.done() is not busy, "what has not begun never does, and is not waited for"
