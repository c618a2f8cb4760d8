"""Scenarios: what is done wrong on purpose; of lost answers the kinds, and how each is lost. Pure.

A scenario is named as ``--scenario`` takes it: ``wrong-order``, ``lost-answer``, or with a seed of
one's own ``lost-answer=7``.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from harness.core.probes import Check
from harness.machine.errors import nearest

# From v2.2.4 on the order does not matter, because the metadata service makes no tables any more:
# https://github.com/Netflix/metaflow-service/pull/304
WRONG_ORDER = "wrong-order"
LOST_ANSWER = "lost-answer"
SCENARIOS = {
    WRONG_ORDER: "the metadata service is started on the empty database before it is migrated",
    LOST_ANSWER: "of each kind of request the answer to the first one is lost",
}
"""What can be done wrong on purpose, by its name."""

DEFAULT_SEED = 37
"""At this one every write loses its answer, and those that make a run or a task are not repeated on
the way: no client could tell."""

CHECKS_BEGIN = "lost_"
"""What the names of the checks of lost answers begin with."""


class Way(str, Enum):
    """What becomes of an answer; the value says it in a sentence on the answer."""

    DROP = "is dropped"
    DELAY = "comes late"
    TRUNCATE = "is cut off"
    REPEAT = "is that to the same request made twice"

    @property
    def loses(self) -> bool:
        """Whether the client does not learn what the service did the first time."""
        return self is not Way.DELAY


@dataclass(frozen=True)
class Kind:
    """A kind of request.

    Attributes:
        name: a word; that of its check is made of it.
        method: of HTTP.
        path: a regular expression of its whole path.
        words: what it is called in sentences.
        table: of the rows it makes; empty where it makes none.
    """

    name: str
    method: str
    path: str
    words: str
    table: str = ""

    @property
    def check(self) -> str:
        """The name of its check."""
        return CHECKS_BEGIN + self.name


_FLOW = "/flows/[^/]+"
_RUN = _FLOW + "/runs/[^/]+"
_STEP = _RUN + "/steps/[^/]+"
_TASK = _STEP + "/tasks/[^/]+"

KINDS = (
    Kind("ping", "GET", "/ping", "ping"),
    Kind("create_flow", "POST", _FLOW, "create flow", "flows_v3"),
    Kind("create_run", "POST", _FLOW + "/run", "create run", "runs_v3"),
    Kind("create_step", "POST", _STEP + "/step", "create step", "steps_v3"),
    Kind("create_task", "POST", _STEP + "/task", "create task", "tasks_v3"),
    Kind("artifacts", "POST", _TASK + "/artifact", "store artifacts", "artifact_v3"),
    Kind("metadata", "POST", _TASK + "/metadata", "store metadata", "metadata_v3"),
    Kind("run_heartbeat", "POST", _RUN + "/heartbeat", "heartbeat of a run"),
    Kind("task_heartbeat", "POST", _TASK + "/heartbeat", "heartbeat of a task"),
    Kind("tags", "PATCH", _RUN + "/tag/mutate", "change tags"),
    Kind("read_flow", "GET", _FLOW, "read flow"),
    Kind("read_run", "GET", _RUN, "read run"),
    Kind("read_step", "GET", _STEP, "read step"),
    Kind("read_task", "GET", _TASK, "read task"),
    # What is left below /flows: lists of all sorts, single artifacts and the tasks of a filter.
    Kind("read_more", "GET", "/flows(/.*)?", "read a list or an artifact"),
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


def ways(seed: int) -> Mapping[str, Way]:
    """Return for each kind, by name, how its answer is lost at a seed."""
    drawn = random.Random(seed)  # noqa: S311 - to be the same again, not to be secret
    return {kind.name: drawn.choice(list(Way)) for kind in KINDS}


def lost_answers(scenario: str) -> Mapping[str, Way]:
    """Return for each kind how its answer is lost in a scenario; empty where none is lost."""
    name, _, seed = scenario.partition("=")
    return ways(int(seed) if seed else DEFAULT_SEED) if name == LOST_ANSWER else {}


def description_of(scenario: str) -> str:
    """Return what is done wrong in a scenario, as a sentence."""
    return SCENARIOS[scenario.partition("=")[0]]


def wrong_with(scenario: str) -> str:
    """Return what is wrong with the name of a scenario; empty for nothing."""
    if scenario in SCENARIOS or re.fullmatch(f"{LOST_ANSWER}=[0-9]+", scenario, re.ASCII):
        return ""
    known = (*SCENARIOS, f"{LOST_ANSWER}=SEED")
    return f"no such scenario{nearest(scenario, known)}; there are {', '.join(known)}"


def lost_checks(scenario: str) -> tuple[Check, ...]:
    """Return the checks of a scenario: one for each kind of request whose answer is lost."""
    words = {kind.name: kind.words for kind in KINDS}
    return tuple(
        Check(
            CHECKS_BEGIN + name,
            f"the answer to the first '{words[name]}' {way.value}: the run ends with nothing lost"
            " and nothing twice, or with the client's own error and can be resumed",
        )
        for name, way in lost_answers(scenario).items()
    )
