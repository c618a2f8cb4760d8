"""Images: brought once, by policy and prefix, and removed by who brought them."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from harness.catalog.versions import load
from harness.machine.errors import InfraError
from harness.machine.processes import free_port
from harness.stack.containers.engine import Engine, find_engine
from harness.stack.containers.images import Image, Images
from harness.stack.containers.own import Belongings, Program, RunningContainer
from tests.images.build import SERVICE
from tests.stack.containers.fake_engine import ImageEngine, RefusingEngine
from tests.stack.containers.small_engine import serve_small_engine


@pytest.mark.parametrize(
    ("refusal", "advice"),
    [
        ("failed to register layer: no space left on device", "the engine's disk is full"),
        ("denied: requested access to the resource", "denied: requested access"),
    ],
)
def test_a_pull_that_is_refused_says_why_and_what_to_do(refusal: str, advice: str) -> None:
    with closing(RefusingEngine(refusal)) as fake:
        engine = find_engine({"DOCKER_HOST": fake.host})
        with closing(engine):
            images = Images(engine, "missing", "", print)
            with pytest.raises(InfraError, match=advice) as raised:
                images.get("postgres:16")
    assert str(raised.value).startswith("pulling postgres:16: ")
    assert refusal in str(raised.value)


def test_an_image_that_another_run_removed_before_it_was_used_is_pulled_again(
    tmp_path: Path,
) -> None:
    with closing(ImageEngine()) as fake, closing(find_engine({"DOCKER_HOST": fake.host})) as engine:
        belongings = Belongings(engine, "one")
        images = Images(engine, "missing", "", print)

        def run(image: Image) -> RunningContainer:
            return belongings.run(Program("service", image, {}, {}, "1m"), tmp_path / "log")

        images.use("service:1", run)
        fake.held.clear()
        fake.before_create = fake.images.clear
        images.use("service:1", run)
        assert fake.pulls == {"service:1": 2}

        fake.before_create = fake.images.clear
        never = Images(engine, "never", "", print)
        with pytest.raises(InfraError, match="not on the engine, and --pull is 'never'"):
            never.use("service:1", run)


@pytest.mark.docker
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start an engine on a small disk")
@pytest.mark.skipif(shutil.which("dockerd") is None, reason="dockerd is not installed here")
def test_a_disk_that_is_full_is_told_with_what_to_do(registry: str) -> None:
    name = f"postgres:{load().postgres.default}"
    with serve_small_engine() as small:
        images = Images(small, "missing", registry, print)
        with pytest.raises(InfraError, match="no space left on device") as raised:
            images.get(name)
        assert small.client.images.list() == []
    assert str(raised.value).startswith(f"pulling {registry}/library/{name}: ")
    assert "the engine's disk is full: docker system df shows" in str(raised.value)


@pytest.mark.docker
def test_a_registry_that_is_down_is_told_with_what_to_do(engine: Engine) -> None:
    images = Images(engine, "missing", f"127.0.0.1:{free_port()}", print)
    with pytest.raises(InfraError, match="connection refused") as raised:
        images.get("postgres:16")
    assert "the registry cannot be reached from the engine" in str(raised.value)
    assert "--registry PREFIX" in str(raised.value)


@pytest.mark.docker
@pytest.mark.parametrize(
    ("registry", "name", "reference"),
    [
        ("", "postgres:16", "postgres:16"),
        ("mirror.example.com/hub/", "postgres:16", "mirror.example.com/hub/library/postgres:16"),
        ("mirror.example.com", f"{SERVICE}:v2.5.0", f"mirror.example.com/{SERVICE}:v2.5.0"),
    ],
)
def test_the_prefix_stands_for_docker_hub(
    engine: Engine, registry: str, name: str, reference: str
) -> None:
    assert Images(engine, "missing", registry, print).reference(name) == reference


@pytest.mark.docker
def test_only_who_pulled_an_image_removes_it(engine: Engine, registry: str) -> None:
    name = f"{SERVICE}:2.0.0"
    said: list[str] = []
    first = Images(engine, "missing", registry, said.append)
    brought = first.get(name)
    second = Images(engine, "missing", registry, said.append)
    found = second.get(name)

    assert brought.digest.startswith("sha256:")
    assert found == Image(brought.reference, brought.id, brought.digest, pulled=False)
    assert [line for line in said if line.startswith("pulled ")] == said[1:]
    second.remove_all()
    assert engine.client.images.get(brought.reference).id == brought.id
    first.remove_all()
    assert said[-1] == f"removed the image {brought.reference}"


@pytest.mark.docker
def test_several_are_brought_and_each_failure_is_its_own(engine: Engine, registry: str) -> None:
    said: list[str] = []
    images = Images(engine, "always", registry, said.append)
    good, bad = f"{SERVICE}:2.0.4", f"{SERVICE}:9.9.9"

    found = images.bring([good, bad])
    images.remove_all()

    assert isinstance(found[good], Image)
    assert "there is no such tag" in str(found[bad])
    assert sum(line.startswith("pulling ") for line in said) == 2


@pytest.mark.docker
@pytest.mark.parametrize("policy", ["missing", "always"])
def test_whether_an_image_can_be_had_is_asked_without_a_pull(
    engine: Engine, registry: str, policy: str
) -> None:
    said: list[str] = []
    images = Images(engine, policy, registry, said.append)
    images.check(f"{SERVICE}:2.0.4")
    with pytest.raises(InfraError, match="there is no such tag") as raised:
        images.check(f"{SERVICE}:9.9.9")
    assert str(raised.value).startswith(f"asking for {registry}/{SERVICE}:9.9.9: ")
    assert said == []
