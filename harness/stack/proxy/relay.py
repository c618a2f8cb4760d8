"""A relay between client and service: it loses answers, wants something, or has things break."""

from __future__ import annotations

import contextlib
import http.client
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import urlsplit

from harness.core.scenarios import Kind, Loss, Proxy, Way, kind_of
from harness.machine.errors import InfraError, in_words, naming_shortage, one_line, run_out
from harness.machine.plain import plain
from harness.machine.processes import HOST
from harness.machine.secrets import KNOWN

# Clients wait for ever (no release sets a timeout), so late is only late: it shows what else goes
# on meanwhile.
DELAY_SECONDS = 2.0

# No answer of a service takes as long; a service that hangs must not hold the relay's thread.
_SERVICE_SECONDS = 120.0

# How long the end of a cell waits for the relay's.
_POLL_SECONDS = 0.05

# About one connection, not about the message: each side has its own.
_OF_THE_CONNECTION = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclass(frozen=True)
class Answer:
    """An answer of the service, whole."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


_NO_ANSWER = Answer(0, "", (), b"")

_WHAT = "the proxy between client and service"


@dataclass(frozen=True)
class Strike:
    """An answer that was lost, or a request before or after which something broke.

    Attributes:
        kind: of its request.
        loss: which of their answers it is, and how it was lost.
        path: of its request.
        answer: what the client did not learn; of a repeated request, the answer to the first;
            empty where something broke.
        at: when, by ``time.monotonic()``.
    """

    kind: Kind
    loss: Loss
    path: str
    answer: Answer
    at: float = field(default_factory=time.monotonic)

    @property
    def check(self) -> str:
        """The name of its check."""
        return self.loss.check_of(self.kind.name)


class Asked(NamedTuple):
    """A request, when it came, by ``time.monotonic()``, and whether its client has the answer."""

    at: float
    path: str
    method: str = ""
    body: bytes = b""
    answer: Answer | None = None
    told: bool = True


@dataclass(frozen=True)
class Break:
    """What a fault does.

    Attributes:
        do: breaks something, and mends it; returns the address of the metadata API then. Raises
            what it cannot mend.
        is_broken: tells whether a request would find it broken; until then none is passed on.
            None where everything is done when ``do`` returns.
        refuses: whether nothing is passed on until it is mended.
        latency: seconds that each request takes longer.
    """

    do: Callable[[], str]
    is_broken: Callable[[], bool] | None = None
    refuses: bool = False
    latency: float = 0.0


class Relay:
    """Passes requests on to a service, and its answers back but for those that are to be lost.

    It listens on a port of its own until it is closed.

    Args:
        service_url: of the metadata API.
        log: the file for a line on each request.
        losses: which answer is lost, and how, by the name of the kind; no other kind is touched.
        breaks: what breaks before or after an answer; None where answers are merely lost.
        proxy: what is wanted of a request, before it is passed on.

    Attributes:
        url: where it has the metadata API.
        breaking: held while something is broken on purpose: who looks whether all is well waits.
    """

    def __init__(
        self,
        service_url: str,
        log: Path,
        *,
        losses: Mapping[str, Loss] = MappingProxyType({}),
        breaks: Break | None = None,
        proxy: Proxy = Proxy(),  # noqa: B008 - it cannot be changed
    ) -> None:
        self._service = urlsplit(service_url)
        self._losses = losses
        self._breaks = breaks
        self._mending: threading.Thread | None = None
        self._unmended: Exception | None = None
        self.breaking = threading.Lock()
        self._proxy = proxy
        self._asked: Counter[str] = Counter()
        self._log = log
        self._lock = threading.Lock()
        self._strikes: list[Strike] = []
        self._requests: list[Asked] = []
        self._closing = threading.Event()
        self._broke = ""
        self._server = _Server((HOST, 0), partial(_Handler, self), self.note_refusal)
        self.url = f"http://{HOST}:{self._server.server_address[1]}{proxy.prefix}"
        serve = partial(self._server.serve_forever, poll_interval=_POLL_SECONDS)
        self._serving = threading.Thread(target=serve, daemon=True)
        self._serving.start()

    @property
    def strikes(self) -> tuple[Strike, ...]:
        """What was lost so far, in order."""
        with self._lock:
            return tuple(self._strikes)

    @property
    def asked(self) -> tuple[Asked, ...]:
        """What it passed on so far, in order."""
        with self._lock:
            return tuple(self._requests)

    def is_over(self, idle: float) -> bool:
        """Tell whether a connection that was idle for so many seconds is closed now."""
        over = 0 < self._proxy.idle <= idle
        if over:
            self._note(f"a connection that was idle for {idle:.1f} s is closed")
        return over

    def settle(self) -> None:
        """Return when everything is mended that was broken.

        Raises:
            InfraError: when the relay itself is of no use any more.
            Exception: what kept it from that.
        """
        if self._mending is not None:
            self._mending.join()
        if self._unmended is not None:
            raise self._unmended
        self.check_alive()

    def note_refusal(self, error: BaseException) -> None:
        """Note an error of the relay's own: whom it hit got no answer, and is not to blame."""
        if not self._closing.is_set():
            self._broke = self._broke or one_line(in_words(error))

    def check_alive(self) -> None:
        """Raise InfraError when a request was lost to it, or will be: it ended, or broke."""
        if self._broke:
            raise InfraError(naming_shortage(f"{_WHAT} broke: {self._broke}"))
        if not self._serving.is_alive():
            raise InfraError(f"{_WHAT} ended")

    def close(self) -> None:
        """Stop listening; what still waits for the service is answered no more."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        # The next who uses the service must find it as it was.
        if self._mending is not None:
            self._mending.join()

    def answer(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[Answer, Way | None]:
        """Have a request answered by the service, or refuse it.

        Returns:
            The answer for the client, whole, and how it is to be lost; None for not at all.

        Raises:
            OSError, http.client.HTTPException: when the service does not answer.
        """
        refused = self._refused(path, headers, body)
        if refused is not None:
            why = refused.body.decode().strip()
            self._note(f"{method} {path}: {refused.status} by the relay: {why}")
            return refused, None
        path = path.removeprefix(self._proxy.prefix)
        if self._breaks is not None:
            self._closing.wait(self._breaks.latency)
        kind = kind_of(method, urlsplit(path).path)
        is_cut = self._is_refusing()
        # One that is not passed on is made again, and counts then.
        loss = None if is_cut else self._due(kind)
        if kind is not None and loss is not None and loss.way is Way.BEFORE:
            is_cut = self._break(Strike(kind, loss, path, _NO_ANSWER))
        if is_cut:
            self._note(f"{method} {path}: not passed on")
            raise ConnectionAbortedError("nothing is passed on while something is broken")
        heard = loss is None or loss.way not in {Way.DROP, Way.TRUNCATE, Way.REPEAT}
        came = time.monotonic()
        answer = self._ask(method, path, headers, body, told=heard)
        note = f"{method} {path}: {answer.status}"
        if kind is None or loss is None or loss.way is Way.BEFORE:
            self._note(note)
            return answer, None
        strike = Strike(kind, loss, path, answer)
        if loss.way is Way.AFTER:
            self._note(note)
            self._break(strike)
            return answer, None
        with self._lock:
            self._strikes.append(strike)
        if loss.way is Way.REPEAT:
            answer = self._ask(method, path, headers, body, at=came)
        if loss.way is Way.DELAY:
            self._closing.wait(DELAY_SECONDS)
        self._note(f"{method} {path}: {answer.status}; {loss.way.value}")
        return answer, loss.way

    def _break(self, strike: Strike) -> bool:
        """Break what is to be broken, and go on when requests find it so.

        Returns:
            Whether this very request is not to be passed on.
        """
        assert self._breaks is not None
        # A client makes requests side by side, and one thing breaks after the other.
        self.breaking.acquire()
        with self._lock:
            self._strikes.append(strike)
        self._note(strike.loss.of(strike.kind.words))
        self._mending = threading.Thread(target=self._mend, daemon=True)
        self._mending.start()
        is_broken = self._breaks.is_broken or (lambda: False)
        while not self._breaks.refuses and self._mending.is_alive() and not is_broken():
            self._mending.join(_POLL_SECONDS)
        return self._breaks.refuses

    def _mend(self) -> None:
        assert self._breaks is not None
        try:
            self._service = urlsplit(self._breaks.do())
        # Whatever it is: it is raised where the cell waits for it.
        except Exception as error:  # noqa: BLE001
            self._unmended = error
        finally:
            self.breaking.release()

    def _is_refusing(self) -> bool:
        refuses = self._breaks is not None and self._breaks.refuses
        return refuses and self._mending is not None and self._mending.is_alive()

    def _refused(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer | None:
        """Return what is answered to a request that is not passed on; None for one that is."""
        wanted = self._proxy
        given = {name.lower(): value for name, value in headers.items()}
        status, why = HTTPStatus.OK, ""
        if not path.startswith(f"{wanted.prefix}/"):
            status, why = HTTPStatus.NOT_FOUND, f"there is nothing but below {wanted.prefix}/"
        for name, value in wanted.headers.items():
            if given.get(name.lower()) != value:
                status, why = HTTPStatus.UNAUTHORIZED, f"the header {name} is wanted"
        if wanted.body_limit and len(body) > wanted.body_limit:
            status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            why = f"{len(body)} bytes are over {wanted.body_limit}"
        if not why:
            return None
        said = (("Content-Type", "text/plain"),)
        return Answer(status.value, status.phrase, said, f"{why}\n".encode())

    def _due(self, kind: Kind | None) -> Loss | None:
        """Count a request of a kind; return how its answer is lost, None for not at all."""
        loss = self._losses.get(kind.name) if kind is not None else None
        if kind is None or loss is None:
            return None
        with self._lock:
            self._asked[kind.name] += 1
            return loss if self._asked[kind.name] == loss.nth else None

    def _ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        told: bool = True,
        at: float = 0.0,
    ) -> Answer:
        """Pass a request on, and note it; the service may have done also what it did not answer."""
        asked = Asked(at or time.monotonic(), path, method, body, None, told)
        try:
            answer = self._pass_on(method, path, headers, body)
            asked = asked._replace(answer=answer)
        finally:
            with self._lock:
                self._requests.append(asked)
        return answer

    def _pass_on(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        asked = {k: v for k, v in headers.items() if k.lower() not in _OF_THE_CONNECTION}
        host, port = str(self._service.hostname), self._service.port
        connection = http.client.HTTPConnection(host, port, timeout=_SERVICE_SECONDS)
        with contextlib.closing(connection):
            connection.request(method, self._service.path + path, body or None, asked)
            got = connection.getresponse()
            return Answer(got.status, got.reason, tuple(got.getheaders()), got.read())

    def _note(self, line: str) -> None:
        with self._lock, self._log.open("a", encoding="utf-8") as log:
            # A client says in it what it likes.
            log.write(KNOWN.text(f"{plain(line)}\n"))


class _Server(ThreadingHTTPServer):
    # A client that was killed leaves its connections: nobody waits for their threads.
    daemon_threads = True

    def __init__(
        self,
        address: tuple[str, int],
        handler: Callable[..., BaseHTTPRequestHandler],
        note_refusal: Callable[[BaseException], None],
    ) -> None:
        self._note_refusal = note_refusal
        super().__init__(address, handler)

    def get_request(self) -> tuple[socket.socket, object]:
        """Take a connection; the base class says nothing of one that it cannot take."""
        try:
            return super().get_request()
        except OSError as error:
            self._note_refusal(error)
            raise

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002
        """Say nothing of a connection that broke: the client does."""
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, ConnectionError):
            self._note_refusal(error)


class _Handler(BaseHTTPRequestHandler):
    # Connections stay open, as those to a service do.
    protocol_version = "HTTP/1.1"

    def __init__(self, relay: Relay, *arguments: object) -> None:
        self._relay = relay
        self._answered_at = float("inf")
        super().__init__(*arguments)  # type: ignore[arg-type]

    def _pass_on(self) -> None:
        if self._relay.is_over(time.monotonic() - self._answered_at):
            # As a proxy does whose last word crosses with a request: nothing is answered.
            self.close_connection = True
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            answer, way = self._relay.answer(self.command, self.path, dict(self.headers), body)
        except (OSError, http.client.HTTPException) as error:
            if run_out(str(error)):
                self._relay.note_refusal(error)
            # To the client, as if there were no relay: it gets no answer.
            self.close_connection = True
            return
        if way is Way.DROP:
            self.close_connection = True
            return
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.headers:
            if name.lower() not in _OF_THE_CONNECTION:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if way is Way.TRUNCATE:
            self.close_connection = True
        kept = len(answer.body) // 2 if way is Way.TRUNCATE else len(answer.body)
        self.wfile.write(answer.body[:kept])
        self._answered_at = time.monotonic()

    do_GET = do_POST = do_PATCH = _pass_on  # noqa: N815 - the names that the base class looks for

    def log_message(self, *_arguments: object) -> None:
        """Say nothing: the relay notes each request."""
