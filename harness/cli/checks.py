"""What is wrong with one value, looked at alone: a sentence, or nothing. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from harness.catalog.versions import LAST_PORT
from harness.cli.option import Value, listed
from harness.core.scenarios import CHAOS, NO_SCENARIO, wrong_with
from harness.core.sharding import MOST, Shard
from harness.machine.errors import nearest
from harness.stack.database.server import name_too_long


def more_than_zero(what: str) -> Callable[[Value], str]:
    """Return what finds a number of seconds wrong for what needs some."""

    def check(value: Value) -> str:
        # nan, which compares with nothing, is refused too.
        more = isinstance(value, float) and value > 0
        return "" if more else f"{what} needs more than 0 seconds"

    return check


def at_least_one_cell(value: Value) -> str:
    """Find a number of cells wrong that lets nothing run."""
    return "" if isinstance(value, int) and value >= 1 else "at least 1 cell must run at a time"


def at_least_once(value: Value) -> str:
    """Find a number of attempts wrong that lets nothing run."""
    return "" if isinstance(value, int) and value >= 1 else "each cell must run at least once"


def has_a_majority(value: Value) -> str:
    """Find a number of attempts wrong of which two outcomes may be as frequent."""
    odd = isinstance(value, int) and value >= 1 and value % 2
    return "" if odd else "an odd number is needed, of which there is a majority"


def names_a_check(value: Value) -> str:
    """Find wrong what does not name a check by its probe."""
    probe, slash, check = str(value).partition("/")
    return "" if probe and slash and check else "a check is named PROBE/CHECK, as basics/resume"


def not_negative(value: Value) -> str:
    """Find a number wrong that counts less than nothing."""
    return "" if isinstance(value, int) and value >= 0 else "a number from 0 is needed"


def scheduler(value: Value) -> str:
    """Find wrong what is no address of a scheduler."""
    parts = urlsplit(str(value))
    try:
        whole = parts.scheme in {"tcp", "tls"} and parts.hostname and parts.port
    except ValueError:
        whole = False
    return "" if whole else "an address is needed as dask scheduler prints it, tcp://HOST:PORT"


def port(value: Value) -> str:
    """Find wrong what is no port."""
    there = isinstance(value, int) and 1 <= value <= LAST_PORT
    return "" if there else f"not a port (1 to {LAST_PORT})"


def each_of(choices: Sequence[str], noun: str) -> Callable[[Value], str]:
    """Return what finds a comma list wrong that names nothing, or what is no choice."""
    available = f"available: {', '.join(choices)}"

    def check(value: Value) -> str:
        names = listed(str(value))
        for name in names:
            if name not in choices:
                return f"no such {noun}{nearest(name, choices)}; {available}"
        return "" if names else f"the list is empty; {available}"

    return check


def pythons(value: Value) -> str:
    """Find a comma list wrong that names nothing, or what is no minor version of Python."""
    names = listed(str(value))
    for name in names:
        # What runs inside a client is written for 3.6 and newer.
        if not re.fullmatch(r"3\.([6-9]|[1-9]\d)", name):
            return f"{name!r} is no minor version of Python from 3.6 on, such as 3.12"
    return "" if names else "the list is empty"


def requirements(value: Value) -> str:
    """Find wrong what is no list of requirements, or what would replace the client itself."""
    for text in str(value).split():
        try:
            named = Requirement(text).name
        except InvalidRequirement as error:
            # Its further lines point at a place in the text.
            why = str(error).splitlines()[0]
            return f"{text!r} is no requirement: {why}; several have a space between, none within"
        if canonicalize_name(named) == "metaflow":
            return f"{text!r} would be another client: --metaflow says which"
    return "" if str(value).strip() else "the list is empty"


def database_name(value: Value) -> str:
    """Find a name wrong that PostgreSQL would cut, and so take for another."""
    return name_too_long(str(value))


def image_or_tag(value: Value) -> str:
    """Find wrong what is no tag and no name of an image."""
    fits = re.fullmatch(r"[\w./:@-]+", str(value))
    return "" if fits else "neither a tag nor the name of an image"


def image(value: Value) -> str:
    """Find wrong what is no name of an image."""
    fits = re.fullmatch(r"[\w.-]+(:\d+)?(/[\w.-]+)*(:[\w.-]+)?(@[\w:]+)?", str(value))
    return "" if fits else "not the name of an image, such as minio/minio"


def shard(value: Value) -> str:
    """Find wrong what names no part of a plan."""
    try:
        Shard.parse(str(value))
    except ValueError:
        return f"no part of several, such as 1/3, or 3 with --plan github; at most {MOST}"
    return ""


def scenarios(value: Value) -> str:
    """Find a comma list wrong that names nothing, or what is no scenario."""
    names = listed(str(value))
    wrong = (wrong_with(name) for name in names if name != NO_SCENARIO)
    return next(filter(None, wrong), "" if names else "the list is empty")


def faults(value: Value) -> str:
    """Find a comma list wrong that names nothing, or what is no scenario of ``chaos``."""
    names = listed(str(value))
    for name in names:
        if wrong_with(name) or name.partition("=")[0] not in CHAOS:
            of_chaos = [f"{one}[=SEED]" for one in CHAOS]
            return f"{name!r} is none{nearest(name, CHAOS)}; there are {', '.join(of_chaos)}"
    return "" if names else f"the list is empty; there are {', '.join(CHAOS)}"


def always(_: str) -> bool:
    """Tell that every value is a secret."""
    return True
