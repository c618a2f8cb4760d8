"""Runs with S3 data: what is stored is there, what is not is found, and a dying store is infra."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from rich.console import Console

from harness.catalog.interpreters import python_of
from harness.catalog.versions import load
from harness.cli.clean import clean
from harness.cli.options import parse
from harness.cli.planning import OnPython, make_plan
from harness.core.entries import CellEntry
from harness.machine import locks
from harness.machine.processes import free_port, marked_processes, wait_until
from harness.machine.tools import tool_python
from harness.report.terminal import Screen
from harness.run.run import Run
from harness.stack.store.noted import all_noted
from harness.stack.store.objects import ObjectStore, S3Root
from harness.stack.store.s3 import GivenS3, OwnS3
from harness.stack.store.saved import serve
from harness.stack.store.server import CREDENTIALS, S3Server
from tests.e2e.nox_runs import environment, nox
from tests.e2e.test_ends import KILLED
from tests.marks import mark_of
from tests.stack.store.objects_of import urls

pytestmark = pytest.mark.e2e

NEWEST = "2.19.39"


class Alone:
    """A run of the newest client alone, with S3 data and one probe."""

    def __init__(self, results: Path, *more: str) -> None:
        catalog = load()
        arguments = ["--metaflow", NEWEST, "--datastore", "s3", "--results", str(results), *more]
        self.options = parse("local", arguments, catalog)
        self.said = io.StringIO()
        self.python = tool_python("by-hand", [f"metaflow=={NEWEST}"])
        minor = python_of(self.python)
        plan = make_plan(self.options, [OnPython(one, minor) for one in self.options.clients])
        self.run = Run(self.options, plan, Screen(Console(file=self.said, soft_wrap=True)))

    @property
    def store(self) -> Any:
        return self.run._datastores["s3"]

    def go(self) -> CellEntry:
        """Run the one cell to its end, and the run's; return the cell's entry."""
        try:
            with self.run.watched():
                self.run.begin(self.run.plan.cells, lambda _: self.python).outcomes()
        finally:
            self.run.end()
        (cell,) = self.run.record.view.cells
        return cell

    @property
    def listed(self) -> list[str]:
        """The keys of the objects that were there at the end, below the cell's folder."""
        listing = (self.run.folder.path / "logs" / "s3-objects.txt").read_text(encoding="utf-8")
        return [line.split("/data/", 1)[1] for line in listing.splitlines()]


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Callable[..., Alone]]:
    runs: list[Alone] = []

    def make(*more: str) -> Alone:
        runs.append(Alone(tmp_path / "results", *more))
        return runs[-1]

    yield make
    for one in runs:
        one.run.end()
        left = [mark for _, mark in marked_processes() if mark.startswith(one.run.folder.run)]
        assert not left, f"processes are left: {left}"


def test_what_a_client_stored_lies_in_the_store(alone, monkeypatch):
    # The machine's own store and proxy are not those of the run.
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "http_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobodys")
    monkeypatch.delenv("no_proxy", raising=False)
    one = alone("--probe", "hello")
    entry = one.go()
    assert {name: check.status for name, check in entry.checks.items()} == dict.fromkeys(
        ("run", "artifacts", "stored"), "pass"
    )
    run = entry.flow_run.partition("/")[2]
    data = [key for key in one.listed if key.startswith("HelloFlow/data/")]
    assert len(data) >= 2, one.listed
    for step in ("start", "end"):
        assert any(key.startswith(f"HelloFlow/{run}/{step}/") for key in one.listed), one.listed


def test_what_is_kept_is_saved_and_can_be_served_again(alone, tmp_path):
    one = alone("--probe", "hello", "--keep")
    assert one.go().status == "pass"
    folder = one.run.folder.path / "work" / "s3"
    assert f"saved in {folder}" in one.said.getvalue()
    server = serve(folder, one.run.folder.run, tmp_path / "again.log")
    try:
        found = urls(ObjectStore(server.endpoint, CREDENTIALS), S3Root("compat-local"))
    finally:
        server.stop()
    assert [url.split("/data/", 1)[1] for url in found] == one.listed


def test_the_s3_client_and_included_files_pass(alone):
    for probe, known in (("s3_client", {"question_mark"}), ("values", set())):
        checks = alone("--probe", probe).go().checks
        found = {
            name: check.reason
            for name, check in checks.items()
            if check.status not in {"pass", "unsupported"}
        }
        assert found.keys() == known, found
        assert all(checks[name].status == "expected-fail" for name in known)


def test_an_object_that_is_not_there_is_found(alone, monkeypatch):
    listed = OwnS3.objects
    lost: list[str] = []

    def without_data(self: OwnS3, stack: str, folder: Path) -> list[dict[str, Any]]:
        found = listed(self, stack, folder)
        lost.extend(one["url"] for one in found if "HelloFlow/data/" in one["url"])
        return [one for one in found if one["url"] not in lost]

    monkeypatch.setattr(OwnS3, "objects", without_data)
    checks = alone("--probe", "hello").go().checks
    assert checks["artifacts"].status == "pass"
    assert checks["stored"].status == "fail"
    reason = checks["stored"].reason
    assert reason in [f"the object store has no object with url {url!r}" for url in lost]


def test_a_store_that_dies_in_mid_run_is_replaced_and_leaves_nothing(alone):
    one = alone("--probe", "hello")
    server = one.store._server

    def something_is_stored() -> bool:
        return server.log.exists() and b"PUT /compat-local/metaflow" in server.log.read_bytes()

    def kill_in_mid_run() -> None:
        wait_until(something_is_stored, seconds=120, what="the first object", log=server.log)
        server._process.kill()

    with ThreadPoolExecutor(1) as pool:
        killed = pool.submit(kill_in_mid_run)
        entry = one.go()
        killed.result()
    assert entry.status == "pass"
    (broken,) = one.run.record.view.earlier(entry)
    assert broken.status == "infra"
    assert "the S3 server ended with exit code -9 (SIGKILL)" in broken.checks["run"].reason
    assert broken.seconds < 100, "a dead store does not cost the whole --timeout"
    assert f"{entry.id} was done again: the S3 server ended" in one.said.getvalue()
    assert not (one.run.folder.path / "work").exists()


def test_a_task_that_is_killed_is_told_by_what_lies_in_the_store(alone, tmp_path):
    flows = tmp_path / "flows"
    flows.mkdir()
    killed = KILLED.format(once=str(tmp_path / "once"))
    (flows / "killed.py").write_text(killed, encoding="utf-8")
    one = alone("--flow-dir", str(flows), "--probe", "killed")
    entry = one.go()
    (broken,) = one.run.record.view.earlier(entry)
    assert (broken.status, entry.status) == ("infra", "pass")
    assert broken.checks["run"].reason == "a task was killed from outside, by SIGKILL"


@pytest.fixture
def given(tmp_path: Path) -> Iterator[tuple[ObjectStore, S3Root]]:
    """A store and a bucket that a user has."""
    server = S3Server(mark_of(tmp_path), tmp_path / "given.log")
    server.start()
    store = ObjectStore(server.endpoint, CREDENTIALS)
    store.make_bucket("given")
    yield store, S3Root("given", "some/prefix")
    server.stop()


@pytest.mark.parametrize("keep", [False, True])
def test_a_bucket_the_user_names_is_used_and_left_as_it_was(
    alone, given, tmp_path, monkeypatch, keep
):
    store, root = given
    # What is noted of what is kept is not for this machine's clean.
    monkeypatch.setattr(locks, "RUNS", tmp_path / "runs")
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    where = ["--s3-root", root.url, "--s3-endpoint", store.endpoint]
    one = alone("--probe", "hello", *where, *(["--keep"] if keep else []))
    assert one.go().status == "pass"
    assert any(key.startswith("HelloFlow/data/") for key in one.listed)
    left = urls(store, S3Root("given"))
    assert bool(left) is keep
    assert all(url.startswith(f"{root.url}/{one.run.folder.run}/") for url in left)
    verb = "kept" if keep else "removed"
    assert f"{verb}: {root.url}/{one.run.folder.run}" in one.said.getvalue()
    assert list(all_noted()) == ([one.run.folder.run] if keep else [])


def test_what_a_killed_run_left_in_a_bucket_of_the_users_goes_by_clean(
    given, tmp_path, monkeypatch
):
    store, root = given
    monkeypatch.setattr(locks, "RUNS", tmp_path / "runs")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none")
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    catalog = load()
    of_run = GivenS3(
        root,
        "killed",
        store.endpoint,
        os.environ,
        needs=catalog.s3_needs,
        work=tmp_path,
        listing=tmp_path / "listing",
        keep=False,
    )
    found = of_run.environment(catalog.clients[-1], "stack", tmp_path / "cell")
    stored = found["METAFLOW_DATASTORE_SYSROOT_S3"].removeprefix("s3://")
    for place in (stored, "given/some/prefix/killed-not"):
        requests.put(f"{store.endpoint}/{place}/x", data=b"1", timeout=10).raise_for_status()
    assert "killed: removed 1 objects in s3://given/some/prefix/killed" in clean()
    assert urls(store, S3Root("given")) == ["s3://given/some/prefix/killed-not/x"]
    assert list(clean())[1:] == []


@pytest.mark.parametrize(
    ("root", "credentials", "words"),
    [
        ("s3://given/p", {}, "no AWS credentials"),
        ("s3://nobody-made-this/p", CREDENTIALS, "there is no bucket nobody-made-this"),
        ("s3:///p", CREDENTIALS, "names no bucket"),
    ],
)
def test_bad_input_is_one_error_before_anything_starts(tmp_path, given, root, credentials, words):
    env = {
        name: value
        for name, value in environment().items()
        if not name.startswith(("AWS_", "META"))
    }
    env |= {"AWS_EC2_METADATA_DISABLED": "true", "HOME": str(tmp_path), **credentials}
    options = ["--datastore", "s3", "--s3-root", root, "--s3-endpoint", given[0].endpoint]
    results = tmp_path / "results"
    finished = nox("-s", "local", "--", "--results", str(results), *options, env=env)
    output = finished.stdout + finished.stderr
    assert finished.returncode != 0
    assert words in output
    assert "Traceback" not in output
    assert "Running session local(" not in output
    assert not results.exists()


def test_an_endpoint_nobody_listens_on_is_one_error(tmp_path):
    options = ["--datastore", "s3", "--s3-root", "s3://given"]
    options += ["--s3-endpoint", f"http://127.0.0.1:{free_port()}"]
    env = {**environment(), **CREDENTIALS, "AWS_SECRET_ACCESS_KEY": "hunter2hunter2"}
    finished = nox("-s", "local", "--", "--results", str(tmp_path / "r"), *options, env=env)
    assert "cannot be reached; check --s3-endpoint" in finished.stderr
    assert "hunter2" not in finished.stdout + finished.stderr
    assert not (tmp_path / "r").exists()
