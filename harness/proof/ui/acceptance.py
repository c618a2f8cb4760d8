"""Judges a running UI backend by its API: what a person would look for, asked by a program.

Each check says what was asked and what came. Answers that a backend's cache workers make are asked
for again until they are there or the time is over; those that come from rows are asked for once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from urllib.parse import quote, urlencode

from packaging.version import Version

from harness.core.outcome import CheckOutcome, Status
from harness.proof.ui.api import (
    SECONDS,
    Backend,
    FaultError,
    Record,
    are_records,
    short,
)
from harness.proof.ui.checks import API_CHECKS as CHECKS
from harness.proof.ui.sample_run import SampleArtifact, SampleRun

_PAGE = 1000
# Twenty pages of answers: of a longer run the timeline is not asked for.
_MOST_TASKS = 20_000
_NO_TAG = "compat:no-run-has-this-tag"
_NO_VALUE = "compat-no-artifact-has-this-value"

_CARDS_SINCE = Version("2.2.0")
_GRAPHS_SINCE = Version("2.2.0")
# Since v2.4.8 both paths answer (https://github.com/Netflix/metaflow-service/pull/414), so the
# versions between may be asked either way.
_SEARCH_MOVED_IN = Version("2.4.10")


class _UnsupportedError(Exception):
    """Why a check cannot be asked of this run or this backend."""


def judge(api: str, run: SampleRun, seconds: float = SECONDS) -> dict[str, CheckOutcome]:
    """Ask a UI backend for all that a person would look at of one run.

    Args:
        api: base address of its API, no final slash.
        run: of the database it is deployed over.
        seconds: how long an answer of a cache worker may take.

    Returns:
        The outcome of each check, by name, in this order: ``listed``, ``status``, ``timeline``,
        ``dag``, ``tags``, ``artifact_search``, ``logs``, ``search_after_log`` and ``card``.

    Raises:
        InfraError: when the backend cannot be reached, or a tool environment cannot be made.
    """
    backend = Backend(api, seconds)
    outcomes = {}
    for name, check in _CHECKS.items():
        try:
            check(backend, run)
        except _UnsupportedError as error:
            outcomes[name] = CheckOutcome(Status.UNSUPPORTED, str(error))
        except FaultError as error:
            outcomes[name] = CheckOutcome(Status.FAIL, str(error))
        else:
            outcomes[name] = CheckOutcome(Status.PASS)
    return outcomes


def reported_version(api: str) -> Version:
    """Return the version a UI backend reports; one above all others when it does not say.

    Raises:
        InfraError: when it cannot be reached.
    """
    return Backend(api, SECONDS).version


def no_graph(run: SampleRun, version: Version) -> str:
    """Return why a UI backend of this version can draw no graph of the run; empty when it can."""
    if not run.has_graph and not run.has_code:
        return f"client {run.client} stored no graph, and the run has no code package"
    if not run.has_code and version < _GRAPHS_SINCE:
        return f"the run has no code package, and UI {version} reads no stored graph"
    return ""


def no_card(run: SampleRun, version: Version) -> str:
    """Return why a UI backend of this version shows no card of the run; empty when it must."""
    if run.card is None:
        return f"nothing says that this run of client {run.client} has a card"
    return f"UI {version} shows no cards" if version < _CARDS_SINCE else ""


def _listed(backend: Backend, run: SampleRun) -> None:
    url = backend.url("flows", flow_id=run.flow)
    if run.flow not in [flow.get("flow_id") for flow in backend.records(url)]:
        raise FaultError(f"GET {url} lists no flow {run.flow}")
    url = backend.url("flows", run.flow, "runs", **_only(run))
    _find(backend, url, run)


def _status(backend: Backend, run: SampleRun) -> None:
    if not run.status:
        raise _UnsupportedError("no row tells how the run ended; it may still run")
    url = backend.url("flows", run.flow, "runs", run.run)
    status = backend.record(url).get("status")
    if status != run.status:
        raise FaultError(f"GET {url} says {status}, the run is {run.status}")


def _timeline(backend: Backend, run: SampleRun) -> None:
    if not 0 < sum(step.tasks for step in run.steps) <= _MOST_TASKS:
        raise _UnsupportedError(f"the run has no task, or more than {_MOST_TASKS}")
    url = backend.url("flows", run.flow, "runs", run.run, "tasks")
    # A task has a line for each of its attempts; that one of them is whole is enough.
    listed: set[tuple[str, str]] = set()
    whole: set[tuple[str, str]] = set()
    over: set[tuple[str, str]] = set()
    for task in _pages(backend, url):
        key = (str(task.get("step_name")), str(task.get("task_id")))
        listed.add(key)
        if task.get("finished_at"):
            over.add(key)
            whole.update([key] if task.get("started_at") else [])
    found, timed, ended = (Counter(step for step, _ in keys) for keys in (listed, whole, over))
    for step in run.steps:
        if found[step.name] != step.tasks:
            raise FaultError(
                f"GET {url} lists {found[step.name]} of {step.tasks} tasks of {step.name}"
            )
        if timed[step.name] < step.timed:
            raise FaultError(
                f"GET {url} gives start and end of {timed[step.name]} of"
                f" {step.timed} tasks of {step.name}"
            )
        if found[step.name] - ended[step.name] < step.running:
            raise FaultError(
                f"GET {url} gives an end to {ended[step.name]} of {step.tasks} tasks of"
                f" {step.name}, of which {step.running} have not ended"
            )


def _dag(backend: Backend, run: SampleRun) -> None:
    if why := no_graph(run, backend.version):
        raise _UnsupportedError(why)
    url = backend.url("flows", run.flow, "runs", run.run, "dag")

    def ask() -> None:
        words = set(_words(backend.data(url)))
        missing = [step.name for step in run.steps if step.name not in words]
        if missing:
            raise FaultError(f"GET {url} draws no step {', '.join(missing)}")

    backend.until_good(ask)


def _logs(backend: Backend, run: SampleRun) -> None:
    log = run.log
    if log is None:
        raise _UnsupportedError("the run has no task that can have printed anything")
    url = backend.url(*_task(run, log.step, log.task), "logs", "out")

    def ask() -> list[str]:
        lines = [str(line.get("line")) for line in backend.records(url)]
        if log.line and not any(log.line in line for line in lines):
            raise FaultError(f"GET {url} has no line {log.line!r}, but {short(repr(lines))}")
        return lines

    if not backend.until_good(ask):
        raise _UnsupportedError("the UI shows an empty log, and nobody knows what its task printed")


def _card(backend: Backend, run: SampleRun) -> None:
    if why := no_card(run, backend.version):
        raise _UnsupportedError(why)
    assert run.card is not None, "no_card says so"
    url = backend.url(*_task(run, *run.card), "cards")

    def listed() -> str:
        hashes = [card.get("hash") for card in backend.records(url)]
        if not any(hashes):
            raise FaultError(f"GET {url} lists no card")
        return str(next(filter(None, hashes)))

    page = f"{url}/{quote(backend.until_good(listed), safe='')}"

    def ask() -> None:
        text = backend.text(page)
        if "<html" not in text.lower():
            raise FaultError(f"GET {page} is no HTML, but {short(text)}")

    backend.until_good(ask)


def _tags(backend: Backend, run: SampleRun) -> None:
    if not run.tag:
        raise _UnsupportedError("the run has no tag to filter by")
    _find(backend, backend.url("runs", _tags=run.tag, flow_id=run.flow, **_only(run)), run)
    # A filter that is not heeded finds the run under any tag.
    url = backend.url("runs", _tags=_NO_TAG, flow_id=run.flow, **_only(run))
    if backend.records(url):
        raise FaultError(f"GET {url} finds runs, though none has the tag {_NO_TAG}")


def _artifact_search(backend: Backend, run: SampleRun) -> None:
    if run.artifact is None:
        raise _UnsupportedError("the run has no artifact to search for")
    _search(backend, run, run.artifact)


def _search_after_log(backend: Backend, run: SampleRun) -> None:
    """Search once more, for what no search has read yet: a log that was read must not prevent it.

    Some releases of Metaflow in a UI's environment cannot size the artifacts of a task whose log
    they read before; the first such artifact ends a search (see docs/findings.md).
    """
    if run.unread is None or run.log is None:
        raise _UnsupportedError("the run has no second artifact to search for, or no log")
    _search(backend, run, run.unread)


def _search(backend: Backend, run: SampleRun, artifact: SampleArtifact) -> None:
    path = ["flows", run.flow, "runs", run.run]
    path = ["search", *path] if backend.version >= _SEARCH_MOVED_IN else [*path, "search"]
    queries = [{"key": artifact.name}]
    if artifact.value:
        queries = [{"key": artifact.name, "value": text} for text in (artifact.value, _NO_VALUE)]
    urls = [
        backend.url(*path, **query).replace("http", "ws", 1)  # https becomes wss
        for query in queries
    ]

    def ask() -> list[list[Record]]:
        return [
            _matches(url, answer) for url, answer in zip(urls, backend.search(urls), strict=True)
        ]

    found = backend.until_good(ask)
    readable = [[match for match in matches if match.get("searchable")] for matches in found]
    if len(readable[0]) < artifact.tasks:
        raise FaultError(
            f"{urls[0]} finds {len(readable[0])} of {artifact.tasks} tasks{_why(found[0])}"
        )
    # So does a search that does not look at the value.
    if readable[1:] and readable[1]:
        raise FaultError(f"{urls[1]} finds {len(readable[1])} tasks, though none has that value")


_ASKED: tuple[Callable[[Backend, SampleRun], None], ...] = (
    *(_listed, _status, _timeline, _dag, _tags),
    *(_artifact_search, _logs, _search_after_log, _card),
)
_CHECKS = dict(zip(CHECKS, _ASKED, strict=True))


def _only(run: SampleRun) -> dict[str, str]:
    """Return the filter for just this run."""
    # As the service does: digits are a number, all else is a name.
    return {"run_number" if run.run.isdecimal() else "run_id": run.run}


def _task(run: SampleRun, step: str, task: str) -> tuple[str, ...]:
    return ("flows", run.flow, "runs", run.run, "steps", step, "tasks", task)


def _find(backend: Backend, url: str, run: SampleRun) -> None:
    names = ("run_number", "run_id")
    found = {str(one.get(name)) for one in backend.records(url) for name in names}
    if run.run not in found:
        raise FaultError(f"GET {url} lists no run {run.run}")


def _pages(backend: Backend, url: str) -> Iterator[Record]:
    """Yield the entries of all pages."""
    for page in range(1, _MOST_TASKS // _PAGE + 2):
        entries = backend.records(f"{url}?{urlencode({'_limit': _PAGE, '_page': page})}")
        yield from entries
        if len(entries) < _PAGE:
            return


def _words(value: object) -> Iterator[str]:
    """Yield every key and text in a JSON value: the shape of graphs differs between releases."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from map(str, value)
        for inner in value.values():
            yield from _words(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _words(inner)


def _matches(url: str, answer: Record) -> list[Record]:
    if "error" in answer:
        raise FaultError(f"{url} answered {answer['detail']}")
    matches = answer["matches"]
    if not are_records(matches):
        raise FaultError(f"{url} found no list of records, but {short(repr(matches))}")
    return matches


def _why(matches: Sequence[Record]) -> str:
    """Return why artifacts could not be read, where the backend tells."""
    errors = [match["error"] for match in matches if match.get("error")]
    if not errors:
        return ""
    first = errors[0] if isinstance(errors[0], dict) else {"detail": errors[0]}
    return f"; not searchable: {first.get('id')}: {short(str(first.get('detail')))}"
