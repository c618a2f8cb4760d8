"""The harness asks real S3 servers, one of which enforces who may do what."""

from __future__ import annotations

from uuid import uuid4

import pytest

from harness.machine.errors import UsageError
from harness.machine.processes import free_port
from harness.stack.store.objects import ObjectStore, ObjectStoreError, S3Root, parse_endpoint
from harness.stack.store.server import CREDENTIALS
from tests.stack.store.objects_of import put, urls

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize(
    ("text", "bucket", "prefix"),
    [
        ("s3://b", "b", ""),
        ("s3://b/", "b", ""),
        ("s3://b/a/prefix", "b", "a/prefix"),
        ("s3://b//a/prefix/", "b", "a/prefix"),
    ],
)
def test_a_root_is_a_bucket_and_a_prefix(text, bucket, prefix):
    root = S3Root.parse(text, "--s3-root")
    assert (root.bucket, root.prefix) == (bucket, prefix)
    assert root.under("run", "x").url == "/".join(filter(None, (f"s3://{bucket}", prefix, "run/x")))


@pytest.mark.parametrize("text", ["", "b/prefix", "http://b/p", "s3:/b", "s3://", "s3:///prefix"])
def test_a_root_without_a_bucket_is_refused(text):
    with pytest.raises(UsageError, match=r"--s3-root .*expected s3://bucket/prefix"):
        S3Root.parse(text, "--s3-root")


@pytest.mark.parametrize("text", ["http://127.0.0.1:9000", "https://s3.example.org/"])
def test_an_endpoint_is_an_address(text):
    assert parse_endpoint(text, "--s3-endpoint") == text.rstrip("/")


@pytest.mark.parametrize(
    "text", ["s3://b/../x", "s3://../x", "s3://b/a/..", "s3://b/./x", "s3://b/a//x"]
)
def test_a_root_that_is_a_way_through_folders_is_refused(text: str):
    with pytest.raises(UsageError, match=r"^--s3-root s3://.* without '\.', '\.\.', '//'$"):
        S3Root.parse(text, "--s3-root")


@pytest.mark.parametrize("text", ["", "localhost:9000", "s3://bucket", "http://"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(UsageError, match="--s3-endpoint"):
        parse_endpoint(text, "--s3-endpoint")


def test_credentials_in_an_address_are_refused_and_not_repeated():
    with pytest.raises(UsageError, match="AWS variables") as caught:
        parse_endpoint("http://ann:hunter2@host", "--s3-endpoint")
    assert "hunter2" not in str(caught.value)


def _bucket() -> S3Root:
    return S3Root(f"test-{uuid4().hex}")


def test_objects_are_listed_and_removed_by_prefix(store: ObjectStore):
    bucket = _bucket()
    store.make_bucket(bucket.bucket)
    put(store, bucket, "mine/a b", "mine/deep/ö", "mine-not/c")
    mine = bucket.under("mine")
    assert urls(store, mine) == [f"{mine.url}/a b", f"{mine.url}/deep/ö"]
    assert {found["size"] for found in store.list(mine)} == {5}
    assert store.remove(mine) == 2
    assert urls(store, bucket) == [f"{bucket.url}/mine-not/c"]


def test_texts_are_read_by_the_ends_of_their_keys(store: ObjectStore):
    bucket = _bucket()
    store.make_bucket(bucket.bucket)
    run = "Flow/data/Flow/7/start"
    put(store, bucket, f"mine/{run}/1/0.runtime", f"mine/{run}/2/0.runtime.json")
    put(store, bucket, f"mine/{run}/1/0.other", f"not-mine/{run}/1/0.runtime")
    assert store.texts(bucket.under("mine"), "Flow/7/*/*/*.runtime*") == ["12345"] * 2
    assert store.texts(bucket, "Flow/8/*/*/*.runtime*") == []


def test_access_is_checked_and_leaves_nothing(store: ObjectStore):
    bucket = _bucket()
    store.make_bucket(bucket.bucket)
    store.check_access(bucket.under("prefix"))
    assert urls(store, bucket) == []


def _error(store: ObjectStore, root: S3Root) -> ObjectStoreError:
    with pytest.raises(ObjectStoreError) as caught:
        store.check_access(root)
    return caught.value


def test_a_bucket_that_is_not_there_is_missing(store: ObjectStore):
    error = _error(store, _bucket())
    assert (error.kind, error.detail) == ("missing", "ListObjectsV2 answered 404 NoSuchBucket")


def test_no_credentials_are_told_apart(store: ObjectStore):
    nobody = ObjectStore(store.endpoint, {"AWS_EC2_METADATA_DISABLED": "true"})
    assert _error(nobody, _bucket()).kind == "credentials"
    no_such = ObjectStore(store.endpoint, {"AWS_PROFILE": "nobody-has-this"})
    assert _error(no_such, _bucket()).kind == "credentials"


def test_a_server_that_is_not_there_is_unreachable():
    store = ObjectStore(f"http://127.0.0.1:{free_port()}", CREDENTIALS)
    assert _error(store, _bucket()).kind == "unreachable"


def test_a_bucket_of_somebody_else_is_forbidden(guarded: ObjectStore):
    error = _error(guarded, S3Root("theirs"))
    assert (error.kind, error.detail) == ("forbidden", "ListObjectsV2 answered 403 AccessDenied")
    unknown = ObjectStore(guarded.endpoint, CREDENTIALS)
    assert _error(unknown, S3Root("theirs")).kind == "forbidden"


def test_credentials_are_kept_out_of_repr(store: ObjectStore):
    assert "AWS_SECRET" not in repr(store)
