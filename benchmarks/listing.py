"""How long ``nox -l`` takes: loading the noxfile parses and validates files, and asks nothing else.

Run it with the harness's dependencies: ``python benchmarks/listing.py``. The times of a machine say
little, so a noxfile with nothing in it is listed in turn with ours, and the ratio is judged: 2 is
0.6 s where nox alone takes 0.3. The best round of each counts: other work on the machine only ever
adds to a time.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 15
BUDGET_RATIO = 2.0
_BARE = "import nox\n\n\n@nox.session\ndef nothing(session):\n    pass\n"


def _seconds(noxfile: Path) -> float:
    environment = {**os.environ, "NOX_SCRIPT_MODE": "none"}
    command = [sys.executable, "-m", "nox", "-f", str(noxfile), "-l"]
    begun = time.perf_counter()
    subprocess.run(command, env=environment, capture_output=True, check=True)
    return time.perf_counter() - begun


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
