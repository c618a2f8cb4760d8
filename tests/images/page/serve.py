"""Serves a built page and writes into it where the API is, as the released image's nginx does."""

import os
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOLDER = Path("/usr/share/page")
SERVICE = os.environ["METAFLOW_SERVICE"]


class Handler(SimpleHTTPRequestHandler):
    """Files as they are; every other path is the page itself."""

    def do_GET(self) -> None:
        if self.path.startswith("/static/"):
            super().do_GET()
            return
        script = f'<script>window.METAFLOW_SERVICE="{SERVICE}";</script></head>'
        page = (FOLDER / "index.html").read_text(encoding="utf-8").replace("</head>", script)
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(page.encode())


handler = partial(Handler, directory=str(FOLDER))
ThreadingHTTPServer(("", int(os.environ["PORT"])), handler).serve_forever()
