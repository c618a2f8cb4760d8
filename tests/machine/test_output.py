"""What programs print reaches their logs as it comes: harmless, without secrets, and cut."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from harness.machine.output import LAST, OF_PROGRAM, Output, write_ours
from harness.machine.processes import ManagedProcess, kill_marked, wait_until
from harness.machine.secrets import SECRET, Secrets

PASSWORD = "'\"#%@& \\ ' \\\\x-and-more"


class Counted(Secrets):
    """Secrets that know how many characters they were asked to clean."""

    cleaned = 0

    def text(self, text: str) -> str:
        """Return the text without secrets."""
        self.cleaned += len(text)
        return super().text(text)


@pytest.fixture(autouse=True)
def known(monkeypatch) -> Counted:
    """Let the password be a secret of this process, for a test."""
    counted = Counted([PASSWORD])
    monkeypatch.setattr("harness.machine.output.KNOWN", counted)
    return counted


@pytest.fixture
def mark() -> Iterator[str]:
    mark = f"test/{uuid4().hex}"
    yield mark
    kill_marked(lambda found: found == mark)


def _written(output: Output, path: Path) -> str:
    output.close()
    return path.read_text(encoding="utf-8")


def _program(code: str, mark: str, log: Path, most: int = OF_PROGRAM) -> ManagedProcess:
    return ManagedProcess([sys.executable, "-c", code], env={}, mark=mark, log=log, most=most)


@pytest.mark.parametrize("secret", [PASSWORD, "AKIAIOSFODNN7EXAMPLE", "password=hunter2"])
def test_a_secret_in_two_pieces_is_one(tmp_path: Path, secret: str):
    whole = f"before {secret} after\n".encode()
    for at in range(len(whole)):
        log = tmp_path / str(at)
        output = Output(log, 1000)
        output.add(whole[:at])
        before = log.read_text(encoding="utf-8")
        assert before in {"", "before"} or at == len(whole), "half a line is not written"
        output.add(whole[at:])
        text = _written(output, log)
        assert text.startswith("before ")
        assert text.endswith(" after\n")
        assert SECRET in text
        assert "hunter2" not in text
        assert secret not in text


def test_the_value_on_the_line_below_its_name_is_one_with_it(tmp_path: Path):
    log = tmp_path / "log"
    output = Output(log, 1000)
    for piece in (b"one\npassword:\n", b"\n", b"  hunter2\nlast\n"):
        output.add(piece)
    assert log.read_text(encoding="utf-8").startswith("one\n")
    assert _written(output, log) == f"one\npassword:\n\n  {SECRET}\nlast\n"


def test_whole_lines_are_there_as_they_come(tmp_path: Path):
    log = tmp_path / "log"
    output = Output(log, 1000)
    output.add(b"one\ntwo")
    assert log.read_text(encoding="utf-8") == "one\n"
    assert _written(output, log) == "one\ntwo"
    assert log.stat().st_mode & 0o777 == 0o600


def test_bytes_that_are_no_text_and_what_acts_on_terminals(tmp_path: Path):
    output = Output(tmp_path / "log", 1000)
    output.add(b"\xff\x00\x1b[2J\x1b]0;title\x07 \xed\xb2\x80 \xe2\x9c\x93 \xe2\x80\xa8\r\n")
    assert _written(output, tmp_path / "log") == r"\xff\x00 \xed\xb2\x80 ✓ \u2028" + "\n"


def test_of_a_flood_both_ends_stay_and_the_cut_is_marked(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("harness.machine.output.LAST", 10_000)
    log = tmp_path / "log"
    output = Output(log, 10_000)
    for number in range(20_000):
        output.add(b"line %06d of the flood\n" % number)
    text = _written(output, log)
    lines = text.splitlines()
    assert lines[0] == "line 000000 of the flood"
    assert lines[-2] == "line 019999 of the flood"
    (cut,) = (at for at, line in enumerate(lines) if line.startswith("[… the output is cut here"))
    before, after = (int(lines[at].split()[1]) for at in (cut - 1, cut + 1))
    assert after > before + 1
    left_out = int(lines[-1].split()[1])
    kept = sum(len(line) + 1 for line in lines if line.startswith("line "))
    # But for the half of a line before the cut, which is gone with it.
    assert 0 <= 20_000 * 25 - left_out - kept < 25
    assert len(text) < 10_000 + 1.1 * 10_000


def test_what_is_a_little_too_long_is_whole(tmp_path: Path):
    output = Output(tmp_path / "log", 1000)
    sent = b"".join(b"line %05d\n" % number for number in range(50_000))
    output.add(sent[:990])
    output.add(sent[990:])
    assert _written(output, tmp_path / "log").encode() == sent


def test_a_secret_on_the_edge_of_what_is_cut_is_gone(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("harness.machine.output.LAST", 1000)
    log = tmp_path / "log"
    for size in range(960, 1010):
        output = Output(log, 10)
        output.add(b"x" * 100 + b"\n")
        output.add(f"see {PASSWORD} there\n".encode())
        output.add(b"y" * (size - 1) + b"\n")
        text = _written(output, log)
        assert PASSWORD[6:] not in text
        log.unlink()


def test_of_a_line_without_an_end_the_last_is_kept_and_no_half_of_a_secret(tmp_path: Path):
    log = tmp_path / "log"
    output = Output(log, 10_000)
    output.add(b"first\n")
    for _ in range(50):
        output.add(b"x" * (LAST // 10))
    output.add(f" {PASSWORD} why it ended".encode())
    text = _written(output, log)
    lines = text.splitlines()
    assert lines[0] == "first"
    assert f"{SECRET} why it ended" in lines[-2]
    assert PASSWORD not in text
    assert int(lines[-1].split()[1]) + len(text) > 5 * LAST


def test_an_endless_line_costs_what_is_kept_of_it(tmp_path: Path):
    log = tmp_path / "log"
    output = Output(log, 100 * OF_PROGRAM)
    for _ in range(200):
        output.add(b"x" * 100_000)
    output.add(b"\nlast\n")
    text = _written(output, log)
    assert len(text) < 2 * LAST
    assert "last\n[… " in text


@pytest.mark.parametrize("line", ["flood " * 9 + "\\n", "x", "secret=" * 9 + "\\n", "\\x1b[2J"])
def test_a_hundred_megabytes_cost_what_is_kept(
    tmp_path: Path, mark: str, known: Counted, line: str
):
    size = 100_000_000
    code = f"""
import sys
block = ({line!r} * 100000).encode().decode("unicode_escape").encode("latin-1")[:1000000]
for _ in range({size} // len(block)):
    sys.stdout.buffer.write(block)
print("\\nlast words")
"""
    log = tmp_path / "log"
    process = _program(code, mark, log)
    assert process.wait(300) == 0
    process.kill()
    assert known.cleaned <= OF_PROGRAM + LAST + 100_000
    lines = log.read_text(encoding="utf-8").splitlines()
    assert lines[-2:-1] == ["last words"]
    assert "bytes of the output are left out above" in lines[-1]
    assert log.stat().st_size < 1.1 * (OF_PROGRAM + LAST)


def test_a_flood_holds_up_nobody_else(tmp_path: Path, mark: str):
    endless = "import sys\nwhile True: sys.stdout.write('token flood ' * 10000 + '\\n')"
    flood = _program(endless, mark, tmp_path / "flood")
    try:
        wait_until(
            lambda: "the output is cut here" in (tmp_path / "flood").read_text("utf-8"),
            seconds=60,
            what="the cut",
        )
        other = _program("print('there')", f"{mark}-other", tmp_path / "other")
        assert other.wait(10) == 0
        other.kill()
        assert (tmp_path / "other").read_text(encoding="utf-8") == "there\n"
        assert flood.poll() is None
    finally:
        flood.kill()
    assert (tmp_path / "flood").stat().st_size < 1.1 * (OF_PROGRAM + LAST)


def test_a_child_that_floods_on_does_not_keep_the_end_from_coming(tmp_path: Path, mark: str):
    child = "import sys\nwhile True: sys.stdout.write('on and on\\n' * 1000)"
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}])"
    process = _program(code, mark, tmp_path / "log")
    assert process.wait(60) == 0
    log = tmp_path / "log"
    wait_until(lambda: "on and on\n" in log.read_text("utf-8"), seconds=60, what="the child")
    assert process.wait(60) == 0
    process.kill()
    size = log.stat().st_size
    assert (tmp_path / "log").stat().st_size == size


def test_what_was_printed_is_there_when_a_program_has_ended(tmp_path: Path, mark: str):
    for number in range(20):
        process = _program(
            "print('a' * 100_000)\nprint('end', end='')", mark, tmp_path / str(number)
        )
        assert process.wait(60) == 0
        assert (tmp_path / str(number)).read_text(encoding="utf-8").endswith("a\nend")


def test_who_outlives_this_process_writes_by_itself(tmp_path: Path, mark: str):
    log = tmp_path / "log"
    code = "import os; print(os.readlink('/proc/self/fd/1'))"
    process = ManagedProcess(
        [sys.executable, "-c", code], env={}, mark=mark, log=log, outlives=True
    )
    assert process.wait(60) == 0
    assert log.read_text(encoding="utf-8").strip() == str(log)
    assert log.stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_written_down_is_told(tmp_path: Path, mark: str):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        process = _program("print('x' * 50000)", mark, tmp_path / "log")
        assert process.wait(60) == 0
        with pytest.raises(OSError, match="too large"):
            process.check_logged()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        process.kill()
    assert _program("print('fine')", mark, tmp_path / "other").wait(60) == 0


def test_a_program_that_is_not_there_leaves_nothing_open(tmp_path: Path, mark: str):
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(FileNotFoundError):
        ManagedProcess(["/no/such/program"], env={}, mark=mark, log=tmp_path / "log")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_line_of_the_harness_is_none_of_the_programs_words(tmp_path: Path):
    log = tmp_path / "logs" / "service.log"
    write_ours(log, "pinned: a<2", "goose: here")
    assert log.read_text(encoding="utf-8") == "--- pinned: a<2\n--- goose: here\n"
    assert log.stat().st_mode & 0o777 == 0o600
