"""Runs over containers: green, alone on the engine, and gone without a trace."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from harness.containers.engine import Engine
from harness.containers.own import LABEL, find
from harness.outcome import Status
from harness.processes import marked_processes, wait_until
from harness.reference.levels import LEVELS
from harness.versions import load
from tests.e2e.nox_runs import NoxRun, command, environment, finished_run, nox, run
from tests.e2e.relay import Relay
from tests.images.build import BASE, MOVED_TAG, SERVICE, service_context

pytestmark = [pytest.mark.e2e, pytest.mark.docker]

SMALL = ("--metaflow", "2.19.39", "--probe", "hello", "--jobs", "2")
OLD_AND_NEW = ("--metaflow", "2.2.13,2.19.39")
SECONDS = 300.0


def things(engine: Engine) -> set[str]:
    """Return the ids of all containers, networks and volumes on the engine."""
    client = engine.client
    return {
        str(thing.id)
        for kind in (
            client.containers.list(all=True),
            client.networks.list(),
            client.volumes.list(),
        )
        for thing in kind
    }


@pytest.fixture
def env(engine: Engine) -> dict[str, str]:
    """The variables of a nox run that uses the engine."""
    return environment(DOCKER_HOST=engine.host)


@pytest.fixture
def over_containers(
    registry: str, env: dict[str, str], tmp_path: Path, engine: Engine
) -> Iterator[Callable[..., NoxRun]]:
    """Return a function that runs a session; what was on the engine before must be there after."""
    before = things(engine)

    def over_containers(session: str, *options: str, **more: Any) -> NoxRun:
        return run(session, tmp_path, "--registry", registry, *options, **{"env": env, **more})

    yield over_containers
    assert things(engine) == before


@pytest.fixture
def foreign(engine: Engine, registry: str) -> Iterator[Any]:
    """A container of somebody else's, from ``postgres:latest`` and with the name of a role."""
    pulled = engine.client.images.pull(f"{registry}/library/postgres:{load().postgres.default}")
    pulled.tag("postgres", "latest")
    container = engine.client.containers.run(
        "postgres:latest", detach=True, name="postgres", environment={"POSTGRES_PASSWORD": "theirs"}
    )
    yield container
    container.remove(v=True, force=True)
    engine.client.images.remove("postgres:latest")


def test_compat_over_released_images(foreign: Any, over_containers: Callable[..., NoxRun]) -> None:
    started = foreign.attrs["Created"], foreign.id

    done = over_containers(
        "compat", *OLD_AND_NEW, "--service", "1.0.0,2.0.4,v2.5.0", "--with-service-logs"
    )

    assert done.code == 0, done.output
    assert [cell["status"] for cell in done.cells] == [Status.PASS.value] * 6
    assert "backend: docker (a Docker engine answers: " in done.output.splitlines()[0]
    assert "v2.5.0 | " in done.output
    notes = [entry["text"] for entry in done.entries if entry["kind"] == "note"]
    assert any(re.search(r"v2\.5\.0 is image \S+:v2\.5\.0 sha256:[0-9a-f]{64}", n) for n in notes)
    assert "serving on" in (done.folder / "logs" / "services" / "v2.5.0.log").read_text()
    foreign.reload()
    assert (foreign.attrs["Created"], foreign.id) == started
    assert foreign.status == "running"


def test_a_walk_over_released_images(over_containers: Callable[..., NoxRun]) -> None:
    done = over_containers("fixed_db", *OLD_AND_NEW, "--service", "1.0.0,2.0.6,v2.5.0")

    assert done.code == 0, done.output
    stages = [entry for entry in done.entries if entry["kind"] == "stage"]
    assert [stage["reported"] for stage in stages] == ["1.0.0", "2.0.6", "2.5.0"]
    assert [stage["status"] for stage in stages] == [Status.PASS.value] * 3
    assert stages[1]["migrations"]
    assert stages[2]["rollback"] == "unsafe"
    assert "the image does not boot" in " ".join(stages[2]["rollback_evidence"])


def test_two_runs_side_by_side(
    registry: str, env: dict[str, str], tmp_path: Path, engine: Engine
) -> None:
    before = things(engine)
    places = [tmp_path / "one", tmp_path / "two"]
    options = ["--registry", registry, *SMALL, "--service", "v2.5.0"]
    # Different clients: nox itself shares one environment per client between runs.
    clients = ["2.19.39", "2.18.13"]
    runs = [
        subprocess.Popen(
            command("-s", "compat", "--", *options, "--results", str(place), "--metaflow", client),
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for place, client in zip(places, clients, strict=True)
    ]
    outputs = [process.communicate(timeout=SECONDS)[0] for process in runs]

    for process, output, place in zip(runs, outputs, places, strict=True):
        assert process.returncode == 0, output
        assert [cell["status"] for cell in finished_run(0, output, place).cells] == ["pass"]
    assert things(engine) == before


def test_clean_after_kill_9_leaves_others_alone(
    foreign: Any, registry: str, env: dict[str, str], tmp_path: Path, engine: Engine
) -> None:
    before = things(engine)
    options = ["--registry", registry, *SMALL, "--service", "v2.5.0", "--results", str(tmp_path)]
    with (tmp_path / "output").open("w") as output:
        process = subprocess.Popen(
            command("-s", "compat", "--", *options),
            env=env,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        run_id = _await_client(tmp_path, process)
        alive = nox("-s", "clean", env=env)
        assert f"{run_id}: left alone: it is running" in alive.stdout
        assert process.poll() is None
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert things(engine) > before

    cleaned = nox("-s", "clean", env=env)

    assert cleaned.returncode == 0, cleaned.stderr
    assert f"{run_id}: removed 2 containers, 1 networks, 1 volumes" in cleaned.stdout
    assert things(engine) == before
    foreign.reload()
    assert foreign.status == "running"
    assert [mark for _, mark in marked_processes() if mark.startswith(run_id)] == []
    assert not (tmp_path / run_id / "work").exists()
    assert run_id not in nox("-s", "clean", env=env).stdout


def _await_client(results: Path, process: subprocess.Popen[Any]) -> str:
    """Wait until a client of the run works; return the id of the run."""

    def works() -> bool:
        assert process.poll() is None, (results / "output").read_text()
        name = (results / "latest").resolve().name
        return any(mark.startswith(f"{name}/compat__") for _, mark in marked_processes())

    wait_until(works, seconds=SECONDS, what="a client of the run", log=results / "output")
    return (results / "latest").resolve().name


def test_keep_leaves_the_last_stack_until_it_is_named(
    registry: str, env: dict[str, str], tmp_path: Path, engine: Engine
) -> None:
    before = things(engine)
    done = run(
        "compat", tmp_path, "--registry", registry, *SMALL, "--service", "v2.5.0", "--keep", env=env
    )

    assert done.code == 0, done.output
    run_id = done.folder.name
    url = re.search(r"kept: v2\.5\.0 at (http://127\.0\.0\.1:\d+)", done.output)
    assert url, done.output
    assert len(find(engine, run_id).containers) == 2
    kept = nox("-s", "clean", env=env)
    assert f"nox -s clean -- {run_id}" in kept.stdout
    assert len(find(engine, run_id).containers) == 2
    assert nox("-s", "clean", "--", run_id, env=env).returncode == 0
    assert things(engine) == before


def test_an_unknown_tag_is_infra_for_that_service_alone(
    over_containers: Callable[..., NoxRun],
) -> None:
    # v2.4.13 is released, and the registry has no stand-in for it.
    done = over_containers("compat", *SMALL, "--service", "v2.4.13,v2.5.0")

    assert done.code != 0
    assert [cell["status"] for cell in done.cells] == [Status.INFRA.value, Status.PASS.value]
    assert "there is no such tag" in done.cells[0]["checks"]["run"]["reason"]


def test_another_release_than_was_asked_for_is_infra(
    over_containers: Callable[..., NoxRun],
) -> None:
    done = over_containers("compat", *SMALL, "--service", MOVED_TAG)

    assert done.code != 0
    assert [cell["status"] for cell in done.cells] == [Status.INFRA.value]
    reason = done.cells[0]["checks"]["run"]["reason"]
    assert f"{MOVED_TAG} was asked for, and 2.3.0 answers, on schema 20220503175500" in reason
    assert "sha256:" in reason


def test_no_image_at_all_ends_the_run_at_once(over_containers: Callable[..., NoxRun]) -> None:
    done = over_containers("compat", *SMALL, "--service", "v2.5.0", "--postgres-image", "none")

    assert done.code != 0
    assert [cell["status"] for cell in done.cells] == [Status.INFRA.value]
    assert "library/postgres:none" in done.cells[0]["checks"]["run"]["reason"]


def test_pull_never_says_which_image_is_missing(over_containers: Callable[..., NoxRun]) -> None:
    done = over_containers("compat", *SMALL, "--service", "v2.4.13", "--pull", "never")

    assert done.code != 0
    assert [cell["status"] for cell in done.cells] == [Status.INFRA.value]
    assert "--pull is 'never'" in done.output


@pytest.mark.skipif(
    "COMPAT_REGISTRY" not in os.environ, reason="COMPAT_REGISTRY names no mirror of the engine"
)
def test_remove_images_removes_what_the_run_pulled(
    registry: str, env: dict[str, str], tmp_path: Path, engine: Engine
) -> None:
    del registry  # it is the engine's mirror: images are pulled by their published names
    before = {tag for image in engine.client.images.list() for tag in image.tags}

    assert f"{SERVICE}:2.0.6" not in before, "the engine has it from elsewhere; remove it first"

    done = run("compat", tmp_path, *SMALL, "--service", "2.0.6", "--remove-images", env=env)

    assert done.code == 0, done.output
    assert f"pulled {SERVICE}:2.0.6" in done.output
    assert {tag for image in engine.client.images.list() for tag in image.tags} == before


def test_an_engine_that_stops_in_mid_run_is_infra(
    registry: str, tmp_path: Path, engine: Engine
) -> None:
    before = things(engine)
    with closing(Relay(engine.host.removeprefix("unix://"))) as relay:
        options = ["--registry", registry, *SMALL, "--service", "v2.5.0"]
        with (tmp_path / "output").open("w") as output:
            process = subprocess.Popen(
                command("-s", "compat", "--", *options, "--results", str(tmp_path)),
                env=environment(DOCKER_HOST=relay.host),
                stdout=output,
                stderr=output,
            )
        run_id = _await_client(tmp_path, process)
        relay.close()
    # An engine that stops takes its containers with it.
    for container in find(engine, run_id).containers:
        container.kill()
    code = process.wait(SECONDS)
    text = (tmp_path / "output").read_text()

    assert code != 0
    done = finished_run(code, text, tmp_path)
    assert [cell["status"] for cell in done.cells] == [Status.INFRA.value], text
    assert "does not answer any more" in text
    assert "nox -s clean" in text
    cleaned = nox("-s", "clean", env=environment(DOCKER_HOST=engine.host))
    assert f"{run_id}: removed 2 containers" in cleaned.stdout
    assert things(engine) == before


DOCKERFILE = """FROM {base}
COPY standin /opt
ENV PYTHONPATH=/opt/packages:/opt PYTHONDONTWRITEBYTECODE=1 LEVEL=2.5
WORKDIR /opt
CMD python3 start.py
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A clone in the service's layout, at version 2.5.0, whose Dockerfile makes the stand-in."""
    folder = tmp_path / "checkout"
    for name in ("metadata_service/server", "migration_service/migration_server"):
        program = folder / "services" / f"{name}.py"
        program.parent.mkdir(parents=True)
        program.touch()
    ui = folder / "services" / "ui_backend_service" / "ui_server.py"
    ui.parent.mkdir()
    ui.touch()
    migrations = folder / "services" / "migration_service" / "migration_files"
    migrations.mkdir()
    (migrations / f"{max(LEVELS['2.5'].migrations)}_newest.sql").touch()
    (folder / "setup.py").write_text("from setuptools import setup\nsetup(version='2.5.0')\n")
    (folder / "Dockerfile").write_text(DOCKERFILE.format(base=BASE))
    (folder / "Dockerfile.broken").write_text(f"FROM {BASE}\nRUN echo it breaks here && false\n")
    for name, ending in (("silent", "exec sleep infinity"), ("ends", "exit 3")):
        (folder / f"Dockerfile.{name}").write_text(
            f"FROM {BASE}\nCMD echo waiting for a database of no name; {ending}\n"
        )
    with service_context() as context:
        shutil.copytree(context, folder / "standin")
    git = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@example.com"]
    for words in (["init", "-q", "-b", "feature"], ["add", "-A"], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *words], check=True)
    return folder


def test_a_checkout_is_built_and_runs_beside_a_released_one(
    checkout: Path, over_containers: Callable[..., NoxRun], engine: Engine
) -> None:
    options = ["--service", "2.0.6,HEAD", "--checkout", str(checkout)]

    done = over_containers("compat", *SMALL, *options)

    assert done.code == 0, done.output
    kinds = {cell["service"]: cell["service_kind"] for cell in done.cells}
    assert kinds == {"2.0.6": "released", "HEAD": "checkout"}
    notes = [entry["text"] for entry in done.entries if entry["kind"] == "note"]
    assert any(note.startswith("HEAD is branch feature at ") for note in notes)
    assert engine.client.images.list(filters={"label": LABEL}) == []


def test_a_build_that_fails_shows_its_output(
    checkout: Path, over_containers: Callable[..., NoxRun]
) -> None:
    options = ["--checkout", str(checkout), "--dockerfile", "Dockerfile.broken"]

    done = over_containers("compat", *SMALL, *options, "--service", "2.0.6,HEAD")

    assert done.code != 0
    status = {cell["service"]: cell["status"] for cell in done.cells}
    assert status == {"2.0.6": Status.PASS.value, "HEAD": Status.INFRA.value}
    assert "it breaks here" in done.output


@pytest.mark.parametrize(
    ("dockerfile", "cause"),
    [
        ("Dockerfile.silent", "was not ready within 60 s"),
        ("Dockerfile.ends", "exit code 3"),
    ],
)
def test_a_container_that_never_answers_is_infra_with_its_log(
    checkout: Path, over_containers: Callable[..., NoxRun], dockerfile: str, cause: str
) -> None:
    options = ["--checkout", str(checkout), "--dockerfile", dockerfile]

    done = over_containers("compat", *SMALL, *options, "--service", "HEAD")

    assert done.code != 0
    assert [cell["status"] for cell in done.cells] == [Status.INFRA.value]
    reason = done.cells[0]["checks"]["run"]["reason"]
    assert cause in reason
    assert "waiting for a database of no name" in reason


def test_ctrl_c_leaves_nothing(
    registry: str, env: dict[str, str], tmp_path: Path, engine: Engine
) -> None:
    before = things(engine)
    options = ["--registry", registry, *SMALL, "--service", "v2.5.0", "--results", str(tmp_path)]
    with (tmp_path / "output").open("w") as output:
        process = subprocess.Popen(
            command("-s", "compat", "--", *options),
            env=env,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    run_id = _await_client(tmp_path, process)
    # A terminal sends it to everything it runs.
    os.killpg(process.pid, signal.SIGINT)
    code = process.wait(SECONDS)

    assert code != 0
    assert things(engine) == before
    assert [mark for _, mark in marked_processes() if mark.startswith(run_id)] == []
