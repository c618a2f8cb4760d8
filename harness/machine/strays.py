"""Processes that bear no mark any more, found by the folder that they are at home in."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import psutil


def strays(folder: Path) -> Iterator[psutil.Process]:
    """Yield the processes that work in a folder: by where they are, or what they write.

    So are found those that left their session and their environment, with the mark in it. Whoever
    sits at a terminal, or only reads, looks at the folder, and does not belong to it.

    Args:
        folder: of a run, and of nobody else.
    """
    home = folder.resolve()
    own = {os.getpid(), *(one.pid for one in psutil.Process().parents())}
    for process in psutil.process_iter():
        # It has ended meanwhile, or is somebody else's.
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid not in own and process.terminal() is None and _is_in(process, home):
                yield process


def _is_in(process: psutil.Process, home: Path) -> bool:
    written = [file.path for file in process.open_files() if getattr(file, "mode", "w") != "r"]
    places = [process.cwd(), *written]
    return any(_is_below(place, home) for place in places)


def _is_below(place: str, home: Path) -> bool:
    # A file that was removed while it was open is told with such an end.
    return Path(place.removesuffix(" (deleted)")).is_relative_to(home)


def kill_strays(folder: Path) -> list[int]:
    """Kill what works in a folder, as ``strays`` tells it; return the ids that were killed."""
    killed = []
    for process in strays(folder):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
            killed.append(process.pid)
    return killed
