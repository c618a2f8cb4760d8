"""Scenarios: what is done wrong on purpose, or stands in between; of lost answers the kinds. Pure.

A scenario is named as ``--scenario`` takes it: ``wrong-order``, ``lost-answer``, or with a seed of
one's own ``lost-answer=7``.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from types import MappingProxyType

from harness.core.probes import Check
from harness.machine.errors import nearest

# From v2.2.4 on the order does not matter, because the metadata service makes no tables any more:
# https://github.com/Netflix/metaflow-service/pull/304
NO_SCENARIO = "none"
"""What stands for no scenario in a list of several."""

WRONG_ORDER = "wrong-order"
LOST_ANSWER = "lost-answer"
# Services before 2.0.6 put it into a shell string and a DSN unquoted:
# https://github.com/Netflix/metaflow-service/issues/152
AWKWARD_PASSWORD = "awkward-password"  # noqa: S105 - the name of a scenario
SERVICE_PREFIX = "service-prefix"
PATH_PREFIX = "path-prefix"
AUTH_KEY = "auth-key"
AUTH_HEADERS = "auth-headers"
BODY_LIMIT = "body-limit"
IDLE_CONNECTIONS = "idle-connections"
SERVICE_RESTART = "service-restart"
CUT_CONNECTIONS = "cut-connections"
DATABASE_RESTART = "database-restart"
BAD_NETWORK = "bad-network"
FULL_DISK = "full-disk"
SCENARIOS = {
    WRONG_ORDER: "the metadata service is started on the empty database before it is migrated",
    AWKWARD_PASSWORD: "the password of the database has quotes, spaces, backslashes and # % @ &",
    LOST_ANSWER: "of each kind of request one answer is lost",
    SERVICE_PREFIX: "the metadata service itself answers below a path, told by its PATH_PREFIX",
    PATH_PREFIX: "a proxy has the service below a path of its own, as METAFLOW_SERVICE_URL says",
    AUTH_KEY: "a proxy wants the key that METAFLOW_SERVICE_AUTH_KEY has with each request",
    AUTH_HEADERS: "a proxy wants the headers that METAFLOW_SERVICE_HEADERS has with each request",
    BODY_LIMIT: "a proxy refuses bodies over a limit, by default the 1024 kB of nginx",
    IDLE_CONNECTIONS: "a proxy closes a connection that is used again after an idle second",
    SERVICE_RESTART: "the service is restarted in mid-flow, around each kind of write",
    CUT_CONNECTIONS: "the connections of the service to its database are cut, likewise",
    DATABASE_RESTART: "the database is restarted, likewise",
    BAD_NETWORK: "each request takes its time, and of each kind one gets lost on its way",
    FULL_DISK: "the client can write no file any more, likewise, until it is run again",
}
"""What can be done wrong on purpose, or stand between client and service, by its name."""

MIXES = ("'\"#%@& \\ ' \\\\x", "\"a b'", "# %41 @ &b=c", "\\'; :/?\\")
"""What awkward passwords begin with, in the order of their numbers from 1; the first has it all."""

CHECKS_BEGIN = "lost_"
"""What the names of the checks of lost answers begin with."""

AMID = "amid_"
"""What the names of the checks of faults begin with."""

ACKNOWLEDGED = "acknowledged"
"""The check that what a service said it has stored is there in the end."""


@dataclass(frozen=True)
class Proxy:
    """What a proxy in front of a service wants of its clients; by default nothing.

    Attributes:
        prefix: of the paths that it has the service below.
        headers: that each request must have, with their values.
        body_limit: of a request, in bytes; 0 for none.
        idle: seconds after which a connection is closed when it is used again; 0 for never.
        settings: the variables by which a client is told, beside METAFLOW_SERVICE_URL.
    """

    prefix: str = ""
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    body_limit: int = 0
    idle: float = 0.0
    settings: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


# No secrets: nothing but a relay of the harness's own asks for them.
_KEY, _BEARER = "compat-key", "Bearer compat"
_NGINX_KB = 1024
_BELOW = "/teams/metaflow"
_PROXIES = {
    PATH_PREFIX: Proxy(prefix=_BELOW),
    AUTH_KEY: Proxy(headers={"x-api-key": _KEY}, settings={"METAFLOW_SERVICE_AUTH_KEY": _KEY}),
    AUTH_HEADERS: Proxy(
        headers={"Authorization": _BEARER, "X-Team": "compat"},
        settings={
            "METAFLOW_SERVICE_HEADERS": f'{{"Authorization": "{_BEARER}", "X-Team": "compat"}}'
        },
    ),
    IDLE_CONNECTIONS: Proxy(idle=1.0),
}


def proxy_of(scenario: str) -> Proxy | None:
    """Return the proxy that stands between client and service in a scenario; None for none."""
    name, _, number = scenario.partition("=")
    if name == BODY_LIMIT:
        return Proxy(body_limit=1024 * int(number or _NGINX_KB))
    return _PROXIES.get(name)


def prefix_of(scenario: str) -> str:
    """Return the path below which a service answers in a scenario; empty for none."""
    return _BELOW if scenario == SERVICE_PREFIX else ""


class Way(str, Enum):
    """What becomes of an answer; the value says it in a sentence on the answer."""

    DROP = "is dropped"
    DELAY = "comes late"
    TRUNCATE = "is cut off"
    REPEAT = "is that to the same request made twice"
    # Of a fault: when it strikes.
    BEFORE = "before"
    AFTER = "after"

    @property
    def loses(self) -> bool:
        """Whether the client may not learn what the service did the first time."""
        return self is not Way.DELAY


LOSING = (Way.DROP, Way.DELAY, Way.TRUNCATE, Way.REPEAT)
"""What becomes of an answer that is lost, or late."""

_NUMBERS = ("first", "second", "third", "fourth", "fifth")


@dataclass(frozen=True)
class Loss:
    """Which answer to a kind of request is lost, and how.

    Attributes:
        way: what becomes of it.
        nth: which of them it is, from 1.
        fault: what happens before or after it, as a sentence; empty for a mere loss.
    """

    way: Way
    nth: int = 1
    fault: str = ""

    def of(self, words: str) -> str:
        """Return it in a sentence, as of a request that is called so."""
        which = f"the {_NUMBERS[self.nth - 1]} '{words}'"
        if self.fault:
            return f"{self.fault} {self.way.value} {which}"
        return f"the answer to {which} {self.way.value}"

    def check_of(self, kind: str) -> str:
        """Return the name of the check on it, by that of its kind."""
        return (AMID if self.fault else CHECKS_BEGIN) + kind


@dataclass(frozen=True)
class Kind:
    """A kind of request.

    Attributes:
        name: a word; that of its check is made of it.
        method: of HTTP.
        path: a regular expression of its whole path.
        words: what it is called in sentences.
        way: how the first answer is lost where nobody gives a seed: that of every write is, and
            what makes a run or a task is not repeated on the way, for no client could tell.
        table: of the rows it makes; empty where it makes none.
        sent: how many of them a flow of two steps sends, seen with 2.0.5 and 2.19.39: with a seed,
            one of these is lost.
    """

    name: str
    method: str
    path: str
    words: str
    way: Way
    table: str = ""
    sent: int = 1


_FLOW = "/flows/[^/]+"
_RUN = _FLOW + "/runs/[^/]+"
_STEP = _RUN + "/steps/[^/]+"
_TASK = _STEP + "/tasks/[^/]+"

KINDS = (
    Kind("ping", "GET", "/ping", "ping", Way.DROP, sent=3),
    Kind("create_flow", "POST", _FLOW, "create flow", Way.DROP, "flows_v3"),
    Kind("create_run", "POST", _FLOW + "/run", "create run", Way.TRUNCATE, "runs_v3"),
    Kind("create_step", "POST", _STEP + "/step", "create step", Way.REPEAT, "steps_v3", 3),
    Kind("create_task", "POST", _STEP + "/task", "create task", Way.DROP, "tasks_v3", 3),
    Kind("artifacts", "POST", _TASK + "/artifact", "store artifacts", Way.REPEAT, "artifact_v3", 3),
    Kind("metadata", "POST", _TASK + "/metadata", "store metadata", Way.TRUNCATE, "metadata_v3", 5),
    Kind("run_heartbeat", "POST", _RUN + "/heartbeat", "heartbeat of a run", Way.REPEAT, sent=2),
    Kind("task_heartbeat", "POST", _TASK + "/heartbeat", "heartbeat of a task", Way.REPEAT, sent=2),
    Kind("tags", "PATCH", _RUN + "/tag/mutate", "change tags", Way.REPEAT),
    Kind("read_flow", "GET", _FLOW, "read flow", Way.DELAY),
    Kind("read_run", "GET", _RUN, "read run", Way.DROP),
    Kind("read_step", "GET", _STEP, "read step", Way.DROP, sent=3),
    Kind("read_task", "GET", _TASK, "read task", Way.REPEAT),
    # What is left below /flows: lists of all sorts, single artifacts and the tasks of a filter.
    Kind("read_more", "GET", "/flows(/.*)?", "read a list or an artifact", Way.DROP),
)
"""Every kind of request of a client; the first that fits is the one."""


def kind_of(method: str, path: str) -> Kind | None:
    """Return the kind of a request; None for one that no client is known to make.

    Args:
        method: of HTTP.
        path: without a query.
    """
    fits = (one for one in KINDS if one.method == method and re.fullmatch(one.path, path))
    return next(fits, None)


# Every client sends these in every run, so with a seed they get all ways there are; the others may
# not be sent at all.
_IN_EVERY_RUN = {
    *("create_run", "create_step", "create_task", "artifacts", "metadata"),
    *("read_flow", "read_step"),
}


def losses(seed: int) -> Mapping[str, Loss]:
    """Return for each kind, by name, which of its answers is lost at a seed, and how."""
    drawn = random.Random(seed)  # noqa: S311 - to be the same again, not to be secret
    # Dealt, not drawn one by one: of eight cards, two of each way, seven have all four.
    cards = [way for _ in range(2) for way in drawn.sample(LOSING * 2, 2 * len(LOSING))]
    first = sorted(KINDS, key=lambda kind: kind.name not in _IN_EVERY_RUN)
    dealt = dict(zip((kind.name for kind in first), cards, strict=False))
    return {kind.name: Loss(dealt[kind.name], drawn.randint(1, kind.sent)) for kind in KINDS}


@dataclass(frozen=True)
class Fault:
    """What breaks in mid-flow, at one request of each kind.

    Attributes:
        words: what happens, as a sentence.
        own_error: what else a client may say of it than that the service is to blame.
        refuses: whether nobody is answered while it lasts.
        latency: seconds that each request takes longer, all the time.
        local_data: whether it is about data in files.
        reads: whether it strikes at what only reads, too.
        ways: when it may strike; unasked these take turns.
    """

    words: str
    own_error: str = ""
    refuses: bool = False
    latency: float = 0.0
    local_data: bool = False
    reads: bool = False
    # In this order what is stored last, artifacts, is there when a service is restarted.
    ways: tuple[Way, ...] = (Way.AFTER, Way.BEFORE)

    @cached_property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of request that it strikes at."""
        return KINDS if self.reads else tuple(kind for kind in KINDS if kind.table)


FAULTS: Mapping[str, Fault] = MappingProxyType(
    {
        SERVICE_RESTART: Fault("the service is restarted", refuses=True),
        # Idle ones are cut as well as those in use: after a request is before the next one.
        CUT_CONNECTIONS: Fault("the connections to the database are cut", ways=(Way.BEFORE,)),
        DATABASE_RESTART: Fault("the database is restarted"),
        # One that is lost on its way back is what lost-answer is about.
        BAD_NETWORK: Fault(
            "the connection breaks", refuses=True, latency=0.05, reads=True, ways=(Way.BEFORE,)
        ),
        FULL_DISK: Fault(
            "the disk is full",
            own_error=r"File too large|No usable temporary directory found",
            local_data=True,
            ways=(Way.BEFORE,),
        ),
    }
)
"""What ``nox -s chaos`` does to a run, by the name of the scenario."""

CHAOS = (LOST_ANSWER, *FAULTS)
"""The scenarios of ``nox -s chaos``, each of which may have a seed."""


def fault_of(scenario: str) -> Fault | None:
    """Return what breaks in mid-flow in a scenario; None where nothing does."""
    return FAULTS.get(scenario.partition("=")[0])


def strikes(fault: Fault, seed: int | None) -> Mapping[str, Loss]:
    """Return for each kind, by name, at which request of it a fault strikes, and when."""
    drawn = random.Random(seed)  # noqa: S311 - as in losses()
    return {
        kind.name: Loss(fault.ways[number % len(fault.ways)], 1, fault.words)
        if seed is None
        else Loss(drawn.choice(fault.ways), drawn.randint(1, kind.sent), fault.words)
        for number, kind in enumerate(fault.kinds)
    }


def lost_answers(scenario: str) -> Mapping[str, Loss]:
    """Return for each kind, by name, which answer is lost in a scenario; empty where none is.

    Or, of a fault, which request it strikes at.
    """
    name, _, text = scenario.partition("=")
    seed = int(text) if text else None
    fault = fault_of(scenario)
    if fault is not None:
        return strikes(fault, seed)
    if name != LOST_ANSWER:
        return {}
    return {kind.name: Loss(kind.way) for kind in KINDS} if seed is None else losses(seed)


def may_show(declared: str, scenario: str, check: str) -> bool:
    """Tell whether what fails in a scenario may fail in one of the same name with a seed.

    It may where the answer that the check is about is lost there, too, and not only late.
    """
    name, _, seed = scenario.partition("=")
    struck = lost_answers(scenario).items()
    loss = next((loss for kind, loss in struck if loss.check_of(kind) == check), None)
    return bool(seed) and name == declared and loss is not None and loss.way.loses


def awkward_beginning(scenario: str) -> str:
    """Return what the password of a scenario begins with; empty where it is no matter."""
    name, _, number = scenario.partition("=")
    return MIXES[int(number or 1) - 1] if name == AWKWARD_PASSWORD else ""


def of_containers(scenario: str) -> bool:
    """Tell whether a scenario, or none, is about containers as well as about processes."""
    return not scenario or bool(awkward_beginning(scenario))


def description_of(scenario: str) -> str:
    """Return what is done wrong in a scenario, as a sentence."""
    return SCENARIOS[scenario.partition("=")[0]]


def wrong_with(scenario: str) -> str:
    """Return what is wrong with the name of a scenario; empty for nothing."""
    numbered = (
        f"({'|'.join(CHAOS)})=[0-9]+"
        f"|{AWKWARD_PASSWORD}=[1-{len(MIXES)}]|{BODY_LIMIT}=[1-9][0-9]{{0,8}}"
    )
    if scenario in SCENARIOS or re.fullmatch(numbered, scenario, re.ASCII):
        return ""
    of_seeds = (f"{name}=SEED" for name in CHAOS)
    of_numbers = *of_seeds, f"{AWKWARD_PASSWORD}=1…{len(MIXES)}", f"{BODY_LIMIT}=KB"
    known = (*SCENARIOS, *of_numbers)
    return f"no such scenario{nearest(scenario, known)}; there are {', '.join(known)}"


def lost_checks(scenario: str) -> tuple[Check, ...]:
    """Return the checks of a scenario: one for each kind of request that it strikes at.

    And one on all that was answered.
    """
    words = {kind.name: kind.words for kind in KINDS}
    struck = lost_answers(scenario)
    checks = tuple(
        Check(
            loss.check_of(name),
            f"{loss.of(words[name])}: the run ends with nothing lost and nothing twice, or with"
            " the client's own error and can be resumed",
        )
        for name, loss in struck.items()
    )
    kept = Check(ACKNOWLEDGED, "what the service answered that it has stored is there in the end")
    return (*checks, kept) if struck else ()
