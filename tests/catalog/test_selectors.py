"""What a user asks for becomes releases, or one clear error."""

from __future__ import annotations

import pytest

from harness.catalog.releases import Catalog
from harness.catalog.selectors import select_clients, select_services
from harness.catalog.versions import load
from harness.machine.errors import UsageError


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load()


MINORS = (
    "2.0.5 2.1.1 2.2.13 2.3.6 2.4.9 2.5.4 2.6.3 2.7.23 2.8.6 2.9.15 2.10.11 2.11.16 2.12.39 "
    "2.13.10 2.14.3 2.15.21 2.16.8 2.17.5 2.18.13 2.19.39"
)
GROUPS = (
    "1.0.1 2.0.0 2.0.1 2.0.2 2.0.3 2.0.4 2.0.5 2.0.6 2.1.0 v2.2.2 v2.2.3 v2.2.4 v2.2.5 v2.3.2 "
    "v2.3.5 v2.3.11 v2.4.0 v2.4.3 v2.4.5 v2.4.12 v2.4.13 v2.5.0 v2.5.1"
)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("minors", MINORS),
        ("latest", "2.19.39"),
        ("2.13", "2.13"),
        ("2.13.0", "2.13"),
        ("v2.2.1", "2.2.1"),
        (" 2.2.2 , 2.2.1,2.2.2", "2.2.1 2.2.2"),
        ("<2.0.2", "2.0.0 2.0.1"),
        (">=2.0.1,<2.0.3", "2.0.1 2.0.2"),
        (">=2.0.1, <2.0.3, 2.13, ==2.0.0", "2.0.0 2.0.1 2.0.2 2.13"),
        ("latest,<2.0.1", "2.0.0 2.19.39"),
        ("~=2.18.12", "2.18.12 2.18.13"),
        ("==2.16.*,!=2.16.0,<2.16.3", "2.16.1 2.16.2"),
    ],
)
def test_clients(catalog, text, names):
    assert [client.name for client in select_clients(catalog, text)] == names.split()


def test_all_clients(catalog):
    assert select_clients(catalog, "all") == catalog.clients


@pytest.mark.parametrize(
    ("kind", "text", "names"),
    [
        ("released", "latest", "v2.5.1"),
        ("released", "minors", "1.0.1 2.0.6 2.1.0 v2.2.5 v2.3.11 v2.4.13 v2.5.1"),
        (
            "released",
            "groups",
            GROUPS,
        ),
        ("released", "2.4.3", "v2.4.3"),
        ("released", "v2.0.4", "2.0.4"),
        ("released", "2.3", "v2.3.0"),
        ("released", ">=2.2.4,<2.3", "v2.2.4 v2.2.5"),  # both report 2.2.3
        ("reference", "latest", "reference-2.5"),
        ("reference", "minors", "reference-1.0 reference-2.0.6 reference-2.3 reference-2.5"),
        ("reference", "2.3", "reference-2.3"),
        ("reference", "reference-2.3", "reference-2.3"),
        ("reference", "2.3.0", "reference-2.3"),
        ("reference", "2.0.4", "reference-2.0.4"),
        ("reference", ">=2.3,1.0", "reference-1.0 reference-2.3 reference-2.5"),
    ],
)
def test_services(catalog, kind, text, names):
    assert [service.name for service in select_services(catalog, text, kind)] == names.split()


@pytest.mark.parametrize("text", ["all", "groups"])
def test_each_level_is_a_group_of_its_own(catalog, text):
    assert select_services(catalog, text, "reference") == catalog.reference


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no client is named in '': an entry of the list is empty"),
        ("2.2.1,,2.2.2", "no client is named in '2.2.1,,2.2.2': an entry of the list is empty"),
        ("2.4.6", "unknown client '2.4.6' (nearest: 2.4.5, 2.4.7)"),
        ("2.13.99", "unknown client '2.13.99' (nearest: 2.13.10, 2.14.0)"),
        ("2.19.99", "unknown client '2.19.99' (nearest: 2.19.39)"),
        ("1", "unknown client '1' (nearest: 2.0.0)"),
        ("lates", "unknown client 'lates' (nearest: latest)"),
        (
            "groups",
            "unknown client 'groups'; git refs, such as HEAD, need --metaflow-checkout",
        ),
        (">=3", "'>=3' matches no client: they go from 2.0.0 to 2.19.39"),
        (">=2.3,<2.2", "'>=2.3,<2.2' matches no client: they go from 2.0.0 to 2.19.39"),
        (">>2", "'>>2' is no range of versions, such as '>=2.3,<2.5'"),
    ],
)
def test_clients_that_do_not_exist(catalog, text, message):
    with pytest.raises(UsageError) as error:
        select_clients(catalog, text)
    assert str(error.value) == message


NEEDS = "which needs --checkout or --backend docker; without them there are: "
LEVELS = (
    "reference-1.0, reference-2.0, reference-2.0.4, reference-2.0.6, reference-2.3, reference-2.5"
)


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (
            "released",
            "v2.4.33",
            "unknown released service 'v2.4.33' (nearest: v2.4.13, v2.5.0)",
        ),
        ("released", "2.5.2", "unknown released service '2.5.2' (nearest: v2.5.1)"),
        (
            "released",
            "HEAD",
            "unknown released service 'HEAD'; git refs, such as HEAD, need --checkout",
        ),
        (
            "released",
            "reference-2.3",
            "'reference-2.3' is a level of the reference service, which takes --backend embedded",
        ),
        (
            "reference",
            "v2.4.3",
            f"'v2.4.3' is a released service, {NEEDS}{LEVELS}",
        ),
        ("reference", "2.4.3", "'2.4.3' is a released service"),
        ("reference", "v2.0.4", "'v2.0.4' is a released service"),
        (
            "reference",
            "reference-2.4",
            f"unknown reference level 'reference-2.4'; there are: {LEVELS}",
        ),
        (
            "reference",
            "HEAD",
            f"unknown reference level 'HEAD'; there are: {LEVELS}; git refs, such as HEAD, need",
        ),
        ("reference", "latst", "unknown reference level 'latst' (nearest: latest); there are: "),
        ("reference", ">=2.6", "'>=2.6' matches no reference level: they go from reference-1.0 to"),
    ],
)
def test_services_that_do_not_exist(catalog, kind, text, message):
    with pytest.raises(UsageError) as error:
        select_services(catalog, text, kind)
    assert str(error.value).startswith(message)
