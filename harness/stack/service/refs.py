"""What ``--service`` selects from a clone: tags of releases, any git ref, and HEAD."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import PurePosixPath

from packaging.version import InvalidVersion, Version

from harness.catalog.releases import Catalog, Layout, Program, Service
from harness.catalog.selectors import SERVICE_WORDS, is_name, near, select
from harness.core.provenance import digest
from harness.machine.errors import UsageError
from harness.stack.service.git import HEAD, Clone, Source, WorkTree, short

DEFAULT = f"groups,{HEAD}"
"""Every code that was ever released, once, and what is under development."""

_MIGRATION_FOLDER = "migration_files"
_SETUP = "setup.py"


def select_from_clone(
    clone: Clone, catalog: Catalog, text: str, *, images: bool = False
) -> tuple[Service, ...]:
    """Return the services of a clone that ``text`` asks for, in version order, each once.

    Words and ranges are about the releases of versions.json whose tag is in the clone; ``all``
    stands for HEAD, too. A name is a release, or else any git ref.

    Args:
        clone: where refs come from.
        catalog: what versions.json holds.
        text: what is asked for.
        images: releases are taken as published images, and need no tag in the clone.

    Raises:
        UsageError: as ``select_services`` does; a release whose tag is not there; an unknown ref;
            a ref that holds no service in a layout that is known.
    """
    present = tuple(release for release in catalog.released if images or release.ref in clone.tags)
    parts = [part.strip() for part in text.split(",")]
    names = [part for part in parts if is_name(part)]
    if not present and len(names) < len(parts):
        raise UsageError(
            f"--checkout {clone.given}: no tag of a release is in this clone, so {text!r} selects "
            f"nothing; git fetch --tags brings them (actions/checkout: fetch-depth: 0), or name a "
            f"ref: --service {HEAD}"
        )
    if "all" in parts:
        parts.append(HEAD)

    def find(name: str) -> Service:
        return _find(clone, catalog, present, name)

    chosen = select(present, ",".join(parts), "release in this clone", SERVICE_WORDS, find)
    for service in chosen:
        if service.kind == "released" and not images:
            _check_tag(clone, service)
    return tuple(sorted(chosen, key=lambda service: service.version))


def source_of(clone: Clone, service: Service) -> Source:
    """Return the files of a service that was selected from the clone.

    Raises:
        UsageError: when its ref is not there (any more).
    """
    ref = str(service.ref)
    # In full, because a branch may be named like a release.
    source = clone.at(f"refs/tags/{ref}" if service.kind == "released" else ref)
    if source is None:
        raise UsageError(f"--checkout {clone.given}: there is no {service.ref}")
    return source


def reported_by(source: Source) -> str | None:
    """Return the version the service takes itself for: the one written in its setup.py.

    Returns:
        None where there is no setup.py (1.0.x) or no version is written out in it.
    """
    text = source.read(_SETUP)
    try:
        # Read, not run: a ref may hold anybody's setup.py.
        tree = ast.parse(text or "")
    except SyntaxError:
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "version":
            value = node.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                return value.value if _version(value.value) else None
    return None


def code_of(source: Source, layout: Layout) -> str:
    """Return a digest of the files that serve and migrate: equal where the code is the same.

    Without the UI backend, tests, and what tells the version (``reported_by`` does).
    """
    programs = [file_of(one) for one in (layout.metadata, layout.migration) if one]
    tops = {path.parts[0] for path in programs}
    of_ui = file_of(layout.ui).parent if layout.ui else None
    blobs = {
        name: blob
        for name, blob in source.blobs().items()
        for path in [PurePosixPath(name)]
        if path.parts[0] in tops and "tests" not in path.parts and of_ui not in path.parents
    }
    return digest([[str(path) for path in programs], blobs])


def requirements_of(source: Source, programs: Iterable[Program | None]) -> tuple[str, ...]:
    """Return the lines of the requirements.txt beside each program."""
    lines: dict[str, None] = {}
    for program in programs:
        if program is not None:
            path = str(file_of(program).parent / "requirements.txt")
            lines |= dict.fromkeys(line.strip() for line in (source.read(path) or "").splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))


def _find(clone: Clone, catalog: Catalog, present: tuple[Service, ...], name: str) -> Service:
    wanted = _version(name)
    release = next((one for one in catalog.released if one.version == wanted), None)
    if release in present:
        assert release is not None
        return release
    source = clone.at(name)
    if source is not None:
        return _from_source(clone, catalog, name, source)
    where = f"--checkout {clone.given}"
    if release is not None:
        raise UsageError(
            f"{where}: the release {release.name} is not in this clone: it has no tag "
            f"{release.ref}; git fetch --tags brings what upstream has"
        )
    if name == HEAD:
        raise UsageError(f"{where}: HEAD is no commit yet: the repository is empty")
    close = near(name, present, (*SERVICE_WORDS, HEAD, *clone.branches, *clone.tags))
    raise UsageError(f"{where}: unknown release or git ref {name!r}{close}")


def _from_source(clone: Clone, catalog: Catalog, name: str, source: Source) -> Service:
    layout = _detect(clone, catalog, source)
    if layout is None:
        files = dict.fromkeys(str(file_of(one.metadata)) for one in catalog.layouts.values())
        raise UsageError(
            f"--checkout {clone.given}: {name} ({short(source.commit)}) holds no metadata service "
            f"in a layout that is known: there is no {' and no '.join(reversed(list(files)))}"
        )
    reported = reported_by(source)
    changed = isinstance(source, WorkTree)
    # It comes after the release it grew from: that is where a walk has to meet it.
    base = reported or _newest_release(catalog, layout)
    mark = f"g{short(source.commit)}{'.changed' if changed else ''}"
    at_commit = f"commit {short(source.commit)}"
    return Service(
        name=name,
        kind="checkout",
        # By PEP 440 a local part sorts after the version it is put on.
        version=Version(f"{Version(base).public}+{mark}"),
        reported=reported,
        group=mark,
        schema=(schema := _newest_migration(source, layout)),
        migrates=bool(schema),
        image=None,
        # A branch may move while a run lasts; HEAD also stands for what is not committed.
        ref=HEAD if name == HEAD else source.commit,
        released=None,
        layout=layout,
        label=clone.describe_head() if name == HEAD else at_commit,
    )


def _detect(clone: Clone, catalog: Catalog, source: Source) -> Layout | None:
    """Return the layout of the release that this is, else the newest whose programs are there."""
    own = [
        release.layout
        for release in catalog.released
        if release.layout and clone.tags.get(str(release.ref)) == source.commit
    ]
    for layout in (*own, *reversed(list(catalog.layouts.values()))):
        programs = (layout.metadata, layout.migration, layout.ui)
        if all(str(file_of(program)) in source.files for program in programs if program):
            return layout
    return None


def _newest_migration(source: Source, layout: Layout) -> int:
    if layout.migration is None:
        return 0
    folder = file_of(layout.migration).parent / _MIGRATION_FOLDER
    numbers = [
        int(number)
        for path in map(PurePosixPath, source.files)
        if path.parent == folder and path.suffix == ".sql"
        if (number := path.name.partition("_")[0]).isdecimal()
    ]
    return max(numbers, default=0)


def _newest_release(catalog: Catalog, layout: Layout) -> str:
    fitting = [release.version for release in catalog.released if release.layout == layout]
    return str(max(fitting, default=Version("0")))


def _check_tag(clone: Clone, service: Service) -> None:
    assert service.layout is not None
    file = str(file_of(service.layout.metadata))
    if file not in source_of(clone, service).files:
        raise UsageError(
            f"--checkout {clone.given}: the tag {service.ref} holds no metadata service: there is "
            f"no {file}; is this a clone of Netflix/metaflow-service?"
        )


def file_of(program: Program) -> PurePosixPath:
    """Return the file of a program's module, from the top folder."""
    return PurePosixPath(program.folder) / f"{program.module.replace('.', '/')}.py"


def _version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None
