"""The API of a running UI backend, as checks ask it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeGuard, TypeVar
from urllib.parse import quote, urlencode

import requests
from packaging.version import InvalidVersion, Version

from harness.machine.errors import InfraError
from harness.machine.processes import marked, moments
from harness.machine.tools import tool_python
from harness.machine.web import ask

SEARCH_REQUIREMENTS = ("websocket-client==1.8.0",)
"""What harness/proof/ui/search.py needs, in a tool environment of its own."""

SECONDS = 30.0
"""How long an answer of a cache worker may take."""

_SEARCH = Path(__file__).with_name("search.py")
_POLL_SECONDS = 0.2
_SHOWN = 300
# What reports no version is judged as a backend that can do everything.
_NEWEST = Version("9999")

T = TypeVar("T")
Record = Mapping[str, object]
"""An object of JSON, as a backend sends it."""


class FaultError(Exception):
    """What a check found wrong, in words."""


class Backend:
    """One UI backend.

    Args:
        api: where its API is.
        seconds: how long an answer may take.
    """

    def __init__(self, api: str, seconds: float) -> None:
        self.api = api.rstrip("/")
        self._seconds = seconds
        self._version: Version | None = None

    @property
    def version(self) -> Version:
        """The version it reports; one that is above all when it does not say."""
        if self._version is None:
            response = self._get(f"{self.api}/ping")
            try:
                self._version = Version(response.headers.get("METADATA_SERVICE_VERSION", ""))
            except InvalidVersion:
                self._version = _NEWEST
        return self._version

    def url(self, *parts: str, **query: str) -> str:
        """Return the address of a resource."""
        path = "/".join([self.api, *(quote(part, safe="") for part in parts)])
        return f"{path}?{urlencode(query)}" if query else path

    def data(self, url: str) -> object:
        """Return the ``data`` of one answer.

        Raises:
            FaultError: when it is another answer than 200 with JSON.
        """
        response = self._get(url)
        try:
            body = response.json()
        except ValueError:
            body = None
        if response.status_code != requests.codes.ok or not isinstance(body, dict):
            raise FaultError(f"GET {url} answered {response.status_code} {short(response.text)}")
        return body.get("data")

    def record(self, url: str) -> Record:
        """Return the one record that an answer has.

        Raises:
            FaultError: when it is another answer.
        """
        found = self.data(url)
        if not isinstance(found, dict):
            raise FaultError(f"GET {url} answered no record, but {short(repr(found))}")
        return found

    def records(self, url: str) -> list[Record]:
        """Return the list of records that an answer has.

        Raises:
            FaultError: when it is another answer.
        """
        found = self.data(url)
        if not are_records(found):
            raise FaultError(f"GET {url} answered no list of records, but {short(repr(found))}")
        return found

    def text(self, url: str) -> str:
        """Return the text of one answer.

        Raises:
            FaultError: when it is another answer than 200.
        """
        response = self._get(url)
        if response.status_code != requests.codes.ok:
            raise FaultError(f"GET {url} answered {response.status_code} {short(response.text)}")
        return response.text

    def search(self, urls: Sequence[str]) -> list[Record]:
        """Return what each search sent.

        Raises:
            InfraError: when the backend cannot be reached.
        """
        request = {"urls": list(urls), "seconds": self._seconds}
        finished = subprocess.run(
            [str(tool_python("websocket", SEARCH_REQUIREMENTS)), str(_SEARCH)],
            input=json.dumps(request),
            # Without the variables of a proxy, which its library would ask.
            env=marked({"PATH": os.environ.get("PATH", os.defpath)}),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        if finished.returncode:
            last = finished.stderr.strip().splitlines()[-1:]
            raise InfraError(f"{_SEARCH.name} broke: {' '.join(last)}")
        answers: list[Record] = json.loads(finished.stdout)
        for url, answer in zip(urls, answers, strict=True):
            if answer.get("error") == "unreachable":
                raise InfraError(f"the UI cannot be reached at {url}: {answer['detail']}")
        return answers

    def until_good(self, ask: Callable[[], T]) -> T:
        """Ask until no fault is found, or raise the last one when the time is over."""
        fault = FaultError("nothing was asked")
        for _ in moments(self._seconds, _POLL_SECONDS):
            try:
                return ask()
            except FaultError as error:
                fault = error
        raise fault

    def _get(self, url: str) -> requests.Response:
        try:
            return ask("GET", url, seconds=self._seconds)
        # Too slow is the UI's fault; what is not there at all cannot be judged.
        except requests.Timeout as error:
            raise FaultError(f"GET {url} did not answer within {self._seconds:g} s") from error
        except requests.RequestException as error:
            raise InfraError(f"the UI cannot be reached at {url}: {error}") from error


def are_records(found: object) -> TypeGuard[list[Record]]:
    """Tell whether these are objects of JSON."""
    return isinstance(found, list) and all(isinstance(one, dict) for one in found)


def short(text: str) -> str:
    """Return a text in one line, cut where it is long."""
    one_line = " ".join(text.split())
    return one_line if len(one_line) <= _SHOWN else f"{one_line[:_SHOWN]}…"
