"""Images: pulled in parallel with progress, remembered by digest, removed when that is wanted."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from docker.errors import APIError, ImageNotFound
from docker.utils import parse_repository_tag

from harness.machine.errors import InfraError
from harness.stack.containers.engine import CONFLICT, Engine, next_step

_AT_A_TIME = 4
"""Images pulled together: registries and disks are not served better by more."""
_PROGRESS_SECONDS = 5.0

Made = TypeVar("Made")


class ImageGoneError(InfraError):
    """An image that was on the engine a moment ago is there no longer."""


@dataclass(frozen=True)
class Image:
    """An image that is on the engine.

    Attributes:
        reference: what was asked for, with the registry's prefix: ``postgres:16``.
        id: the engine's own id of it: ``sha256:…``; containers are made from this.
        digest: what the registry calls it: ``sha256:…``; empty for one built here.
        pulled: whether this run brought it.
    """

    reference: str
    id: str
    digest: str
    pulled: bool

    @property
    def code(self) -> str:
        """What tells its content from any other: the digest, or the engine's id without one."""
        return self.digest or self.id


class Images:
    """The images of one run.

    Args:
        engine: where they are wanted.
        policy: pull ``always``, when ``missing``, or ``never``.
        registry: prefix that stands for Docker Hub: ``mirror.example.com/hub``; empty for the Hub.
        say: prints a line.
    """

    def __init__(
        self, engine: Engine, policy: str, registry: str, say: Callable[[str], None]
    ) -> None:
        self._engine = engine
        self._policy = policy
        self._registry = registry.rstrip("/")
        self._say = say
        self._known: dict[str, Image | InfraError] = {}
        self._lock = threading.Lock()
        self._cancelled = threading.Event()

    def reference(self, name: str) -> str:
        """Return the name of a Docker Hub image at the registry of this run.

        Docker Hub itself files its official images, ``postgres``, under ``library/``.
        """
        if not self._registry:
            return name
        path = name if "/" in name else f"library/{name}"
        return f"{self._registry}/{path}"

    def bring(self, names: Iterable[str]) -> dict[str, Image | InfraError]:
        """Bring images to the engine, several at a time; return each, or why it is not there.

        What was brought, or failed, before is not tried again.
        """
        names = list(dict.fromkeys(names))
        # One at a time: two that want an image would both pull it, and both call it theirs.
        with self._lock:
            missing = [name for name in names if name not in self._known]
            with ThreadPoolExecutor(_AT_A_TIME) as pool:
                try:
                    for name, image in zip(missing, pool.map(self._bring, missing), strict=True):
                        self._known[name] = image
                except BaseException:  # Ctrl-C: the pulls end at their next sign of progress
                    self._cancelled.set()
                    raise
            return {name: self._known[name] for name in names}

    def get(self, name: str) -> Image:
        """Return one image, brought now if it was not before.

        Raises:
            InfraError: when it cannot be had: which image, why, what to do.
        """
        image = self.bring([name])[name]
        if isinstance(image, InfraError):
            raise image
        return image

    def check(self, name: str) -> None:
        """Ask whether an image can be had, and pull nothing.

        Raises:
            InfraError: when it cannot: why, what to do. An answer that says nothing of the image
                is left to the pull.
        """
        reference = self.reference(name)
        with self._engine.doing(f"image {reference}"):
            there = self._inspect(reference, pulled=False) is not None
            if self._policy == "never" and not there:
                raise InfraError(_not_here(reference))
            if self._policy == "never" or (there and self._policy == "missing"):
                return
            try:
                self._engine.client.images.get_registry_data(reference)
            except APIError as error:
                text = str(error.explanation)
                # Engines that know no such question answer 404, too, and may pull it well.
                if next_step(text) or f"{reference}: not found" in text:
                    raise InfraError(_refused("asking for", reference, text)) from error

    def tags_here(self, name: str) -> list[str]:
        """Return the tags of an image's repository that are on the engine, in order.

        Raises:
            InfraError: when the engine does not tell.
        """
        repository, _ = parse_repository_tag(self.reference(name))
        with self._engine.doing(f"asking for the images {repository}"):
            found = self._engine.client.images.list(name=repository)
        tags = [parse_repository_tag(tag) for image in found for tag in image.tags]
        return sorted(tag for where, tag in tags if where == repository and tag)

    def use(self, name: str, start: Callable[[Image], Made]) -> Made:
        """Return what ``start`` makes from an image, which is brought now if it was not before.

        Another run that pulled it may remove it after it was found here and before a container
        holds it; it is brought once more then.

        Args:
            name: of the image.
            start: makes a container from it.

        Raises:
            InfraError: when the image cannot be had, and whatever else ``start`` raises.
        """
        try:
            return start(self.get(name))
        except ImageGoneError:
            with self._lock:
                # Forgotten, or it would be found again, where it no longer is.
                self._known.pop(name, None)
            return start(self.get(name))

    def remove_all(self, but: Iterable[str] = ()) -> None:
        """Remove the images that this run pulled; those that were there before stay.

        Args:
            but: names of images that stay. One that a container uses stays as well, and is tried
                again the next time.
        """
        with self._lock:
            for name in set(self._known) - set(but):
                image = self._known[name]
                if isinstance(image, Image) and image.pulled and self._remove(image.reference):
                    del self._known[name]

    def _remove(self, reference: str) -> bool:
        with self._engine.doing(f"removing the image {reference}"):
            try:
                self._engine.client.images.remove(reference)
            except ImageNotFound:
                return True
            except APIError as error:
                # A container holds it: another run's, perhaps.
                if error.status_code != CONFLICT:
                    raise
                return False
        self._say(f"removed the image {reference}")
        return True

    def _bring(self, name: str) -> Image | InfraError:
        reference = self.reference(name)
        try:
            with self._engine.doing(f"image {reference}"):
                return self._present(reference)
        except InfraError as error:
            return error

    def _present(self, reference: str) -> Image:
        found = self._inspect(reference, pulled=False)
        if found and self._policy != "always":
            return found
        if self._policy == "never":
            raise InfraError(_not_here(reference))
        self._pull(reference)
        # What was there before, if older, stays the user's: --pull always must not remove it.
        pulled = self._inspect(reference, pulled=found is None)
        if pulled is None:
            raise InfraError(f"the image {reference} was pulled and is not there")
        return pulled

    def _inspect(self, reference: str, *, pulled: bool) -> Image | None:
        try:
            image = self._engine.client.images.get(reference)
        except ImageNotFound:
            return None
        repository = reference.rpartition(":")[0]
        # None of an image that never was in a registry.
        digests = [name for name in image.attrs["RepoDigests"] or () if "@" in name]
        # An image that was pulled from a mirror, too, has a digest for each registry.
        own = [name for name in digests if name.startswith(f"{repository}@")] or digests
        return Image(reference, str(image.id), own[0].partition("@")[2] if own else "", pulled)

    def _pull(self, reference: str) -> None:
        started = time.monotonic()
        self._say(f"pulling {reference}")
        progress = _Progress(reference, self._say)
        refusal = ""
        try:
            # Not images.pull() of the SDK, which reads the progress to its end and throws it away.
            events = self._engine.client.api.pull(
                reference,
                stream=True,
                decode=True,
                # The command line reads this variable, the SDK does not.
                platform=os.environ.get("DOCKER_DEFAULT_PLATFORM"),
            )
            for event in events:
                if self._cancelled.is_set():
                    raise InfraError(f"pulling {reference} was cancelled")
                # It is the last one; read to its end the answer gives its connection back.
                refusal = str(event.get("error", refusal))
                progress.event(event)
        except APIError as error:
            raise InfraError(_refused("pulling", reference, str(error.explanation))) from error
        if refusal:
            raise InfraError(_refused("pulling", reference, refusal))
        self._say(f"pulled {reference} in {time.monotonic() - started:.0f} s")


def _not_here(reference: str) -> str:
    return f"the image {reference} is not on the engine, and --pull is 'never'"


def _refused(doing: str, reference: str, said: str) -> str:
    text = " ".join(said.split())
    return f"{doing} {reference}: {text}{next_step(text)}"


class _Progress:
    """Says every few seconds how much of an image has come."""

    def __init__(self, reference: str, say: Callable[[str], None]) -> None:
        self._reference = reference
        self._say = say
        self._said = time.monotonic()
        self._layers: dict[str, tuple[int, int]] = {}

    def event(self, event: dict[str, object]) -> None:
        detail = event.get("progressDetail")
        if event.get("status") == "Downloading" and isinstance(detail, dict) and detail:
            self._layers[str(event["id"])] = (detail["current"], detail.get("total", 0))
        if self._layers and time.monotonic() - self._said > _PROGRESS_SECONDS:
            self._said = time.monotonic()
            here = sum(current for current, _ in self._layers.values()) / 1e6
            total = sum(total for _, total in self._layers.values()) / 1e6
            self._say(f"pulling {self._reference}: {here:.0f} of at least {total:.0f} MB")
