"""An S3-compatible server in a container of the run, from an image as published."""

from __future__ import annotations

from pathlib import Path

from harness.catalog.releases import S3Image
from harness.core.provenance import digest
from harness.machine.errors import InfraError
from harness.machine.processes import HOST, tail_note, wait_until
from harness.stack.containers.images import Image, Images
from harness.stack.containers.own import Belongings, Program, RunningContainer
from harness.stack.store.objects import digest_of_tool
from harness.stack.store.server import CREDENTIALS, answers

NAME = "object-store"
"""The host name containers reach it by, inside the run's network."""

_READY_SECONDS = 120.0
_MEMORY = "1g"
"""The servers that run on Java or hold objects in memory take a few hundred MB."""


class ContainerS3:
    """An OwnServer in a container that is made at start and removed at stop.

    Args:
        belongings: the run's network.
        images: where its image comes from.
        image: its whole name: ``minio/minio:latest``.
        known: how to run it; None for an image with its own command and one port.
        log: the file for its output.
    """

    def __init__(
        self,
        belongings: Belongings,
        images: Images,
        image: str,
        known: S3Image | None,
        log: Path,
    ) -> None:
        self.description = f"{image}, in a container of the run"
        self.endpoint = ""
        self.log = log
        self._belongings = belongings
        self._images = images
        self._image = image
        self._known = known
        self._container: RunningContainer | None = None

    def code(self) -> str:
        """Return the digest of its image, or the engine's id of one built here, and another one.

        That is of how it is run, which versions.json tells, and of what lists its objects.
        """
        how = (list(self._known.command), dict(self._known.env)) if self._known else ()
        return f"{self._images.get(self._image).code}, {digest([how, digest_of_tool()])}"

    def start(self) -> None:
        """Start the container and return when the server answers.

        Raises:
            InfraError: when the image cannot be had or has not exactly one port, or with the last
                log lines when the container ends or never answers.
        """
        container, port = self._images.use(self._image, self._run)
        self._container = container
        self.endpoint = f"http://{HOST}:{container.port(port)}"
        wait_until(
            lambda: self._ready(container),
            seconds=_READY_SECONDS,
            what=f"the S3 server in the container {container.name}",
            log=self.log,
        )

    def _run(self, image: Image) -> tuple[RunningContainer, int]:
        """Start the container; return it and its own port."""
        program = self._program(image)
        (port,) = program.ports
        return self._belongings.run(program, self.log), port

    def _program(self, image: Image) -> Program:
        if self._known is None:
            return Program(NAME, image, {}, {self._only_port(image): None}, _MEMORY)
        keys = {
            "access_key": CREDENTIALS["AWS_ACCESS_KEY_ID"],
            "secret_key": CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        }
        environment = {name: value.format(**keys) for name, value in self._known.env.items()}
        ports = {self._known.port: None}
        return Program(NAME, image, environment, ports, _MEMORY, command=self._known.command)

    def _only_port(self, image: Image) -> int:
        engine = self._belongings.engine
        with engine.doing(f"asking for the ports of the image {image.reference}"):
            config = engine.client.images.get(image.id).attrs["Config"]
        exposed = sorted(config.get("ExposedPorts") or {})
        ports = [int(port.partition("/")[0]) for port in exposed if not port.endswith("/udp")]
        if len(ports) != 1:
            has = f"the ports {', '.join(map(str, ports))}" if ports else "no port"
            raise InfraError(
                f"the image {image.reference} exposes {has}, and is not in the list s3_images of"
                " versions.json, which says where a server listens: add it there, or take another"
                " --s3-image"
            )
        return ports[0]

    def _ready(self, container: RunningContainer) -> bool:
        container.check_alive()
        return self._answers()

    def _answers(self) -> bool:
        if self._known is None:
            # Who asks without credentials is refused by some; a refusal is an answer.
            return answers(self.endpoint, well=False)
        return answers(self.endpoint + self._known.ready)

    def check_alive(self) -> None:
        """Raise InfraError, with the last log lines, when it has ended or does not answer."""
        if self._container is not None:
            self._container.check_alive()
            if not self._answers():
                raise InfraError(
                    f"the S3 server in the container {self._container.name} does not answer"
                    f"{tail_note(self.log)}"
                )

    def watch(self) -> None:
        """Raise InfraError, with the last log lines, when it has ended."""
        if self._container is not None:
            self._container.check_alive()

    def stop(self) -> None:
        """Remove the container and all it holds. Safe to call twice, and before start.

        Raises:
            InfraError: when the engine refuses or does not answer.
        """
        if self._container is not None:
            self._container.remove()
            self._container = None
