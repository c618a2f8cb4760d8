"""The UI backend of the service's image in a container, with its page or another image's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.catalog.releases import Service
from harness.machine.errors import InfraError, UsageError
from harness.machine.processes import HOST, free_port
from harness.stack.containers.build import build
from harness.stack.containers.images import Image, Images
from harness.stack.containers.own import HOST_NETWORK, Belongings, Program, RunningContainer
from harness.stack.database.server import Database
from harness.stack.service.git import HEAD, Clone
from harness.stack.service.image import Builder
from harness.stack.store.s3 import aws_files
from harness.ui.backend import ui_settings
from harness.ui.launcher import DataSource, RunningUI

_PYTHON = "/opt/latest/bin/python3"
"""In the service's image, the Python that its README starts the UI backend with."""

_BACKEND_PORT = 8083
_PAGE_PORT = 3000
_MEMORY, _WHOLE_MEMORY, _PAGE_MEMORY = "1g", "4g", "128m"
"""Small, a backend takes 425 MB; with all of its workers 2.2 GB (measured)."""

_DOCKERFILE = "Dockerfile"


class PageImage:
    """An image of Netflix/metaflow-ui, which serves the page and nothing else.

    Args:
        images: where it is pulled from.
        name: of the image; or None for one that is built.
        clone: of Netflix/metaflow-ui, whose Dockerfile builds it.
        belongings: of the run.
        log: for the build's output.
    """

    def __init__(
        self,
        images: Images,
        name: str | None,
        clone: Clone | None,
        belongings: Belongings,
        log: Path,
    ) -> None:
        self._images = images
        self._name = name
        self._clone = clone
        self._belongings = belongings
        self._log = log
        origin = f"{clone.given}, built" if clone else name
        self.description = f"the page of {origin}"

    def get(self) -> Image:
        """Return the image, pulled or built.

        Raises:
            UsageError: when the clone has no Dockerfile.
            InfraError: when it cannot be had.
        """
        if self._name is not None:
            return self._images.get(self._name)
        assert self._clone is not None, "a page comes from an image or from a clone"
        source = self._clone.at(HEAD)
        if source is None or _DOCKERFILE not in source.files:
            raise UsageError(
                f"--ui-checkout {self._clone.given}: there is no {_DOCKERFILE}; is this a clone of"
                " Netflix/metaflow-ui?"
            )
        return build(
            self._belongings.engine,
            source.lay_out(),
            _DOCKERFILE,
            tag=f"metaflow-compat/page:{self._belongings.run_id}",
            labels=self._belongings.labels,
            mark=f"{self._belongings.run_id}/build-page",
            log=self._log,
        )


class ContainerUI:
    """Starts UI backends from the service's images.

    Args:
        belongings: the run's containers.
        images: where images come from.
        builder: builds the images of a checkout's services; None without a checkout.
        page: an image with the page; None for the page that the service's image brings.
        whole: start as many workers as a backend would unasked.
        triggers: let it make its triggers in the database.
    """

    def __init__(
        self,
        belongings: Belongings,
        images: Images,
        *,
        builder: Builder | None,
        page: PageImage | None,
        whole: bool,
        triggers: bool,
    ) -> None:
        self._belongings = belongings
        self._images = images
        self._builder = builder
        self._page = page
        self._whole = whole
        self._triggers = triggers
        self._built: dict[str, Image] = {}
        page_note = f", {page.description}" if page else ""
        self.description = f"UI backend from the service's image, in a container{page_note}"

    def prepare(self, versions: Sequence[Service]) -> None:
        """Pull or build every image that will be needed."""
        names = [version.image for version in versions if version.image is not None]
        for found in self._images.bring(names).values():
            if isinstance(found, InfraError):
                raise found
        for version in versions:
            self._image(version)
        self._page_image()

    def notes(self, version: Service) -> list[str]:  # noqa: ARG002 - an image brings all it needs
        """Return nothing."""
        return []

    def start(
        self, version: Service, source: DataSource, database: Database, port: int, log: Path
    ) -> RunningUI:
        """Start the backend's container, and the page's where it has one of its own."""
        image, page = self._image(version), self._page_image()
        backend, api = self._backend(
            version, image, source, database, port=None if page else port, log=log
        )
        origin = f"UI backend of {version.name}, {image.reference} {image.digest or image.id}"
        running = _RunningContainers(version.name, origin, api, api, log, [backend])
        if page is not None:
            try:
                running.containers.append(self._start_page(page, api, port, log))
            except BaseException:
                running.stop()
                raise
            running.page = f"http://{HOST}:{port}"
            running.origin += f"; the page: {page.reference} {page.digest or page.id}"
        return running

    def _backend(
        self,
        version: Service,
        image: Image,
        source: DataSource,
        database: Database,
        *,
        port: int | None,
        log: Path,
    ) -> tuple[RunningContainer, str]:
        """Start the backend; return its container and its address.

        In the database's own network it listens on its usual port, which the engine leads to one
        of this machine's. A database that is reached from this machine is so from this machine's
        network only, where the backend listens on the machine's port itself.
        """
        assert version.layout is not None, "a version that was selected for its UI"
        assert version.layout.ui is not None, "a version that was selected for its UI"
        here = source.network is None
        listens = (port or free_port()) if here else _BACKEND_PORT
        settings = ui_settings(
            database.address if here else database.service_address,
            HOST if here else "0.0.0.0",  # noqa: S104 - of a container, published on 127.0.0.1
            listens,
            page=self._page is None,
            whole=self._whole,
            triggers=self._triggers,
        )
        tls = database.address.tls
        program = Program(
            f"ui-{version.slug}",
            image,
            {**source.environment, **settings},
            {} if here else {_BACKEND_PORT: port},
            _WHOLE_MEMORY if self._whole else _MEMORY,
            # The image's own command starts the migration and the metadata service instead.
            command=[_PYTHON, "-m", version.layout.ui.module],
            network=HOST_NETWORK if here else source.network,
            folders={
                # A UI that takes logs away cannot show those it may only read (docs/findings.md).
                **dict.fromkeys(source.folders, not source.linked),
                **dict.fromkeys(aws_files(source.environment), True),
                **dict.fromkeys(tls.files if tls else (), True),
            },
        )
        container = self._belongings.run(program, log)
        return container, f"http://{HOST}:{listens if here else container.port(_BACKEND_PORT)}"

    def _start_page(self, page: Image, api: str, port: int, log: Path) -> RunningContainer:
        # An address of this machine: it is the browser that asks there, not the page's container.
        environment = {"PORT": str(_PAGE_PORT), "METAFLOW_SERVICE": api}
        program = Program("page", page, environment, {_PAGE_PORT: port}, _PAGE_MEMORY)
        return self._belongings.run(program, log.with_name("page.log"))

    def _image(self, version: Service) -> Image:
        if version.image is not None:
            return self._images.get(version.image)
        if self._builder is None:
            raise UsageError(f"{version.name} has no image; --checkout PATH builds one")
        if version.name not in self._built:
            self._built[version.name] = self._builder.build(version)
        return self._built[version.name]

    def _page_image(self) -> Image | None:
        if self._page is None:
            return None
        if "page" not in self._built:
            self._built["page"] = self._page.get()
        return self._built["page"]


@dataclass
class _RunningContainers:
    """The backend's container, and the page's where it has one of its own."""

    version: str
    origin: str
    api: str
    page: str
    log: Path
    containers: list[RunningContainer]

    @property
    def where_log(self) -> str:
        """Words on where the log is once this process, which writes it down, has ended."""
        return f"its log: docker logs {self.containers[0].name}"

    def check_alive(self) -> None:
        """Raise InfraError, with the last log lines, when one of them has ended by itself."""
        for container in self.containers:
            container.check_alive()

    def wait(self) -> None:
        """Return when the backend has ended."""
        self.containers[0].wait()

    def stop(self) -> None:
        """Remove them; the backend's workers end with its container. Safe to call twice."""
        for container in self.containers:
            container.remove()
