"""The axes of the question: what ids, grids, filters, merges and rerun lines iterate. Pure.

A new axis is a field of ``Point`` and a line of ``AXES``; docs/how-it-works.md says what else it
takes to be run.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from enum import Enum

import msgspec


class Side(Enum):
    """Where a grid shows an axis."""

    ROW = "row"
    COLUMN = "column"
    PAGE = "page"


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One variant per axis, by name; an empty name is the axis's default.

    Attributes:
        client: release of the Metaflow client; of several in a cell, the one that reads.
        writer: release of the client that wrote what is read, where that is asked for by name.
        resumer: likewise of the one that resumes it; empty where nobody does.
        python: minor version of the Python it runs on; empty where none works.
        client_build: what the names of clients stood for that are refs of a checkout; empty for
            releases.
        service: name of the metadata service; None where clients run alone.
        build: what the service's name stood for: an image, or a git ref; empty for the reference
            service.
        datastore: ``local`` or ``s3``.
        postgres: the PostgreSQL that was asked for: a major, a tag of its image, or a folder of
            binaries; empty for the one that a backend has unasked.
        database_tls: how services reach their database, by TLS; empty for none that was asked for.
        scenario: what was done wrong on purpose; empty for nothing.
        packages: what was asked to be installed beside the clients; empty for nothing.
        deps: which versions of what they require clients have: ``release-day``, ``latest``, or the
            name of a user's file; empty for what versions.json pins.
        service_deps: likewise of what a service of a checkout requires.
        deps_build: what the names of files of dependencies stood for: digests; empty without.
        backend: ``embedded``, ``docker``, ``external`` or ``none``.
        ui: release of the Metaflow UI that was looked at; empty outside of ``ui``.
    """

    client: str
    writer: str = ""
    resumer: str = ""
    python: str = ""
    client_build: str = ""
    service: str | None = None
    build: str = ""
    datastore: str = "local"
    postgres: str = ""
    database_tls: str = ""
    scenario: str = ""
    packages: str = ""
    deps: str = ""
    service_deps: str = ""
    deps_build: str = ""
    backend: str = ""
    ui: str = ""


@dataclass(frozen=True)
class Axis:
    """What every report needs to know of an axis.

    Attributes:
        name: the field of ``Point``.
        side: where a grid shows it.
        words: a variant in a sentence: ``{} data``.
        place: its place in an id; 0 for an axis that follows as ``name=variant`` where it is not
            the default.
        option: what a rerun line names a variant by; empty where another option decides it.
        stack: whether all cells of a stack, or of a walk, share its variant.
        chosen: whether ids tell runs apart by it, and a diff compares only what is equal in it.
            The others are circumstances: they keep results of two runs apart in a merge, and are
            named where two cells would have one name otherwise. One that has an option may be
            asked for: then ids tell it, too.
    """

    name: str
    side: Side
    words: str = "{}"
    place: int = 0
    option: str = ""
    stack: bool = False
    chosen: bool = True

    def of(self, point: Point) -> str:
        """Return the variant of a point, by name."""
        return getattr(point, self.name) or ""


# In the order in which rerun lines and reports name them; in an id ``place`` decides.
AXES = (
    Axis("ui", Side.PAGE, "UI {}", place=1),
    Axis("client", Side.ROW, "client {}", place=2, option="--metaflow"),
    Axis("writer", Side.COLUMN, "writer {}"),
    Axis("resumer", Side.COLUMN, "resumer {}"),
    Axis("service", Side.COLUMN, "service {}", place=3, option="--service"),
    Axis("datastore", Side.PAGE, "{} data", place=4, option="--datastore"),
    Axis("postgres", Side.PAGE, "PostgreSQL {}", option="--postgres", stack=True),
    Axis("database_tls", Side.PAGE, "TLS to the database {}", option="--database-tls", stack=True),
    Axis("scenario", Side.PAGE, "scenario {}", option="--scenario", stack=True),
    Axis("packages", Side.PAGE, "with {}", option="--with"),
    Axis("deps", Side.PAGE, "dependencies {}", option="--deps"),
    Axis(
        "service_deps",
        Side.PAGE,
        "service dependencies {}",
        option="--service-deps",
        stack=True,
    ),
    Axis("python", Side.ROW, "Python {}", option="--python", chosen=False),
    Axis("client_build", Side.ROW, chosen=False),
    Axis("deps_build", Side.PAGE, "dependencies of digest {}", chosen=False),
    Axis("build", Side.COLUMN, chosen=False, stack=True),
    Axis("backend", Side.PAGE, "backend {}", chosen=False, stack=True),
)
PLACED = tuple(sorted((axis for axis in AXES if axis.place), key=lambda axis: axis.place))
NAMED = tuple(axis for axis in AXES if axis.chosen and not axis.place)
CIRCUMSTANCES = tuple(axis for axis in AXES if not axis.chosen)


def on(side: Side, *, but: str = "") -> tuple[Axis, ...]:
    """Return the axes of one side of a grid.

    Args:
        side: of the grid.
        but: the name of one to leave out.
    """
    return tuple(axis for axis in AXES if axis.side is side and axis.name != but)


def cell_id(
    session: str, point: Point, probe: str, stage: int = 0, asked: Container[str] = ()
) -> str:
    """Return the stable name of a cell: ``compat/2.19.39/reference-2.5/local/basics``.

    Axes that are not at their default follow: ``…/basics/scenario=wrong-order``. In a walk the
    number of the stage stands before the service: ``fixed_db/2.19.39/03-reference-2.3/local/…``.

    Args:
        session: of the cell.
        point: its variants.
        probe: its probe's name.
        stage: its number in a walk.
        asked: the circumstances that were asked for, by name.
    """
    # A walk may come back to a service, and two digits sort its stages as they came.
    service = f"{stage:02d}-{point.service}" if stage else point.service or "no-service"
    placed = [service if axis.name == "service" else axis.of(point) for axis in PLACED]
    parts = (*filter(None, placed), probe, *named_variants(point, asked))
    # A name may be a git ref or a path: it must not look like several parts.
    return "/".join([session, *(part.replace("/", "-") for part in parts)])


def named_variants(point: Point, asked: Container[str] = ()) -> Iterator[str]:
    """Yield ``axis=variant`` for each axis without a place that is not at its default.

    Args:
        point: the variants.
        asked: the circumstances that are told, too, by name.
    """
    for axis in AXES:
        told = axis in NAMED or axis.name in asked
        if told and axis.of(point):
            yield f"{axis.name}={axis.of(point)}"


def walk_name(point: Point) -> str:
    """Return what tells a walk from the others of its run: ``postgres=18``, say; mostly nothing."""
    variants = (f"{axis.name}={axis.of(point)}" for axis in NAMED if axis.stack and axis.of(point))
    return ", ".join(variants)
