"""What is told of a client's program that ended badly."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.client.program import last_words

TASK = "2026-11-25 21:17:28.516 [2/end/6 (pid 5368)] "


STEP_FAILED = f"""
{TASK}Traceback (most recent call last):
{TASK}ValueError: on purpose
{TASK}
    Step failure:
    Step end (task-id 6) failed.

"""
HEADLINE = """
Metaflow 2.2.13 executing HelloFlow for user:x
    Data store error:
    Couldn't find data at
    /tmp/12

"""
TRACEBACK = """
Traceback (most recent call last):
  File "f.py"
    for number in range(RETRIES):
TypeError: 'str' object
"""


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (STEP_FAILED, f"{TASK}ValueError: on purpose"),
        (HEADLINE, "Data store error: Couldn't find data at /tmp/12"),
        (TRACEBACK, "TypeError: 'str' object"),
        ("    raise StopHere\nmy.own.StopHere: enough\nbye\n", "my.own.StopHere: enough"),
        ("Traceback\n    assert False\nAssertionError\n", "AssertionError"),
        ("Usage: f.py\n\nError: no such option: --nope\n", "Error: no such option: --nope"),
        ("a\nb\nc\nd\n", "b / c / d"),
        ("$ python flow.py run\n", "it printed nothing"),
    ],
)
def test_the_last_words_are_the_last_error_s_own(tmp_path: Path, output: str, words: str):
    log = tmp_path / "flow.txt"
    log.write_text(output, encoding="utf-8")
    assert last_words(log) == words
