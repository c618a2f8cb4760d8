"""Released services in containers: which images are on the disk, and when."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

from harness.catalog.releases import Service
from harness.catalog.selectors import select_services
from harness.catalog.versions import load
from harness.machine.errors import UsageError
from harness.stack.containers.engine import Engine, find_engine
from harness.stack.containers.images import Images
from harness.stack.containers.own import Belongings
from harness.stack.database.server import Address, Database
from harness.stack.service.container import ContainerLauncher
from harness.stack.service.launcher import RunningService
from tests.stack.containers.fake_engine import ImageEngine


@pytest.fixture
def images(engine: Engine, registry: str) -> Images:
    return Images(engine, "missing", registry, print)


def launcher_of(engine: Engine, images: Images, *, remove_images: bool) -> ContainerLauncher:
    belongings = Belongings(engine, f"test-{uuid4().hex[:8]}")
    return ContainerLauncher(belongings, images, first=(), remove_images=remove_images)


@pytest.mark.docker
def test_with_remove_images_a_few_are_on_the_disk_at_a_time(engine: Engine, images: Images) -> None:
    services = select_services(load(), "groups", "released")[:9]
    names = {images.reference(str(service.image)) for service in services}

    def on_the_disk() -> set[str]:
        return names & {tag for image in engine.client.images.list() for tag in image.tags}

    for name in on_the_disk():  # what other tests pulled stays for the next ones
        engine.client.images.remove(name)
    launcher = launcher_of(engine, images, remove_images=True)
    launcher.prepare(services)
    assert len(on_the_disk()) == 4
    used: list[str] = []
    for service in services:
        launcher._make_room_for(str(service.image))
        used.append(images.get(str(service.image)).reference)
        # Four at a time, and the one before, to which a walk goes back for its rollback.
        assert set(used[-2:]) <= on_the_disk()
        assert len(on_the_disk()) <= 5
    images.remove_all()
    assert set(used) == names
    assert on_the_disk() == set()


@pytest.mark.docker
def test_a_reference_level_has_no_image(engine: Engine, images: Images) -> None:
    launcher = launcher_of(engine, images, remove_images=False)
    with pytest.raises(UsageError, match=r"reference-2\.5 is a level .* needs --backend embedded"):
        launcher.prepare(select_services(load(), "2.5", "reference"))


@pytest.mark.parametrize("jobs", [2, 8])
def test_with_remove_images_parallel_cells_take_no_image_from_each_other(
    jobs: int, tmp_path: Path
) -> None:
    services = select_services(load(), "groups", "released")
    address = Address("database", 5432, "user", "password", "name")
    database = Database(address, address)
    with closing(ImageEngine()) as fake, closing(find_engine({"DOCKER_HOST": fake.host})) as engine:
        images = Images(engine, "missing", "", print)
        launcher = launcher_of(engine, images, remove_images=True)
        launcher.prepare(services)

        def start(service: Service) -> RunningService:
            return launcher.start(service, database, tmp_path / f"{service.slug}.log")

        with ThreadPoolExecutor(jobs) as pool:
            started = list(pool.map(start, services))
        assert [running.service for running in started] == list(services)
        # Each container holds its image; none was pulled, removed unused and pulled again.
        assert len(fake.held) == len(services)
        assert set(fake.pulls.values()) == {1}
        # Those whose containers are gone are removed when room is made for another: but for the
        # one used last, which of parallel ones any may be, and the next four.
        last = launcher._used[-1]
        fake.held.clear()
        started.append(start(services[0]))
        assert set(fake.images) == {last, *(service.image for service in services[:4])}
        for running in started:  # a log that is still followed holds a connection
            running.stop()
