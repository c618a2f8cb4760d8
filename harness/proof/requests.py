"""Requests to a metadata service, each held against the rows the database has after it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import requests
from psycopg2 import extensions, sql

from harness.machine.errors import InfraError
from harness.machine.web import ask
from harness.proof.changes import Row, Rows, Texts, column_set_by, rows_added, unasked, untimely
from harness.stack.database.rows import TABLES

_REQUEST_SECONDS = 30.0
_SHOWN = 300
"""Characters of a body or row that a problem quotes."""

_NOTED = 3
"""Objects of one request that are told one by one."""

_UNORDERED = ("tags", "system_tags")
_EITHER_TYPE = ("run_number", "task_id")
"""Ids that one release shows as numbers and another as text."""

_ROWS = sql.SQL(" UNION ALL ").join(
    sql.SQL("SELECT {}, row_to_json(t)::text FROM {} AS t WHERE flow_id = ANY(%s)").format(
        sql.Literal(table), sql.Identifier("public", table)
    )
    for table in TABLES
)


@dataclass(frozen=True)
class Answer:
    """What the service answered; reading it never fails, however odd the answer is.

    Attributes:
        next_page: where the next page of a list begins; empty on the last one, and where a release
            knows no pages.
    """

    asked: str
    status: int
    text: str
    next_page: str = ""
    content_type: str = ""

    @property
    def ok(self) -> bool:
        """A status below 400."""
        return self.status < 400  # noqa: PLR2004 - the protocol's own number

    @property
    def body(self) -> object:
        """The body as JSON, None where it is none."""
        try:
            return json.loads(self.text)
        except ValueError:
            return None

    @property
    def objects(self) -> list[Row]:
        """The JSON objects of the body, be it a list of them or a single one; none of a refusal."""
        body = self.body if self.ok else None
        return [
            one for one in (body if isinstance(body, list) else [body]) if isinstance(one, dict)
        ]

    def get(self, name: str) -> object:
        """Return a field of the body, None where there is none."""
        body = self.body
        return body.get(name) if isinstance(body, dict) else None

    @property
    def shape(self) -> str:
        """What kind of body it is: content type and fields with their types, of a list its first's.

        ``text/plain; charset=utf-8: flow_id string, tags list``; the status alone of a refusal.
        """
        if not self.ok:
            return str(self.status)
        body = self.body
        one = body[0] if isinstance(body, list) and body else body
        told = _type_of(one)
        if isinstance(one, dict):
            told = ", ".join(f"{name} {_type_of(value)}" for name, value in sorted(one.items()))
        return f"{self.content_type}: {told}"

    @property
    def created(self) -> int | None:
        """How many rows the service says it made; None where it does not count."""
        for name in ("artifacts_created", "metadata_created"):
            if isinstance(count := self.get(name), int):
                return count
        return None

    def __str__(self) -> str:
        return f"{self.asked} answered {self.status} {shortened(self.text)}"


@dataclass(frozen=True)
class Written:
    """One write: the answer, and by table the rows as they are since, and as they were before.

    Attributes:
        new: rows that are new or changed.
        gone: rows that are gone, or not as they were.
    """

    answer: Answer
    new: Rows
    gone: Rows

    def __str__(self) -> str:
        told = f"{self.answer}; new or changed in the database: {_listed(self.new) or 'no row'}"
        return f"{told}; changed or gone: {_listed(self.gone)}" if self.gone else told


class UnansweredError(Exception):
    """A service that answers others has left one request without an answer; says which."""


class Exchange:
    """Asks the service, and notes where an answer and the rows do not agree.

    Args:
        url: base address of the metadata API.
        connection: an open psycopg2 connection to the service's database; None where that is not
            known: then answers are held against what was sent alone, and there are no rows.
        flows: names of the flows whose rows are watched.

    Attributes:
        problems: sentences naming the check, what was sent and answered, and the rows.
    """

    def __init__(
        self, url: str, connection: extensions.connection | None, flows: Sequence[str]
    ) -> None:
        self._url = url
        self._connection = connection
        self._flows = list(flows)
        self.problems: list[str] = []

    @property
    def sees_rows(self) -> bool:
        """Whether there are rows to hold answers against."""
        return self._connection is not None

    def ask(self, method: str, path: str, body: object = None) -> Answer:
        """Send one request; ``body`` is sent as JSON, bytes as they are.

        Raises:
            InfraError: when nothing is answered.
            UnansweredError: when this is not answered, and what is asked next is.
        """
        data = body if body is None or isinstance(body, bytes) else json.dumps(body)
        asked = f"{method} {path}" + ("" if body is None else f" with {shortened(body)}")
        try:
            response = ask(method, self._url + path, seconds=_REQUEST_SECONDS, data=data)
        except requests.RequestException as error:
            if isinstance(error, requests.ReadTimeout) and self._is_well():
                late = f"was not answered within {_REQUEST_SECONDS:g} s, while GET /ping is"
                raise UnansweredError(f"{method} {path} {late}") from error
            raise InfraError(f"{method} {self._url}{path}: {error}") from error
        following = response.headers.get("X-Next-Cursor", "")
        kind = response.headers.get("Content-Type", "")
        return Answer(asked, response.status_code, response.text, following, kind)

    def _is_well(self) -> bool:
        """Tell whether the service answers what asks nothing of it."""
        try:
            return ask("GET", f"{self._url}/ping", seconds=_REQUEST_SECONDS).ok
        except requests.RequestException:
            return False

    def write(
        self,
        check: str,
        path: str,
        body: object,
        table: str,
        method: str = "POST",
        *,
        again: bool = False,
    ) -> Written:
        """Write, and note where the answer and the rows do not agree.

        A refusal leaves every row as it was; an accepted write makes one row of ``table``, or as
        many as the answer counts, and leaves the others; a heartbeat and a change of tags change
        one, in that column alone.

        Args:
            check: what problems begin with.
            path: where to.
            body: sent as JSON, bytes as they are.
            table: which it adds to, or changes.
            method: of the request.
            again: whether the same was written before, so that no row need change.
        """
        before = self._texts()
        written = self._written(before, self.ask(method, path, body))
        answer = written.answer
        if not answer.ok:
            if written.new or written.gone:
                self.note(check, f"refused, yet rows were written: {written}")
            return written
        self._hold_changes(check, table, column_set_by(method, path), written)
        expected = 1 if answer.created is None else answer.created
        found = len(written.new.get(table, ()))
        if self.sees_rows and found != expected and not (again and not found):
            self.note(check, f"accepted, yet {table} did not get {expected} row(s): {written}")
        return written

    def write_at_once(
        self, check: str, path: str, bodies: Sequence[object], table: str
    ) -> list[Answer]:
        """Send several writes at the same time; note when rows and good answers are not as many."""
        before = self._texts()
        with ThreadPoolExecutor(len(bodies)) as pool:
            answers = list(pool.map(lambda body: self.ask("POST", path, body), bodies))
        written = self._written(before, answers[-1])
        self._hold_changes(check, table, "", written)
        made = len(written.new.get(table, ()))
        good = sum(answer.ok for answer in answers)
        if self.sees_rows and made != good:
            self.note(check, f"{good} of {len(answers)} were accepted, and there are {made} rows")
        return answers

    def _written(self, before: Texts, answer: Answer) -> Written:
        after = self._texts()
        return Written(answer, rows_added(before, after), rows_added(after, before))

    def _hold_changes(self, check: str, table: str, column: str, written: Written) -> None:
        """Note what an accepted write did and was not asked for."""
        gone, new = written.gone, written.new
        for what, wrong in (
            ("what was there is not as it was", unasked(table, column, gone, new)),
            ("it was stored for another time", untimely(column, gone, new, time.time())),
        ):
            if told := list(wrong):
                more = f", and {len(told) - _NOTED} more" if len(told) > _NOTED else ""
                shown = shortened("; ".join(told[:_NOTED]))
                self.note(check, f"accepted, and {what}: {shown}{more}: {written.answer}")

    def read(self, check: str, path: str, sent: Iterable[Row]) -> Answer:
        """Read, and note what of ``sent`` is not answered equal."""
        answer = self.ask("GET", path)
        if answer.ok:
            self.compare(check, answer, sent, answer.objects)
        else:
            self.note(check, f"cannot be read back: {answer}")
        return answer

    def compare(self, check: str, story: object, sent: Iterable[Row], found: Sequence[Row]) -> None:
        """Note each of ``sent`` that no row or object found holds with all its fields."""
        among = _Among(found)
        missing = [one for one in sent if not among.holds(one)]
        for one in missing[:_NOTED]:
            self.note(check, f"{_difference(one, found)}: {story}")
        if len(missing) > _NOTED:
            self.note(check, f"the same of {len(missing) - _NOTED} more: {story}")

    def note(self, check: str, sentence: str) -> None:
        """Note a problem."""
        self.problems.append(f"{check}: {sentence}")

    def rows(self) -> dict[str, list[Row]]:
        """Return all rows of the flows that are watched, by table; none where they are not seen."""
        return {
            table: [json.loads(text) for text in texts] for table, texts in self._texts().items()
        }

    def _texts(self) -> dict[str, list[str]]:
        """Return the same rows as the server writes them: what is equal reads alike.

        They are read before and after each write, and few of them are ever looked into.
        """
        found: dict[str, list[str]] = {table: [] for table in TABLES}
        if self._connection is not None:
            with self._connection.cursor() as cursor:
                cursor.execute(_ROWS, [self._flows] * len(TABLES))
                for table, text in cursor:
                    found[table].append(text)
        return found


def _listed(rows: Rows) -> str:
    told = [f"{table} {shortened(row)}" for table, found in rows.items() for row in found]
    more = f", and {len(told) - _NOTED} more" if len(told) > _NOTED else ""
    return ", ".join(told[:_NOTED]) + more


class _Among:
    """Rows or objects, among which many are looked for: of 200 artifacts each of them."""

    def __init__(self, found: Sequence[Row]) -> None:
        self._found = found
        self._words: dict[tuple[str, ...], set[str]] = {}

    def holds(self, sent: Row) -> bool:
        """Tell whether one of them holds all that was sent."""
        keys = tuple(sent)
        if keys not in self._words:
            self._words[keys] = {_in_words(row, keys) for row in self._found}
        if _in_words(sent, keys) in self._words[keys]:
            return True
        # What reads otherwise may still be equal, as 1 is to 1.0.
        return any(equal(sent, row) for row in self._found)


def _in_words(row: Row, keys: Iterable[str]) -> str:
    return repr([_normal(key, row.get(key)) for key in keys])


def equal(sent: Row, found: Row) -> bool:
    """Tell whether ``found`` holds all that was sent; tags are sets, ids of either type."""
    return all(_normal(key, value) == _normal(key, found.get(key)) for key, value in sent.items())


def shortened(value: object) -> str:
    """Return a body or row as a problem quotes it."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


_TYPES = {"str": "string", "int": "number", "float": "number", "dict": "object", "NoneType": "null"}


def _type_of(value: object) -> str:
    name = type(value).__name__
    return _TYPES.get(name, name)


def _normal(key: str, value: object) -> object:
    if key in _UNORDERED and isinstance(value, list):
        return sorted(map(str, value))
    return str(value) if key in _EITHER_TYPE else value


def _difference(sent: Row, found: Sequence[Row]) -> str:
    if len(found) != 1:
        return f"{shortened(sent)} is not among the {len(found)} found"
    return " and ".join(
        f"{key} was sent as {value!r} and is {found[0].get(key)!r}"
        for key, value in sent.items()
        if not equal({key: value}, found[0])
    )
