"""What killed runs left goes, and nothing else does."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import gethostname
from types import SimpleNamespace
from typing import cast
from uuid import uuid4

import psutil
import pytest

from harness.catalog.versions import load
from harness.cli.clean import _clean_run, clean
from harness.core.entries import Begun, now
from harness.core.journal import encode
from harness.machine import locks
from harness.machine.errors import InfraError, UsageError
from harness.machine.locks import RunLock, lock_path
from harness.machine.processes import ManagedProcess, marked_processes, wait_until
from harness.machine.strays import strays
from harness.stack.containers.engine import Engine
from harness.stack.containers.images import Images
from harness.stack.containers.own import (
    HOST_LABEL,
    KEEP_LABEL,
    LABEL,
    LOCK_LABEL,
    Belongings,
    Found,
    Program,
    find,
)
from harness.stack.database.cluster import Cluster, end_server, remove_leftovers
from harness.stack.database.embedded import EmbeddedPostgres
from harness.stack.kept_stack import Kept, all_kept
from harness.stack.store.noted import all_noted, note
from harness.stack.store.objects import ObjectStore, ObjectStoreError, S3Root

IDLE = [sys.executable, "-c", "import signal; signal.pause()"]


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(locks, "RUNS", tmp_path / "runs")
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"


@pytest.fixture
def run_id() -> str:
    return f"test-{uuid4().hex[:8]}"


@pytest.fixture
def no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none")
    monkeypatch.delenv("DOCKER_CONTEXT", raising=False)


def leave(run_id: str, folder: Path) -> None:
    """Leave the lock of a run that was killed."""
    lock_path(run_id).write_text(str(folder))


@pytest.fixture
def process(run_id: str, tmp_path: Path) -> Iterator[ManagedProcess]:
    process = ManagedProcess(
        IDLE, env=dict(os.environ), mark=f"{run_id}/client", log=tmp_path / "log"
    )
    yield process
    process.kill()


def begun(run_id: str, folder: Path) -> Path:
    """Make the results folder of a walk that began, with a saved stage; return where that is."""
    entry = Begun(
        at=now(), run=run_id, session="fixed_db", options=[], backend="b", clients=[], services=[]
    )
    (folder / "saved" / "walk").mkdir(parents=True)
    (folder / "journal.jsonl").write_bytes(encode(entry))
    (locks.RUNS / f"{run_id}.saved").write_text(str(folder / "saved"))
    return folder / "saved"


@pytest.mark.usefixtures("no_engine")
def test_what_a_run_goes_on_with_stays_until_it_is_named(run_id: str, tmp_path: Path) -> None:
    folder = tmp_path / run_id
    saved = begun(run_id, folder)
    leave(run_id, folder)
    kept = (
        f"{run_id}: kept its journal and {saved}, to go on with: nox -s fixed_db -- --resume"
        f" {folder}; nox -s clean -- {run_id} removes the latter"
    )
    for _ in range(2):  # killed, and then known by what it saved alone
        assert list(clean())[-1] == kept
        assert saved.is_dir()
    assert f"{run_id}: removed the saved stages of its walk" in clean([str(folder)])
    assert [path.name for path in folder.iterdir()] == ["journal.jsonl"]
    assert list(locks.RUNS.iterdir()) == []


@pytest.mark.usefixtures("no_engine")
def test_what_a_living_run_saved_is_its_own(run_id: str, tmp_path: Path) -> None:
    saved = begun(run_id, tmp_path / run_id)
    lock = RunLock(run_id, tmp_path / run_id)
    with pytest.raises(UsageError, match="no run"):
        list(clean([run_id]))
    assert list(clean())[1:] == []
    assert saved.is_dir()
    lock.release()


@pytest.mark.usefixtures("no_engine")
def test_processes_and_folders_of_a_killed_run_go(
    run_id: str, process: ManagedProcess, tmp_path: Path
) -> None:
    work = tmp_path / "run" / "work"
    (work / "home").mkdir(parents=True)
    leave(run_id, tmp_path / "run")

    said = list(clean())

    assert process.wait(10) is not None
    assert not work.exists()
    assert not lock_path(run_id).exists()
    assert f"{run_id}: ended 1 processes, removed its working folder" in said
    assert said[0].startswith("containers: not looked for: no Docker engine answers")


@pytest.mark.usefixtures("no_engine")
def test_what_a_living_run_has_stays(run_id: str, process: ManagedProcess, tmp_path: Path) -> None:
    lock = RunLock(run_id, tmp_path / "run")
    assert list(clean())[1:] == []
    assert process.poll() is None
    lock.release()


@pytest.mark.usefixtures("no_engine")
def test_the_embedded_database_of_a_killed_run_is_ended(run_id: str, tmp_path: Path) -> None:
    folder = tmp_path / "run" / "work" / "postgres"
    server = EmbeddedPostgres(folder, run_id)
    server.start()
    leave(run_id, tmp_path / "run")

    list(clean())

    assert not (folder / "cluster").exists()
    with pytest.raises(InfraError, match="could not be created"):
        server.create("anything")
    server.stop()


@pytest.fixture
def kept(run_id: str, tmp_path: Path) -> Iterator[Kept]:
    """What an ended run with --keep left: a cluster that nobody serves."""
    folder = tmp_path / "run"
    server = EmbeddedPostgres(folder / "work" / "postgres", run_id)
    server.start()
    cluster, address = server.cluster, server.create("metaflow").address
    assert cluster is not None
    server.stop(keep=True)
    place = {"home": str(cluster.home), "binaries": str(cluster.binaries)}
    kept = Kept(run_id, folder, "embedded", "reference-2.5", address, place)
    kept.write()
    yield kept
    remove_leftovers(folder / "work" / "postgres")


@pytest.mark.usefixtures("no_engine")
def test_a_kept_database_stays_until_its_run_is_named(kept: Kept) -> None:
    assert f"{kept.run}: kept as asked for; remove it with: nox -s clean -- {kept.run}" in clean()
    assert all_kept() == [kept]
    assert f"{kept.run}: removed the kept database and the data of its clients" in clean([kept.run])
    assert all_kept() == []
    assert not Path(kept.place["home"]).exists()
    assert not kept.data.exists()


@pytest.mark.usefixtures("no_engine")
def test_what_a_run_kept_stays_when_it_was_killed_after_that(
    kept: Kept, process: ManagedProcess
) -> None:
    leave(kept.run, kept.folder)
    said = list(clean())
    assert f"{kept.run}: kept as asked for; remove it with: nox -s clean -- {kept.run}" in said
    assert said[-1] == f"{kept.run}: ended 1 processes"
    assert process.wait(10) is not None
    assert Path(kept.place["home"]).is_dir()
    assert not lock_path(kept.run).exists()
    list(clean([kept.run]))
    assert not kept.data.exists()


def test_so_do_the_containers_it_kept(run_id: str, tmp_path: Path) -> None:
    leave(run_id, tmp_path)
    labels = {
        LABEL: run_id,
        HOST_LABEL: gethostname(),
        KEEP_LABEL: "yes",
        LOCK_LABEL: str(lock_path(run_id)),
    }
    container = SimpleNamespace(attrs={"Config": {"Labels": labels}})
    found = Found([container], [], [])
    # Nothing is asked of the engine for what stays.
    said = _clean_run(cast("Engine", None), run_id, found, named=False, recorded=True)
    assert list(said) == [f"{run_id}: kept as asked for; remove it with: nox -s clean -- {run_id}"]


@contextmanager
def stuck() -> Iterator[None]:
    """Let no folder be removed, as one of root's is not by another user."""

    def refuse(path: Path, *, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.cli.clean.shutil.rmtree", refuse)
        yield


@pytest.mark.usefixtures("no_engine")
def test_what_refuses_to_go_is_told_and_its_run_stays_known(run_id: str, tmp_path: Path) -> None:
    work = tmp_path / "run" / "work"
    work.mkdir(parents=True)
    leave(run_id, tmp_path / "run")
    with (
        stuck(),
        pytest.raises(InfraError, match=rf"^{work} could not be removed, .*Permission denied"),
    ):
        list(clean())
    assert lock_path(run_id).exists()


@pytest.mark.usefixtures("no_engine")
def test_what_was_kept_and_refuses_to_go_stays_known(kept: Kept) -> None:
    with stuck(), pytest.raises(InfraError, match=r"could not be removed, .*Permission denied"):
        list(clean([kept.run]))
    assert all_kept() == [kept]


@pytest.mark.usefixtures("no_engine")
def test_a_server_left_over_a_kept_database_is_ended_unless_it_is_used(kept: Kept) -> None:
    cluster = Cluster(Path(kept.place["home"]), Path(kept.place["binaries"]))
    server = EmbeddedPostgres(kept.folder / "ui", f"{kept.run}/ui", password=kept.database.password)
    server.resume(cluster)
    with kept.used():
        assert f"{kept.run}: left alone: a UI that runs uses it" in clean()
        with pytest.raises(UsageError, match="a UI that runs uses it; stop that first"):
            list(clean([kept.run]))
        assert server.address.connect()
    assert f"{kept.run}: ended the database server that a UI left" in clean()
    assert not end_server(cluster.data)
    server.stop()


@pytest.mark.usefixtures("no_engine")
def test_without_an_engine_a_named_run_cannot_be_removed() -> None:
    with pytest.raises(UsageError, match="some-run has kept anything here; an engine was not"):
        list(clean(["some-run"]))


@pytest.mark.usefixtures("no_engine")
def test_a_kept_run_is_named_by_its_folder_too_and_the_nearest_is_said(kept: Kept) -> None:
    with pytest.raises(UsageError, match=rf"\(nearest: {kept.run}\)"):
        list(clean([f"{kept.run}x"]))
    folder = kept.folder.with_name(kept.run)
    assert f"{kept.run}: removed the kept database and the data of its clients" in clean(
        [str(folder)]
    )


@pytest.fixture
def containers(engine: Engine, registry: str, run_id: str, tmp_path: Path) -> Iterator[Belongings]:
    belongings = Belongings(engine, run_id, keep=True)
    image = Images(engine, "missing", registry, print).get(f"postgres:{load().postgres.default}")
    environment = {"POSTGRES_PASSWORD": "secret"}
    belongings.run(Program("database", image, environment, {5432: None}, "256m"), tmp_path / "log")
    yield belongings
    belongings.remove_all()


@pytest.mark.docker
@pytest.mark.usefixtures("containers")
def test_a_kept_stack_goes_when_it_is_named(engine: Engine, run_id: str) -> None:
    assert any(line.startswith(f"{run_id}: kept as asked for") for line in clean())
    assert len(find(engine, run_id).containers) == 1
    assert any(line.startswith(f"{run_id}: removed 1 containers") for line in clean([run_id]))
    assert list(find(engine, run_id)) == []


@pytest.mark.docker
@pytest.mark.usefixtures("containers")
def test_a_run_that_was_killed_before_it_could_keep_anything_goes(
    engine: Engine, run_id: str, tmp_path: Path
) -> None:
    leave(run_id, tmp_path)
    assert any(line.startswith(f"{run_id}: removed 1 containers") for line in clean())
    assert list(find(engine, run_id)) == []


@pytest.mark.docker
@pytest.mark.usefixtures("containers")
def test_containers_of_another_machine_s_run_stay(
    engine: Engine, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.cli.clean.gethostname", lambda: "elsewhere")
    assert any(line.startswith(f"{run_id}: left alone: it is a run of") for line in clean([run_id]))
    assert len(find(engine, run_id).containers) == 1


@pytest.mark.docker
@pytest.mark.usefixtures("engine")
def test_an_unknown_run_is_an_error_that_names_those_there_are() -> None:
    with pytest.raises(UsageError, match="no-such-run has nothing here that could go"):
        list(clean(["no-such-run"]))


LEAVES = """
import os, sys, time
if os.fork():
    os._exit(0)
os.setsid()
with open("of-stray", "w") as file:
    pass
os.execve(sys.executable, [sys.executable, "-c", "import signal; signal.pause()"], {})
"""


@pytest.fixture
def stray(run_id: str, tmp_path: Path) -> Iterator[psutil.Process]:
    """A process of a run that left its session and its environment."""
    work = tmp_path / "run" / "work"
    work.mkdir(parents=True)
    command = [sys.executable, "-c", LEAVES]
    start = ManagedProcess(
        command, env=dict(os.environ), mark=f"{run_id}/x", log=tmp_path / "log", cwd=work
    )
    assert start.wait(20) == 0

    def found() -> list[psutil.Process]:
        # By all of its last word: until it is another program it has its mark, and LEAVES names it.
        return [
            one for one in strays(work) if one.cmdline()[-1:] == ["import signal; signal.pause()"]
        ]

    wait_until(lambda: bool(found()), seconds=20, what="the stray")
    # Its mark is gone, so it outlives whatever is ended by marks.
    start.kill()
    (process,) = found()
    assert process.pid not in [pid for pid, _ in marked_processes()]
    yield process
    if process.is_running():
        process.kill()


@pytest.mark.usefixtures("no_engine")
def test_a_process_that_left_session_and_environment_goes(
    run_id: str, stray: psutil.Process, tmp_path: Path
) -> None:
    leave(run_id, tmp_path / "run")
    assert f"{run_id}: ended 1 processes, removed its working folder" in clean()
    psutil.wait_procs([stray], timeout=10)
    assert not stray.is_running() or stray.status() == psutil.STATUS_ZOMBIE


@pytest.mark.usefixtures("no_engine")
def test_a_dry_run_says_what_would_go_and_removes_nothing(
    run_id: str, stray: psutil.Process, process: ManagedProcess, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    saved = begun(run_id, folder)
    leave(run_id, folder)
    note(run_id, S3Root("bucket", f"p/{run_id}"), "http://127.0.0.1:1")
    said = list(clean([run_id], dry=True))[1:]
    ids = f"{process.pid}, {stray.pid}"
    assert said == [
        f"would remove the processes of {run_id} ({ids}), and {folder / 'work'}",
        f"would remove the objects of {run_id} in s3://bucket/p/{run_id} at http://127.0.0.1:1",
        f"would remove {saved}, the saved stages of {run_id}",
    ]
    assert process.poll() is None
    assert stray.is_running()
    assert (folder / "work").is_dir()
    assert saved.is_dir()
    assert {path.suffix for path in locks.RUNS.iterdir()} == {".lock", ".s3", ".saved"}


@pytest.mark.usefixtures("no_engine")
def test_a_dry_run_leaves_a_kept_database(kept: Kept) -> None:
    assert f"would remove {kept.data}, which {kept.run} kept" in clean([kept.run], dry=True)
    assert all_kept() == [kept]
    assert Path(kept.place["home"]).is_dir()


@pytest.mark.usefixtures("no_engine")
def test_what_a_killed_run_stored_in_a_bucket_goes_or_is_named(
    run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    note(run_id, S3Root("bucket", f"p/{run_id}"), None)
    asked = []

    def refuse(*_: object) -> int:
        raise ObjectStoreError("forbidden", "AccessDenied")

    def remove(store: ObjectStore, root: S3Root) -> int:
        asked.append((store.endpoint, root))
        return 3

    monkeypatch.setattr(ObjectStore, "remove", refuse)
    (said,) = list(clean())[1:]
    assert said.startswith(
        f"{run_id}: its objects in s3://bucket/p/{run_id} at Amazon S3 could not"
    )
    assert said.endswith("AccessDenied; set the AWS variables that it had, or remove them by hand")
    assert list(all_noted()) == [run_id]
    monkeypatch.setattr(ObjectStore, "remove", remove)
    assert f"{run_id}: removed 3 objects in s3://bucket/p/{run_id}" in clean()
    assert asked == [(None, S3Root("bucket", f"p/{run_id}"))]
    assert all_noted() == {}
    assert list(clean())[1:] == []


@pytest.mark.usefixtures("no_engine")
def test_what_a_living_run_stores_in_a_bucket_is_its_own(run_id: str, tmp_path: Path) -> None:
    lock = RunLock(run_id, tmp_path / "run")
    note(run_id, S3Root("bucket", "p"), None)
    assert list(clean())[1:] == []
    assert list(all_noted()) == [run_id]
    lock.release()
