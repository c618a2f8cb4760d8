"""What one run has on the engine: network, containers, volumes, built images, all labelled.

Names tell a person what a thing is; labels alone decide whose it is. Nothing without the run's
label is ever used, stopped or removed.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from socket import gethostname
from typing import TypedDict

from docker.errors import APIError, ImageNotFound, NotFound
from docker.models.containers import Container
from docker.models.images import Image as LocalImage
from docker.models.networks import Network
from docker.models.volumes import Volume
from docker.types import EndpointConfig, LogConfig, Mount

from harness.machine.errors import EndedError, Ending, InfraError, one_line
from harness.machine.locks import lock_path
from harness.machine.output import OF_PART, Output, note
from harness.machine.processes import HOST, tail_note
from harness.stack.containers.engine import CONFLICT, Engine
from harness.stack.containers.images import Image, ImageGoneError

LABEL = "metaflow-compat.run"
"""Label with the id of the run a thing belongs to."""
LOCK_LABEL = "metaflow-compat.lock"
"""Label with the path of the file that is locked as long as the run lives."""
HOST_LABEL = "metaflow-compat.host"
"""Label with the name of the machine the run, and the lock, are on."""
HOST_NETWORK = "host"
"""What the engine calls this machine's own network."""

KEEP_LABEL = "metaflow-compat.keep"
"""Label of a run that was asked to leave its last stack."""

# Published images ignore SIGTERM as process 1, and neither they nor a database that is thrown
# away lose anything by being killed: a grace would only be waited out, once per restart.
_GRACE_SECONDS = 0
_LOG_SECONDS = 5.0


@dataclass(frozen=True)
class Program:
    """What to run in a container.

    Attributes:
        name: what it is, unique in the run; other containers of the run reach it by this name.
        environment: its variables; may hold passwords, and is never logged.
        ports: its ports, each to the port on 127.0.0.1; None for one the engine chooses.
        memory: its limit, as Docker writes it: ``512m``.
        command: arguments instead of the image's own.
        shared_memory: size of /dev/shm.
        network: the network it joins; None for the run's own, ``host`` for the machine's, where
            ``ports`` mean nothing: the program listens on this machine.
        folders: of this machine, or files, at the very same paths in the container; each with
            whether it may only be read.
    """

    name: str
    image: Image
    environment: Mapping[str, str] = field(repr=False)
    ports: Mapping[int, int | None]
    memory: str
    command: Sequence[str] = ()
    shared_memory: str = "64m"
    network: str | None = None
    folders: Mapping[Path, bool] = field(default_factory=dict)


class Belongings:
    """The network, containers and volumes of one run.

    Args:
        engine: where they are.
        run_id: of the run.
        keep: whether the run was asked to leave its last stack.
    """

    def __init__(self, engine: Engine, run_id: str, *, keep: bool = False) -> None:
        self.engine = engine
        self.run_id = run_id
        self.labels = {
            LABEL: run_id,
            LOCK_LABEL: str(lock_path(run_id)),
            HOST_LABEL: gethostname(),
            KEEP_LABEL: "yes" if keep else "no",
        }
        self._network: str | None = None
        self._network_lock = threading.Lock()

    @property
    def network(self) -> str:
        """The name of the run's network, made now if it is not there yet."""
        # Cells start side by side, and an engine may well make two networks of one name.
        with self._network_lock:
            if self._network is None:
                name = self.name("network")
                with self.engine.doing(f"making the network {name}"):
                    self.engine.client.networks.create(name, labels=self.labels)
                self._network = name
            return self._network

    def name(self, part: str) -> str:
        """Return the name of a thing of this run."""
        return f"metaflow-compat-{self.run_id}-{part}"

    def run(self, program: Program, log: Path) -> RunningContainer:
        """Start a program in a container of its own and return at once.

        Args:
            program: what to run.
            log: appended to with what it prints.

        Raises:
            ImageGoneError: when the image is not on the engine any more.
            InfraError: when the engine refuses.
        """
        doing = f"starting the container {self.name(program.name)} from {program.image.reference}"
        with self.engine.doing(doing):
            try:
                return self._run(program, log)
            except ImageNotFound as error:
                raise ImageGoneError(f"{doing}: {self.engine.explain(error)}") from error

    def _run(self, program: Program, log: Path) -> RunningContainer:
        network = program.network or self.network
        client = self.engine.client
        volumes = self._volumes(program)
        # Made, then started: one that does not start, for a taken port, say, can be removed.
        container = client.containers.create(
            # By id: the tag may name another image by now.
            program.image.id,
            command=list(program.command) or None,
            name=self.name(program.name),
            labels=self.labels,
            environment=dict(program.environment),
            **self._networking(program, network),
            mounts=[
                *(Mount(folder, volume.name) for folder, volume in volumes.items()),
                *(
                    Mount(str(folder), str(folder), type="bind", read_only=read_only)
                    for folder, read_only in program.folders.items()
                ),
            ],
            mem_limit=program.memory,
            shm_size=program.shared_memory,
            # An engine may be set to a driver whose logs cannot be read back.
            log_config=LogConfig(type=LogConfig.types.JSON),
        )
        running = RunningContainer(self.engine, container, list(volumes.values()), log)
        try:
            running.start()
        except BaseException:
            running.remove()
            raise
        return running

    def _networking(self, program: Program, network: str) -> _Networking:
        """Return the engine's options for a program's network and ports."""
        if network == HOST_NETWORK:
            return {"network_mode": HOST_NETWORK}
        # The container's own name has the run's id in it, which no other program knows.
        aliases = self.engine.client.api.create_endpoint_config(aliases=[program.name])
        return {
            # Unasked the engine publishes on every address of the machine.
            "ports": {f"{inner}/tcp": (HOST, port or 0) for inner, port in program.ports.items()},
            "network": network,
            "networking_config": {network: aliases},
        }

    def _volumes(self, program: Program) -> dict[str, Volume]:
        """Make a labelled volume for each that the image declares; return them by folder.

        The engine would make them without a name or label, and nobody could tell whose they are.
        """
        client = self.engine.client
        declared = client.images.get(program.image.id).attrs["Config"].get("Volumes") or {}
        return {
            folder: client.volumes.create(self.name(f"{program.name}-{n}"), labels=self.labels)
            for n, folder in enumerate(sorted(declared))
        }

    def kill(self) -> None:
        """Kill every container of the run at once; whoever waits for one of them sees it end."""
        with self.engine.doing(f"killing the containers of {self.run_id}"):
            # Asked of the engine: other threads may have started more than is remembered here.
            for container in find(self.engine, self.run_id).containers:
                with contextlib.suppress(APIError):  # it has ended meanwhile, or never started
                    container.kill()

    def remove_all(self) -> None:
        """Remove everything that carries the run's label. Safe to call twice.

        Raises:
            InfraError: when the engine refuses or does not answer.
        """
        with self.engine.doing(f"removing what the run {self.run_id} has on the engine"):
            find(self.engine, self.run_id).remove()
        self._network = None


class _Networking(TypedDict, total=False):
    """The engine's options for a program's network and ports."""

    network_mode: str
    network: str
    networking_config: dict[str, EndpointConfig]
    ports: Mapping[str, int | list[int] | tuple[str, int] | None]


class _State(TypedDict):
    """Of what an engine tells about a container's state, what is read here."""

    Running: bool
    OOMKilled: bool
    ExitCode: int
    Error: str
    FinishedAt: str


class RunningContainer:
    """One container of the run and the thread that writes down what it prints."""

    def __init__(
        self, engine: Engine, container: Container, volumes: Sequence[Volume], log: Path
    ) -> None:
        self.name = str(container.name)
        self.log = log
        self._engine = engine
        self._container = container
        self._volumes = volumes
        self._follower: threading.Thread | None = None

    def start(self) -> None:
        """Start it, and a thread for its output."""
        # After a restart the engine tells its whole log again; only what is new is wanted.
        stopped_at = self._state()["FinishedAt"]
        self._container.start()
        # Engines say "0001-01-01…" before the first end: no filter then, everything is new.
        since = None if stopped_at.startswith("0001") else _seconds(stopped_at)
        self._follower = threading.Thread(target=self._follow, args=(since,), daemon=True)
        self._follower.start()

    def restart(self) -> None:
        """Stop and start it again; ports that the engine chose are other ones afterwards."""
        with self._engine.doing(f"restarting the container {self.name}"):
            self._container.stop(timeout=_GRACE_SECONDS)
            self._finish_log()
            self.start()

    def port(self, inner: int) -> int:
        """Return the port on 127.0.0.1 that leads to a port of the container.

        Returns:
            0, where nobody listens, when it has ended already: ``check_alive`` tells why.
        """
        with self._engine.doing(f"asking for the ports of {self.name}"):
            self._container.reload()
        bound = self._container.attrs["NetworkSettings"]["Ports"].get(f"{inner}/tcp")
        return int(bound[0]["HostPort"]) if bound else 0

    def wait(self) -> None:
        """Return when it has ended."""
        with self._engine.doing(f"waiting for the container {self.name}"):
            self._container.wait()

    def check_alive(self) -> None:
        """Raise EndedError, with the last log lines, when it does not run any more."""
        state = self._state_unless_removed()
        if state is None:
            ending = Ending(-signal.SIGKILL, removed=True)
            raise EndedError(f"the container {self.name}", ending)
        if not state["Running"]:
            self._finish_log()
            said = f" ({state['Error']})" if state.get("Error") else ""
            ending = Ending(state["ExitCode"], out_of_memory=bool(state.get("OOMKilled")))
            more = f"{said}{tail_note(self.log)}"
            raise EndedError(f"the container {self.name}", ending, more, self.log)

    def is_removed(self) -> bool:
        """Tell whether somebody has removed it."""
        return self._state_unless_removed() is None

    def _state_unless_removed(self) -> _State | None:
        with self._engine.doing(f"asking for the state of {self.name}"):
            try:
                return self._state()
            except NotFound:
                return None

    def write_output(self, command: tuple[list[str], dict[str, str]], file: Path) -> None:
        """Run a program in it, and write what that prints on its standard output to a file.

        Args:
            command: program and arguments, and its variables.
            file: what is written.

        Raises:
            InfraError: when it cannot be run, or ends with another exit code than 0, in its words.
        """
        words, variables = command
        api = self._engine.client.api
        with self._engine.doing(f"running {words[0]} in the container {self.name}"):
            made = api.exec_create(self._container.id, words, environment=variables)["Id"]
            # Whole, not as a stream: the SDK closes the connection of a stream in half only.
            stdout, stderr = api.exec_start(made, demux=True)
            file.write_bytes(stdout or b"")
            code = api.exec_inspect(made)["ExitCode"]
        if code:
            why = one_line((stderr or b"").decode("utf-8", "replace")) or f"exit code {code}"
            raise InfraError(f"{words[0]} in the container {self.name}: {why}")

    def remove(self) -> None:
        """Remove it with its volumes, running or not. Safe to call twice."""
        with self._engine.doing(f"removing the container {self.name}"):
            Found([self._container], [], list(self._volumes)).remove()
        self._finish_log()

    def _state(self) -> _State:
        self._container.reload()
        state: _State = self._container.attrs["State"]
        return state

    def _follow(self, since: float | None) -> None:
        with contextlib.closing(Output(self.log, OF_PART)) as output:
            try:
                for chunk in self._container.logs(stream=True, follow=True, since=since):
                    output.add(chunk)
            except Exception as error:  # noqa: BLE001 - said in the log, where its reader looks
                output.add(note(f"the log ends here: {self._engine.explain(error)}").encode())

    def _finish_log(self) -> None:
        """Let the last lines reach the file; a container that has ended ends its log."""
        if self._follower is not None:
            self._follower.join(_LOG_SECONDS)


def _seconds(moment: str) -> float:
    """Return an engine's time (``2026-11-22T17:14:55.683726278Z``) as seconds of the epoch."""
    whole, _, rest = moment.rstrip("Z").partition(".")
    # Python 3.10 reads no more than six digits of it, and engines write nine.
    fraction = float(f"0.{rest}") if rest.isdigit() else 0.0
    return datetime.fromisoformat(f"{whole}+00:00").timestamp() + fraction


Thing = Container | Network | Volume | LocalImage
"""What an engine can have of a run."""


@dataclass(frozen=True)
class Found:
    """Things on the engine that carry our label."""

    containers: list[Container]
    networks: list[Network]
    volumes: list[Volume]
    images: list[LocalImage] = field(default_factory=list)

    def remove(self) -> None:
        """Remove them: containers first, for they hold the others."""
        _remove_containers(self.containers)
        for image in self.images:
            with contextlib.suppress(NotFound):
                # An image with a second tag is refused otherwise.
                image.remove(force=True)
        rest: list[Network | Volume] = [*self.networks, *self.volumes]
        for thing in rest:
            with contextlib.suppress(NotFound):  # somebody was faster
                thing.remove()

    def __iter__(self) -> Iterator[Thing]:
        return iter((*self.containers, *self.networks, *self.volumes, *self.images))


def find(engine: Engine, run_id: str | None = None) -> Found:
    """Return what carries the label of a run, or of any run."""
    wanted: dict[str, str | list[str] | bool] = {
        "label": LABEL if run_id is None else f"{LABEL}={run_id}"
    }
    client = engine.client
    return Found(
        # The SDK inspects each one it lists, and one may be gone by then.
        client.containers.list(all=True, filters=wanted, ignore_removed=True),
        client.networks.list(filters=wanted),
        client.volumes.list(filters=wanted),
        client.images.list(filters=wanted),
    )


def _remove_containers(containers: Iterable[Container]) -> None:
    for container in containers:
        try:
            container.remove(v=True, force=True)
        except NotFound:
            continue
        except APIError as error:
            if error.status_code != CONFLICT:  # somebody else is removing it right now
                raise
