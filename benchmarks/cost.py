"""Cost of every operation against its floor, and how it grows.

Usage: python benchmarks/cost.py (make bench). Writes records/cost and records/growth: .json, .md
and .png. Runs on the GPU where there is one.

A floor is the networks alone, run on the same rows, never compiled. The two sides of a ratio run in
turns within one process.
"""

import ctypes
import gc
import multiprocessing
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from matplotlib.figure import Figure
from timing import (
    IMAGE,
    RECORDS,
    VECTOR,
    build,
    draw_ratios,
    in_turns,
    likelihood_floor,
    samples,
    table,
    training_floor,
    training_step,
    write_record,
)

from cmvae.base.files import atomic_write

COMMAND = "make bench"
NORMAL, LAPLACE = "normal_with_softplus", "laplace_with_softmax"
AXES = {
    "clusters": (10, 30, 100, 300, 1000),
    "draws": (1, 4, 16, 64),
    "modalities": (2, 4, 8, 16, 32),
    "samples": (500, 2000, 8000, 32000),
}


def floors() -> list[dict]:
    """Return the ratios to the floors."""
    rows = []
    settings = [
        ("6 MLP modalities, 40 clusters, K = 1", VECTOR, 6, 1, {}, 1.25),
        ("the same, Normal latents", VECTOR, 6, 1, {"prior_and_posterior_dist": NORMAL}, None),
        ("the same, DReG", VECTOR, 6, 1, {"loss": "dreg_looser"}, None),
        ("the same, one sampled target", VECTOR, 6, 1, {"cross_modal_targets": 1}, None),
        ("5 image modalities, K = 1", IMAGE, 5, 1, {}, 1.10),
        ("5 image modalities, K = 10", IMAGE, 5, 10, {}, 1.10),
    ]
    for setting, shape, modalities, K, changes, target in settings:
        model, data = build(shape, modalities, K=K, **changes), samples(shape, modalities)
        sides = {"ours": training_step(model, data), "floor": training_floor(model, data, K)}
        rounds = 60 if shape == VECTOR else 15 if K == 1 else 7
        rows.append(
            row("training step / floor", setting, in_turns(sides, rounds), "ours", "floor", target)
        )
    rows[3]["setting"] += " (floor: all targets)"
    model, data = build(VECTOR, 6), samples(VECTOR, 6, 50)
    sides = {
        "ours": lambda: model.compute_joint_nll(data, K=1000),
        "floor": likelihood_floor(model, 50, 1000),
    }
    setting = "50 samples, K = 1000, 6 MLP modalities"
    rows.append(
        row("compute_joint_nll / floor", setting, in_turns(sides, 9, 2), "ours", "floor", 1.25)
    )
    for name, family, target in (("Normal", NORMAL, 1.3), ("Laplace", LAPLACE, 2.0)):
        data = samples(VECTOR, 6)
        sides = {
            str(clusters): training_step(
                build(VECTOR, 6, clusters=clusters, prior_and_posterior_dist=family), data
            )
            for clusters in (10, 1000)
        }
        setting = f"6 MLP modalities, {name}"
        rows.append(
            row("step, 1000 / 10 clusters", setting, in_turns(sides, 40), "1000", "10", target)
        )
    # Last: compiling changes how fast everything else in the process runs.
    model, data = build(VECTOR, 6), samples(VECTOR, 6)
    sides = {
        "ours": training_step(torch.compile(model), data),
        "floor": training_floor(model, data),
    }
    setting = "6 MLP modalities, 40 clusters, K = 1, torch.compile"
    rows.append(row("training step / floor", setting, in_turns(sides, 60), "ours", "floor", 1.25))
    return rows


def row(
    operation: str,
    setting: str,
    seconds: dict[str, float],
    over: str,
    under: str,
    target: float | None,
) -> dict:
    """Return a row of the table: a ratio and the times it is made of."""
    values = {"ms": 1e3 * seconds[over], "ms of the other": 1e3 * seconds[under]}
    found = {
        "operation": operation,
        "setting": setting,
        "ratio": seconds[over] / seconds[under],
        **values,
    }
    found["target"] = "" if target is None else f"≤ {target}"
    print(found, flush=True)
    return found


def operations(axis: str, value: int) -> dict[str, Callable[[], object]]:
    """Return what is run at a point of an axis of growth, by the name of the curve."""
    if axis == "clusters":
        return {
            f"step, {name}": training_step(
                build(
                    VECTOR,
                    6,
                    clusters=value,
                    prior_and_posterior_dist=family,
                    covariance=covariance,
                ),
                samples(VECTOR, 6),
            )
            for name, family, covariance in (
                ("Normal", NORMAL, "identity"),
                ("Laplace", LAPLACE, "identity"),
                ("Normal, full", NORMAL, "full"),
            )
        }
    if axis == "draws":
        return {"step": training_step(build(VECTOR, 6, K=value), samples(VECTOR, 6))}
    if axis == "modalities":
        data = samples(VECTOR, value)
        return {
            "step, all targets": training_step(build(VECTOR, value), data),
            "step, one target": training_step(build(VECTOR, value, cross_modal_targets=1), data),
            "step, one target, Normal": training_step(
                build(VECTOR, value, cross_modal_targets=1, prior_and_posterior_dist=NORMAL), data
            ),
        }
    model, data = build(VECTOR, 6), samples(VECTOR, 6, value)

    def prune() -> None:
        model.mixture.active.fill_(True)
        model.prune_clusters(data)

    found: dict[str, Callable[[], object]] = {
        "predict_clusters": lambda: model.predict_clusters(data),
        "prune_clusters": prune,
    }
    if value <= 8000:
        found["compute_joint_nll, K = 10"] = lambda: model.compute_joint_nll(data, K=10)
    return found


def point(axis: str, value: int, curve: str) -> dict:
    """Measure one curve at one point, in its own process: median time, and peak memory on top."""
    run = operations(axis, value)[curve]
    run()  # what is allocated once for all is not counted
    peak = peak_memory(run)
    seconds = in_turns({"run": run}, 7, 1)["run"]
    return {
        "axis": axis,
        "value": value,
        "curve": curve,
        "seconds": seconds,
        "peak MiB": peak / 2**20,
    }


def peak_memory(run: Callable[[], object]) -> int:
    """Return the bytes that ``run`` holds at most: on the GPU, or resident (Linux, glibc)."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what is free goes back to the system
    Path("/proc/self/clear_refs").write_text(
        "5"
    )  # the mark of the most memory starts again from what is held now
    before = most_resident()
    run()
    return most_resident() - before


def most_resident() -> int:
    """Return the mark of the most resident memory, in bytes."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) * 1024


def growth() -> list[dict]:
    """Return time and memory along every axis."""
    rows = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
        for axis, values in AXES.items():
            for value in values:
                for curve in operations(axis, value):
                    rows.append(pool.submit(point, axis, value, curve).result())
                    print(rows[-1], flush=True)
    return rows


def draw(rows: list[dict]) -> None:
    """Draw the curves: time above, memory below."""
    figure = Figure(figsize=(13, 6), layout="constrained")
    panels = figure.subplots(2, len(AXES), sharex="col")
    for column, axis in enumerate(AXES):
        for curve in dict.fromkeys(row["curve"] for row in rows if row["axis"] == axis):
            found = [row for row in rows if row["axis"] == axis and row["curve"] == curve]
            values = [row["value"] for row in found]
            panels[0, column].plot(
                values, [1e3 * row["seconds"] for row in found], "o-", label=curve
            )
            panels[1, column].plot(values, [max(row["peak MiB"], 0.1) for row in found], "o-")
        for panel in panels[:, column]:
            panel.set(xscale="log", yscale="log")
            panel.minorticks_off()
            panel.set_xticks(AXES[axis], map(str, AXES[axis]))
            panel.grid(alpha=0.3)
        panels[0, column].legend(fontsize=7)
        panels[1, column].set_xlabel(axis)
    panels[0, 0].set_ylabel("time, ms")
    panels[1, 0].set_ylabel("peak memory beyond the model, MiB")
    with atomic_write(RECORDS / "growth.png") as path:
        figure.savefig(path, dpi=130, format="png")


def main() -> None:
    """Measure and write."""
    rows = floors()
    columns = ["operation", "setting", "target", "ratio", "ms", "ms of the other"]
    write_record("cost", COMMAND, rows, table(rows, columns))
    draw_ratios("cost", rows)
    rows = growth()
    for found in rows:
        found["ms"] = 1e3 * found["seconds"]
    write_record("growth", COMMAND, rows, table(rows, ["axis", "value", "curve", "ms", "peak MiB"]))
    draw(rows)


if __name__ == "__main__":
    main()
