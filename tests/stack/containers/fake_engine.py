"""As much of an engine as a test needs, to do what no healthy engine, or no small one, does."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Answer = tuple[int, list[Any]]


class _FakeEngine:
    """Answers the version, and leaves the rest to ``answer``."""

    def __init__(self) -> None:
        handler: Callable[..., BaseHTTPRequestHandler] = partial(_Handler, self._answer)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._lock = threading.Lock()
        self.host = f"tcp://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, request: str, query: dict[str, str], body: dict[str, Any]) -> Answer:
        if request == "GET /version":
            return 200, [{"Version": "99.0", "ApiVersion": "1.41"}]
        with self._lock:
            return self.answer(request, query, body)

    def answer(self, request: str, query: dict[str, str], body: dict[str, Any]) -> Answer:
        """Return status and bodies for a request such as ``GET /images/NAME/json``."""
        raise NotImplementedError


class RefusingEngine(_FakeEngine):
    """Has no image, and ends every pull with an error.

    Args:
        refusal: what the engine says.
    """

    def __init__(self, refusal: str) -> None:
        self._refusal = refusal
        super().__init__()

    def answer(self, request: str, query: dict[str, str], body: dict[str, Any]) -> Answer:  # noqa: ARG002
        """Refuse."""
        if request.startswith("POST "):
            return 200, [{"status": "Pulling"}, {"error": self._refusal}]
        return 404, [{"message": "No such image"}]


class RegistryEngine(_FakeEngine):
    """Has some images, and asks a registry for others; it pulls none.

    Args:
        here: names of those it has.
        answers: status and message of the registry, by name.
    """

    def __init__(self, here: Sequence[str], answers: Mapping[str, tuple[int, str]]) -> None:
        self._here = here
        self._answers = answers
        super().__init__()

    def answer(self, request: str, query: dict[str, str], body: dict[str, Any]) -> Answer:  # noqa: ARG002
        """Do what is asked, of the little that is known here."""
        if request == "GET /images/json":
            return 200, [[{"Id": name} for name in self._here]]
        if image := re.fullmatch(r"GET /images/(.+)/json", request):
            if image[1] in self._here:
                return 200, [{"Id": image[1], "RepoTags": [image[1]], "RepoDigests": []}]
            return 404, [{"message": f"No such image: {image[1]}"}]
        if image := re.fullmatch(r"GET /distribution/(.+)/json", request):
            code, said = self._answers[image[1]]
            return code, [{"message": said, "Descriptor": {"digest": "sha256:1"}}]
        raise AssertionError(request)


class ImageEngine(_FakeEngine):
    """Pulls every image, runs a container from one that is there, and refuses to remove it then.

    Attributes:
        images: ids of the images that are there, by name.
        held: ids of the images that containers were made from.
        pulls: how often each was pulled.
        before_create: called once, before the next container is made.
    """

    def __init__(self) -> None:
        self.images: dict[str, str] = {}
        self.held: list[str] = []
        self.pulls: Counter[str] = Counter()
        self.before_create: Callable[[], object] | None = None
        super().__init__()

    def answer(self, request: str, query: dict[str, str], body: dict[str, Any]) -> Answer:
        """Do what is asked, of the little that is known here."""
        if request == "POST /images/create":
            name = f"{query['fromImage']}:{query['tag']}"
            self.pulls[name] += 1
            self.images[name] = f"sha256:{name.encode().hex()}"
            return 200, [{"status": "Pulled"}]
        if image := re.fullmatch(r"GET /images/(.+)/json", request):
            return self._inspect(image[1])
        if image := re.fullmatch(r"DELETE /images/(.+)", request):
            return self._remove(image[1])
        if request == "POST /containers/create":
            return self._create(body["Image"])
        if request.startswith("GET /containers/"):
            ports = {f"{port}/tcp": [{"HostPort": "1"}] for port in (8080, 8082)}
            state = {"Running": True, "FinishedAt": "0001-01-01T00:00:00Z"}
            settings = {"Ports": ports}
            about = {"Id": "1", "Name": "/one", "State": state, "NetworkSettings": settings}
            return 200, [{**about, "Config": {"Tty": True}}]
        return (204, []) if request.endswith("/start") else (201, [{"Id": "1", "Name": "one"}])

    def _inspect(self, name: str) -> Answer:
        found = self.images.get(name, name if name in self.images.values() else None)
        if found is None:
            return 404, [{"message": f"No such image: {name}"}]
        return 200, [{"Id": found, "RepoDigests": [], "Config": {}}]

    def _remove(self, name: str) -> Answer:
        if self.images.get(name) in self.held:
            return 409, [{"message": "a container is using its referenced image"}]
        del self.images[name]
        return 200, [{"Untagged": name}]

    def _create(self, image: str) -> Answer:
        before, self.before_create = self.before_create, None
        if before is not None:
            before()
        if image not in self.images.values():
            return 404, [{"message": f"No such image: {image}"}]
        self.held.append(image)
        return 201, [{"Id": "1"}]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet for an answer: parts of it would wait for each other

    def __init__(self, answer: Callable[..., Answer], *arguments: Any) -> None:
        self._answer_to = answer
        super().__init__(*arguments)

    def _do(self) -> None:
        url = urlsplit(self.path)
        path = re.sub(r"^/v[\d.]+(?=/)", "", unquote(url.path))
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer(*self._answer_to(f"{self.command} {path}", query, json.loads(body or b"{}")))

    do_GET = do_POST = do_DELETE = _do  # noqa: N815 - the names they have

    def _answer(self, code: int, bodies: list[Any]) -> None:
        """Answer in chunks, as engines do; the SDK takes anything else for a failure."""
        self.send_response(code)
        if code == 204:
            self.end_headers()
            return
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for body in bodies:
            line = json.dumps(body).encode() + b"\r\n"
            self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has
        """Say nothing."""
