"""HTTP as the harness speaks it: straight, whatever the machine's variables say of proxies."""

from __future__ import annotations

import requests


def ask(
    method: str, url: str, *, seconds: float, data: str | bytes | None = None
) -> requests.Response:
    """Send one request to a part of a run; return the answer, whatever its status.

    Args:
        method: ``GET``, ``PATCH``.
        url: what is asked.
        seconds: how long to wait for each part of the answer.
        data: the body; None for none.

    Raises:
        requests.RequestException: when nothing is answered.
    """
    with requests.Session() as session:
        # http_proxy and ~/.netrc are for the world outside: what a run has started is on this
        # machine, and to a service of --service-url its clients go straight, too.
        session.trust_env = False
        return session.request(method, url, data=data, timeout=seconds)
