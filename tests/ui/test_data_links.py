"""Local data that a UI takes away is brought back, and said."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.machine import locks
from harness.stack.database.server import Address
from harness.stack.kept_stack import Kept
from harness.ui.data_links import DataLinks, data_folders, restore_all

LOG = "data/local/.metaflow/F/1/start/2/0.stdout"


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    work = tmp_path / "work"
    (work / LOG).parent.mkdir(parents=True)
    (work / LOG).write_text("a line\n")
    (work / "a-cell" / "home").mkdir(parents=True)
    (work / "a-cell" / "data").mkdir()
    (work / "a-cell" / "data" / "artifact").write_text("7")
    (work / "postgres" / "data").mkdir(parents=True)
    address = Address("127.0.0.1", 1, "u", "p", "d")
    return Kept("run", tmp_path, "embedded", "v2.5.0", address)


def test_the_data_of_walks_and_cells_is_linked_and_nothing_else(kept: Kept):
    assert data_folders(kept) == (kept.data / "data", kept.data / "a-cell" / "data")


def test_what_goes_is_brought_back_and_named(kept: Kept):
    links = DataLinks(kept, "ui")
    links.take()
    assert links.put_back() == []
    (kept.data / LOG).rename(kept.data / "elsewhere")
    (kept.data / "a-cell" / "data" / "artifact").unlink()
    assert links.put_back() == ["a-cell/data/artifact", LOG]
    assert (kept.data / LOG).read_text() == "a line\n"
    links.drop()
    assert not list(kept.data.glob("before-*"))


def test_what_is_new_stays_as_it_is(kept: Kept):
    links = DataLinks(kept, "ui")
    links.take()
    (kept.data / "data" / "new").write_text("x")
    links.drop()
    assert (kept.data / "data" / "new").read_text() == "x"


def test_what_a_killed_ui_took_is_brought_back_later(kept: Kept):
    DataLinks(kept, "killed").take()
    (kept.data / LOG).unlink()
    restore_all(kept.data)
    assert (kept.data / LOG).read_text() == "a line\n"
    assert not list(kept.data.glob("before-*"))


def test_another_ui_s_links_stay_as_long_as_its_lock(kept: Kept, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(locks, "RUNS", tmp_path / "runs")
    (tmp_path / "runs").mkdir()
    locks.lock_path("living").touch()
    DataLinks(kept, "living").take()
    DataLinks(kept, "killed").take()
    (kept.data / LOG).unlink()
    links = DataLinks(kept, "ui")
    links.take()
    assert (kept.data / LOG).exists()
    assert {path.name for path in kept.data.glob("before-*")} == {"before-living", "before-ui"}


def test_ended_links_can_be_dropped_again(kept: Kept):
    links = DataLinks(kept, "ui")
    links.take()
    links.drop()
    links.drop()
    assert (kept.data / LOG).exists()
