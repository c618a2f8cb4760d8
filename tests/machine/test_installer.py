"""Which index an installer could not reach, told from what uv and pip print."""

from __future__ import annotations

import pytest

from harness.machine.installer import index_trouble

_UV = """\
Using Python 3.11.7 environment at: somewhere
error: Request failed after 3 retries in 11.0s
  cause: Failed to fetch: http://someone:hidden@127.0.0.1:9/t0ken/simple/metaflow/
  cause: error sending request for url (http://someone:hidden@127.0.0.1:9/t0ken/simple/metaflow/)
  cause: client error (Connect)
  cause: Connection refused (os error 111)
"""
_UV_BEFORE = """\
error: Failed to fetch: `https://nowhere.invalid/simple/metaflow/`
  Caused by: Could not connect, are you offline?
  Caused by: error sending request for url (https://nowhere.invalid/simple/metaflow/)
  Caused by: dns error
"""
_UV_NARROW = """\
  × Failed to download `metaflow`
  ├─▶ Failed to fetch:
  │   `http://127.0.0.1:9/metaflow-2.19.39.whl`
  ├─▶ error sending request for url
  │   (http://127.0.0.1:9/metaflow-2.19.39.whl)
  ╰─▶ operation timed
      out
"""
_UV_503 = """\
error: Failed to fetch: http://127.0.0.1:8/simple/metaflow/
  cause: HTTP status server error (503 Service Unavailable) for url (http://a:b@127.0.0.1:8/simple/)
"""
_PIP = """\
Looking in indexes: http://someone:****@127.0.0.1:9/t0ken, file:///packages
WARNING: Retrying (Retry(total=1, connect=None)) after connection broken by 'Other()': /metaflow/
WARNING: Retrying (Retry(total=0, connect=None)) after connection broken by 'NewConnectionError(\
'<HTTPConnection object>: Failed to establish a new connection: [Errno 111] Connection refused')\
': /metaflow/
ERROR: No matching distribution found for metaflow==2.19.39
"""


@pytest.mark.parametrize(
    ("output", "told"),
    [
        (_UV, "http://127.0.0.1:9 cannot be reached: Connection refused (os error 111)"),
        (_UV_BEFORE, "https://nowhere.invalid cannot be reached: dns error"),
        (_UV_NARROW, "http://127.0.0.1:9 cannot be reached: operation timed out"),
        (_UV_503, "http://127.0.0.1:8 answers: 503 Service Unavailable"),
        (_PIP, "http://127.0.0.1:9 cannot be reached: Connection refused"),
        (_PIP.partition("\n")[2], "https://pypi.org cannot be reached: Connection refused"),
    ],
    ids=["uv", "uv before", "uv narrow", "uv 503", "pip", "pip's own index"],
)
def test_the_index_is_named_without_secrets(output: str, told: str):
    assert index_trouble(output) == f"the package index {told}"


@pytest.mark.parametrize(
    "output",
    [
        "",
        "error: No solution found\n  cause: Because there is no version of metaflow==99\n",
        _PIP.replace("total=0", "total=2"),
    ],
    ids=["nothing", "no such version", "a retry that went well"],
)
def test_an_index_that_answered_is_not_blamed(output: str):
    assert index_trouble(output) == ""
