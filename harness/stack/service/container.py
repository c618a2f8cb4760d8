"""Released services, and checkouts of them, in containers of the run."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

from harness.catalog.releases import Service
from harness.machine.errors import InfraError, UsageError
from harness.machine.processes import HOST
from harness.stack.containers.images import Image, Images
from harness.stack.containers.own import Belongings, Program, RunningContainer
from harness.stack.database.server import Database
from harness.stack.service.image import Builder
from harness.stack.service.launcher import RunningService
from harness.stack.service.settings import database_settings

_METADATA_PORT = 8080
_MIGRATION_PORT = 8082
_MEMORY = "512m"
"""A service takes 60 MB, its migration service as much; both and a bad day fit."""

_BATCH = 4
"""Images that are brought together when each is removed after its use."""


class ContainerLauncher:
    """Starts services from images.

    Args:
        belongings: the run's network and containers.
        images: where images come from.
        first: images beside the services' without which nothing can run.
        builder: builds the images of a checkout's services; None without a checkout.
        remove_images: pull images a few at a time instead of all at first, and remove those of
            earlier services before.
    """

    description = "released services, in containers"

    # An image's start script migrates an empty database by itself.
    start_unmigrated = None

    def __init__(
        self,
        belongings: Belongings,
        images: Images,
        *,
        first: Sequence[str],
        builder: Builder | None = None,
        remove_images: bool = False,
    ) -> None:
        self._belongings = belongings
        self._images = images
        self._first = tuple(first)
        self._builder = builder
        self._remove_images = remove_images
        self._prepared: list[Service] = []
        self._built: dict[str, Image | InfraError] = {}
        self._batch: list[str] = []
        self._used: list[str] = []
        # Until a container holds an image, room made for another service would take it away.
        self._room: AbstractContextManager[object] = (
            threading.Lock() if remove_images else nullcontext()
        )

    def prepare(self, services: tuple[Service, ...]) -> None:
        """Bring the images; one that cannot be had is told when its service is started.

        Raises:
            UsageError: for a reference level, which has no image.
            InfraError: when no image at all, or not the database's, can be had.
        """
        for service in services:
            if service.kind == "reference":
                raise UsageError(
                    f"{service.name} is a level of the reference service, which has no image; "
                    "it needs --backend embedded"
                )
        self._prepared = list(dict.fromkeys([*self._prepared, *services]))
        names = [service.image for service in services if service.image is not None]
        wanted = names[:_BATCH] if self._remove_images else names
        found = self._images.bring([*self._first, *wanted])
        errors = [error for error in found.values() if isinstance(error, InfraError)]
        needed = [name for name in self._first if found[name] in errors]
        # One image that is missing costs its own cells; the database's, or all of them, every cell.
        if errors and (needed or len(errors) == len(services)):
            raise errors[0]
        for service in services:
            if service.image is None and service.name not in self._built:
                self._built[service.name] = self._image_of_checkout(service)

    def code(self, service: Service) -> str:
        """Return the digest of its image, or the engine's own id of one that was built here."""
        if service.image is None:
            self.prepare((service,))
            return self._built_image(service).code
        return self._images.get(service.image).code

    def start(
        self,
        service: Service,
        database: Database,
        log: Path,
        scenario: str = "",  # noqa: ARG002 - those of containers are the client's alone
    ) -> RunningService:
        """Start a service over a database and return at once.

        Raises:
            InfraError: when its image cannot be had or the engine refuses.
        """

        def run(image: Image) -> RunningService:
            return _RunningInContainer(self, service, image, database, log)

        if service.image is None:
            return run(self._built_image(service))
        with self._room:
            if self._remove_images:
                self._make_room_for(service.image)
            return self._images.use(service.image, run)

    def container(
        self, image: Image, environment: Mapping[str, str], log: Path, files: Iterable[Path] = ()
    ) -> RunningContainer:
        """Start a container for a service, named after its log; it has some files of ours."""
        program = Program(
            # The log's name is the service's, with the stage; a git ref may hold anything.
            re.sub(r"[^\w.-]", "-", log.stem, flags=re.ASCII),
            image,
            environment,
            {_METADATA_PORT: None, _MIGRATION_PORT: None},
            _MEMORY,
            folders=dict.fromkeys(files, True),
        )
        return self._belongings.run(program, log)

    def _built_image(self, service: Service) -> Image:
        built = self._built[service.name]
        if isinstance(built, InfraError):
            raise built
        return built

    def _make_room_for(self, image: str) -> None:
        """Bring the images of the next services, after those of earlier ones are removed.

        The one used last stays: a walk goes back to it for its verdict on the rollback. So does
        one that was brought and not used yet: parallel cells do not ask in the order of services.
        """
        if image not in self._batch:
            last = self._used[-1:]
            names = [str(service.image) for service in self._prepared if service.image]
            at = names.index(image) if image in names else 0
            self._batch = [*last, *names[at : at + _BATCH]] if names else [image]
            unused = [name for name in names if name not in self._used]
            self._images.remove_all(but=[*self._first, *self._batch, *unused])
            self._images.bring(self._batch)
        self._used = [*(name for name in self._used if name != image), image]

    def _image_of_checkout(self, service: Service) -> Image | InfraError:
        if self._builder is None:
            raise UsageError(f"{service.name} has no image; --checkout PATH builds one")
        try:
            return self._builder.build(service)
        except InfraError as error:
            return error


class _RunningInContainer:
    picks_release = True

    def __init__(
        self,
        launcher: ContainerLauncher,
        service: Service,
        image: Image,
        database: Database,
        log: Path,
    ) -> None:
        self.service = service
        self.log = log
        self.origin = f"image {image.reference} {image.code}"
        self.code = image.code
        # Nothing of hosts and ports: in its own container it has its usual ones.
        environment = database_settings(database.service_address)
        tls = database.service_address.tls
        files = tls.files if tls else ()
        self._run = partial(launcher.container, image, environment, log, files)
        self._container = self._run()
        self._read_ports()

    def _read_ports(self) -> None:
        self.url = f"http://{HOST}:{self._container.port(_METADATA_PORT)}"
        self.migration_url = (
            f"http://{HOST}:{self._container.port(_MIGRATION_PORT)}"
            if self.service.migrates
            else None
        )

    def restart(self) -> None:
        """Restart the container, as an operator would; its addresses are other ones then.

        Where somebody has removed it another one is made.
        """
        if self._container.is_removed():
            self._container = self._run()
        else:
            self._container.restart()
        self._read_ports()

    def check_alive(self) -> None:
        """Raise EndedError, with the last log lines, when the container does not run any more."""
        self._container.check_alive()

    def stop(self) -> None:
        """Remove the container. Safe to call twice."""
        self._container.remove()
