"""A product that prints anything at all: every output stays valid, and acts on nobody."""

from __future__ import annotations

import html
import json
import os
import pty
import re
import subprocess
from xml.etree import ElementTree as ET

import pytest

from harness.core.outcome import Status
from harness.machine.output import LAST, OF_PROGRAM
from tests.e2e.nox_runs import NoxRun, command, environment, nox, run
from tests.e2e.test_ends import PLAIN
from tests.machine.test_plain import HARMFUL

pytestmark = pytest.mark.e2e

# Of each kind one; the last ones are for HTML, XML, Markdown and CI servers.
TEXT = (
    "before \x1b[2J\x1b]0;owned\x07\x1b[31mred nul:\x00 half:\udc80 line:\u2028 nel:\x85"
    " bidi:\u202e csi:\x9b31m cr:\r::error::owned\n::set-output name=a::b\n"
    "</script><script>owned()</script> <b> &amp; ]]> --> `code` | [a](b) # after"
)

FLOW = f"""
import sys

TEXT = {TEXT!r}

def shout():
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        stream.buffer.write(TEXT.encode("utf-8", "surrogatepass") + b"\\n\\xff\\xfe no text\\n")
        stream.flush()

from metaflow import FlowSpec, step

CHECKS = {{
    "said": {{"about": "its reason is hostile"}},
    "named": {{"about": "so is the name of an exception"}},
    "long": {{"about": "its reason is long"}},
    "printed": {{"about": "it prints all that is hostile"}},
}}
TAGS = ["tag \\x1b[2J\\u2028 <b> \\x85"]

class HostileFlow(FlowSpec):
    @step
    def start(self):
        shout()
        self.next(self.end)

    @step
    def end(self):
        pass

def check_said(run):
    raise AssertionError(TEXT)

def check_named(run):
    raise type("Bad\\x1b[2J\\u2028Error", (Exception,), {{}})(TEXT)

def check_long(run):
    raise AssertionError("long " * 2000000)

def check_printed(run):
    shout()

if __name__ == "__main__":
    shout()
    if "run" in sys.argv:
        line = b"flood " * 1000 + b"\\n"
        for _ in range(100000000 // len(line)):
            sys.stdout.buffer.write(line)
        sys.stdout.flush()
    HostileFlow()
"""

BREAKS = (
    FLOW.replace("HostileFlow", "BreaksFlow")
    .replace("        self.next", "        raise ValueError(TEXT)\n        self.next")
    .replace("100000000", "0")
)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> NoxRun:
    """A run of a flow that prints all that is hostile, of one that fails so, and of a good one."""
    flows = tmp_path_factory.mktemp("flows")
    for name, text in {"hostile": FLOW, "breaks": BREAKS, "plain": PLAIN}.items():
        (flows / f"{name}.py").write_text(text, encoding="utf-8")
    return run(
        "local",
        tmp_path_factory.mktemp("results"),
        *("--metaflow", "2.19.39", "--flow-dir", str(flows), "--probe", "all", "--jobs", "2"),
    )


def test_each_cell_is_judged_by_itself(hostile: NoxRun):
    assert "Traceback" not in hostile.output
    statuses = {cell.probe: cell.status for cell in hostile.view.cells}
    assert statuses == {"hostile": Status.FAIL, "breaks": Status.FAIL, "plain": Status.PASS}
    (cell,) = (cell for cell in hostile.cells if cell["probe"] == "hostile")
    checks = {name: one["status"] for name, one in cell["checks"].items()}
    wrong = dict.fromkeys(("said", "named", "long"), "fail")
    assert checks == {"run": "pass", **wrong, "printed": "pass"}
    said = cell["checks"]["said"]["reason"]
    assert r"red nul:\x00 half:\udc80 line:\u2028 nel:\x85 bidi:\u202e csi:\x9b31m" in said
    assert len(cell["checks"]["long"]["reason"]) < 11_000
    assert "characters are left out" in cell["checks"]["long"]["reason"]


def test_a_flood_is_cut_as_it_comes_and_the_cut_is_marked(hostile: NoxRun):
    (log,) = hostile.folder.glob("logs/cells/*hostile/flow.txt")
    text = log.read_text(encoding="utf-8")
    assert log.stat().st_size < 1.1 * (OF_PROGRAM + LAST)
    assert "[… the output is cut here" in text
    assert "Done!" in text, "its end is there"
    page = html.unescape((hostile.folder / "report.html").read_text(encoding="utf-8"))
    assert "bytes of the output are left out above" in page


def test_no_file_holds_anything_that_acts(hostile: NoxRun):
    files = [path for path in hostile.folder.rglob("*") if path.is_file()]
    assert {"journal.jsonl", "report.html", "junit.xml", "report.md", "badge.svg"} <= {
        path.name for path in files
    }
    for path in files:
        # Strict: all of it is UTF-8.
        text = path.read_bytes().decode()
        assert not re.search(HARMFUL, text), path
        if path.suffix == ".html":
            assert "<script>owned" not in text


def test_the_reports_are_well_formed(hostile: NoxRun):
    for name in ("junit.xml", "badge.svg"):
        ET.parse(hostile.folder / name)
    json.loads((hostile.folder / "results.json").read_text(encoding="utf-8"))
    markdown = (hostile.folder / "report.md").read_text(encoding="utf-8")
    assert not re.search(r"^::", markdown, re.MULTILINE)
    outside = re.sub(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", "", markdown)
    assert set(re.findall(r"<(\w+)", outside)) == {"details", "summary", "sub"}
    assert "owned" not in outside


def test_what_is_printed_is_no_command(hostile: NoxRun):
    for line in hostile.output.splitlines():
        assert not line.lstrip().startswith(("::", "##[")), line
        assert not re.search(HARMFUL, line), line


def test_on_a_terminal_only_the_harness_colours(hostile: NoxRun):
    leader, follower = pty.openpty()
    words = command("-s", "report", "--", str(hostile.folder))
    env = environment(TERM="xterm-256color", COLUMNS="200")
    process = subprocess.Popen(words, env=env, stdout=follower, stderr=follower)
    os.close(follower)
    shown = b""
    try:
        while piece := os.read(leader, 1 << 16):
            shown += piece
    except OSError:  # what a terminal says when nobody is there any more
        pass
    finally:
        os.close(leader)
    assert process.wait(timeout=60) == 0
    text = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).replace("\r\n", "\n")
    assert "half:\\udc80" in text
    assert not re.search(HARMFUL, text)


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_a_terminal_without_the_signs_gets_words(hostile: NoxRun, encoding: str):
    env = environment(PYTHONIOENCODING=encoding)
    done = nox("-s", "report", "--", str(hostile.folder), env=env, encoding=encoding)
    assert done.returncode == 0, done.stderr
    shown = done.stdout + done.stderr
    assert "Traceback" not in shown
    assert re.search(r"\| fail \(\d+ fail \d+ ", shown)
    assert "✗" not in shown
    assert {"latin-1": "client × service", "ascii": "client x service"}[encoding] in shown
