"""What is told of a run before it starts anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.catalog.versions import load
from harness.cli.options import parse
from harness.cli.planning import OnPython, make_plan
from harness.run.beginning import record_start
from harness.run.record import Record
from harness.stack.store.datastore import LocalDatastore
from harness.stack.store.s3 import GivenS3, S3Root

CATALOG = load()


@pytest.mark.parametrize("deps", ["pinned", "latest"])
def test_what_is_installed_for_the_data_is_told_whatever_else_is_pinned(tmp_path: Path, deps: str):
    words = ["--metaflow", "2.0.2,2.0.3,2.19.39", "--service", "2.5", "--probe", "hello"]
    options = parse("compat", [*words, "--deps", deps], CATALOG)
    plan = make_plan(options, [OnPython(one, "3.9") for one in options.clients])
    data = GivenS3(
        S3Root("bucket"),
        "a-run",
        "http://127.0.0.1:1",
        {"HOME": str(tmp_path)},
        needs=CATALOG.s3_needs,
        work=tmp_path,
        listing=tmp_path / "objects.txt",
        keep=False,
    )
    record = Record("a-run", tmp_path, ())
    record_start(options, plan, record, "none", [LocalDatastore(), data])
    record._journal.close()
    told = [text for texts in record.view.notes.values() for text in texts]
    assert [text for text in told if "boto" in text] == [
        f"{pin} is pinned beside 2.0.2, 2.0.3, which may not reach the run's data without it"
        for pin in ("boto3>=1.28", "botocore>=1.31")
    ]
