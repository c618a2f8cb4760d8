"""versions.json: what it holds, and what its loader refuses."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from harness.catalog.releases import Catalog, Program
from harness.catalog.versions import load
from harness.core.probes import FLOWS, find_probes
from harness.machine.errors import UsageError
from harness.machine.tools import ROOT
from harness.stack.reference.levels import LEVELS

SMALL: dict[str, Any] = {
    "schema": 1,
    "clients": [
        {
            "version": "2.0.0",
            "released": "2019-12-03",
            "pins": ["setuptools<81"],
            "pythons": ["3.9"],
            "fails": {"3.10": "new"},
        },
        {
            "version": "2.13",
            "released": "2024-11-22",
            "pins": [],
            "pythons": ["3.10", "3.11"],
            "fails": {},
        },
    ],
    "causes": [{"name": "new", "why": "too new", "words": ["cannot import"]}],
    "services": [
        {
            "name": f"v{version}",
            "version": version,
            "released": "2023-01-01",
            "reported": version,
            "group": version,
            "schema": schema,
            "migrates": schema > 0,
            "image": f"example/service:v{version}",
            "ref": f"v{version}",
            "layout": "old",
            "ui": None,
        }
        for version, schema in (("1.0", 0), ("1.1", 5), ("1.2", 7))
    ],
    "reference": [
        {
            "name": "reference-1.0",
            "version": "1.0",
            "reported": "1.0.0",
            "schema": 0,
            "migrates": False,
        }
    ],
    "layouts": {
        "old": {
            "metadata": {"module": "a.b", "folder": "."},
            "migration": None,
            "ui": None,
            "requirements": [],
        }
    },
    "service_requirements": ["aiohttp>=3.8"],
    "service_pythons": ["3.11"],
    "ui_requirements": [],
    "postgres": {"tags": ["15", "16"], "default": "16"},
    "ui": [{"name": "v1.3.13", "released": "2024-07-24"}],
    "s3": [{"clients": ">=2", "env": {"URL": "{endpoint}"}, "pins": [], "python": ">=3.6"}],
    "s3_images": [
        {
            "image": "some/store",
            "port": 9000,
            "ready": "/health",
            "command": ["server", "/data"],
            "env": {"KEY": "{access_key}", "SECRET": "{secret_key}"},
        }
    ],
}


def _load(folder: Path, data: Any) -> Catalog:
    path = folder / "versions.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    return load(path)


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load()


# What the file holds ---------------------------------------------------------------------------


def test_every_client_on_the_package_index_is_there_in_release_order(catalog):
    names = [client.name for client in catalog.clients]
    assert len(names) == 267
    assert (names[0], names[-1]) == ("2.0.0", "2.19.39")
    assert names == sorted(names, key=Version)
    assert "2.13" in names
    assert not {"2.4.6", "2.10.1", "2.19.8"} & set(names)  # never published


@pytest.mark.parametrize(
    ("name", "oldest", "newest", "pins"),
    [
        ("2.0.1", "3.6", "3.9", ("setuptools<81",)),
        ("2.1.1", "3.6", "3.13", ("setuptools<81",)),
        ("2.8.5", "3.6", "3.11", ("setuptools<81",)),
        ("2.10.3", "3.6", "3.13", ("setuptools<81",)),
        ("2.10.4", "3.6", "3.13", ()),
        ("2.15.8", "3.7", "3.13", ()),
    ],
)
def test_a_client_names_its_pythons_and_pins(catalog, name, oldest, newest, pins):
    (client,) = [client for client in catalog.clients if client.name == name]
    assert (client.pythons[0], client.pythons[-1], client.pins) == (oldest, newest, pins)
    assert not set(client.pythons) & set(client.fails)


def test_every_tagged_service_is_there_in_version_order(catalog):
    names = [service.name for service in catalog.released]
    assert len(names) == 44
    assert (names[0], names[-1]) == ("1.0.0", "v2.5.1")
    assert names == sorted(names, key=Version)
    assert names.index("v2.3.10") == names.index("v2.3.9") + 1


def test_some_services_report_another_version_than_their_tag(catalog):
    lying = {
        service.name: service.reported
        for service in catalog.released
        if Version(service.reported) != service.version
    }
    assert lying == {"v2.2.4": "2.2.3", "v2.2.5": "2.2.3", "v2.3.6": "2.3.5", "v2.4.3": "2.4.2"}


def test_what_clients_gate_on_is_the_same_in_all_of_a_code_group(catalog):
    """A group is the same code to clients, too: they go by the version that it reports."""
    probes = find_probes(FLOWS).values()
    gates = {check.service for probe in probes for check in probe.checks if check.service}
    assert ">=2.3.0" in {gate.replace(" ", "") for gate in gates}
    for gate in gates:
        told: dict[str, set[bool]] = {}
        for service in catalog.released:
            told.setdefault(service.group, set()).add(service.satisfies(gate))
        assert {group: both for group, both in told.items() if len(both) > 1} == {}, gate


@pytest.mark.parametrize(
    ("name", "schema", "migration", "has_ui"),
    [
        ("1.0.1", 0, None, False),
        ("2.0.3", 20200603104139, Program("migration_service.migration_server", "."), False),
        ("2.0.4", 20200603104139, Program("migration_service.migration_server", "services"), False),
        (
            "2.0.5",
            20201002000616,
            Program("services.migration_service.migration_server", "."),
            False,
        ),
        (
            "v2.5.1",
            20230118020300,
            Program("services.migration_service.migration_server", "."),
            True,
        ),
    ],
)
def test_a_service_names_its_schema_and_how_it_runs(catalog, name, schema, migration, has_ui):
    (service,) = [service for service in catalog.released if service.name == name]
    assert service.schema == schema
    assert service.migrates == bool(schema)
    assert service.image == f"netflixoss/metaflow_metadata_service:{name}"
    assert service.ref == name
    assert service.layout.migration == migration
    assert (service.layout.ui is not None) == (service.ui is not None) == has_ui


def test_the_levels_are_those_of_the_reference_service(catalog):
    file = [
        (service.name, service.reported, service.schema, service.migrates)
        for service in catalog.reference
    ]
    code = [
        (
            f"reference-{level.name}",
            level.reported,
            max(level.migrations, default=0),
            level.has_migrations,
        )
        for level in LEVELS.values()
    ]
    assert file == code


def test_a_ui_release_and_the_default_postgres_are_named(catalog):
    names = [release.name for release in catalog.ui]
    assert names == sorted(names, key=Version)
    assert names[-1] == "v1.3.14"
    assert catalog.postgres.default in catalog.postgres.tags


def test_a_client_names_the_variable_of_its_s3_endpoint(catalog):
    clients = {client.name: client for client in catalog.clients}
    assert catalog.s3_needs(clients["2.0.3"]).env == {"AWS_ENDPOINT_URL_S3": "{endpoint}"}
    assert catalog.s3_needs(clients["2.0.3"]).pins == ("boto3>=1.28", "botocore>=1.31")
    assert catalog.s3_needs(clients["2.0.4"]).env == {"METAFLOW_S3_ENDPOINT_URL": "{endpoint}"}


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("minio/minio", "minio/minio"),
        ("quay.io/minio/minio:RELEASE.2025-01-01", "minio/minio"),
        ("mirror.example.com:5000/hub/adobe/s3mock@sha256:0123", "adobe/s3mock"),
        ("motoserver/moto:5@sha256:0123", "motoserver/moto"),
        ("localstack/localstack:4", "localstack/localstack"),
        ("myminio/minio", None),
        ("minio", None),
        ("minio/minio-console", None),
    ],
)
def test_an_image_of_an_object_store_is_known_by_its_name(catalog, name, image):
    known = catalog.s3_image(name)
    assert (known and known.image) == image


def test_one_entry_a_line():
    lines = (ROOT / "versions.json").read_text(encoding="utf-8").splitlines()
    assert sum('"pythons"' in line for line in lines) == 267
    assert sum('"group"' in line for line in lines) == 44


def test_releases_can_be_keys(catalog):
    assert len(set(catalog.clients)) == 267
    assert len(set(catalog.services)) == 50


# What the loader refuses -----------------------------------------------------------------------


def test_the_small_file_loads_and_is_sorted(tmp_path):
    data = copy.deepcopy(SMALL)
    data["clients"].reverse()
    data["services"].reverse()
    catalog = _load(tmp_path, data)
    assert [client.name for client in catalog.clients] == ["2.0.0", "2.13"]
    assert [service.name for service in catalog.released] == ["v1.0", "v1.1", "v1.2"]
    assert [service.kind for service in catalog.services] == ["released"] * 3 + ["reference"]
    assert catalog.service_requirements == ("aiohttp>=3.8",)


def _set(*path: str | int, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(data: dict[str, Any]) -> None:
        target: Any = data
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = to

    return change


def _drop(*path: str | int) -> Callable[[dict[str, Any]], None]:
    def change(data: dict[str, Any]) -> None:
        target: Any = data
        for key in path[:-1]:
            target = target[key]
        del target[path[-1]]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("schema", to=2), ": field 'schema': this harness reads 1, not 2"),
        (_drop("postgres"), ": field 'postgres' is missing"),
        (_set("extra", to=1), ": unknown field 'extra'"),
        (_set("clients", to={}), ": clients: expected a list of entries, not {}"),
        (_drop("clients", 1, "pins"), ": clients[1] '2.13': field 'pins' is missing"),
        (
            _set("clients", 1, "python", to=[]),
            ": clients[1] '2.13': unknown field 'python' (nearest: pythons",
        ),
        (
            _set("clients", 1, "released", to="soon"),
            ": clients[1] '2.13': field 'released': expected a date like 2023-07-27, not \"soon\"",
        ),
        (
            _set("clients", 1, "version", to="new"),
            ": clients[1] 'new': field 'version': 'new' is no PEP 440 version",
        ),
        (
            _set("clients", 1, "version", to="2.0.0"),
            ": clients[1] '2.0.0': field 'version': also in versions.json: clients[0]",
        ),
        (
            _set("clients", 1, "version", to="2.0"),
            ": clients[1] '2.0': field 'version': the same release as",
        ),
        (
            _set("clients", 0, "fails", "3.9", to="new"),
            ": clients[0] '2.0.0': field 'fails': 3.9 is also among 'pythons'",
        ),
        (
            _set("clients", 0, "fails", "3.10", to="now"),
            ": clients[0] '2.0.0': field 'fails': unknown cause 'now' (nearest: new)",
        ),
        (
            _set("causes", 0, "words", to=[]),
            ": causes[0] 'new': field 'words': nothing that a client prints",
        ),
        (
            _set("clients", 0, "pythons", to=[]),
            ": clients[0] '2.0.0': field 'pythons': no Python runs it",
        ),
        (
            _set("clients", 0, "pythons", to=["3.13t"]),
            ": clients[0] '2.0.0': field 'pythons': expected a minor version of Python",
        ),
        (
            _set("services", 1, "schema", to="5"),
            ": services[1] 'v1.1': field 'schema': expected a whole number, not \"5\"",
        ),
        (
            _set("services", 1, "layout", to="odl"),
            ": services[1] 'v1.1': field 'layout': unknown layout 'odl' (nearest: old)",
        ),
        (
            _set("services", 1, "ui", to="v1.3.3"),
            ": services[1] 'v1.1': field 'ui': unknown UI release 'v1.3.3' (nearest: v1.3.13)",
        ),
        (
            _set("services", 1, "group", to="1.2"),
            ": services[2] 'v1.2': field 'group': '1.2' holds schema 7 here and 5 in 'v1.1'",
        ),
        (
            _set("services", 1, "schema", to=8),
            ": services[2] 'v1.2': field 'schema': 7 goes back behind 8 of the earlier 'v1.1'",
        ),
        (
            _set("services", 1, "migrates", to=False),
            ": services[1] 'v1.1': field 'migrates': must be true with schema 5",
        ),
        (
            _set("services", 1, "version", to="1.0.0"),
            ": services[1] 'v1.1': field 'version': the same release as",
        ),
        (
            _set("reference", 0, "image", to="x"),
            ": reference[0] 'reference-1.0': unknown field 'image'",
        ),
        (_set("layouts", to={}), ": layouts: expected an object of layouts by name"),
        (
            _set("layouts", "old", "metadata", to=None),
            ": layouts 'old': field 'metadata': expected an object with 'module' and 'folder'",
        ),
        (
            _set("service_requirements", to=["a b"]),
            ": field 'service_requirements': 'a b' is no requirement that pip understands",
        ),
        (_set("postgres", "default", to="9"), ": postgres: field 'default': '9' is not among"),
        (
            _set("ui", 0, "name", to="main"),
            ": ui[0] 'main': field 'name': 'main' is no PEP 440 version",
        ),
        (
            _set("s3", 0, "clients", to="<2.13"),
            ": s3: field 'clients': 2.13 must fit one entry, and fits none",
        ),
        (_set("s3_images", to=[]), ": s3_images: expected a list of entries, not []"),
        (
            _drop("s3_images", 0, "ready"),
            ": s3_images[0] 'some/store': field 'ready' is missing",
        ),
        (
            _set("s3_images", 0, "image", to="some/store:1"),
            ": s3_images[0] 'some/store:1': field 'image': expected an image without a tag",
        ),
        (
            _set("s3_images", 0, "port", to=70000),
            ": s3_images[0] 'some/store': field 'port': 70000 is not a port (1 to 65535)",
        ),
        (
            _set("s3_images", 0, "ready", to="health"),
            ": s3_images[0] 'some/store': field 'ready': expected a path that begins with /",
        ),
        (
            _set("s3_images", 0, "command", to="server"),
            ": s3_images[0] 'some/store': field 'command': expected a list",
        ),
        (
            _set("s3_images", 0, "env", to={"KEY": "{acces_key}"}),
            ": s3_images[0] 'some/store': field 'env': '{acces_key}': only {access_key} and",
        ),
    ],
)
def test_a_fault_is_named_by_file_entry_and_field(tmp_path, change, message):
    data = copy.deepcopy(SMALL)
    change(data)
    with pytest.raises(UsageError) as error:
        _load(tmp_path, data)
    assert str(error.value).startswith(f"versions.json{message}")
