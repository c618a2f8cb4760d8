"""What a user asks for (``minors``, ``2.2.1,>=2.19``) turned into releases of the catalog."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from harness.catalog.releases import Catalog, Client, Service
from harness.machine.errors import UsageError, nearest

CLIENT_WORDS = ("all", "minors", "latest")
SERVICE_WORDS = (*CLIENT_WORDS, "groups")

_OPERATORS = ("<", ">", "=", "!", "~")
_REFERENCE = "reference-"

Release = TypeVar("Release", Client, Service)


def select_clients(catalog: Catalog, text: str, *, refs: bool = False) -> tuple[Client, ...]:
    """Return the clients that ``text`` asks for, in release order, each once.

    ``text`` is a list of names (``2.13`` or ``2.13.0``), PEP 440 ranges and the words ``all``,
    ``minors`` (the last patch of each minor) and ``latest``. A comma between two conditions joins
    them to one range: ``>=2.0,<2.2,2.13`` is a range and 2.13.

    Args:
        catalog: what versions.json holds.
        text: what is asked for.
        refs: a name that is no release is a ref of a checkout, which nobody has looked for yet.

    Raises:
        UsageError: nothing asked for; a name that does not exist; a range that matches nothing.
    """

    def find(name: str) -> Client:
        wanted = _version(name)
        for client in catalog.clients:
            if client.version == wanted:
                return client
        newest = catalog.clients[-1]
        if refs:
            return replace(newest, name=name, says=newest.name)
        close = near(name, catalog.clients, CLIENT_WORDS)
        needs = "" if wanted or close else "; git refs, such as HEAD, need --metaflow-checkout"
        raise UsageError(f"unknown client {name!r}{close}{needs}")

    return select(catalog.clients, text, "client", CLIENT_WORDS, find)


def select_services(catalog: Catalog, text: str, kind: str) -> tuple[Service, ...]:
    """Return the services of one kind that ``text`` asks for, in version order, each once.

    As ``select_clients``, with one more word: ``groups``, the newest service of each code group.
    ``v2.4.3`` may be written ``2.4.3``, and ``reference-2.3`` may be written ``2.3``. Ranges are
    about the version of the release itself, also where it reports another one.

    Args:
        catalog: what versions.json holds.
        text: what is asked for.
        kind: ``released`` or ``reference``.

    Raises:
        UsageError: as ``select_clients`` does; and for a service of the other kind.
    """
    find = {"released": _find_released, "reference": _find_reference}[kind]
    what = {"released": "released service", "reference": "reference level"}[kind]
    return select(
        catalog.of_kind(kind), text, what, SERVICE_WORDS, lambda name: find(catalog, name)
    )


def _find_released(catalog: Catalog, name: str) -> Service:
    wanted = _version(name)
    for service in catalog.released:
        if service.version == wanted:
            return service
    if name.startswith(_REFERENCE):
        raise UsageError(
            f"{name!r} is a level of the reference service, which takes --backend embedded "
            "and no --checkout; here released services are selected: "
            f"{catalog.released[0].name} to {catalog.released[-1].name}"
        )
    close = near(name, catalog.released, SERVICE_WORDS)
    raise UsageError(f"unknown released service {name!r}{close}{_if_ref(name)}")


def _find_reference(catalog: Catalog, name: str) -> Service:
    wanted = _version(name.removeprefix(_REFERENCE))
    # A leading v is the mark of a released service's tag: v2.0.4 is never the level 2.0.4.
    if not name.startswith("v"):
        for level in catalog.reference:
            if level.version == wanted:
                return level
    levels = ", ".join(level.name for level in catalog.reference)
    if not name.startswith(_REFERENCE):
        for service in catalog.released:
            if service.version == wanted:
                raise UsageError(
                    f"{name!r} is a released service, which needs --checkout or "
                    f"--backend docker; without them there are: {levels}"
                )
    close = nearest(name, SERVICE_WORDS)
    raise UsageError(f"unknown reference level {name!r}{close}; there are: {levels}{_if_ref(name)}")


def _if_ref(name: str) -> str:
    """Return what to add to an error about a name that is no version: it may be a git ref."""
    if _version(name.removeprefix(_REFERENCE)) is not None:
        return ""
    return "; git refs, such as HEAD, need --checkout"


def near(name: str, releases: Sequence[Release], others: Iterable[str]) -> str:
    """Return what is nearest to a name that is none, as the end of an error message.

    Args:
        name: what was asked for.
        releases: of a version it is the newest one below and the oldest one above.
        others: what else may have been meant by a name that is no version.
    """
    wanted = _version(name)
    if wanted is None or not releases:
        return nearest(name, (*others, *(release.name for release in reversed(releases))))
    in_order = sorted(releases, key=lambda release: release.version)
    below = [release.name for release in in_order if release.version < wanted]
    above = [release.name for release in in_order if release.version > wanted]
    return f" (nearest: {', '.join(below[-1:] + above[:1])})"


def _version(name: str) -> Version | None:
    try:
        return Version(name)
    except InvalidVersion:
        return None


def select(
    releases: Sequence[Release],
    text: str,
    what: str,
    words: Sequence[str],
    find: Callable[[str], Release],
) -> tuple[Release, ...]:
    """Return what ``text`` asks for: some of ``releases``, then what only ``find`` knows.

    Args:
        releases: what words and ranges are about, in the order of the result.
        text: what is asked for.
        what: what one of them is called in an error.
        words: the words that may be used.
        find: returns what a name stands for, or raises UsageError.

    Raises:
        UsageError: nothing asked for; a range that matches nothing; whatever ``find`` raises.
    """
    chosen: dict[str, Release] = {}
    for part in _parts(text, what):
        if part in words:
            some = _by_word(releases, part)
        elif part.startswith(_OPERATORS):
            some = _by_range(releases, part, what)
        else:
            some = [find(part)]
        chosen.update((release.name, release) for release in some)
    known = tuple(release for release in releases if release.name in chosen)
    return known + tuple(release for release in chosen.values() if release not in known)


def is_name(part: str) -> bool:
    """Tell whether one entry of a list of services names a single one: no word, no range."""
    return part not in SERVICE_WORDS and not part.startswith(_OPERATORS)


def _parts(text: str, what: str) -> list[str]:
    """Split at commas; conditions that follow each other stay one range."""
    parts: list[str] = []
    for part in (raw.strip() for raw in text.split(",")):
        if not part:
            raise UsageError(f"no {what} is named in {text!r}: an entry of the list is empty")
        if parts and part.startswith(_OPERATORS) and parts[-1].startswith(_OPERATORS):
            parts[-1] += f",{part}"
        else:
            parts.append(part)
    return parts


def _by_word(releases: Sequence[Release], word: str) -> list[Release]:
    """Return the releases a word stands for, which are the newest of each of some sets."""
    if word == "latest":
        return [max(releases, key=lambda release: release.version)]
    newest: dict[object, Release] = {}
    for release in sorted(releases, key=lambda release: release.version):
        if word == "minors":
            newest[release.version.release[:2]] = release
        elif word == "groups" and isinstance(release, Service):
            newest[release.group] = release
        else:
            newest[release.name] = release
    return list(newest.values())


def _by_range(releases: Sequence[Release], text: str, what: str) -> list[Release]:
    try:
        wanted = SpecifierSet(text)
    except InvalidSpecifier:
        raise UsageError(f"{text!r} is no range of versions, such as '>=2.3,<2.5'") from None
    # packaging leaves pre-releases out of a range unless it is asked for them.
    found = [release for release in releases if wanted.contains(release.version, prereleases=True)]
    if not found:
        raise UsageError(
            f"{text!r} matches no {what}: they go from {releases[0].name} to {releases[-1].name}"
        )
    return found
