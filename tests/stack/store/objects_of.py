"""Puts objects into a store, and reads them, as a client would: the harness itself never does."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from harness.machine.tools import tool_python
from harness.stack.store.objects import REQUIREMENTS, ObjectStore, S3Root

_BOTO = """
import json, sys, boto3
request = json.load(sys.stdin)
s3 = boto3.client("s3", endpoint_url=request["endpoint"])
bucket = request["bucket"]
"""

_PUT = """
for key in request["keys"]:
    s3.put_object(Bucket=bucket, Key=key, Body=request["body"].encode(), **request["headers"])
"""

_READ = """
def one(key):
    told = s3.get_object(Bucket=bucket, Key=key)
    return told["Body"].read().decode(), told["ContentType"], told["Metadata"]

found = s3.list_objects_v2(Bucket=bucket).get("Contents", ())
print(json.dumps({entry["Key"]: one(entry["Key"]) for entry in found}))
"""


def _run(script: str, store: ObjectStore, bucket: str, **more: Any) -> str:
    finished = subprocess.run(
        [str(tool_python("s3", REQUIREMENTS)), "-c", _BOTO + script],
        input=json.dumps({"endpoint": store.endpoint, "bucket": bucket, **more}),
        env=dict(store.credentials),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return finished.stdout


def put(
    store: ObjectStore, root: S3Root, *names: str, body: str = "12345", **headers: object
) -> None:
    """Put objects, of five bytes each unless told otherwise, under a root."""
    put_keys(store, root.bucket, [root.under(name).prefix for name in names], body, **headers)


def put_keys(
    store: ObjectStore, bucket: str, keys: list[str], body: str = "12345", **headers: object
) -> None:
    """Put objects under keys taken as they are."""
    _run(_PUT, store, bucket, keys=keys, body=body, headers=headers)


def read_all(store: ObjectStore, bucket: str) -> dict[str, list[Any]]:
    """Return body, content type and metadata of every object of a bucket, by key."""
    found: dict[str, list[Any]] = json.loads(_run(_READ, store, bucket))
    return found


def urls(store: ObjectStore, root: S3Root) -> list[str]:
    """List a root."""
    return [found["url"] for found in store.list(root)]
