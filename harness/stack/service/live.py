"""Shows what the services print, as it comes, from the files their output goes to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

_LOOK_SECONDS = 0.2


class LiveLogs:
    """A thread that prints the new lines of every log in a folder.

    Args:
        folder: with ``SERVICE.log`` files; they may appear later.
        say: prints a line.
    """

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._say = say
        self._read: dict[Path, int] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Show the rest and end. Safe to call twice."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK_SECONDS):
            self._show_new()
        self._show_new(rest=True)

    def _show_new(self, *, rest: bool = False) -> None:
        """Show whole lines; at the end also one that was never finished."""
        for path in sorted(self._folder.glob("*.log")):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                new = file.read()
            # Half a line would be printed again, as if it were another one, when its end comes.
            whole = new if rest else new[: new.rfind(b"\n") + 1]
            self._read[path] = self._read.get(path, 0) + len(whole)
            for line in whole.decode(errors="replace").splitlines():
                self._say(f"{path.stem} | {line}")
