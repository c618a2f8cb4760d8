"""One run of the sample that a Metaflow UI is judged by, and what must be shown of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

RUNNING = "running"
"""What a UI says of a run that gave a sign of life and has not ended."""


@dataclass(frozen=True)
class SampleStep:
    """A step, as its probe declares it or else as the rows tell it.

    Attributes:
        tasks: how many it has.
        timed: of how many of them begin and end are known.
        running: how many of them have begun and certainly not ended.
    """

    name: str
    tasks: int
    timed: int
    running: int = 0


@dataclass(frozen=True)
class SampleLog:
    """A task, and a line that must be in its log; empty where nobody knows what it printed."""

    step: str
    task: str
    line: str = ""


@dataclass(frozen=True)
class SampleArtifact:
    """An artifact to search for.

    Attributes:
        value: text that the search must find in it; empty where only the name is known.
        tasks: how many tasks have it, with just this value where that is known.
    """

    name: str
    value: str
    tasks: int


@dataclass(frozen=True)
class SampleRun:
    """One run, and what a UI must show of it.

    Attributes:
        run: as clients and the UI name it: the number, or an id of the client's own.
        client: the Metaflow release that wrote it.
        service: that it was written through, from the harness's own tag.
        probe: name of the project's probe it is a run of; empty for anybody else's flow.
        datastore: ``local``, ``s3``, …; empty when no row tells.
        status: ``completed``, ``failed`` or ``running``; empty when nobody knows.
        resumed: whether it goes on from another run.
        retried: whether a task was tried again.
        steps: those a person sees; in order of time.
        log: whose log to read; None when the run has no task, or none that can have printed.
        card: step and task with a card; None when no row or probe says that there is one.
        artifact: what to search for; None when there is nothing that has a name.
        unread: another artifact to search for, the flow's name, which every task has; None where
            the run has it not, or nothing else.
        tag: to filter by.
        has_graph: whether its client stored the graph (2.4.9 on).
        has_code: whether its code is in a code package, from which a UI can draw the graph.
    """

    flow: str
    run: str
    client: str
    service: str
    probe: str
    datastore: str
    status: str
    steps: tuple[SampleStep, ...]
    log: SampleLog | None
    card: tuple[str, str] | None
    artifact: SampleArtifact | None
    unread: SampleArtifact | None
    tag: str
    has_graph: bool
    has_code: bool
    resumed: bool = False
    retried: bool = False

    @property
    def state(self) -> str:
        """What it was and what happened on the way: ``completed``, ``completed-resumed``."""
        way = {"resumed": self.resumed, "retried": self.retried}
        return "-".join([self.status or "unknown", *(word for word, true in way.items() if true)])

    @property
    def pathspec(self) -> str:
        """``FLOW/RUN``."""
        return f"{self.flow}/{self.run}"
