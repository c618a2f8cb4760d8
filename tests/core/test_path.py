"""Paths of a fixed-database walk: straight, given, and random with legal rollbacks."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from harness.catalog.releases import Catalog, Service
from harness.catalog.versions import load
from harness.core.path import (
    LONGEST_JUMP,
    Step,
    given,
    moving,
    random_path,
    service_before,
    straight,
)
from harness.machine.errors import UsageError

GOLDEN = Path(__file__).parent / "golden"
SEEDS = range(300)


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load()


def _text(path: tuple[Step, ...]) -> str:
    return "".join(f"{step}\n" for step in path)


def _named(catalog: Catalog, *names: str) -> list[Service]:
    by_name = {service.name: service for service in catalog.services}
    return [by_name[name] for name in names]


def test_the_straight_path_visits_every_service_once(catalog):
    assert [step.service for step in straight(catalog.released)] == list(catalog.released)


def test_the_straight_path_as_text(catalog):
    text = _text(straight(catalog.reference))
    assert text == (GOLDEN / "path-straight.txt").read_text(encoding="utf-8")


def test_a_given_path_goes_upwards(catalog):
    services = _named(catalog, "2.0.4", "v2.2.5", "v2.4.0")
    assert [step.service for step in given(services)] == services
    assert not any(step.rollback for step in given(services))


def test_a_given_path_may_go_back_and_down(catalog):
    found = given(_named(catalog, "v2.3.0", "v2.4.0", "v2.4.5", "v2.4.1", "2.0.4", "v2.3.0"))
    assert [step.direction for step in found] == [
        *("upgrade", "upgrade", "upgrade", "rollback", "downgrade", "downgrade"),
    ]
    assert str(found[4]).startswith("stage 05: downgrade to 2.0.4")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("2.0.4", "2.0.4"), "2.0.4 is repeated"),
    ],
)
def test_a_given_path_that_is_none(catalog, names, message):
    with pytest.raises(UsageError, match=message):
        given(_named(catalog, *names))


def test_a_random_path_as_text(catalog):
    text = "".join(
        f"seed {seed}\n{_text(random_path(catalog.released, seed))}" for seed in (1, 2, 7)
    )
    assert text == (GOLDEN / "path-random.txt").read_text(encoding="utf-8")


def test_the_same_seed_gives_the_same_path_and_others_another(catalog):
    texts = [_text(random_path(catalog.released, seed)) for seed in SEEDS]
    assert texts == [_text(random_path(catalog.released, seed)) for seed in SEEDS]
    assert len(set(texts)) > len(SEEDS) / 2


@pytest.mark.parametrize("kind", ["released", "reference"])
def test_every_random_path_is_legal(catalog, kind):
    services = catalog.of_kind(kind)
    for seed in SEEDS:
        path = random_path(services, seed)
        assert [step.number for step in path] == list(range(1, len(path) + 1))
        assert path[-1].service == services[-1], "the walk ends with the newest service"
        assert not path[0].rollback
        schema = 0
        for step in path:
            assert step.service.schema == max(schema, step.service.schema), "no schema goes back"
            schema = step.service.schema
        for before, step in itertools.pairwise(path):
            assert step.service != before.service
            older = step.service.version < before.service.version
            assert step.rollback == older, f"seed {seed}: {step}"
            if step.rollback:
                assert step.service.schema == before.service.schema, "an older image must boot"
                assert not before.rollback


def test_random_paths_jump_no_further_than_they_say(catalog):
    services = catalog.released
    for seed in SEEDS:
        highest = None
        for step in random_path(services, seed):
            position = services.index(step.service)
            if highest is not None and not step.rollback:
                assert 1 <= position - highest <= LONGEST_JUMP
            highest = position if highest is None else max(position, highest)


def test_random_paths_do_roll_back(catalog):
    rollbacks = [any(s.rollback for s in random_path(catalog.released, seed)) for seed in SEEDS]
    assert sum(rollbacks) > len(SEEDS) / 2


def test_a_random_path_through_one_service_is_that_service(catalog):
    (only,) = _named(catalog, "v2.5.1")
    assert random_path([only], 1) == (Step(1, only),)


def _stages(path: tuple[Step, ...]) -> list[tuple[str, str, str]]:
    return [(step.service.name, step.postgres, step.direction) for step in path]


def test_a_database_moves_in_the_middle_under_the_service_that_was_there(catalog):
    names = ("2.0.4", "2.0.6", "v2.3.0", "v2.4.0")
    found = moving(straight(_named(catalog, *names)), ["16", "18"])
    assert _stages(found) == [
        ("2.0.4", "16", "upgrade"),
        ("2.0.6", "16", "upgrade"),
        ("2.0.6", "18", "move"),
        ("v2.3.0", "18", "upgrade"),
        ("v2.4.0", "18", "upgrade"),
    ]
    assert [step.number for step in found] == [1, 2, 3, 4, 5]
    assert str(found[2]).startswith("stage 03: move the database and go on with 2.0.6 (schema 2")
    assert str(found[2]).endswith(") on PostgreSQL 18")


@pytest.mark.parametrize(
    ("names", "postgres", "on"),
    [
        (["2.0.4"], ["16", "18"], ["16", "18"]),
        (["2.0.4", "2.0.6"], ["13", "16", "18"], ["13", "16", "16", "18"]),
        (["2.0.4"], ["13", "16", "18"], ["13", "16", "18"]),
        (["2.0.4", "2.0.6", "2.0.6"], ["13", "16"], ["13", "13", "16"]),
    ],
)
def test_moves_are_spread_or_where_a_service_is_named_again(catalog, names, postgres, on):
    found = moving(given(_named(catalog, *names), moves=True), postgres)
    assert [step.postgres for step in found] == on


def test_a_database_that_moves_after_a_step_down_is_still_down(catalog):
    names = ("v2.3.0", "2.0.4", "2.0.4")
    found = moving(given(_named(catalog, *names), moves=True), ["16", "18"])
    assert [step.direction for step in found] == ["upgrade", "downgrade", "move"]
    assert found[2].downgrade


def test_the_service_before_a_move_is_the_one_before_its_own(catalog):
    path = moving(straight(_named(catalog, "2.0.4", "2.0.6")), ["13", "16", "18"])
    named = [service_before(path, step.number) for step in path]
    assert [one and one.name for one in named] == [None, None, "2.0.4", "2.0.4"]


def test_moves_and_services_that_are_named_again_must_agree(catalog):
    path = given(_named(catalog, "2.0.4", "2.0.4"), moves=True)
    with pytest.raises(UsageError, match=r"2\.0\.4 again, .* 1 times in all, and .* has 2 to"):
        moving(path, ["13", "16", "18"])
