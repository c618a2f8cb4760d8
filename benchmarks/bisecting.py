"""How many cells a search over all clients takes, for every place where a check may turn.

Exits with 1 above the budget.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from harness.catalog.versions import load
from harness.core.bisection import Bisection, Verdict, line

BUDGET = 10


def cells(names: list[str], place: int, newer: Verdict) -> int:
    """Return how many cells it takes to find the place where a check turns, which must be found."""
    older = Verdict.GOOD if newer is Verdict.BAD else Verdict.BAD
    number = {name: at for at, name in enumerate(names)}

    def ask(name: str) -> Verdict:
        return newer if number[name] >= place else older

    found = Bisection(line(names), newer).run(ask)
    if found.first != (names[place],):
        sys.exit(f"{names[place]} was planted, and {found.first} found")
    return len(found.told)


def main() -> int:
    """Plant every boundary once; print how many cells were needed."""
    names = [client.name for client in load().clients]
    counts: Counter[int] = Counter()
    for newer in (Verdict.BAD, Verdict.GOOD):
        counts.update(cells(names, place, newer) for place in range(1, len(names)))
    told = ", ".join(f"{count} × {number} cells" for number, count in sorted(counts.items()))
    print(f"{len(names)} clients, every boundary: {told}; at most {BUDGET} allowed")
    return int(max(counts) > BUDGET)


if __name__ == "__main__":
    sys.exit(main())
