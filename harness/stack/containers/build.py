"""Images built from a folder with a Dockerfile, by docker's own command line.

The Docker SDK has only the engine's old builder, which does not know TARGETARCH and cannot build
the Dockerfile of the service; the command line has BuildKit.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.machine.errors import InfraError
from harness.machine.processes import ManagedProcess, tail, tail_note
from harness.stack.containers.engine import Engine
from harness.stack.containers.images import Image

_BUILD_SECONDS = 3600.0
_NO_BUILDX = "buildx component is missing"
"""Said by a command line of 23 or newer without its plugin; the old builder may still do."""


def build(
    engine: Engine,
    folder: Path,
    dockerfile: str,
    *,
    tag: str,
    labels: Mapping[str, str],
    mark: str,
    log: Path,
) -> Image:
    """Build an image and return it.

    Args:
        engine: where it is wanted.
        folder: what the Dockerfile's ADD and COPY are about; only read.
        dockerfile: path of the Dockerfile from there.
        tag: name and tag for the image.
        labels: for the image.
        mark: what the process belongs to.
        log: appended to with all output.

    Raises:
        InfraError: without docker's command line; with the last lines when the build fails.
    """
    # https://github.com/docker/docker-py/issues/2230: BuildKit is not in the SDK.
    docker = shutil.which("docker")
    if docker is None:
        raise InfraError("an image is built by docker's command line, which is not on PATH here")
    # The engine that the SDK has found, whatever context the command line is in.
    command = [docker, "--host", engine.host, "build"]
    options = ["--tag", tag, "--file", str(folder / dockerfile)]
    options += [part for name, value in labels.items() for part in ("--label", f"{name}={value}")]
    # The service's Dockerfile begins FROM ${TARGETARCH}-golang, which only BuildKit fills in.
    code = _run([*command, *options, str(folder)], "1", mark, log)
    advice = ""
    if code and _NO_BUILDX in tail(log):
        advice = f"; {docker} has no BuildKit, which TARGETARCH needs: install docker-buildx"
        # The old builder would leave the container of a step that fails.
        code = _run([*command, "--force-rm", *options, str(folder)], "0", mark, log)
    if code != 0:
        how = "did not end" if code is None else f"failed with exit code {code}"
        what = f"building {tag} from {folder / dockerfile} {how}{advice}"
        raise InfraError(f"{what}{tail_note(log)}")
    with engine.doing(f"asking for the image {tag}"):
        return Image(tag, str(engine.client.images.get(tag).id), digest="", pulled=False)


def _run(command: Sequence[str], buildkit: str, mark: str, log: Path) -> int | None:
    # DOCKER_CONTEXT would contradict --host; keys of a TLS engine are read from the others.
    environment = {name: value for name, value in os.environ.items() if name != "DOCKER_CONTEXT"}
    environment["DOCKER_BUILDKIT"] = buildkit
    process = ManagedProcess(command, env=environment, mark=mark, log=log)
    try:
        return process.wait(_BUILD_SECONDS)
    finally:
        process.kill()
