"""What is written down of a stack that was kept."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from harness.machine import locks
from harness.machine.errors import UsageError
from harness.stack.database.server import Address, Tls
from harness.stack.kept_stack import Kept, all_kept, find_kept, forget

ADDRESS = Address("127.0.0.1", 5432, "metaflow", "secret", "metaflow")


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(locks, "RUNS", tmp_path / "runs")
    return tmp_path / "runs"


def keep(run: str, tmp_path: Path) -> Kept:
    folder = tmp_path / "results" / run
    folder.mkdir(parents=True)
    kept = Kept(run, folder, "docker", "v2.5.0", ADDRESS, {"network": "n"}, {"s3": {"a": "b"}})
    kept.write()
    return kept


def test_the_latest_is_found_unless_another_is_named(tmp_path):
    first = keep("20260101-000000-compat-aaaa", tmp_path)
    second = keep("20260102-000000-compat-bbbb", tmp_path)
    assert all_kept() == [first, second]
    assert find_kept(None) == second
    assert find_kept(first.run) == find_kept(str(first.folder)) == first
    forget(second.run)
    assert find_kept(None) == first


def test_how_a_database_is_encrypted_is_found_again(tmp_path):
    encrypted = replace(ADDRESS, tls=Tls("verify-full", "/ca.crt"))
    kept = replace(keep("20260101-000000-compat-aaaa", tmp_path), database=encrypted)
    kept.write()
    assert all_kept() == [kept]


def test_only_its_owner_may_read_the_record(tmp_path, runs):
    keep("20260101-000000-compat-aaaa", tmp_path)
    (record,) = runs.iterdir()
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    assert "secret" in record.read_text()


def test_nothing_kept_says_how_to_keep():
    with pytest.raises(UsageError, match=r"with --keep first, or name a database with --database-"):
        find_kept(None)


def test_a_run_that_kept_nothing_is_named_with_the_nearest(tmp_path):
    keep("20260101-000000-compat-aaaa", tmp_path)
    with pytest.raises(
        UsageError, match=r"has kept nothing \(nearest: 20260101-000000-compat-aaaa"
    ):
        find_kept("20260101-000000-compat-aaab")
