"""Where the parts of a stack come from: database, service, containers and S3."""

from __future__ import annotations

from operator import attrgetter

from harness.cli import checks
from harness.cli.checks import (
    always,
    database_name,
    each_of,
    faults,
    image,
    image_or_tag,
    port,
)
from harness.cli.declarations.takers import CHAOS, RUNS, SHARING, STACKS
from harness.cli.option import Option, Role
from harness.core import scenarios
from harness.core.told import MODES
from harness.machine.dependencies import WORDS
from harness.stack.database.wheel import MAJORS
from harness.stack.service.git import holds_secret

DATABASE = "metaflow"
"""The name of the database, and that of its owner, unasked."""

FROM_A_CLONE = "{name} {value} needs services from a clone: --checkout PATH|URL"
_EACH_SAYS = "--s3-image and {other} exclude each other: each says where data is"

_STACK_GROUP = "database and service"
BACKEND = Option(
    "--backend",
    STACKS,
    _STACK_GROUP,
    "where database and service come from: processes of this machine (embedded), containers"
    " (docker), or containers where a Docker engine answers (auto)",
    Role.CARRIED,
    default="auto",
    choices=("auto", "embedded", "docker"),
    variables=("DOCKER_HOST", "DOCKER_CONTEXT"),
)
CHECKOUT = Option(
    "--checkout",
    STACKS,
    _STACK_GROUP,
    "take services from this clone of Netflix/metaflow-service, as processes; with containers"
    " released ones are the published images, and an image is built of others",
    Role.CARRIED,
    metavar="PATH|URL",
    secret=holds_secret,
    attribute="clone",
    write=attrgetter("given"),
)
SERVICE_DEPS = Option(
    "--service-deps",
    STACKS,
    _STACK_GROUP,
    "which versions of what they require services of the checkout have, as processes, and as --deps"
    " says it: of the day of the service's release; in compat and cross one or several",
    Role.AXIS,
    default=WORDS[0],
    metavar="pinned|release-day|latest|FILE,…",
    may_be_empty=True,
    needs={"--checkout": FROM_A_CLONE},
    backend="embedded",
)
STACK = (
    BACKEND,
    CHECKOUT,
    SERVICE_DEPS,
    Option(
        "--scenario",
        SHARING,
        _STACK_GROUP,
        "do something wrong on purpose, or what stands around, one or several, each in cells of its"
        " own, or none. wrong-order starts the metadata service before the database is migrated"
        " (--checkout), lost-answer loses one answer to each kind of request (compat):"
        " the first, or with a SEED any, in other ways; awkward-password gives the database one"
        " full of quotes and signs, in four mixes; service-prefix has the service answer below a"
        " path; path-prefix, auth-key, auth-headers, body-limit and idle-connections put a proxy"
        " before the service (compat)",
        Role.AXIS,
        metavar="NAME[=NUMBER],…",
        check=checks.scenarios,
        backend="embedded",
    ),
    Option(
        "--scenario",
        CHAOS,
        _STACK_GROUP,
        "comma list of what goes wrong, a cell each, unasked all: lost-answer loses an answer to"
        " each kind of request; the others break something at a request for each kind of write, in"
        " bad-network at every kind of request. It is the first, or with a SEED any",
        Role.AXIS,
        default=",".join(scenarios.CHAOS),
        metavar="NAME[=SEED],…",
        check=faults,
        may_be_empty=True,
    ),
    Option(
        "--postgres",
        STACKS,
        _STACK_GROUP,
        f"PostgreSQL, one or several: embedded a major of a wheel ({', '.join(MAJORS)}) or of this"
        " machine, or the folder of binaries; with containers a tag of the image postgres",
        Role.AXIS,
        unasked="the wheel's first; with containers the tag in versions.json",
        metavar="VARIANTS",
        excludes={"--postgres-image": "", "--database-url": ""},
    ),
    Option(
        "--database-tls",
        STACKS,
        _STACK_GROUP,
        "services reach the run's own database by TLS, which it demands, in one or several modes:"
        " require encrypts,"
        " verify-full verifies the server's certificate, client-cert wants one of services, too;"
        " embedded with a PostgreSQL of the system's, for the wheel's has no TLS",
        Role.AXIS,
        metavar="MODES",
        check=each_of(tuple(MODES), "mode"),
        excludes={
            "--database-url": "{name} is of the run's own database; the URL of"
            " {other} says itself how it is reached: sslmode, sslrootcert, sslcert, sslkey"
        },
    ),
    Option(
        "--database-name",
        STACKS,
        _STACK_GROUP,
        "name of the database",
        Role.CARRIED,
        metavar="NAME",
        default=DATABASE,
        check=database_name,
    ),
    Option(
        "--database-user",
        STACKS,
        _STACK_GROUP,
        "its owner",
        Role.CARRIED,
        default=DATABASE,
        check=database_name,
        metavar="USER",
    ),
    Option(
        "--database-password",
        STACKS,
        _STACK_GROUP,
        "its password, or where it is: env:NAME, file:PATH",
        Role.CARRIED,
        metavar="PASSWORD",
        unasked="a random one",
        secret=always,
    ),
    Option(
        "--database-port",
        STACKS,
        _STACK_GROUP,
        "its port on 127.0.0.1",
        Role.CARRIED,
        metavar="PORT",
        kind=int,
        unasked="the system chooses",
        check=port,
    ),
)

_CONTAINERS_GROUP = "containers"
PULL = Option(
    "--pull",
    STACKS,
    _CONTAINERS_GROUP,
    "when to pull images; missing: those that are not on the engine",
    Role.CARRIED,
    default="missing",
    choices=("always", "missing", "never"),
    backend="docker",
)
REGISTRY = Option(
    "--registry",
    STACKS,
    _CONTAINERS_GROUP,
    "take images from this mirror of Docker Hub, e.g. mirror.example.com/hub",
    Role.CARRIED,
    default="",
    metavar="PREFIX",
    may_be_empty=True,
    backend="docker",
)
DOCKERFILE = Option(
    "--dockerfile",
    STACKS,
    _CONTAINERS_GROUP,
    "build images of the checkout from this file of it",
    Role.CARRIED,
    default="Dockerfile",
    metavar="PATH",
    needs={"--checkout": FROM_A_CLONE},
    backend="docker",
)
CONTAINERS = (
    PULL,
    Option(
        "--postgres-image",
        STACKS,
        _CONTAINERS_GROUP,
        "tag of the image postgres, or a whole image name",
        Role.CARRIED,
        unasked="the tag in versions.json",
        metavar="TAG",
        check=image_or_tag,
        backend="docker",
    ),
    REGISTRY,
    DOCKERFILE,
    Option(
        "--remove-images",
        STACKS,
        _CONTAINERS_GROUP,
        "pull images a few at a time and remove them after use, but those that were there: fixed_db"
        " has five services' on the disk at most, compat in the end all of them",
        # Without it the images of a walk may fill the disk.
        Role.CARRIED,
        kind=bool,
        default=False,
        backend="docker",
    ),
)

_S3_GROUP = "S3 (with --datastore s3)"
S3 = (
    Option(
        "--s3-image",
        STACKS,
        _S3_GROUP,
        "with containers: store in a server from this image, e.g. minio/minio",
        Role.CARRIED,
        unasked="a moto server of the run's own, as a process",
        metavar="IMAGE",
        check=image,
        may_be_empty=True,
        excludes={"--s3-root": _EACH_SAYS, "--s3-endpoint": _EACH_SAYS},
        backend="docker",
        datastore="s3",
    ),
    Option(
        "--s3-root",
        RUNS,
        _S3_GROUP,
        "s3://bucket/prefix to store in, by the usual AWS variables or profile",
        Role.CARRIED,
        unasked="METAFLOW_DATASTORE_SYSROOT_S3 when it is set, else a server of the run's own",
        metavar="URL",
        may_be_empty=True,
        datastore="s3",
        variables=("METAFLOW_DATASTORE_SYSROOT_S3",),
        write=attrgetter("url"),
    ),
    Option(
        "--s3-endpoint",
        RUNS,
        _S3_GROUP,
        "address of an S3-compatible server that has the root",
        Role.CARRIED,
        unasked="METAFLOW_S3_ENDPOINT_URL when it is set, else Amazon's",
        metavar="URL",
        may_be_empty=True,
        datastore="s3",
        variables=("METAFLOW_S3_ENDPOINT_URL",),
    ),
)
