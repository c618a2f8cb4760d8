"""Fixtures of the tests of the UI."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest


@pytest.fixture
def assets(tmp_path: Path) -> Path:
    """A folder that looks like a built page."""
    folder = tmp_path / "assets"
    (folder / "static").mkdir(parents=True)
    (folder / "index.html").write_text("<html><head></head></html>", encoding="utf-8")
    (folder / "static" / "app.js").write_text("1;", encoding="utf-8")
    return folder


@pytest.fixture
def zipped(assets: Path, tmp_path: Path) -> Path:
    """The same as a zip."""
    path = tmp_path / "metaflow-ui-v0.0.0.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in assets.rglob("*"):
            archive.write(file, file.relative_to(assets))
    return path
