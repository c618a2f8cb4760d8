"""What a UI backend of a clone has in its environment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.catalog.releases import Service
from harness.catalog.versions import load
from harness.machine.dependencies import Dependencies
from harness.machine.errors import InfraError
from harness.ui.checkout import CheckoutUI

CATALOG = load()
OLD = next(one for one in CATALOG.released if one.name == "v2.2.2")
OWN = ["aiohttp >= 3.8.1, < 4", "psycopg2-binary", "metaflow>=2.5.0"]


@pytest.fixture
def launcher(tmp_path: Path) -> CheckoutUI:
    clone: Any = SimpleNamespace(given="a clone")
    return CheckoutUI(
        clone, CATALOG, tmp_path, tmp_path, "test", whole=False, triggers=False, outlives=False
    )


@pytest.mark.parametrize("word", ["latest", "release-day", "my.txt"])
def test_what_is_not_pinned_is_what_its_own_files_ask_for(launcher, monkeypatch, tmp_path, word):
    asked: list[Sequence[str]] = []

    def resolve(_: str, wanted: Sequence[str], *_more: object) -> Path:
        asked.append(wanted)
        return tmp_path / "bin" / "python"

    monkeypatch.setattr("harness.ui.checkout.resolved_tool", resolve)
    version = replace(OLD, deps=Dependencies(word, word))
    _, told = launcher._environment(version, OWN, date(2022, 1, 27))
    assert told.startswith(f"--service-deps {word}: ")
    (wanted,) = asked
    # setuptools was in every environment. click its authors forgot, and only we would bring it.
    assert "setuptools" in wanted
    assert not [one for one in wanted if one.startswith("click")]
    assert set(OWN) <= set(wanted)
    assert launcher.notes(version) == []


def test_what_cannot_be_had_keeps_no_other_ui_from_it(launcher, monkeypatch, tmp_path):
    def prepare(version: Service) -> Any:
        if version.deps.name:
            raise InfraError("no solution")
        return SimpleNamespace()

    monkeypatch.setattr(launcher, "_prepare", prepare)
    not_there = replace(OLD, deps=Dependencies("latest", "latest"))
    launcher.prepare((not_there, OLD))
    database: Any = None
    source: Any = None
    with pytest.raises(InfraError, match="no solution"):
        launcher.start(not_there, source, database, 1, tmp_path / "ui.log")


def test_what_is_pinned_for_it_is_told(launcher):
    (told,) = launcher.notes(OLD)
    assert "setuptools<81" in told
    assert "click==8.0.3" in told
    assert "metaflow==2.5.0" in told
    assert told.endswith(
        " are pinned for the UI backend of v2.2.2, which may not work without them: --service-deps"
        " latest tells"
    )
