"""Starts the migration API, asks it which release fits the schema, and starts that one.

As the released images do: on a schema that has not been upgraded yet 1.0 is started, and when the
migration API refuses the schema the container ends.
"""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request

LEVEL = os.environ["LEVEL"]
OLD = "1.0"
MIGRATION = "http://127.0.0.1:8082"


def serve(level: str, api: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "release.py", "--level", level, "--only", api]
    return subprocess.Popen(command)


def fitting(migration: subprocess.Popen[bytes]) -> str:
    """Return the level that fits the schema, as soon as the migration API answers."""
    while migration.poll() is None:
        try:
            with urllib.request.urlopen(f"{MIGRATION}/version") as answer:
                return OLD if answer.read().strip() == b"v_1_0_1" else LEVEL
        except urllib.error.HTTPError as error:
            sys.exit(f"the migration API refuses the schema: {error.read().decode()}")
        except OSError:
            time.sleep(0.05)
    sys.exit("the migration API has ended")


def main() -> int:
    if LEVEL == OLD:
        return serve(LEVEL, "metadata").wait()
    level = fitting(serve(LEVEL, "migration"))
    print(f"starting {level}", flush=True)
    return serve(level, "metadata").wait()


if __name__ == "__main__":
    sys.exit(main())
