"""What the stacks of a run are made of, as it was asked for."""

from __future__ import annotations

from dataclasses import dataclass

from harness.stack.service.git import Clone
from harness.stack.store.objects import S3Root


@dataclass(frozen=True)
class StackOptions:
    """The options that decide where databases, services and object stores come from, validated.

    Attributes:
        backend: ``embedded`` or ``docker``, already decided.
        backend_why: why it is that one.
        pull: when images are pulled: ``always``, ``missing`` or ``never``.
        registry: prefix that stands for Docker Hub; empty for Docker Hub itself.
        postgres: majors, tags or folders of binaries; an empty one for what a backend has unasked.
        postgres_upgrade: whether the database of a walk moves from each of these to the next.
        postgres_image: name and tag of the database's image; None where these are tags of it.
        clone: where ``--checkout`` takes services from; None for the reference service.
        dockerfile: path in the checkout of the Dockerfile its images are built from.
        scenarios: what is done wrong on purpose, or otherwise, in some of the cells each; an empty
            one for nothing.
        database_tls: modes of TLS, a server for each of them; an empty one for no TLS.
        database_password: None for a random one.
        database_port: None for one the system chooses.
        database_url: an existing database to walk over; None for one of the run's own.
        service_url: a service that somebody else runs; None for those of the run's own.
        datastores: ``local``, ``s3`` or both.
        s3_root: where the user wants S3 data; None for a server of the run's own.
        s3_endpoint: address of the server that has it; None for Amazon's.
        s3_image: whole name of the image the run's own S3 server comes from; None for moto.
        keep: whether what was brought up last stays.
    """

    backend: str
    backend_why: str
    pull: str
    registry: str
    remove_images: bool
    postgres: tuple[str, ...]
    postgres_upgrade: bool
    postgres_image: str | None
    clone: Clone | None
    dockerfile: str
    scenarios: tuple[str, ...]
    database_name: str
    database_user: str
    database_password: str | None
    database_port: int | None
    database_tls: tuple[str, ...]
    database_url: str | None
    service_url: str | None
    datastores: tuple[str, ...]
    s3_root: S3Root | None
    s3_endpoint: str | None
    s3_image: str | None
    keep: bool

    @property
    def postgres_images(self) -> dict[str, str]:
        """The name and tag of the database's image in containers, for each PostgreSQL."""
        return {one: self.postgres_image or f"postgres:{one}" for one in self.postgres}
