"""What a client's program runs in, and what is told of one that ended badly."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from harness.client.program import Program, last_words, run_program
from tests.client.conftest import MakeSurroundings

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


RAISED = """
  File "/tmp/x/other.py", line 1, in nobody
no traceback any more
Traceback (most recent call last):
  File "/tmp/x/cli.py", line 3, in main
    flow()
  File "/work/flows/failing.py", line 12, in end
    raise ValueError("on purpose")
ValueError: on purpose
"""
SERVICE_PY = "metaflow/metadata/service.py"
RAISED_INSIDE = f"""
{TASK}Traceback (most recent call last):
{TASK}  File "/x/lib/python3.9/site-packages/{SERVICE_PY}", line 512, in _request
{TASK}    raise ServiceException(
{TASK}    ^^^^^
{TASK}ServiceException: code 500
"""


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (RAISED, "ValueError: on purpose (failing.py:12, in end)"),
        (
            RAISED_INSIDE,
            f"{TASK}ServiceException: code 500 (raised at {SERVICE_PY}:512, in _request)",
        ),
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


@pytest.mark.parametrize("own", [{}, {"TZ": "Asia/Tokyo"}])
def test_the_zone_of_the_machine_decides_nothing(surroundings: MakeSurroundings, own):
    around = surroundings()
    around.make_folders()
    shown = Program("zone", [sys.executable, "-c", "import os; print(os.environ['TZ'])"], own)
    done = run_program(around, shown, time.monotonic() + 20)
    # What a probe's action sets counts.
    assert done.stdout.read_text(encoding="utf-8").splitlines()[-1] == own.get("TZ", "UTC")
