"""Puts objects into a store, as a client would: the harness itself never writes any."""

from __future__ import annotations

import subprocess

from harness.datastore.objects import REQUIREMENTS, ObjectStore, S3Root
from harness.tools import tool_python

_PUT = """
import sys, boto3
endpoint, bucket, *keys = sys.argv[1:]
for key in keys:
    boto3.client("s3", endpoint_url=endpoint).put_object(Bucket=bucket, Key=key, Body=b"12345")
"""


def put(store: ObjectStore, root: S3Root, *names: str) -> None:
    """Put objects of five bytes under a root."""
    keys = [root.under(name).prefix for name in names]
    python = str(tool_python("s3", REQUIREMENTS))
    assert store.endpoint is not None
    subprocess.run(
        [python, "-c", _PUT, store.endpoint, root.bucket, *keys],
        env=dict(store.credentials),
        check=True,
    )


def urls(store: ObjectStore, root: S3Root) -> list[str]:
    """List a root."""
    return [found["url"] for found in store.list(root)]
