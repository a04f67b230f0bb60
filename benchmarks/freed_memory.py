"""What a step on images costs where freed memory is given back to the system, and where it is kept.

    python benchmarks/freed_memory.py   records/freed-memory.*

Steps of ``polymnist.py``, with forward, backward and optimiser, each kind in processes of its own,
by turns: as many as the C library has it by itself, then within
``cmvae.base.allocator.freed_memory_kept``, as in ``cmvae.fit``. Pages are those that the system had
to empty and hand out in a step.
"""

import os
import resource
import statistics
from collections.abc import Callable
from multiprocessing import get_context

os.environ.setdefault("OMP_NUM_THREADS", "1")

from polymnist import SIZES
from polymnist_cost import step_of
from timing import in_turns, table, write_record

from cmvae.base.allocator import freed_memory_kept

PROCESSES, ROUNDS = 5, 8
BACK, KEPT, PAGES_BACK, PAGES_KEPT = "ms, given back", "ms, kept", "pages", "pages, kept"
KINDS = {
    "three modalities, all targets": ("cpu", False),
    "the same, the objective alone": ("cpu", True),
    "five modalities, one sampled target": ("five", False),
}


def measured(kind: str) -> dict[str, float]:
    """Return the figures of a kind of step."""
    size, objective = KINDS[kind]
    step = step_of(SIZES[size], objective=objective)
    back, pages = timed(step)
    with freed_memory_kept():
        kept, few = timed(step)
    return {BACK: back, KEPT: kept, "ratio": kept / back, PAGES_BACK: pages, PAGES_KEPT: few}


def timed(step: Callable[[], object]) -> tuple[float, float]:
    """Return the median of milliseconds, and the mean of pages, of the steps after the first."""
    in_turns({"": step}, 1)
    pages = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    seconds = in_turns({"": step}, ROUNDS, warm=0)[""]
    return 1e3 * seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - pages) / ROUNDS


def main() -> None:
    """Time the kinds, and write the record."""
    with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        found = pool.map(measured, [*KINDS] * PROCESSES, chunksize=1)
    rows = []
    for place, kind in enumerate(KINDS):
        own = found[place :: len(KINDS)]
        ratios = [figures["ratio"] for figures in own]
        row = {name: statistics.median(figures[name] for figures in own) for name in own[0]}
        spread = {"least to most": f"{min(ratios):.2f} to {max(ratios):.2f}"}
        rows.append({"step": kind, **row, **spread})
    what = f"Batches of 64; medians of {PROCESSES} processes, in each of {ROUNDS} steps either way."
    lines = [*table(rows, [*rows[0]]), "", what]
    write_record("freed-memory", "python benchmarks/freed_memory.py", rows, lines)


if __name__ == "__main__":
    main()
