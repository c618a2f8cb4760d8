"""Builds images that stand in for the published ones and pushes them to a registry of our own.

No base image can be pulled where CI runs, so the base is made from Debian packages, which needs
root and mmdebstrap. It stays on the engine as ``compat-standin-base`` and is made once.
"""

from __future__ import annotations

import io
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import ImageNotFound
from packaging.version import Version

from harness.catalog.releases import Service
from harness.catalog.selectors import select_services
from harness.catalog.versions import load
from harness.machine.errors import InfraError
from harness.machine.tools import ROOT, find_uv
from harness.stack.database.binaries import find_binaries
from harness.stack.database.cluster import _copy_installation
from harness.stack.reference import faults
from harness.stack.reference.levels import LEVELS
from harness.stack.service.reference import REQUIREMENTS
from harness.stack.store.objects import REQUIREMENTS as S3_REQUIREMENTS

HERE = Path(__file__).parent
UI = ROOT / "tests" / "ui"
BASE = "compat-standin-base"
SERVICE = "netflixoss/metaflow_metadata_service"
MOVED_TAG, MOVED_TO = "v2.4.2", "v2.3.2"
"""A tag whose stand-in is another release than the tag says."""

_FAULTS = {"2.0.0": faults.MIGRATION_REFUSES_USED}
"""What releases are declared to do wrong in expectations.json, by tag: stand-ins do it, too."""

S3_IMAGES = ("motoserver/moto:standin", "minio/minio:standin", "example/s3:1")
"""Names of the stand-in of S3 servers: two that versions.json knows, and one that it does not."""

PAGE = "netflixoss/metaflow-ui:standin"
_COMMON = "compat-standin-service"
_DEBIAN = "bookworm"
_PYTHON = "3.11"
# What nothing here reads: it would be two thirds of every push and pull.
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/lib/*/libLLVM*")


@dataclass(frozen=True)
class StandIn:
    """What stands in for a release: a level of the reference service with the release's facts.

    Attributes:
        level: the newest level that is no newer than the release.
        reported: the version that the release tells clients.
        schema: the newest migration it brings; 0 for none.
        fault: what the release is known to do wrong; empty for nothing.
    """

    level: str
    reported: str
    schema: int
    fault: str = ""

    @property
    def variables(self) -> str:
        """What tells the image which release it is, as a Dockerfile's ENV takes it."""
        planted = f" {faults.VARIABLE}={self.fault}" if self.fault else ""
        return f"LEVEL={self.level} REPORTED={self.reported} SCHEMA={self.schema}{planted}"


def stand_in(service: Service) -> StandIn:
    """Return what stands in for a released service."""
    level = max((name for name in LEVELS if Version(name) <= service.version), key=Version)
    assert service.reported, f"{service.name} reports no version"
    return StandIn(level, service.reported, service.schema, _FAULTS.get(service.name, ""))


def stand_ins() -> dict[str, StandIn]:
    """Return every stand-in by its tag: one for each release that runs choose by themselves."""
    catalog = load()
    tags = {one.name: stand_in(one) for one in select_services(catalog, "groups", "released")}
    moved = select_services(catalog, MOVED_TO, "released")[0]
    return {**tags, MOVED_TAG: stand_in(moved)}


def push_all(client: docker.DockerClient, registry: str) -> None:
    """Build every stand-in and push it; of their names none stays on the engine."""
    _make_base(client)
    target = f"{registry}/library/postgres:{load().postgres.default}"
    client.images.build(path=str(HERE / "postgres"), tag=target, rm=True, forcerm=True)
    _push(client, target)
    with service_context() as context:
        client.images.build(path=str(context), tag=_COMMON, rm=True, forcerm=True)
    try:
        for tag, release in stand_ins().items():
            # Releases differ by variables alone: no layer of files, nothing more to push or pull.
            dockerfile = f"FROM {_COMMON}\nENV {release.variables}\n"
            push(client, f"{registry}/{SERVICE}:{tag}", dockerfile)
    finally:
        client.images.remove(_COMMON)


def push(client: docker.DockerClient, target: str, dockerfile: str) -> None:
    """Build a Dockerfile that needs no other file and push it; its name does not stay here."""
    client.images.build(fileobj=io.BytesIO(dockerfile.encode()), tag=target, rm=True, forcerm=True)
    _push(client, target)


def push_postgres(client: docker.DockerClient, registry: str, major: str) -> None:
    """Build a stand-in of the image postgres from a major of the wheel's and push it."""
    first = f"{registry}/library/postgres:{load().postgres.default}"
    with tempfile.TemporaryDirectory(prefix="metaflow-compat-image-") as name:
        context = Path(name)
        binaries = _copy_installation(find_binaries(major), context / "wheel")
        place = f"/opt/{binaries.relative_to(context / 'wheel')}"
        dockerfile = f"FROM {first}\nCOPY wheel /opt\nENV PATH={place}:/usr/bin:/bin\n"
        (context / "Dockerfile").write_text(dockerfile, encoding="utf-8")
        target = f"{registry}/library/postgres:{major}"
        client.images.build(path=name, tag=target, rm=True, forcerm=True)
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


def page_context(folder: Path) -> Path:
    """Make a folder that the stand-in of Netflix/metaflow-ui is built from, as a clone of it is."""
    shutil.copytree(HERE / "page", folder)
    shutil.copytree(UI / "assets", folder / "build")
    return folder


def push_page(client: docker.DockerClient, registry: str) -> None:
    """Build the stand-in of Netflix/metaflow-ui and push it; its name does not stay."""
    _make_base(client)
    target = f"{registry}/{PAGE}"
    with tempfile.TemporaryDirectory(prefix="metaflow-compat-image-") as name:
        context = page_context(Path(name) / "page")
        client.images.build(path=str(context), tag=target, rm=True, forcerm=True)
    _push(client, target)


@contextmanager
def service_context() -> Iterator[Path]:
    """Yield a folder from which the stand-in of the metadata service is built."""
    with tempfile.TemporaryDirectory(prefix="metaflow-compat-image-") as name:
        context = Path(name)
        for file in ("Dockerfile", "release.py", "start.py"):
            shutil.copy(HERE / "metadata_service" / file, context)
        for package in ("harness", "harness/stack"):
            (context / package).mkdir()
            shutil.copy(ROOT / package / "__init__.py", context / package)
        shutil.copytree(
            ROOT / "harness" / "stack" / "reference",
            context / "harness" / "stack" / "reference",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        backend = context / "services" / "ui_backend_service"
        shutil.copytree(UI / "assets", backend / "ui")
        shutil.copy(UI / "standin_backend.py", backend / "ui_server.py")
        _install_packages(context / "packages", [*REQUIREMENTS, "psycopg2-binary"])
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
