"""What planted faults do to single requests: they hang, are answered 500, or end the service."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from typing import NoReturn

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from harness.stack.reference import faults, paths
from harness.stack.reference.faults import Fault

_ENDINGS = {
    faults.EXIT_ON: 3,
    faults.ABORT_ON: signal.SIGABRT,
    faults.SEGV_ON: signal.SIGSEGV,
    faults.KILL_ON: signal.SIGKILL,
}
"""How faults end the service: by an exit code, or a signal."""

_log = logging.getLogger(__name__)


def struck_by(fault: Fault) -> Middleware:
    """Return the middleware that does to one request what a planted fault says."""
    seen = 0

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal seen
        if fault.hangs(request.path):
            await asyncio.Event().wait()
        # Only requests of clients count: who waits for a service pings it any number of times.
        writes = request.method != "GET"
        # Nor those that compat makes before any client: their number is nobody's business.
        clients = not request.path.startswith(f"{paths.FLOWS}/Contract_")
        only_writes = fault.name == faults.STATUS_500_COMMITS
        counted = (
            fault.count > 0
            and request.path.startswith(f"{paths.FLOWS}/")
            and clients
            and (writes or not only_writes)
        )
        seen += counted
        hangs = fault.name == faults.HANG_ON and seen >= fault.count
        if hangs and request.path.startswith(paths.FLOWS):
            await asyncio.Event().wait()
        if not counted or seen != fault.count:
            return await handler(request)
        if fault.name in _ENDINGS:
            _end(fault)
        if fault.name == faults.STATUS_500_COMMITS:
            await handler(request)
        raise web.HTTPInternalServerError(text=f"planted fault {fault.name}:{fault.count}")

    return middleware


def _end(fault: Fault) -> NoReturn:
    """End this process as a fault says, without an answer to anybody."""
    _log.error("planted fault %s:%s", fault.name, fault.count)
    if fault.name != faults.EXIT_ON:
        os.kill(os.getpid(), _ENDINGS[fault.name])
        # Until it comes.
        signal.pause()
    os._exit(_ENDINGS[fault.name])
