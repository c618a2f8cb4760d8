"""What the checks of a contract are made of: sound writes, attempts at others, and observations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.proof.changes import Row, key_of
from harness.proof.lists import Identity, hold_times
from harness.proof.requests import Answer, Exchange, Written

FAR = "日本 😀"
"""What takes three and four bytes a sign, and a space."""

TAGS = ["zeta", "alpha", "with space", "key:value", "ünïcode", FAR]
SYSTEM_TAGS = ["runtime:contract", "date:2020-06-30"]
BODY: Row = {"user_name": "contract", "tags": TAGS, "system_tags": SYSTEM_TAGS}
"""What every object is registered with. No client's version: that would start heartbeats."""

NEVER_GIVEN = 999_999_999
"""A number no run or task has."""


class StoppedError(Exception):
    """An object could not be made, so nothing that needs it can be asked for."""


class Asking:
    """Asks about one flow, and observes.

    Args:
        exchange: where requests go to, and problems.
        flow_id: the flow's name.

    Attributes:
        observations: named behaviour to what was answered, free of ids, times and order.
    """

    def __init__(self, exchange: Exchange, flow_id: str) -> None:
        self.exchange = exchange
        self.flow_id = flow_id
        self.flow = f"/flows/{flow_id}"
        self.observations: dict[str, str] = {}
        self._times: dict[Identity, str] = {}
        """What the registration of each entry told of its time."""

    def create(self, check: str, path: str, body: Row, table: str) -> Written:
        """Register an object without which nothing below it can be asked for.

        Raises:
            StoppedError: when it is refused; the problem is noted.
        """
        written = self.attempt(check, path, body, table)
        if not written.answer.ok:
            self.exchange.note(check, f"a sound write was refused: {written}")
            raise StoppedError
        self.keep_time(table, written.answer)
        # A name that was asked for may stand in a column of its own.
        sent = {name: body[name] for name in BODY}
        if self.exchange.sees_rows:
            self.exchange.compare(check, written, [sent], written.new.get(table, ()))
        return written

    def create_all(self, check: str, path: str, sent: Sequence[Row], table: str) -> Written:
        """Register several objects of a task in one request."""
        written = self.attempt(check, path, sent, table)
        if not written.answer.ok or written.answer.created != len(sent):
            self.exchange.note(check, f"a sound write was refused: {written}")
        if self.exchange.sees_rows:
            self.exchange.compare(check, written, sent, written.new.get(table, ()))
        return written

    def attempt(
        self,
        check: str,
        path: str,
        body: object,
        table: str,
        method: str = "POST",
        *,
        again: bool = False,
    ) -> Written:
        """Write what may well be refused; the rules hold either way."""
        written = self.exchange.write(check, path, body, table, method, again=again)
        created = written.answer.created
        count = "" if created is None else f", {created} written"
        self.observe(check, f"{written.answer.status}{count}")
        return written

    def keep_time(self, table: str, registered: Answer) -> None:
        """Keep the time that the registration of an entry was answered with."""
        for one in registered.objects:
            self._times[table, key_of(table, one)] = str(one.get("ts_epoch"))

    def hold_times(self, lists: Iterable[tuple[str, str]]) -> None:
        """Note where an entry tells another time than its row, or than its registration did.

        Args:
            lists: table and path of each list, or of one entry.
        """
        hold_times(self.exchange, lists, self._times)

    def missing(self, check: str, path: str) -> None:
        """Ask for what is not there, and observe what is answered."""
        answer = self.get(path)
        self.observe(check, f"{answer.status}, {answer.text}")

    def get(self, path: str) -> Answer:
        """Read."""
        return self.exchange.ask("GET", path)

    def observe_shapes(self, what: str, *, answered: Answer, read: Answer) -> None:
        """Observe the fields of what registering something answers, and of what is read of it."""
        self.observe(f"answer to registering {what}", answered.shape)
        self.observe(f"shape of {what}", read.shape)

    def observe(self, check: str, observation: str) -> None:
        """Keep how the service behaved."""
        self.observations[check] = observation


def artifact(name: str, attempt: int) -> Row:
    """Return an artifact as a client registers it."""
    return {
        **BODY,
        "name": name,
        "location": f"/contract/{name}/{attempt}",
        "ds_type": "local",
        "sha": f"{attempt:040x}",
        "type": "metaflow.artifact",
        "content_type": "gzip+pickle-v2",
        "attempt_id": attempt,
    }


def datum(field: str, value: str) -> Row:
    """Return a metadatum as a client registers it."""
    return {**BODY, "field_name": field, "value": value, "type": field}
