"""Ids and names of walks are made of the axes."""

from __future__ import annotations

import msgspec
import pytest

from harness.core.axes import AXES, Point, cell_id, walk_name

POINT = Point(client="2.19.39", service="reference-2.5")


def test_every_field_of_a_point_is_an_axis():
    assert sorted(axis.name for axis in AXES) == sorted(Point.__struct_fields__)


@pytest.mark.parametrize(
    ("more", "stage", "name"),
    [
        ({}, 0, "compat/2.19.39/reference-2.5/local/p"),
        ({}, 3, "compat/2.19.39/03-reference-2.5/local/p"),
        ({"service": None}, 0, "compat/2.19.39/no-service/local/p"),
        ({"service": "feature/x"}, 0, "compat/2.19.39/feature-x/local/p"),
        ({"datastore": "s3"}, 0, "compat/2.19.39/reference-2.5/s3/p"),
        ({"postgres": "18"}, 0, "compat/2.19.39/reference-2.5/local/p/postgres=18"),
        ({"packages": "pandas>=3"}, 0, "compat/2.19.39/reference-2.5/local/p/packages=pandas>=3"),
        ({"deps": "req.txt"}, 0, "compat/2.19.39/reference-2.5/local/p/deps=req.txt"),
        ({"service_deps": "latest"}, 0, "compat/2.19.39/reference-2.5/local/p/service_deps=latest"),
        ({"deps_build": "0123"}, 0, None),
        ({"postgres": "/pg/bin"}, 0, "compat/2.19.39/reference-2.5/local/p/postgres=-pg-bin"),
        (
            {"postgres": "18", "scenario": "wrong-order"},
            0,
            "compat/2.19.39/reference-2.5/local/p/postgres=18/scenario=wrong-order",
        ),
        ({"python": "3.12", "backend": "docker", "build": "x"}, 0, None),
        ({"ui": "v2.5.1"}, 0, "compat/v2.5.1/2.19.39/reference-2.5/local/p"),
    ],
)
def test_ids_name_what_is_not_the_default(more, stage, name):
    point = msgspec.structs.replace(POINT, **more)
    plain = "compat/2.19.39/reference-2.5/local/p"
    assert cell_id("compat", point, "p", stage) == (name or plain)


def test_a_python_that_was_asked_for_is_told_by_the_id():
    point = msgspec.structs.replace(POINT, postgres="18", python="3.12", backend="docker")
    plain = "compat/2.19.39/reference-2.5/local/p/postgres=18"
    assert cell_id("compat", point, "p") == plain
    assert cell_id("compat", point, "p", asked=("python",)) == f"{plain}/python=3.12"


def test_a_walk_is_named_by_what_its_stacks_are_made_of():
    assert walk_name(POINT) == ""
    assert walk_name(msgspec.structs.replace(POINT, datastore="s3", python="3.12")) == ""
    assert walk_name(msgspec.structs.replace(POINT, postgres="18")) == "postgres=18"
    several = msgspec.structs.replace(POINT, deps="latest", service_deps="release-day")
    assert walk_name(several) == "service_deps=release-day"
