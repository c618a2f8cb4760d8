"""What a program prints, on its way to a file: harmless, without secrets, and not without end.

A flood costs what is kept of it, not what it is: the rest is read and thrown away.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from pathlib import Path

from harness.machine.plain import plain
from harness.machine.secrets import KNOWN

OF_PROGRAM = 3_000_000
"""Bytes that are kept of what a client's program prints, beside the last ones."""

OF_PART = 64_000_000
"""Likewise of a service or another part that lives as long as a run."""

LAST = 1_000_000
"""The last bytes, which say why it ended."""

OURS = ("$ ", "--- ", "[… ")
"""What lines begin with in a log that are the harness's own."""

_LONGEST_SECRET = 10_000

_CHUNK = 1 << 16
_AT_ONCE = 16
"""Chunks that are read of who may never stop; a pipe holds one, unless somebody made it larger."""


def ours(text: str) -> str:
    """Return a line of the harness's own in a program's log, which is none of its words."""
    return f"{OURS[1]}{text}\n"


def write_ours(log: Path, *lines: str) -> None:
    """Append lines of the harness's own to a program's log, which nobody else may read."""
    log.parent.mkdir(parents=True, exist_ok=True)
    opened = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(opened, "a", encoding="utf-8") as file:
        file.writelines(map(ours, lines))


def note(text: str) -> str:
    """Return a line of a log that says what the harness did to it."""
    return f"{OURS[-1]}{text} …]\n"


class Output:
    """A file for what a program prints, appended to; safe to use from several threads.

    Text goes there by whole lines, so that a secret which comes in two pieces is seen as one. What
    goes beyond ``most``, or comes behind an endless line, waits in memory for the end, where the
    last of it follows.

    Args:
        path: the file; its folder is made.
        most: bytes that are kept, beside the last ones.

    Attributes:
        refused: why something could not be written; None when all was.
    """

    def __init__(self, path: Path, most: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._left = most
        self._line: list[bytes] = []
        self._line_size = 0
        self._last: deque[bytes] = deque()
        self._last_size = self._left_out = 0
        self._closed = False
        self._lock = threading.Lock()
        self.refused: OSError | None = None

    def add(self, data: bytes) -> None:
        """Take what was printed; after ``close`` it goes nowhere."""
        with self._lock:
            if self._closed:
                return
            now, later = data[: self._left], data[self._left :]
            self._left -= len(now)
            if now:
                self._add_lines(now)
            if later:
                self._add_last(later)

    def close(self) -> None:
        """Write what is left, with a note on what is not, and end. Safe to call twice."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            left = b"".join([*self._line, *self._last])
            if self._left_out:
                # Its first line is half of one, and may hold half of a secret; of an endless one
                # what is longer than any secret goes.
                whole = left.partition(b"\n")[2] or left[_LONGEST_SECRET:]
                self._left_out += len(left) - len(whole)
                left = whole if whole.endswith(b"\n") else whole + b"\n"
            self._write(left)
            if self._left_out:
                self._write_text(note(f"{self._left_out} bytes of the output are left out above"))
            os.close(self._file)

    def _add_lines(self, data: bytes) -> None:
        """Write the whole lines there are; the last of them waits when it may go on in the next."""
        end = data.rfind(b"\n") + 1
        self._line.append(data[:end] if end else data)
        self._line_size += len(self._line[-1])
        if end:
            lines = b"".join(self._line)
            # A name, and its value on the next line.
            goes_on = lines.rstrip()
            if goes_on.endswith((b":", b"=")):
                end_before = goes_on.rfind(b"\n") + 1
                lines, data = lines[:end_before], lines[end_before:] + data[end:]
            else:
                data = data[end:]
            self._write(lines)
            self._line, self._line_size = [data], len(data)
        if self._line_size > OF_PROGRAM:
            self._left = 0

    def _add_last(self, data: bytes) -> None:
        # The line that has begun ends here.
        self._last.extend(filter(None, [*self._line, data]))
        self._last_size += self._line_size + len(data)
        self._line, self._line_size = [], 0
        while self._last_size - len(self._last[0]) >= LAST:
            if not self._left_out:
                self._write_text(note(f"the output is cut here, but for its last {LAST} bytes"))
            gone = len(self._last.popleft())
            self._last_size -= gone
            self._left_out += gone

    def _write(self, data: bytes) -> None:
        # Other bytes than UTF-8 are written out: \xff.
        self._write_text(KNOWN.text(plain(data.decode("utf-8", errors="backslashreplace"))))

    def _write_text(self, text: str) -> None:
        left = text.encode()
        try:
            while left and self.refused is None:
                left = left[os.write(self._file, left) :]
        except OSError as error:
            self.refused = error


class Drain:
    """Takes what comes out of a pipe to an output, in a thread of its own.

    Args:
        output: where it goes; it is closed when the pipe ends.
    """

    def __init__(self, output: Output) -> None:
        self.output = output
        self._reading, self.writing = os.pipe()
        # Who empties it before the thread does must not wait for more.
        os.set_blocking(self._reading, False)
        self._ended = False
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin, when the program has its end of the pipe."""
        os.close(self.writing)
        threading.Thread(target=self._run, daemon=True).start()

    def give_up(self) -> None:
        """Close it all, where there is no program."""
        for end in (self.writing, self._reading):
            os.close(end)
        self.output.close()

    def settle(self) -> None:
        """Let all that was printed so far reach the file."""
        with self._lock:
            for _ in range(_AT_ONCE):
                if not self._take():
                    break

    def finish(self) -> None:
        """Write down what was printed so far, and nothing of what comes. Safe to call twice."""
        self.settle()
        # The pipe stays: who left the tree of processes, and prints on, must not be held up.
        self.output.close()

    def _run(self) -> None:
        # A select knows no file descriptors beyond 1023.
        poll = select.poll()
        poll.register(self._reading, select.POLLIN)
        while not self._ended:
            poll.poll()
            with self._lock:
                self._take()
        # Here, and nowhere else: the number would be another file's while this waits for it.
        os.close(self._reading)

    def _take(self) -> bool:
        """Take one piece; return False when there is none now, or any more."""
        if self._ended:
            return False
        try:
            data = os.read(self._reading, _CHUNK)
        except BlockingIOError:
            return False
        if data:
            self.output.add(data)
            return True
        self._ended = True
        self.output.close()
        return False
