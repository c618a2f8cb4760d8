"""Serves a level of the reference service with the version and the schema of a release.

LEVEL names the level, REPORTED and SCHEMA are the release's. The service's own arguments follow.
"""

import os
import sys
from dataclasses import replace

from harness.stack.reference.__main__ import main
from harness.stack.reference.levels import LEVELS

OLDEST, *_, NEWEST = LEVELS.values()
STARTED_ON_OLD_SCHEMAS = "1.0.1"
"""The release that every later image brings beside its own."""


def become_release(level: str, reported: str, schema: int) -> None:
    """Change a level to what a release says and brings; it does what it did before."""
    brought = tuple(number for number in NEWEST.migrations if number <= schema)
    LEVELS[OLDEST.name] = replace(OLDEST, reported=STARTED_ON_OLD_SCHEMAS)
    LEVELS[level] = replace(LEVELS[level], reported=reported, migrations=brought)


if __name__ == "__main__":
    become_release(os.environ["LEVEL"], os.environ["REPORTED"], int(os.environ["SCHEMA"]))
    sys.exit(main())
