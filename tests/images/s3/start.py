"""Serves S3 as motoserver/moto does or, with the arguments ``server /data``, as minio/minio does.

In the second manner it listens on minio's port, answers minio's health path, and ends when the
variables do not hold what minio wants of them.
"""

import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

S3 = DomainDispatcherApplication(create_backend_app)
HEALTH = "/minio/health/live"


def healthy(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer minio's health path, and leave the rest to moto."""
    if environ["PATH_INFO"] == HEALTH:
        start_response("200 OK", [])
        return [b""]
    answer: Iterable[bytes] = S3(environ, start_response)
    return answer


def main(arguments: list[str]) -> None:
    if not arguments:
        run_simple("0.0.0.0", 5000, S3, threaded=True)
    if arguments != ["server", "/data"]:
        sys.exit(f"what is {arguments}?")
    for name, least in (("MINIO_ROOT_USER", 3), ("MINIO_ROOT_PASSWORD", 8)):
        if len(os.environ.get(name, "")) < least:
            sys.exit(f"{name} needs {least} characters")
    run_simple("0.0.0.0", 9000, healthy, threaded=True)


if __name__ == "__main__":
    main(sys.argv[1:])
