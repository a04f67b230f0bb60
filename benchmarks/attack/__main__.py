"""The campaign: the library under kill, full disks, signals, hostile files and odd arguments.

Usage: python benchmarks/attack [--share 1.0] [--only PART] [--seed 0]. At a share of 1 it writes
records/attack.json and .md; a smaller share makes so many of the tries, of each kind at least one.
The exit status tells whether there were faults.
"""

import argparse
import importlib
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["COLUMNS"] = "150"
sys.path.insert(1, str(Path(__file__).parents[1]))

from outcome import Outcome

PARTS = (
    *("kills", "disk", "signals", "places"),
    *("hostile", "page", "fuzz", "threads", "determinism"),
)


def campaign(parts: list[str], share: float, seed: int) -> Iterator[tuple[Outcome, float]]:
    """Yield what becomes of every try, and the minutes that its part has taken so far."""
    for name in parts:
        start = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f"attack-{name}-") as work:
            for outcome in importlib.import_module(name).attack(share, Path(work), seed):
                if outcome.fault:
                    what = f"{outcome.part}, {outcome.of}, {outcome.case}"
                    print(f"FAULT {what}: {outcome.fault}", flush=True)
                yield outcome, (time.monotonic() - start) / 60


def rows_of(outcomes: list[Outcome]) -> list[dict]:
    """Return a row for each kind of tries: how many, how many were survived, and faults."""
    tries = Counter((outcome.part, outcome.of) for outcome in outcomes)
    faults = Counter((outcome.part, outcome.of) for outcome in outcomes if outcome.fault)
    rows = [
        {"part": part, "of": of, "tries": n, "survived": n - faults[part, of]}
        for (part, of), n in tries.items()
    ]
    n, lost = tries.total(), faults.total()
    rows.append({"part": "all", "of": "", "tries": n, "survived": n - lost})
    return [{**row, "faults": row["tries"] - row["survived"]} for row in rows]


def main() -> None:
    """Run the parts and print what became of the tries."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--share", type=float, default=1.0, help="how many of the tries")
    parser.add_argument("--only", choices=PARTS, action="append", help="a part; may be repeated")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if not 0 < given.share <= 1:
        parser.error("--share must be above 0, and at most 1")
    outcomes, minutes = [], dict[str, float]()
    for outcome, taken in campaign(given.only or list(PARTS), given.share, given.seed):
        outcomes.append(outcome)
        minutes[outcome.part] = round(taken, 2)
    rows = rows_of(outcomes)
    from timing import table, write_record

    lines = table(rows, ["part", "of", "tries", "survived", "faults"])
    if given.share == 1 and not given.only:
        more = {"seed": given.seed, "minutes": minutes}
        write_record("attack", "python benchmarks/attack", rows, lines, jobs=2, more=more)
    else:
        print("\n".join(lines), flush=True)
    took = ", ".join(f"{part} {spent:.1f}" for part, spent in minutes.items())
    print(f"minutes: {took}", flush=True)
    sys.exit(1 if any(outcome.fault for outcome in outcomes) else 0)


if __name__ == "__main__":
    main()
