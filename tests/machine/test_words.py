"""Nothing that is printed ends the process, whatever a terminal can show."""

from __future__ import annotations

import io
import sys

import pytest

from harness.machine.words import show_everything, shows


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", r"\u2713 >= 2.3 ... * \xe4"),
        ("latin-1", r"\u2713 >= 2.3 ... · ä"),
        ("utf-8", "✓ ≥ 2.3 … · ä"),
    ],
)
def test_what_cannot_be_shown_becomes_plain(monkeypatch, encoding: str, shown: str):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    show_everything()
    print("✓ ≥ 2.3 … · ä", end="")
    stream.flush()
    assert stream.buffer.getvalue().decode(encoding) == shown  # type: ignore[attr-defined]
    assert shows(stream, "✓") is (encoding == "utf-8")


def test_a_stream_without_an_encoding_shows_all():
    assert shows(io.StringIO(), "✓")
