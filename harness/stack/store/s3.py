"""S3 as a datastore: a server of the run's own, or a bucket the user names."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from packaging.specifiers import SpecifierSet

from harness.catalog.releases import Client, S3Needs
from harness.core.provenance import digest
from harness.machine.errors import InfraError, UsageError
from harness.machine.plain import plain
from harness.machine.secrets import KNOWN
from harness.stack.store import noted, saved
from harness.stack.store.objects import ObjectStore, ObjectStoreError, S3Root, Stored
from harness.stack.store.server import CREDENTIALS, OwnServer

# S3's own rule for the names of buckets.
_LONGEST_BUCKET = 63

_OWN_FILES = {"AWS_CONFIG_FILE": "config", "AWS_SHARED_CREDENTIALS_FILE": "credentials"}
"""Variables that name the user's configuration, each with the file in ~/.aws that it stands for."""

_COPY = ".objects"
"""The folder in a walk's own that has a copy of its objects: no flow has such a name."""

_FILES = (*_OWN_FILES, "AWS_CA_BUNDLE", "AWS_WEB_IDENTITY_TOKEN_FILE")


def aws_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the AWS variables of an environment, for a process elsewhere, whose HOME is another.

    Files are named by their full path, also the user's configuration when it is there, because
    boto3 looks for it under HOME. What names an endpoint is left out: --s3-endpoint does.
    """
    found = {
        name: value
        for name, value in environ.items()
        if name.startswith("AWS_") and not name.startswith("AWS_ENDPOINT_URL")
    }
    home = Path(environ.get("HOME") or Path.home())
    for variable, name in _OWN_FILES.items():
        if variable not in found and (home / ".aws" / name).is_file():
            found[variable] = str(home / ".aws" / name)
    for variable in _FILES:
        if path := found.get(variable):
            path = f"{home}{path[1:]}" if path.startswith("~/") else path
            found[variable] = str(Path(path).absolute())
    return found


def aws_files(variables: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the files that AWS variables name, as far as they are there.

    Args:
        variables: as ``aws_variables`` returned them.
    """
    paths = (Path(variables[name]) for name in _FILES if variables.get(name))
    return tuple(path for path in paths if path.is_file())


@contextmanager
def _as_infra(what: str) -> Iterator[None]:
    """Raise what a store answers in the block as an InfraError that says what could not be done."""
    try:
        yield
    except ObjectStoreError as error:
        raise InfraError(f"{what}: {error}") from error


class S3Datastore:
    """What the two kinds have in common: each stack has a root, each cell or walk a place in it.

    Args:
        needs: tells what a client needs to use a server that is not Amazon's.
        work: the folder all folders of cells and walks lie in.
        listing: file the objects are listed in when the run ends.
        keep: whether what the run stored stays.
    """

    name = "s3"
    description: str
    store: ObjectStore

    def __init__(
        self, *, needs: Callable[[Client], S3Needs], work: Path, listing: Path, keep: bool
    ) -> None:
        self._needs = needs
        self._work = work
        self._listing = listing
        self._keep = keep
        self._lock = threading.Lock()
        self._roots: dict[str, S3Root] = {}
        self._broken: InfraError | None = None

    def pins(self, client: Client, python: str) -> tuple[str, ...]:
        """Return what versions.json names; nothing where it cannot be installed."""
        if self.store.endpoint is None or self.unsupported(client, python):
            return ()
        return self._needs(client).pins

    def unsupported(self, client: Client, python: str) -> str:
        """Return why no S3 server but Amazon's can be used; empty when it can."""
        needs = self._needs(client)
        if self.store.endpoint is None or SpecifierSet(needs.python).contains(python):
            return ""
        return (
            f"Metaflow {client.name} with an S3 server that is not Amazon's needs"
            f" {', '.join(needs.pins)}, so Python {needs.python}; this is {python}"
        )

    def environment(self, client: Client, stack: str, folder: Path) -> Mapping[str, str]:
        """Return the variables; those that name the endpoint differ between releases."""
        folder.mkdir(parents=True, exist_ok=True)
        root = self._place(stack, folder)
        variables = {
            **self.store.credentials,
            "METAFLOW_DEFAULT_DATASTORE": "s3",
            "METAFLOW_DATASTORE_SYSROOT_S3": root.url,
            # Local metadata, and what a client puts aside before it is sent, stay in the folder.
            "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(folder),
        }
        if self.store.endpoint is not None:
            for name, value in self._needs(client).env.items():
                variables[name] = value.format(endpoint=self.store.endpoint)
        return variables

    def objects(self, stack: str, folder: Path) -> list[Stored]:
        """Return every object in the place of the cell or walk that ``folder`` belongs to."""
        with _as_infra("the object store cannot be listed"):
            return self.store.list(self._place(stack, folder))

    def texts(self, stack: str, folder: Path, pattern: str) -> list[str]:
        """Return the texts of objects in the place of the cell or walk."""
        with _as_infra("the object store cannot be read"):
            return [*self.store.texts(self._place(stack, folder), pattern)]

    def _place(self, stack: str, folder: Path) -> S3Root:
        with self._lock:
            if self._broken is not None:
                raise self._broken
            try:
                if stack not in self._roots:
                    self._roots[stack] = self._new_root(stack)
            except (InfraError, ObjectStoreError) as error:
                # The same again for who asks later: another try would only take as long.
                self._broken = InfraError(f"no object store: {error}")
                raise self._broken from error
            root = self._roots[stack]
        return root.under(*folder.relative_to(self._work).parts)

    def _new_root(self, stack: str) -> S3Root:
        """Return the root of a stack that has none yet; called by one thread at a time."""
        raise NotImplementedError

    def _list_all(self) -> tuple[int, int]:
        """Write the list of all objects; return how many they are and their bytes."""
        with self._lock:
            roots = list(self._roots.values())
        found = [entry for root in roots for entry in self.store.list(root)]
        lines = [f"{entry['size']}\t{entry['url']}\n" for entry in found]
        self._listing.parent.mkdir(parents=True, exist_ok=True)
        self._listing.write_text(KNOWN.text(plain("".join(lines))), encoding="utf-8")
        return len(found), sum(entry["size"] for entry in found)


class OwnS3(S3Datastore):
    """A server of the run's own, with a bucket for each stack.

    Args:
        server: not started yet.
        needs, work, listing, keep: see S3Datastore.
    """

    def __init__(
        self,
        server: OwnServer,
        *,
        needs: Callable[[Client], S3Needs],
        work: Path,
        listing: Path,
        keep: bool,
    ) -> None:
        super().__init__(needs=needs, work=work, listing=listing, keep=keep)
        self._server = server
        self._started = False
        self._ends: list[str] = []
        self._places: dict[Path, int] = {}
        self._copying = threading.Lock()
        self.store = ObjectStore(server.endpoint, CREDENTIALS)
        self.description = f"s3: {server.description}"

    def check(self) -> None:
        """Do nothing: the user named nothing."""

    @property
    def number(self) -> int:
        """How many servers have died before the one in use."""
        return len(self._ends)

    def code(self, client: Client) -> str:
        """Return what the server is, and a digest of the variables that name it to a client."""
        return f"{self._server.code()}, {digest(self._needs(client).env)}"

    def environment(self, client: Client, stack: str, folder: Path) -> Mapping[str, str]:
        """Return the variables, of a server that lives: for a dead one a client waits minutes."""
        self._forget_dead()
        variables = super().environment(client, stack, folder)
        self._fill(folder)
        return variables

    def _forget_dead(self) -> None:
        """Forget a server that is dead, with all it held: who asks now starts another."""
        with self._lock:
            if not self._started or self._broken is not None:
                return
            try:
                self._server.check_alive()
            except InfraError as error:
                self._server.stop()
                self._ends.append(str(error))
                self._started = False
                self._roots.clear()

    def _fill(self, folder: Path) -> None:
        """Put into the server what was copied of each place that it does not have yet."""
        with self._lock:
            self._places.setdefault(folder, -1)
            for place in [one for one, server in self._places.items() if server != self.number]:
                if saved.is_copied(place / _COPY):
                    with _as_infra("the objects cannot be put into another object store"):
                        saved.load(self.store, place / _COPY)
                self._places[place] = self.number

    def copy(self, stack: str, folder: Path) -> None:
        """Write down what lies in a place: moto has it in memory, a container may be removed."""
        # Cells that end at once would write the same files.
        with self._copying, _as_infra("the objects cannot be copied"):
            saved.copy(self.store, self._place(stack, folder), folder / _COPY)

    def empty(self, stack: str, folder: Path) -> None:
        """Remove what lies in a place; what was copied of it is put there with its next use."""
        if folder not in self._places:
            return
        self._forget_dead()
        with _as_infra("the objects cannot be removed"):
            self.store.remove(self._place(stack, folder))
        self._places[folder] = -1

    def _new_root(self, stack: str) -> S3Root:
        if not self._started:
            # Also when it fails to start: stop() is to look after what there is of it.
            self._started = True
            self._server.start()
            # Its port is known only now.
            self.store = ObjectStore(self._server.endpoint, CREDENTIALS)
        bucket = bucket_name(stack)
        self.store.make_bucket(bucket)
        return S3Root(bucket, "metaflow")

    def check_alive(self, number: int) -> None:
        """Raise InfraError when the server ended or does not answer."""
        self._check_number(number)
        self._server.check_alive()

    def watch(self, number: int) -> None:
        """Raise InfraError when the server has ended."""
        self._check_number(number)
        self._server.watch()

    def _check_number(self, number: int) -> None:
        """Raise InfraError when a server died, though another that lives is in its place."""
        if number < self.number:
            raise InfraError(self._ends[number])

    def stop(self) -> str:
        """List what it holds, save it when it is kept, and stop the server."""
        if not self._started:
            return ""
        self._started = False
        try:
            said = self._list_and_save()
        finally:
            # Also when listing broke: a server that is left would hold its port and its memory.
            left = self._stop_server()
        return "\n".join(filter(None, (said, left)))

    def _stop_server(self) -> str:
        try:
            self._server.stop()
        except InfraError as error:
            return f"s3: the server could not be removed: {error}"
        return ""

    def _list_and_save(self) -> str:
        if not self._roots:
            return ""
        doing = "listed, and are not saved" if self._keep else "listed"
        try:
            count, size = self._list_all()
            said = f"s3: {count} objects, {size} bytes, listed in {self._listing}"
            if self._keep:
                doing = "saved"
                folder = self._work / "s3"
                saved.save(self.store, {root.bucket for root in self._roots.values()}, folder)
                said += f"; saved in {folder}"
        except (ObjectStoreError, InfraError) as error:
            return f"s3: the objects could not be {doing}: {error}"
        return said


class GivenS3(S3Datastore):
    """A bucket the user names; the run has a prefix of its own in it.

    Args:
        root: what the user named.
        run: the run's id, and its own place below.
        endpoint: address of an S3-compatible server; None for Amazon's.
        environ: the user's environment: the AWS variables are taken from it.
        needs, work, listing, keep: see S3Datastore.
    """

    def __init__(
        self,
        root: S3Root,
        run: str,
        endpoint: str | None,
        environ: Mapping[str, str],
        *,
        needs: Callable[[Client], S3Needs],
        work: Path,
        listing: Path,
        keep: bool,
    ) -> None:
        super().__init__(needs=needs, work=work, listing=listing, keep=keep)
        self.number = 0
        self._given = root
        self._run = run
        self._root = root.under(run)
        self.store = ObjectStore(endpoint, aws_variables(environ))
        self.description = f"s3: {self._root.url} at {endpoint or 'Amazon S3'}"
        if used := sorted(self.store.credentials):
            self.description += f"; of the environment the harness uses {', '.join(used)}"

    def code(self, client: Client) -> str:  # noqa: ARG002 - it is somebody else's
        """Return nothing."""
        return ""

    def check(self) -> None:
        """List, write and remove where the user said.

        Raises:
            UsageError: when one of these cannot be done, with the next step.
        """
        try:
            self.store.check_access(self._given)
        except ObjectStoreError as error:
            raise UsageError(f"--s3-root {self._given.url}: {self._in_words(error)}") from error

    def _in_words(self, error: ObjectStoreError) -> str:
        where = self.store.endpoint or "Amazon S3"
        words = {
            "credentials": "no AWS credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY,"
            " or AWS_PROFILE",
            "unreachable": f"{where} cannot be reached; check --s3-endpoint and the network",
            "missing": f"there is no bucket {self._root.bucket} at {where}; make it first",
            "forbidden": "these credentials may not list, write and remove there; ask for"
            " s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject",
            "other": f"{where} cannot be used",
        }
        return f"{words[error.kind]} ({error.detail})"

    def _new_root(self, stack: str) -> S3Root:
        # Before anything is stored: a run that is killed removes nothing.
        noted.note(self._run, self._root, self.store.endpoint)
        return self._root.under(bucket_name(stack))

    def copy(self, stack: str, folder: Path) -> None:
        """Do nothing: it outlives the run."""

    def empty(self, stack: str, folder: Path) -> None:
        """Do nothing: the walk that asks for it is none over somebody else's."""

    def check_alive(self, number: int) -> None:  # noqa: ARG002 - there is one
        """Raise InfraError when the store does not answer as it did before the run."""
        try:
            self.store.check_access(self._root)
        except ObjectStoreError as error:
            raise InfraError(f"the object store broke: {self._in_words(error)}") from error

    def watch(self, number: int) -> None:
        """Do nothing: it is somebody else's, and each question would be one more request."""

    def stop(self) -> str:
        """List what the run stored, and remove it unless it is kept."""
        if not self._roots:
            return ""
        try:
            count, size = self._list_all()
            found = f"s3: {count} objects, {size} bytes, listed in {self._listing}"
            if not self._keep:
                self.store.remove(self._root)
        except (ObjectStoreError, InfraError) as error:
            return f"s3: {self._root.url} could not be removed, nox -s clean tries again: {error}"
        self._roots.clear()
        if self._keep:
            noted.note(self._run, self._root, self.store.endpoint, kept=True)
        else:
            noted.forget(self._run)
        return f"{found}; {'kept' if self._keep else 'removed'}: {self._root.url}"


def bucket_name(stack: str) -> str:
    """Return the name of a stack as a bucket's: lower case, digits and dashes, 3 to 63 of them."""
    name = "compat-" + re.sub("[^a-z0-9]+", "-", stack.lower()).strip("-")
    return name[:_LONGEST_BUCKET].rstrip("-")
