"""How long ``nox -l`` takes: loading the noxfile parses and validates files, and asks nothing else.

Run it with the harness's dependencies: ``python benchmarks/listing.py``. The times of a machine say
little, so a noxfile with nothing in it is listed in turn with ours, and the ratio is judged: 2 is
0.6 s where nox alone takes 0.3. What counts is the processor's time, in the best round of each:
other work on the machine only ever adds to it.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 15
BUDGET_RATIO = 2.0
_BARE = "import nox\n\n\n@nox.session\ndef nothing(session):\n    pass\n"


def _seconds(noxfile: Path) -> float:
    """Return the processor's time of one listing."""
    environment = {**os.environ, "NOX_SCRIPT_MODE": "none"}
    command = [sys.executable, "-m", "nox", "-f", str(noxfile), "-l"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=environment, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> int:
    """Print the times and their ratio; 1 where that is over its budget."""
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder) / "noxfile.py"
        bare.write_text(_BARE, encoding="utf-8")
        rounds = [(_seconds(bare), _seconds(ROOT / "noxfile.py")) for _ in range(ROUNDS)]
    least, ours = (min(times) for times in zip(*rounds, strict=True))
    ratio = ours / least
    print(
        f"a bare noxfile: {least:.2f} s; this one: {ours:.2f} s; {ratio:.2f} × (< {BUDGET_RATIO})"
    )
    return int(ratio >= BUDGET_RATIO)


if __name__ == "__main__":
    sys.exit(main())
