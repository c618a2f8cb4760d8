"""How containers end that no engine is needed for; what ends for real is in test_own.py."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import NotFound

from harness.core.blame import by_itself
from harness.machine.errors import EndedError
from harness.stack.containers.own import RunningContainer


def test_one_that_somebody_removed_has_ended_by_a_hand_from_outside(tmp_path: Path):
    def gone() -> None:
        raise NotFound("No such container")

    engine: Any = SimpleNamespace(doing=lambda _: nullcontext())
    container: Any = SimpleNamespace(name="database", reload=gone)
    running = RunningContainer(engine, container, [], tmp_path / "log")
    with pytest.raises(EndedError) as told:
        running.check_alive()
    assert str(told.value) == "the container database was removed by somebody"
    assert not by_itself(told.value.ending)
