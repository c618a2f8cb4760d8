"""What had ended is told, whatever ends the work."""

from __future__ import annotations

import threading

import pytest

from harness.machine.errors import InfraError
from harness.run.executor import Executor


def test_what_had_ended_is_told_when_one_cannot_be_written():
    told: list[int] = []
    # Jobs are done in order by one thread: when the third begins, two have ended.
    third = threading.Event()

    def do(number: int) -> int:
        if number == 2:
            third.set()
            executor_ends.wait(10)
        return number

    def each(number: int) -> None:
        told.append(number)
        if len(told) == 1:
            assert third.wait(10)
            raise InfraError("no room")

    executor_ends = threading.Event()
    executor = Executor(1, executor_ends.set)
    with pytest.raises(InfraError, match="no room"):
        executor.run(do, [0, 1, 2, 3], each)
    assert told[:2] == [0, 1]
    assert 3 not in told
    with pytest.raises(InfraError, match="ended meanwhile"):
        executor.check_not_cancelled()
