"""Text that others printed, made fit to be shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.report.text import EXCERPT_LINES, excerpt, shortened, some, spoken


def test_many_names_are_counted():
    assert some(("a", "b", "c"), "probe") == "a, b, c"
    assert some(("a", "b", "c", "d"), "probe") == "a, b and 2 more probes"


def test_an_excerpt_of_a_short_file_is_the_file(tmp_path: Path):
    file = tmp_path / "flow.txt"
    file.write_text("one\n\x1b[31mtwo\x1b[0m\n")
    assert excerpt(file) == "one\ntwo"


def test_an_excerpt_of_many_lines_is_their_end_and_says_so(tmp_path: Path):
    file = tmp_path / "flow.txt"
    file.write_text("\n".join(str(number) for number in range(1000)))
    lines = (excerpt(file) or "").splitlines()
    assert lines[0] == f"… the end of {file.stat().st_size} bytes"
    assert lines[1:] == [str(number) for number in range(1000 - EXCERPT_LINES, 1000)]


def test_an_excerpt_of_one_endless_line_is_short(tmp_path: Path):
    file = tmp_path / "flow.txt"
    file.write_text("é" * 100_000)
    text = excerpt(file)
    assert text is not None
    assert 10_000 <= len(text) <= 11_000


def test_there_is_no_excerpt_of_a_missing_file(tmp_path: Path):
    assert excerpt(tmp_path / "none.txt") is None


def test_shortening_leaves_the_middle_out_and_keeps_one_line():
    assert shortened("a\n  b") == "a b"
    long = shortened("start" + "x" * 500 + "end", 60)
    assert long.startswith("start")
    assert long.endswith("end")
    assert len(long) <= 60


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (4.4, "4 s"),
        (59.7, "1 min 0 s"),
        (400, "6 min 40 s"),
        (1530, "25 min"),
        (7500, "2 h 5 min"),
    ],
)
def test_times_as_people_say_them(seconds: float, words: str):
    assert spoken(seconds) == words
