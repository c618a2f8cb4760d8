"""Released services in containers: which images are on the disk, and when."""

from __future__ import annotations

from uuid import uuid4

import pytest

from harness.containers.engine import Engine
from harness.containers.images import Images
from harness.containers.own import Belongings
from harness.errors import UsageError
from harness.selectors import select_services
from harness.service.container import ContainerLauncher
from harness.versions import load

pytestmark = pytest.mark.docker


@pytest.fixture
def images(engine: Engine, registry: str) -> Images:
    return Images(engine, "missing", registry, print)


def launcher_of(engine: Engine, images: Images, *, remove_images: bool) -> ContainerLauncher:
    belongings = Belongings(engine, f"test-{uuid4().hex[:8]}")
    return ContainerLauncher(belongings, images, first=(), remove_images=remove_images)


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
        used.append(launcher._image(service).reference)
        # Four at a time, and the one before, to which a walk goes back for its rollback.
        assert set(used[-2:]) <= on_the_disk()
        assert len(on_the_disk()) <= 5
    images.remove_all()
    assert set(used) == names
    assert on_the_disk() == set()


def test_a_reference_level_has_no_image(engine: Engine, images: Images) -> None:
    launcher = launcher_of(engine, images, remove_images=False)
    with pytest.raises(UsageError, match=r"reference-2\.5 is a level .* needs --backend embedded"):
        launcher.prepare(select_services(load(), "2.5", "reference"))
