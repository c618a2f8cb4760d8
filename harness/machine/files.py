"""Files that are there whole, or not at all."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def write_whole(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Write a file in one step: no reader sees half of it, and whoever is killed leaves none.

    Args:
        path: the file.
        content: all of it, or its pieces.
    """
    unfinished = path.with_name(f".{path.name}.tmp")
    with unfinished.open("wb") as file:
        file.writelines([content] if isinstance(content, bytes) else content)
    unfinished.replace(path)
