"""Which datastores the options ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.catalog.releases import Catalog
from harness.catalog.versions import load
from harness.cli.lines import rerun_flags
from harness.cli.options import parse
from harness.machine.errors import UsageError
from harness.stack.store.choice import choose_datastores
from harness.stack.store.datastore import Datastore, LocalDatastore
from harness.stack.store.s3 import GivenS3, OwnS3


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load()


@pytest.fixture(autouse=True)
def no_metaflow_variables(monkeypatch):
    for name in ("METAFLOW_DATASTORE_SYSROOT_S3", "METAFLOW_S3_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)


def choose(catalog: Catalog, tmp_path: Path, *arguments: str) -> dict[str, Datastore]:
    options = parse("compat", arguments, catalog)
    return choose_datastores(options, tmp_path / "run-1", {"HOME": str(tmp_path)})


def test_local_is_the_default(catalog, tmp_path):
    chosen = choose(catalog, tmp_path)
    assert {name: type(store) for name, store in chosen.items()} == {"local": LocalDatastore}


def test_s3_without_a_root_is_a_server_of_the_runs_own(catalog, tmp_path):
    chosen = choose(catalog, tmp_path, "--datastore", "local,s3")
    assert [type(store) for store in chosen.values()] == [LocalDatastore, OwnS3]


def test_a_root_is_where_the_user_says(catalog, tmp_path):
    arguments = ["--datastore", "s3", "--s3-root", "s3://b/p", "--s3-endpoint", "http://h:1"]
    (given,) = choose(catalog, tmp_path, *arguments).values()
    assert isinstance(given, GivenS3)
    assert given.description.partition(";")[0] == "s3: s3://b/p/run-1 at http://h:1"
    flags = rerun_flags(parse("compat", arguments, catalog), "s3")
    assert flags[-4:] == ["--s3-root", "s3://b/p", "--s3-endpoint", "http://h:1"]


def test_metaflows_own_variables_are_honoured(catalog, tmp_path, monkeypatch):
    monkeypatch.setenv("METAFLOW_DATASTORE_SYSROOT_S3", "s3://set/here")
    monkeypatch.setenv("METAFLOW_S3_ENDPOINT_URL", "http://h:2/")
    (given,) = choose(catalog, tmp_path, "--datastore", "s3").values()
    assert given.description.partition(";")[0] == "s3: s3://set/here/run-1 at http://h:2"
    (flag,) = choose(catalog, tmp_path, "--datastore", "s3", "--s3-root", "s3://flag").values()
    assert flag.description.partition(";")[0] == "s3: s3://flag/run-1 at http://h:2"
    assert list(choose(catalog, tmp_path)) == ["local"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--s3-root", "s3://b"], "--s3-root is of no use without --datastore s3"),
        (["--s3-endpoint", "http://h"], "--s3-endpoint is of no use without --datastore s3"),
        (["--datastore", "s3", "--s3-endpoint", "http://h"], "--s3-endpoint needs --s3-root"),
        (["--datastore", "s3", "--s3-root", "s3:///p"], "--s3-root s3:///p: names no bucket"),
        (["--datastore", "s3", "--s3-root", ""], "expected s3://bucket/prefix"),
    ],
)
def test_options_that_say_nothing_are_refused(catalog, tmp_path, arguments, words):
    with pytest.raises(UsageError, match=words):
        choose(catalog, tmp_path, *arguments)
