"""What a server held is saved as files, and served again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from harness.machine.errors import InfraError, UsageError
from harness.machine.processes import marked_processes
from harness.stack.store.objects import ObjectStore, ObjectStoreError, S3Root
from harness.stack.store.saved import INDEX, copy, save, serve
from harness.stack.store.server import CREDENTIALS, S3Server
from tests.marks import mark_of
from tests.stack.store.objects_of import put_keys, read_all, urls

pytestmark = pytest.mark.e2e

ODD_KEYS = [
    "a",
    "a/b",
    "a//b",
    "/at the start",
    "at the end/",
    "../../outside",
    "./here",
    "Grüße, 世界 & <more>?#%41+\\",
    "x" * 300,
    "/".join(["deep"] * 200),
]
"""Keys of which some cannot be paths, and some not beside each other."""


@pytest.fixture
def buckets(store: ObjectStore) -> tuple[str, str, str]:
    """Two buckets with objects, and an empty one."""
    names = tuple(f"{number}-{uuid4().hex}" for number in (1, 2, 3))
    for name in names:
        store.make_bucket(name)
    return names


Serve = Callable[..., S3Server]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Serve]:
    """Return a function that serves a folder until the test ends."""
    servers: list[S3Server] = []

    def served(folder: Path, **more: str) -> S3Server:
        servers.append(serve(folder, mark_of(tmp_path), tmp_path / "again.log", **more))
        return servers[-1]

    yield served
    for server in servers:
        server.stop()


def store_of(server: S3Server) -> ObjectStore:
    return ObjectStore(server.endpoint, CREDENTIALS)


def test_every_object_is_there_again_with_its_headers(store, buckets, served, tmp_path):
    first, second, empty = buckets
    put_keys(store, first, ODD_KEYS)
    put_keys(store, second, ["a"], "other", Metadata={"cas_raw": "no"}, ContentType="text/x")
    before = {bucket: read_all(store, bucket) for bucket in buckets}
    assert sorted(before[first]) == sorted(ODD_KEYS)

    save(store, buckets, tmp_path / "s3")
    again = store_of(served(tmp_path / "s3"))

    assert {bucket: read_all(again, bucket) for bucket in buckets} == before
    assert read_all(again, second) == {"a": ["other", "text/x", {"cas_raw": "no"}]}
    assert urls(again, S3Root(empty)) == []


def test_a_copy_is_gone_on_with_and_forgets_nothing(store, buckets, served, tmp_path):
    first, *_ = buckets
    folder, odd = tmp_path / "copy", [*ODD_KEYS, "under/a", "under/b"]
    put_keys(store, first, odd, "before")
    copy(store, S3Root(first), folder)
    old = (folder / first / "under" / "a").stat()
    put_keys(store, first, ["under/b", "../new"], "written anew", Metadata={"new": "yes"})
    copy(store, S3Root(first), folder)
    there = read_all(store, first)
    assert (folder / first / "under" / "a").stat().st_mtime_ns == old.st_mtime_ns
    # As of a server that took the place of another, and has nothing yet.
    copy(store, S3Root(first, "nothing"), folder)
    again = store_of(served(folder))
    assert sorted(there) == sorted([*odd, "../new"])
    assert read_all(again, first) == there


def test_a_key_that_can_be_a_path_is_one_and_nothing_is_written_elsewhere(store, buckets, tmp_path):
    first, second, _ = buckets
    put_keys(store, first, ODD_KEYS)
    put_keys(store, second, ["FlowName/data/ab/abcd"], "the data")
    folder = tmp_path / "deep" / "s3"

    save(store, [first, second], folder)

    assert (folder / second / "FlowName" / "data" / "ab" / "abcd").read_text() == "the data"
    assert {path.name for path in folder.iterdir()} == {first, second, "_unnamed", INDEX}
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["s3"]


def test_more_than_a_part_of_an_upload_is_one_object_again(store, buckets, served, tmp_path):
    first, *_ = buckets
    body = "0123456789" * 1_000_000
    put_keys(store, first, ["large"], body)
    save(store, [first], tmp_path / "s3")
    assert (tmp_path / "s3" / first / "large").stat().st_size == len(body)
    (found,) = read_all(store_of(served(tmp_path / "s3")), first).values()
    assert found[0] == body


def test_the_port_is_the_same_where_it_is_free(own_server, served, tmp_path):
    own_server.start()
    store = store_of(own_server)
    store.make_bucket("only")
    save(store, ["only"], tmp_path / "s3")
    assert served(tmp_path / "s3").endpoint != own_server.endpoint
    own_server.stop()
    assert served(tmp_path / "s3").endpoint == own_server.endpoint


def test_it_listens_on_the_address_that_is_asked_for(store, buckets, served, tmp_path):
    save(store, buckets, tmp_path / "s3")
    server = served(tmp_path / "s3", host="127.0.0.2")
    assert server.endpoint.startswith("http://127.0.0.2:")
    assert urls(store_of(server), S3Root(buckets[0])) == []
    # The port that was saved is taken on 127.0.0.1 alone.
    assert urlsplit(server.endpoint).port == urlsplit(store.endpoint).port


def test_a_folder_without_an_index_says_what_saves(served, tmp_path):
    with pytest.raises(UsageError, match=r"_index\.json is missing; a run saves them with --keep"):
        served(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": 1}, "field 'schema': this harness reads 2, not 1"),
        ({"objects": [{"bucket": "b", "key": 1}]}, "objects\\[0\\]: field 'key': expected a text"),
        ({"more": 1}, "unknown field 'more'"),
    ],
)
def test_an_index_of_another_kind_is_named(served, tmp_path, change, words):
    index = {"schema": 2, "endpoint": "http://127.0.0.1:1", "buckets": ["b"], "objects": []}
    (tmp_path / INDEX).write_text(json.dumps(index | change))
    with pytest.raises(UsageError, match=words):
        served(tmp_path)


def test_a_file_that_is_gone_is_told_and_no_server_is_left(store, buckets, served, tmp_path):
    first, *_ = buckets
    put_keys(store, first, ["key"])
    save(store, [first], tmp_path / "s3")
    (tmp_path / "s3" / first / "key").unlink()
    with pytest.raises(InfraError, match=r"^the machine: No such file or directory: /.*/key$"):
        served(tmp_path / "s3")
    left = [mark for _, mark in marked_processes() if mark.startswith(f"{mark_of(tmp_path)}/")]
    assert left == []


def test_a_folder_that_is_there_is_not_written_over(store, buckets, tmp_path):
    with pytest.raises(InfraError, match="cannot be written: File exists"):
        save(store, buckets, tmp_path)


def test_a_store_that_is_gone_leaves_no_index(own_server, tmp_path):
    own_server.start()
    store = store_of(own_server)
    store.make_bucket("only")
    own_server.stop()
    with pytest.raises(ObjectStoreError, match="unreachable"):
        save(store, ["only"], tmp_path / "s3")
    assert not (tmp_path / "s3" / INDEX).exists()
