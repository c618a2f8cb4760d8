"""As much of an engine as a pull needs, to refuse it in ways no healthy engine does."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar


class RefusingEngine:
    """Has no image, and ends every pull with an error.

    Args:
        refusal: what the engine says.
    """

    def __init__(self, refusal: str) -> None:
        class Handler(_Handler):
            said = refusal

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"tcp://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    said: ClassVar[str]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path.endswith("/version"):
            self._answer(200, {"Version": "99.0", "ApiVersion": "1.41"})
        else:
            self._answer(404, {"message": "no such image"})

    def do_POST(self) -> None:
        self._answer(200, {"status": "Pulling"}, {"error": self.said})

    def _answer(self, code: int, *bodies: dict[str, str]) -> None:
        """Answer in chunks, as engines do; the SDK takes anything else for a failure."""
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for body in bodies:
            line = json.dumps(body).encode() + b"\r\n"
            self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has
        """Say nothing."""
