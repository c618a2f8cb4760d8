"""A small git repository in the layouts of Netflix/metaflow-service, around the reference service.

Its tags are releases whose version a reference level reports. Each holds stand-ins under the names
of the released modules: the metadata service becomes the reference service; the migration service
shells out to goose as the released one does, with migration files written from the reference's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

from harness.machine.tools import ROOT
from harness.stack.reference import schema
from harness.stack.reference.levels import LEVELS

TAGS = {
    "1.0.0": "1.0",
    "2.0.0": "2.0",
    "2.0.4": "2.0.4",
    "2.0.6": "2.0.6",
    "v2.3.0": "2.3",
    "v2.5.0": "2.5",
    # It says it is 2.5.0, which is not what versions.json knows of it.
    "v2.5.1": "2.5",
}
"""Tag and reference level behind it, oldest first."""

BEFORE = "v0.1-alpha"
"""A tag from before there was a service."""

_METADATA = """\
import importlib.metadata, os, sys
import psycopg2
VERSION, TABLES = {version!r}, {tables!r}
if VERSION and importlib.metadata.version("metadata_service") != VERSION:
    sys.exit("the package metadata_service is another version than " + VERSION)
if TABLES:
    # What 2.0.0 to v2.2.3 do: create the tables where they are missing, as they are today.
    names = dict(host="HOST", port="PORT", user="USER", password="PSWD", dbname="NAME")
    connection = psycopg2.connect(
        **{{key: os.environ["MF_METADATA_DB_" + name] for key, name in names.items()}}
    )
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('flows_v3')")
        if cursor.fetchone()[0] is None:
            for statement in TABLES:
                cursor.execute(statement)
    connection.close()
command = [{python!r}, "-m", "harness.stack.reference", "--level", {level!r}, "--only", "metadata"]
os.execve(command[0], command, dict(os.environ, PYTHONPATH={root!r}))
"""

_MIGRATION = """\
import json, os, subprocess
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

KNOWN, STRICT = {known!r}, {strict!r}
FOLDER = Path(__file__).parent / "migration_files"
NAMES = dict(dbname="NAME", user="USER", password="PSWD", host="HOST", port="PORT")
PARTS = [key + "=" + os.environ["MF_METADATA_DB_" + name] for key, name in NAMES.items()]
CONNECTION = " ".join([*PARTS, "sslmode=disable"])


def goose(*arguments):
    command = ["goose", *arguments[:-1], "postgres", CONNECTION, arguments[-1]]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True)


def up():
    finished = goose("-dir", str(FOLDER), "up")
    print(finished.stderr)
    return finished.returncode == 0


def current():
    return goose("version").stderr.split("goose: version ")[1].strip()


class Handler(BaseHTTPRequestHandler):
    def answer(self, status, text):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def do_GET(self):
        if self.path == "/ping":
            self.answer(200, "pong")
        elif self.path == "/version":
            now = current()
            self.answer(200 if now in KNOWN else 500, "latest" if now == KNOWN[-1] else now)
        else:
            now = current()
            if STRICT and now not in KNOWN:
                return self.answer(500, "an unknown schema, as in 2.0.0 and 2.0.1")
            left = KNOWN[KNOWN.index(now) + 1 :] if now in KNOWN else KNOWN
            body = dict(is_up_to_date=not left, current_version=now, migration_in_progress=False)
            body.update(db_schema_versions=KNOWN, unapplied_migrations=left)
            self.answer(200, json.dumps(body))

    def do_PATCH(self):
        self.answer(*((200, "upgrade success") if up() else (500, "upgrade failed")))


address = os.environ["MF_METADATA_HOST"], int(os.environ["MF_MIGRATION_PORT"])
HTTPServer(address, Handler).serve_forever()
"""

_SETUP = """\
from setuptools import setup

setup(name="metadata_service", version="{version}")
"""


def build(folder: Path, reference: Path) -> Path:
    """Make the repository, with one commit for each tag and one more on ``master``.

    Args:
        folder: that does not exist yet.
        reference: the Python of the reference service's tool environment.
    """
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=master")
    _commit(folder, BEFORE, lambda: (folder / "README.md").write_text("nothing yet\n"))
    for tag, level in TAGS.items():
        _commit(folder, tag, partial(write_service, folder, tag, level, reference))
    (folder / ".gitignore").write_text("ignored\n", encoding="utf-8")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "after the last release")
    return folder


def git(folder: Path, *arguments: str) -> str:
    """Run git as somebody of no machine in particular; return its output."""
    roles = ("GIT_AUTHOR", "GIT_COMMITTER")
    person = {f"{role}_NAME": "test" for role in roles}
    person |= {f"{role}_EMAIL": "test@example.org" for role in roles}
    finished = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        env={"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull, **person},
        capture_output=True,
        text=True,
        check=True,
    )
    return finished.stdout


def write_service(top: Path, tag: str, name: str, reference: Path) -> None:
    """Write the files of one release in its layout, and remove those of the one before."""
    for entry in ("metadata_service", "migration_service", "services", "setup.py"):
        path = top / entry
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    level = LEVELS[name]
    parent = top / "services" if level.has_heartbeat else top
    version = tag.removeprefix("v") if level.has_migrations else ""
    _write(parent / "metadata_service" / "server.py", _metadata(name, version, reference))
    if not version:
        return
    _write(top / "setup.py", _SETUP.format(version=version))
    known = [str(number) for number in level.migrations]
    migration = parent / "migration_service"
    _write(migration / "migration_server.py", _MIGRATION.format(known=known, strict=tag == "2.0.0"))
    for step in schema.MIGRATIONS:
        if step.version in level.migrations:
            _write(migration / "migration_files" / f"{step.version}_step.sql", _sql(step))
    if tag.startswith("v"):
        backend = (ROOT / "tests" / "ui" / "standin_backend.py").read_text(encoding="utf-8")
        _write(parent / "ui_backend_service" / "ui_server.py", backend)


def _metadata(level: str, version: str, reference: Path) -> str:
    creates = version.startswith("2.0")
    return _METADATA.format(
        version=version,
        tables=[s for step in schema.MIGRATIONS[:2] for s in step.statements] if creates else [],
        python=str(reference),
        level=level,
        root=str(ROOT),
    )


def _sql(step: schema.Migration) -> str:
    statements = ";\n".join(step.statements) + ";"
    if step.in_transaction:
        return (
            "-- +goose Up\n-- +goose StatementBegin\nSELECT 'up';\n"
            f"{statements}\n-- +goose StatementEnd\n-- +goose Down\nSELECT 'down';\n"
        )
    return f"-- +goose NO TRANSACTION\n-- +goose Up\n{statements}\n-- +goose Down\nSELECT 1;\n"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _commit(folder: Path, tag: str, write: Callable[[], object]) -> None:
    write()
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", tag)
    git(folder, "tag", tag)
