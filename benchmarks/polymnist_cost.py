"""Where the time of a step on images goes: a step of ``polymnist.py`` in several ways, in turns.

    python benchmarks/polymnist_cost.py   records/polymnist-cost.*

Steps of the last part of training, with forward, backward and optimiser, on real batches of the
size ``five``. Each way changes one thing. Another number of targets is the same objective in
expectation; without alignment and information losses it is the paper's.
"""

import math
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from polymnist import SIZES, Size, build, plan
from timing import device, in_turns, table, write_record

from cmvae.datasets import polymnist_5k
from cmvae.training.module import CMVAEModule

ROUNDS = 7
SIZE = SIZES["five"]
BASE = "as it is run: one sampled target"


def step_of(
    size: Size,
    objective: bool = False,
    low: bool = False,
    last: bool = False,
    compiled: bool = False,
) -> Callable[[], object]:
    """Return a function that takes a step.

    Args:
        size: Of networks and batches, and how many modalities are reconstructed from each.
        objective: Without the alignment and the information loss.
        low: In bfloat16, parameters in float32.
        last: Weights and images with the channels last.
        compiled: By ``torch.compile``.
    """
    model = build(size, "ours", 0).to(device()).train()
    if last:
        model.to(memory_format=torch.channels_last)
    if compiled:
        model.compile()
    module = CMVAEModule(model, size.learning_rate)
    begin = plan(size, "ours", 0)
    if not objective and begin is not None:
        module.options, module.views = begin.options(math.inf, 2.5), begin.views
    batch = polymnist_5k("train", modalities=size.modalities).batch(range(size.batch_size))
    batch: Any = module.transfer_batch_to_device(batch, device(), 0)
    if last:
        form = torch.channels_last
        batch["data"] = {m: x.contiguous(memory_format=form) for m, x in batch["data"].items()}
    optimizer = module.make_optimizer()

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device().type, torch.bfloat16, enabled=low):
            loss = module.train_output(batch).loss
        loss.backward()
        optimizer.step()

    return step


def main() -> None:
    """Time the ways, and write the record."""
    sides = {
        BASE: step_of(SIZE),
        "all targets": step_of(replace(SIZE, cross=None)),
        "the objective alone": step_of(SIZE, objective=True),
        "channels last": step_of(SIZE, last=True),
        "bfloat16": step_of(SIZE, low=True),
        "torch.compile": step_of(SIZE, compiled=True),
        "default networks": step_of(replace(SIZE, networks="conv_residual")),
    }
    seconds = in_turns(sides, ROUNDS)
    rows = [
        {"step": name, "ms": 1e3 * own, "ratio": own / seconds[BASE]}
        for name, own in seconds.items()
    ]
    what = f"{SIZE.modalities} modalities, batches of {SIZE.batch_size}, medians of {ROUNDS} steps"
    command = "python benchmarks/polymnist_cost.py"
    write_record("polymnist-cost", command, rows, [*table(rows, [*rows[0]]), "", f"{what}."])


if __name__ == "__main__":
    main()
