"""What a run has seen is written once and taken into account, whatever comes meanwhile."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from harness.core import journal
from harness.core.entries import Note, now
from harness.run.record import Record


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_while_an_entry_is_written_neither_loses_nor_doubles_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
):
    def interrupted(handle: int) -> None:
        os.kill(os.getpid(), number)
        os.fstat(handle)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    record = Record("a-run", tmp_path, ())
    before = signal.signal(number, stop)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(journal.os, "fsync", interrupted)
            with pytest.raises(KeyboardInterrupt):
                record.add(Note(at=now(), run="a-run", service="s", text="first"))
        assert signal.getsignal(number) is stop
    finally:
        signal.signal(number, before)
    record.add(Note(at=now(), run="a-run", service="s", text="second"))
    record._journal.close()
    lines = (tmp_path / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["first", "second"]
    assert [text for texts in record.view.notes.values() for text in texts] == ["first", "second"]
