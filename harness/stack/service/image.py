"""Images of a checkout's services, built from its own Dockerfile."""

from __future__ import annotations

from pathlib import Path

from harness.catalog.releases import Service
from harness.machine.errors import UsageError
from harness.stack.containers.build import build
from harness.stack.containers.engine import Engine
from harness.stack.containers.images import Image
from harness.stack.containers.own import Belongings
from harness.stack.service.git import Clone
from harness.stack.service.refs import source_of

REF_LABEL = "metaflow-compat.ref"
"""Label with the branch and commit an image was built from."""


class Builder:
    """Builds images of a clone's services; they go when the run ends.

    Args:
        engine: where they are wanted.
        belongings: of the run, whose labels they carry.
        clone: which is only read.
        dockerfile: path of the Dockerfile in it.
        logs: folder for the builds' output.
    """

    def __init__(
        self, engine: Engine, belongings: Belongings, clone: Clone, dockerfile: str, logs: Path
    ) -> None:
        self._engine = engine
        self._belongings = belongings
        self._clone = clone
        self._dockerfile = dockerfile
        self._logs = logs

    def build(self, service: Service) -> Image:
        """Build the image of a service.

        Raises:
            UsageError: when its files hold no such Dockerfile.
            InfraError: with the last lines of the output when the build fails.
        """
        source = source_of(self._clone, service)
        if self._dockerfile not in source.files:
            raise UsageError(
                f"--dockerfile {self._dockerfile}: {service.name} ({service.label}) has none"
            )
        # Names of images are lower case.
        tag = f"metaflow-compat/{service.slug.lower()}:{self._belongings.run_id}"
        return build(
            self._engine,
            source.lay_out(),
            self._dockerfile,
            tag=tag,
            labels={**self._belongings.labels, REF_LABEL: service.label},
            mark=f"{self._belongings.run_id}/build-{service.slug}",
            log=self._logs / f"{service.slug}.log",
        )
