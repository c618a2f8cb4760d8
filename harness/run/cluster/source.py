"""The harness as workers of a cluster get it: one file of Python with all others in it."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

from harness.machine.tools import ROOT
from harness.run.cluster import on_worker

_FOLDERS = ("harness", "flows")
_FILES = ("noxfile.py", "versions.json", "expectations.json")
# The oldest that a zip knows: the same source makes the same file, whenever it was checked out.
_MOMENT = (1980, 1, 1, 0, 0, 0)


def write_module(folder: Path) -> Path:
    """Write the file that workers do units by; its name says what is in it.

    Args:
        folder: where to.
    """
    packed = base64.b64encode(pack()).decode()
    text = Path(on_worker.__file__).read_text("utf-8") + f'\nSOURCE = "{packed}"\n'
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    module = folder / f"metaflow_compat_{digest}.py"
    module.write_text(text, "utf-8")
    return module


def pack() -> bytes:
    """Return what a run of the harness needs as a zip, the same for the same files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(_paths()):
            about = zipfile.ZipInfo(str(path.relative_to(ROOT)), _MOMENT)
            about.external_attr = path.stat().st_mode << 16
            packed.writestr(about, path.read_bytes(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _paths() -> Iterator[Path]:
    yield from (ROOT / name for name in _FILES)
    for folder in _FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path
