"""Builds images that stand in for the published ones and pushes them to a registry of our own.

No base image can be pulled where CI runs, so the base is made from Debian packages, which needs
root and mmdebstrap. It stays on the engine as ``compat-standin-base`` and is made once.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import docker
from docker.errors import ImageNotFound

from harness.datastore.objects import REQUIREMENTS as S3_REQUIREMENTS
from harness.errors import InfraError
from harness.service.reference import REQUIREMENTS
from harness.tools import ROOT, find_uv
from harness.versions import load

HERE = Path(__file__).parent
BASE = "compat-standin-base"
SERVICE = "netflixoss/metaflow_metadata_service"
LEVELS = {
    "1.0.0": "1.0",
    "2.0.0": "2.0",
    "2.0.4": "2.0.4",
    "2.0.6": "2.0.6",
    "v2.3.0": "2.3",
    "v2.5.0": "2.5",
}
"""Tags of the stand-ins, each with the level of the reference service that reports its version."""

MOVED_TAG, MOVED_TO = "v2.4.0", "2.3"
"""A tag whose stand-in is another release than the tag says."""

S3_IMAGES = ("motoserver/moto:standin", "minio/minio:standin", "example/s3:1")
"""Names of the stand-in of S3 servers: two that versions.json knows, and one that it does not."""

_DEBIAN = "bookworm"
_PYTHON = "3.11"
# What nothing here reads: it would be two thirds of every push and pull.
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/lib/*/libLLVM*")


def push_all(client: docker.DockerClient, registry: str) -> None:
    """Build every stand-in and push it; of their names none stays on the engine."""
    _make_base(client)
    target = f"{registry}/library/postgres:{load().postgres.default}"
    client.images.build(path=str(HERE / "postgres"), tag=target, rm=True)
    _push(client, target)
    with service_context() as context:
        for tag, level in {**LEVELS, MOVED_TAG: MOVED_TO}.items():
            target = f"{registry}/{SERVICE}:{tag}"
            client.images.build(path=str(context), tag=target, rm=True, buildargs={"LEVEL": level})
            _push(client, target)


def push_s3(client: docker.DockerClient, registry: str) -> None:
    """Build the stand-in of S3 servers and push it by its names, none of which stays."""
    _make_base(client)
    targets = [f"{registry}/{name}" for name in S3_IMAGES]
    with tempfile.TemporaryDirectory(prefix="metaflow-compat-image-") as name:
        context = Path(name)
        for file in ("Dockerfile", "start.py"):
            shutil.copy(HERE / "s3" / file, context)
        _install_packages(context / "packages", S3_REQUIREMENTS)
        image, _ = client.images.build(path=name, tag=targets[0], rm=True)
    for target in targets[1:]:
        image.tag(target)
    for target in targets:
        _push(client, target)


@contextmanager
def service_context() -> Iterator[Path]:
    """Yield a folder from which the stand-in of the metadata service is built."""
    with tempfile.TemporaryDirectory(prefix="metaflow-compat-image-") as name:
        context = Path(name)
        for file in ("Dockerfile", "start.py"):
            shutil.copy(HERE / "metadata_service" / file, context)
        package = context / "harness"
        package.mkdir()
        shutil.copy(ROOT / "harness" / "__init__.py", package)
        shutil.copytree(
            ROOT / "harness" / "reference",
            package / "reference",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        _install_packages(context / "packages", REQUIREMENTS)
        yield context


def _install_packages(folder: Path, requirements: Sequence[str]) -> None:
    """Install requirements for the Python of the base image."""
    uv = find_uv()
    assert uv, "the stand-in images need uv"
    where = ["--target", str(folder), "--python-version", _PYTHON]
    where += ["--python-platform", f"{platform.machine()}-unknown-linux-gnu"]
    subprocess.run([uv, "pip", "install", "--quiet", *where, *requirements], check=True)


def _make_base(client: docker.DockerClient) -> None:
    try:
        client.images.get(BASE)
    except ImageNotFound:
        pass
    else:
        return
    options = [f"--dpkgopt=path-exclude={path}" for path in _LEFT_OUT]
    command = ["mmdebstrap", "--quiet", "--variant=essential", *options]
    command += ["--include=postgresql-15,python3", _DEBIAN]
    with tempfile.TemporaryDirectory(prefix="metaflow-compat-image-") as folder:
        archive = Path(folder) / "base.tar"
        subprocess.run([*command, str(archive)], check=True)
        client.api.import_image_from_file(str(archive), repository=BASE, tag="latest")


def _push(client: docker.DockerClient, target: str) -> None:
    for event in client.api.push(target, stream=True, decode=True):
        if "error" in event:
            raise InfraError(f"{target} could not be pushed: {event['error']}")
    # What is pulled later must really come from the registry.
    client.images.remove(target)
