"""Containers of a run: labelled, logged, read back, and gone with what belongs to them."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from harness.catalog.versions import load
from harness.machine.errors import EndedError, InfraError
from harness.machine.memory import memory_kills
from harness.machine.processes import tail, wait_until
from harness.stack.containers.engine import Engine
from harness.stack.containers.images import Image, Images
from harness.stack.containers.own import LABEL, Belongings, Program, RunningContainer, find

pytestmark = pytest.mark.docker


@pytest.fixture
def image(engine: Engine, registry: str) -> Image:
    return Images(engine, "missing", registry, print).get(f"postgres:{load().postgres.default}")


@pytest.fixture
def belongings(engine: Engine) -> Iterator[Belongings]:
    run = Belongings(engine, f"test-{uuid4().hex[:8]}")
    yield run
    run.remove_all()
    assert list(find(engine, run.run_id)) == []


def shell(image: Image, script: str, **more: object) -> Program:
    """Return a program that is a shell script; the image's entry point runs what it is given."""
    environment = {"POSTGRES_PASSWORD": "secret", "PGDATA": "/tmp/data"}
    options = {"name": "program", "ports": {}, "memory": "128m", **more}
    return Program(image=image, environment=environment, command=["sh", "-c", script], **options)


def last_words(container: RunningContainer) -> str:
    """Wait for the end of a container and return what is said about it."""
    told: list[str] = []

    def ended() -> bool:
        try:
            container.check_alive()
        except InfraError as error:
            told.append(str(error))
        return bool(told)

    wait_until(ended, seconds=60, what="the end of the container")
    return told[0]


def test_everything_carries_the_label_of_the_run(
    belongings: Belongings, image: Image, engine: Engine, tmp_path: Path
) -> None:
    belongings.run(shell(image, "sleep 600", ports={5432: None}), tmp_path / "log")

    found = find(engine, belongings.run_id)
    assert [len(found.containers), len(found.networks), len(found.volumes)] == [1, 1, 1]
    assert found.containers[0].labels[LABEL] == belongings.run_id
    mounts = found.containers[0].attrs["Mounts"]
    assert [mount["Name"] for mount in mounts] == [found.volumes[0].name]


def test_output_is_followed_across_a_restart_without_loss_or_repeat(
    belongings: Belongings, image: Image, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    container = belongings.run(shell(image, "echo started; sleep 600"), log)
    wait_until(lambda: "started" in tail(log), seconds=30, what="the first line")
    container.restart()
    wait_until(lambda: tail(log).count("started") == 2, seconds=30, what="the second line")
    container.remove()
    assert tail(log).count("started") == 2


def test_one_that_ends_at_once_is_told_with_its_last_words(
    belongings: Belongings, image: Image, tmp_path: Path
) -> None:
    container = belongings.run(shell(image, "echo no database; exit 3"), tmp_path / "log")
    told = last_words(container)
    assert "ended with exit code 3" in told
    assert "no database" in told


def test_a_port_that_is_taken_is_named(
    belongings: Belongings, image: Image, engine: Engine, tmp_path: Path
) -> None:
    first = belongings.run(shell(image, "sleep 600", ports={5432: None}), tmp_path / "log")
    taken = first.port(5432)
    with pytest.raises(InfraError, match=f"(?s)starting the container .*{taken}"):
        belongings.run(
            shell(image, "sleep 600", name="second", ports={5432: taken}), tmp_path / "log2"
        )
    assert len(find(engine, belongings.run_id).containers) == 1


def test_more_memory_than_given_is_told_as_such(
    belongings: Belongings, image: Image, tmp_path: Path
) -> None:
    # The shell itself grows: that only a child was killed is not the container's end.
    script = "a=x; while :; do a=$a$a; done"
    before = memory_kills()
    container = belongings.run(shell(image, script, memory="16m"), tmp_path / "log")
    assert "more memory than it is given" in last_words(container)
    assert memory_kills() == before, "it is in no group of ours"


def test_what_a_program_in_a_container_prints_leaves_no_connection(
    belongings: Belongings, image: Image, tmp_path: Path
) -> None:
    container = belongings.run(shell(image, "sleep 600"), tmp_path / "log")
    container.write_output((["sh", "-c", "echo $A; echo b >&2"], {"A": "a"}), tmp_path / "said")
    assert (tmp_path / "said").read_bytes() == b"a\n"
    with pytest.raises(InfraError, match=r"sh in the container .*: no more"):
        container.write_output((["sh", "-c", "echo no more >&2; exit 3"], {}), tmp_path / "said")
    # pytest raises what the collector tells of sockets that are still open.
    gc.collect()


def test_a_container_that_somebody_removed_is_told(
    belongings: Belongings, image: Image, engine: Engine, tmp_path: Path
) -> None:
    container = belongings.run(shell(image, "sleep 600"), tmp_path / "log")
    find(engine, belongings.run_id).containers[0].remove(force=True)
    with pytest.raises(EndedError, match="was removed by somebody"):
        container.check_alive()
    container.remove()
