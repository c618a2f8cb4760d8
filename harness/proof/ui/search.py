"""Asks a UI backend's search, which answers by websocket. Run by a tool environment's Python.

``python search.py`` reads one request from standard input, ``{"urls": […], "seconds": …}``, and
writes one answer to standard output: a JSON list, for each URL in order ``{"matches": […]}``, or
``{"error": kind, "detail": text}`` with one of the kinds ``unreachable`` and ``answer``. It imports
nothing of the harness.
"""

from __future__ import annotations

import json
import sys

import websocket


def search(url: str, seconds: float) -> dict[str, object]:
    """Return the last result that one search sends before it closes."""
    try:
        connection = websocket.create_connection(url, timeout=seconds)
    except websocket.WebSocketException as error:
        return {"error": "answer", "detail": str(error)}
    except OSError as error:
        return {"error": "unreachable", "detail": str(error)}
    matches: list[object] | None = None
    wrong = "closed without a result"
    try:
        # An empty message is the end of the conversation. What comes before a result is progress,
        # and errors of single artifacts, which the result tells again.
        while text := connection.recv():
            sent = json.loads(text)
            event = sent.get("event", {}) if isinstance(sent, dict) else None
            if not isinstance(event, dict):
                return {"error": "answer", "detail": f"sent {text[:200]!r}"}
            if event.get("type") == "error":
                wrong = str(event.get("message"))
            matches = event.get("matches", matches)
    except (websocket.WebSocketException, OSError, ValueError) as error:
        return {"error": "answer", "detail": f"{type(error).__name__}: {error}"}
    finally:
        connection.close()
    if matches is None:
        return {"error": "answer", "detail": wrong}
    return {"matches": matches}


if __name__ == "__main__":
    request = json.load(sys.stdin)
    json.dump([search(url, request["seconds"]) for url in request["urls"]], sys.stdout)
