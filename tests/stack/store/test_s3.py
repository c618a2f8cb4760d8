"""S3 as a datastore, on a server of the run's own and on one that the user names."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from harness.catalog.releases import Catalog
from harness.catalog.versions import load
from harness.machine import locks
from harness.machine.errors import InfraError, UsageError
from harness.stack.store.noted import all_noted
from harness.stack.store.objects import ObjectStore, S3Root
from harness.stack.store.s3 import GivenS3, OwnS3, aws_files, aws_variables, bucket_name
from harness.stack.store.server import CREDENTIALS, S3Server
from tests.stack.store.objects_of import put, urls

pytestmark = pytest.mark.e2e

MakeGiven = Callable[..., GivenS3]


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load()


@pytest.fixture
def embedded(own_server: S3Server, catalog: Catalog, tmp_path: Path) -> OwnS3:
    listing = tmp_path / "logs" / "objects.txt"
    return OwnS3(own_server, needs=catalog.s3_needs, work=tmp_path, listing=listing, keep=False)


@pytest.fixture
def kept(own_server: S3Server, catalog: Catalog, tmp_path: Path) -> OwnS3:
    listing = tmp_path / "objects.txt"
    return OwnS3(own_server, needs=catalog.s3_needs, work=tmp_path, listing=listing, keep=True)


@pytest.fixture
def bucket(store: ObjectStore) -> S3Root:
    """An empty bucket that a user made."""
    root = S3Root(f"users-{uuid4().hex}")
    store.make_bucket(root.bucket)
    return root


@pytest.fixture
def make_given(
    server: S3Server, catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> MakeGiven:
    # What is noted is not for this machine's clean.
    monkeypatch.setattr(locks, "RUNS", tmp_path / "runs")

    def make(
        root: S3Root,
        endpoint: str | None = server.endpoint,
        environ: dict[str, str] = CREDENTIALS,
        *,
        keep: bool = False,
    ) -> GivenS3:
        return GivenS3(
            root,
            "run-1",
            endpoint,
            {"HOME": str(tmp_path), **environ},
            needs=catalog.s3_needs,
            work=tmp_path,
            listing=tmp_path / "objects.txt",
            keep=keep,
        )

    return make


def client(catalog: Catalog, name: str):
    return next(client for client in catalog.clients if client.name == name)


@pytest.mark.parametrize(
    ("stack", "bucket"),
    [
        ("reference-2.0.4", "compat-reference-2-0-4"),
        ("v2.3.0", "compat-v2-3-0"),
        ("HEAD~1/Fix It!", "compat-head-1-fix-it"),
        ("x" * 80, "compat-" + "x" * 56),
    ],
)
def test_a_bucket_has_a_legal_name(stack, bucket):
    assert bucket_name(stack) == bucket


def test_aws_variables_are_found_from_another_home(tmp_path):
    environ = {
        "HOME": str(tmp_path),
        "PATH": "/bin",
        "AWS_PROFILE": "p",
        "AWS_ENDPOINT_URL": "http://elsewhere",
    }
    assert aws_variables(environ) == {"AWS_PROFILE": "p"}
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").touch()
    assert aws_variables(environ) == {
        "AWS_PROFILE": "p",
        "AWS_SHARED_CREDENTIALS_FILE": f"{tmp_path}/.aws/credentials",
    }


def test_files_are_named_for_a_process_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("config", "bundle"):
        (tmp_path / name).touch()
    variables = aws_variables(
        {
            "HOME": str(tmp_path),
            "AWS_CONFIG_FILE": "~/config",
            "AWS_CA_BUNDLE": "bundle",
            "AWS_SHARED_CREDENTIALS_FILE": "/not/there",
        }
    )
    assert variables == {
        "AWS_CONFIG_FILE": f"{tmp_path}/config",
        "AWS_CA_BUNDLE": f"{tmp_path}/bundle",
        "AWS_SHARED_CREDENTIALS_FILE": "/not/there",
    }
    assert aws_files(variables) == (tmp_path / "config", tmp_path / "bundle")


def test_what_old_clients_need_is_asked_of_their_environment(embedded, catalog):
    oldest, newest = client(catalog, "2.0.3"), client(catalog, "2.19.39")
    assert embedded.pins(oldest, "3.9") == ("boto3>=1.28", "botocore>=1.31")
    assert embedded.unsupported(oldest, "3.9") == ""
    assert "needs boto3>=1.28, botocore>=1.31, so Python >=3.7" in embedded.unsupported(
        oldest, "3.6"
    )
    assert embedded.pins(oldest, "3.6") == ()
    assert embedded.pins(newest, "3.11") == ()
    assert embedded.unsupported(client(catalog, "2.0.4"), "3.6") == ""


def test_amazons_own_s3_asks_nothing_of_anybody(make_given, catalog):
    amazon = make_given(S3Root("b"), endpoint=None)
    oldest = client(catalog, "2.0.0")
    assert (amazon.pins(oldest, "3.9"), amazon.unsupported(oldest, "3.6")) == ((), "")
    used = ", ".join(sorted(CREDENTIALS))
    told = f"s3: s3://b/run-1 at Amazon S3; of the environment the harness uses {used}"
    assert amazon.description == told


def test_each_stack_has_a_bucket_and_each_folder_a_place(embedded, catalog, tmp_path):
    newest, oldest = client(catalog, "2.19.39"), client(catalog, "2.0.0")
    one = embedded.environment(newest, "reference-2.5", tmp_path / "cell-1" / "data")
    two = embedded.environment(oldest, "reference-2.3", tmp_path / "cell-2" / "data")
    root = "s3://compat-reference-2-5/metaflow/cell-1/data"
    assert one["METAFLOW_DATASTORE_SYSROOT_S3"] == root
    assert one["METAFLOW_S3_ENDPOINT_URL"] == embedded.store.endpoint
    assert two["METAFLOW_DATASTORE_SYSROOT_S3"].startswith("s3://compat-reference-2-3/")
    assert two["AWS_ENDPOINT_URL_S3"] == embedded.store.endpoint
    assert "METAFLOW_S3_ENDPOINT_URL" not in two

    assert embedded.objects("reference-2.5", tmp_path / "cell-1" / "data") == []
    put(embedded.store, S3Root.parse(root, ""), "x")
    found = embedded.objects("reference-2.5", tmp_path / "cell-1" / "data")
    assert found == [{"url": f"{root}/x", "size": 5}]
    assert embedded.objects("reference-2.5", tmp_path / "cell-3") == []

    assert "1 objects, 5 bytes" in embedded.stop()
    assert (tmp_path / "logs" / "objects.txt").read_text() == f"5\t{root}/x\n"
    assert embedded.stop() == ""


def test_what_an_own_server_holds_is_saved_when_it_is_kept(kept, catalog, tmp_path):
    newest = client(catalog, "2.19.39")
    for stack in ("reference-2.3", "reference-2.5"):
        root = kept.environment(newest, stack, tmp_path / "cell")["METAFLOW_DATASTORE_SYSROOT_S3"]
        put(kept.store, S3Root.parse(root, ""), "x")
    assert f"2 objects, 10 bytes, listed in {tmp_path}/objects.txt; saved in {tmp_path}/s3" in (
        kept.stop()
    )
    for stack in ("2-3", "2-5"):
        bucket = tmp_path / "s3" / f"compat-reference-{stack}"
        assert (bucket / "metaflow" / "cell" / "x").read_text() == "12345"


def test_what_a_dead_server_held_is_not_saved(kept, own_server, catalog, tmp_path):
    kept.environment(client(catalog, "2.19.39"), "reference-2.5", tmp_path / "cell")
    own_server._process.kill()
    assert "the objects could not be listed, and are not saved: unreachable" in kept.stop()
    assert not (tmp_path / "s3").exists()


def test_what_cannot_be_saved_is_told(kept, own_server, catalog, tmp_path):
    kept.environment(client(catalog, "2.19.39"), "reference-2.5", tmp_path / "cell")
    (tmp_path / "s3").touch()
    assert "the objects could not be saved: " in kept.stop()
    assert not own_server._answers()


def test_an_unused_store_is_never_started(embedded):
    embedded.check()
    embedded.check_alive(0)
    assert embedded.stop() == ""
    assert not embedded._server.log.exists()


def test_a_dead_server_is_the_machines_fault(embedded, own_server, catalog, tmp_path):
    newest = client(catalog, "2.19.39")
    embedded.environment(newest, "reference-2.5", tmp_path / "cell")
    own_server._process.kill()
    with pytest.raises(InfraError, match="ended with exit code -9"):
        embedded.check_alive(0)
    with pytest.raises(InfraError, match="cannot be listed: unreachable"):
        embedded.objects("reference-2.5", tmp_path / "cell")
    assert "could not be listed: unreachable" in embedded.stop()


def test_a_dead_server_is_replaced_by_one_with_what_was_copied(
    embedded, own_server, catalog, tmp_path
):
    newest, folder = client(catalog, "2.19.39"), tmp_path / "walk"
    before = embedded.environment(newest, "walk", folder)
    root = S3Root.parse(before["METAFLOW_DATASTORE_SYSROOT_S3"], "")
    put(embedded.store, root, "x", body="the data")
    embedded.copy("walk", folder)
    put(embedded.store, root, "never copied")
    own_server._process.kill()
    # The next who asks is another cell's; a place that others have is not forgotten.
    after = embedded.environment(newest, "walk", tmp_path / "another")
    assert after["METAFLOW_S3_ENDPOINT_URL"] != before["METAFLOW_S3_ENDPOINT_URL"]
    assert embedded.objects("walk", folder) == [{"url": f"{root.url}/x", "size": 8}]
    embedded.check_alive(embedded.number)
    # Who was at work on the dead one does not find it alive.
    for asks in (embedded.check_alive, embedded.watch):
        with pytest.raises(InfraError, match="ended with exit code -9"):
            asks(0)
    embedded.copy("walk", tmp_path / "another")
    assert "1 objects, 8 bytes" in embedded.stop()


def test_a_place_that_is_set_back_has_what_is_copied_there_and_nothing_else(
    embedded, catalog, tmp_path
):
    newest, folder = client(catalog, "2.19.39"), tmp_path / "walk"
    embedded.empty("walk", folder)  # nobody has used it yet
    assert embedded.stop() == ""
    variables = embedded.environment(newest, "walk", folder)
    root = S3Root.parse(variables["METAFLOW_DATASTORE_SYSROOT_S3"], "")
    put(embedded.store, root, "x", body="the data")
    embedded.copy("walk", folder)
    put(embedded.store, root, "x", body="changed")
    put(embedded.store, root, "of a stage that broke")
    embedded.empty("walk", folder)
    assert embedded.objects("walk", folder) == []
    embedded.environment(newest, "walk", folder)
    assert embedded.objects("walk", folder) == [{"url": f"{root.url}/x", "size": 8}]
    embedded.stop()


def test_a_server_that_never_starts_is_told_to_everyone(embedded, catalog, tmp_path, monkeypatch):
    monkeypatch.setattr("harness.stack.store.server.tool_python", lambda *_: Path("/bin/false"))
    for stack in ("reference-2.3", "reference-2.5"):
        with pytest.raises(InfraError, match="no object store: the S3 server ended"):
            embedded.environment(client(catalog, "2.19.39"), stack, tmp_path / "cell")
    assert embedded.stop() == ""


def test_a_run_has_a_prefix_of_its_own_and_takes_nothing_else_away(
    make_given, bucket, store, catalog, tmp_path
):
    put(store, bucket.under("team"), "theirs")
    given = make_given(bucket.under("team"))
    given.check()
    variables = given.environment(client(catalog, "2.19.39"), "walk", tmp_path / "data")
    root = f"{bucket.url}/team/run-1/compat-walk/data"
    assert variables["METAFLOW_DATASTORE_SYSROOT_S3"] == root
    assert variables["AWS_ACCESS_KEY_ID"] == CREDENTIALS["AWS_ACCESS_KEY_ID"]
    put(store, S3Root.parse(root, ""), "ours")
    assert given.objects("walk", tmp_path / "data") == [{"url": f"{root}/ours", "size": 5}]
    said = given.stop()
    assert f"1 objects, 5 bytes, listed in {tmp_path}/objects.txt; removed: {bucket.url}/" in said
    assert urls(store, bucket) == [f"{bucket.url}/team/theirs"]
    assert given.stop() == ""


def test_what_is_kept_stays(make_given, bucket, store, catalog, tmp_path):
    given = make_given(bucket, keep=True)
    given.environment(client(catalog, "2.19.39"), "walk", tmp_path / "data")
    put(store, bucket.under("run-1", "compat-walk"), "ours")
    assert f"kept: {bucket.url}/run-1" in given.stop()
    assert urls(store, bucket) == [f"{bucket.url}/run-1/compat-walk/ours"]
    place = all_noted()["run-1"]
    assert (place.root, place.endpoint, place.kept) == (bucket.under("run-1"), store.endpoint, True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"root": S3Root("nobody-made-this")}, "there is no bucket nobody-made-this at http"),
        ({"environ": {"AWS_EC2_METADATA_DISABLED": "true"}}, "no AWS credentials; set AWS_ACCESS"),
        ({"endpoint": "http://127.0.0.1:1"}, "cannot be reached; check --s3-endpoint"),
    ],
)
def test_what_cannot_be_used_is_one_clear_error(make_given, bucket, change, words):
    with pytest.raises(UsageError, match=words) as caught:
        make_given(**{"root": bucket, **change}).check()
    assert str(caught.value).startswith("--s3-root s3://")


def test_a_forbidden_bucket_names_the_rights_and_no_credentials(make_given, guarded):
    given = make_given(S3Root("theirs"), guarded.endpoint, dict(guarded.credentials))
    with pytest.raises(UsageError, match=r"ask for s3:ListBucket.*403 AccessDenied") as caught:
        given.check()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert guarded.credentials[name] not in str(caught.value)


def test_a_given_store_that_no_longer_answers_is_the_machines_fault(make_given, bucket):
    given = make_given(bucket)
    given.check_alive(0)
    given.store = dataclasses.replace(given.store, endpoint="http://127.0.0.1:1")
    with pytest.raises(InfraError, match=r"the object store broke: .* cannot be reached"):
        given.check_alive(0)
