"""An S3 server in a container, behind the same interface as the process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from harness.catalog.versions import load
from harness.machine.errors import InfraError
from harness.stack.containers.engine import Engine
from harness.stack.containers.images import Images
from harness.stack.containers.own import Belongings, find
from harness.stack.store.container import ContainerS3
from harness.stack.store.objects import ObjectStore, S3Root
from harness.stack.store.server import CREDENTIALS
from tests.images.build import S3_IMAGES
from tests.stack.store.objects_of import put, urls

pytestmark = pytest.mark.docker

Make = Callable[[str], ContainerS3]


@pytest.fixture
def belongings(engine: Engine) -> Iterator[Belongings]:
    run = Belongings(engine, f"test-{uuid4().hex[:8]}")
    yield run
    run.remove_all()


@pytest.fixture
def make(belongings: Belongings, engine: Engine, s3_registry: str, tmp_path: Path) -> Make:
    images = Images(engine, "missing", s3_registry, print)

    def make(name: str) -> ContainerS3:
        known = load().s3_image(name)
        return ContainerS3(belongings, images, name, known, tmp_path / "s3.log")

    return make


@pytest.mark.parametrize("name", S3_IMAGES)
def test_each_kind_of_image_stores_and_goes_without_a_trace(
    make: Make, belongings: Belongings, engine: Engine, name: str
) -> None:
    server = make(name)
    server.check_alive()
    server.start()
    store = ObjectStore(server.endpoint, CREDENTIALS)
    store.make_bucket("some")
    put(store, S3Root("some"), "object")
    server.check_alive()

    assert urls(store, S3Root("some")) == ["s3://some/object"]
    assert len(find(engine, belongings.run_id).containers) == 1
    assert "PUT /some/object" in server.log.read_text()
    server.stop()
    server.stop()
    assert find(engine, belongings.run_id).containers == []


def test_one_that_dies_is_told_with_its_log(make: Make, belongings: Belongings) -> None:
    server = make(S3_IMAGES[0])
    server.start()
    belongings.kill()
    with pytest.raises(InfraError, match=r"(?s)object-store ended with exit code 137.*moto-api"):
        server.check_alive()


def test_an_unknown_image_with_several_ports_is_refused_and_not_started(
    make: Make, belongings: Belongings, engine: Engine
) -> None:
    server = make("netflixoss/metaflow_metadata_service:v2.5.0")
    with pytest.raises(
        InfraError, match=r"exposes the ports 8080, 8082, 8083, and is not in the list s3_images"
    ):
        server.start()
    assert find(engine, belongings.run_id).containers == []


def test_an_image_that_is_no_s3_server_is_told_with_its_log(make: Make) -> None:
    # PostgreSQL has one port, and ends without the variables it wants.
    server = make(f"postgres:{load().postgres.default}")
    with pytest.raises(InfraError, match=r"object-store ended with exit code"):
        server.start()
