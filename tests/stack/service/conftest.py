"""A clone in the upstream's layouts, made once and copied for each test that changes it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.catalog.releases import Catalog
from harness.catalog.versions import load
from harness.stack.service.git import Clone, open_clone
from tests.stack.service import upstream


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return load()


@pytest.fixture(scope="session")
def _repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository, with stand-ins that are never started."""
    return upstream.build(tmp_path_factory.mktemp("upstream") / "clone", Path("absent"))


@pytest.fixture
def folder(_repository: Path, tmp_path: Path) -> Path:
    """A clone of the test's own."""
    return Path(shutil.copytree(_repository, tmp_path / "clone"))


@pytest.fixture
def clone(folder: Path) -> Clone:
    return open_clone(str(folder))


@pytest.fixture
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for what is laid out."""
    monkeypatch.setattr("harness.stack.service.git.CHECKOUTS", tmp_path / "checkouts")
    return tmp_path / "checkouts"
