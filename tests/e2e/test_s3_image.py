"""Runs with the S3 server in a container: green, saved with --keep, and gone without a trace."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.core.outcome import Status
from harness.machine.processes import wait_until
from harness.stack.containers.engine import Engine
from harness.stack.containers.own import find
from tests.e2e.nox_runs import NoxRun, command, environment, finished_run, nox, run
from tests.images.build import S3_IMAGES

pytestmark = [pytest.mark.e2e, pytest.mark.docker]

SECONDS = 300.0
OPTIONS = ("--metaflow", "2.19.39", "--probe", "hello", "--service", "v2.5.0", "--datastore", "s3")
Compat = Callable[..., NoxRun]


def left(engine: Engine, results: Path) -> list[str]:
    """Return what the runs below a results folder have on the engine."""
    runs = [path.name for path in results.iterdir() if path.is_dir() and not path.is_symlink()]
    return [str(thing) for run_id in runs for thing in find(engine, run_id)]


@pytest.fixture
def env(engine: Engine) -> dict[str, str]:
    return environment(DOCKER_HOST=engine.host)


@pytest.fixture
def compat(
    s3_registry: str, env: dict[str, str], tmp_path: Path, engine: Engine
) -> Iterator[Compat]:
    """Return a function that runs compat; at the end no run has anything on the engine."""

    def compat(image: str, *more: str) -> NoxRun:
        options = ["--registry", s3_registry, *OPTIONS, "--s3-image", image, *more]
        return run("compat", tmp_path, *options, env=env)

    yield compat
    assert left(engine, tmp_path) == []


def test_what_a_client_stored_lies_in_the_container(compat: Compat) -> None:
    done = compat(S3_IMAGES[0])

    assert done.code == 0, done.output
    assert done.checks() == dict.fromkeys(("run", "artifacts", "stored"), Status.PASS.value)
    assert f"data: s3: {S3_IMAGES[0]}, in a container of the run" in done.output
    listed = (done.folder / "logs" / "s3-objects.txt").read_text(encoding="utf-8")
    assert "s3://compat-v2-5-0/metaflow/" in listed
    assert "/HelloFlow/data/" in listed
    assert "PUT /compat-v2-5-0/" in (done.folder / "logs" / "services" / "s3.log").read_text()
    assert f"--s3-image {S3_IMAGES[0]}" in done.cells[0]["rerun"]


def test_keep_saves_the_objects_and_leaves_the_stack_alone(
    compat: Compat, env: dict[str, str], engine: Engine
) -> None:
    done = compat(S3_IMAGES[1], "--keep")
    kept = find(engine, done.folder.name).containers
    bucket = done.folder / "work" / "s3" / "compat-v2-5-0"
    objects = list(bucket.glob("metaflow/**/HelloFlow/data/*/*"))
    removed = nox("-s", "clean", "--", done.folder.name, env=env)

    assert done.code == 0, done.output
    assert f"saved in {done.folder}/work/s3" in done.output
    assert objects
    assert sorted(container.name.rpartition(f"{done.folder.name}-")[2] for container in kept) == [
        "database",
        "v2.5.0",
    ]
    assert removed.returncode == 0, removed.stderr
    assert not bucket.exists()


def test_a_store_that_dies_in_mid_run_is_replaced(
    s3_registry: str, env: dict[str, str], tmp_path: Path, engine: Engine
) -> None:
    options = ["--registry", s3_registry, *OPTIONS, "--s3-image", S3_IMAGES[2], "--timeout", "30"]
    output = tmp_path / "output"
    with output.open("w") as file:
        process = subprocess.Popen(
            command("-s", "compat", "--", *options, "--results", str(tmp_path)),
            env=env,
            stdout=file,
            stderr=file,
        )

    def something_is_stored() -> bool:
        assert process.poll() is None, output.read_text()
        log = tmp_path / "latest" / "logs" / "services" / "s3.log"
        return log.exists() and b"PUT /compat-v2-5-0/metaflow" in log.read_bytes()

    wait_until(something_is_stored, seconds=SECONDS, what="the first object", log=output)
    for container in find(engine, (tmp_path / "latest").resolve().name).containers:
        if container.name.endswith("-object-store"):
            container.kill()
    code = process.wait(SECONDS)

    done = finished_run(code, output.read_text(), tmp_path)
    assert code == 0, done.output
    first, last = (entry for entry in done.entries if entry["kind"] == "cell")
    assert (first["status"], last["status"]) == (Status.INFRA.value, Status.PASS.value)
    assert "object-store ended with exit code 137 (SIGKILL)" in first["checks"]["run"]["reason"]
    assert left(engine, tmp_path) == []


def test_an_image_that_cannot_be_had_ends_the_run_at_once(compat: Compat) -> None:
    done = compat("minio/minio:none")

    assert done.code != 0
    assert [cell["status"] for cell in done.cells] == [Status.INFRA.value]
    assert "minio/minio:none" in done.cells[0]["checks"]["run"]["reason"]
    assert not (done.folder / "logs" / "postgres.log").exists()
