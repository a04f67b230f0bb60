"""What steps and predictions cost on a GPU, in milliseconds: `python benchmarks/gpu_cost.py`.

Minutes in all. Training steps, the optimiser's included, in float32, TF32 and bfloat16, bare and
compiled, in turns; then fits of an epoch by Lightning, with DDP on one device beside none; then one
row and 500 rows through the exported model by ONNX Runtime and `torch.export`. On a machine without
a GPU it says so, and measures the same on its CPU, to see that it runs; `--rounds 2` is
enough for that. Nothing is recorded then.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from rows import quiet
from timing import IMAGE, VECTOR, build, device, in_turns, samples, table, write_record

from cmvae import CMVAEClusterer, export, fit, load_exported
from cmvae.data import MultimodalBaseDataset

SETTINGS = {  # modalities, their shape, draws
    "6 MLP modalities": (VECTOR, 6, 1),
    "5 image modalities": (IMAGE, 5, 1),
    "5 image modalities, K = 10": (IMAGE, 5, 10),
}
PRECISIONS = ("float32", "TF32", "bfloat16")


@contextmanager
def precision(name: str) -> Iterator[None]:
    """Compute in a precision inside the block."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if name == "TF32" else "highest")
    try:
        with torch.autocast(device().type, torch.bfloat16, enabled=name == "bfloat16"):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def step_of(model: torch.nn.Module, data: MultimodalBaseDataset, name: str) -> Callable[[], None]:
    """Return forward, backward and the optimiser's step in a precision."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=device().type == "cuda")

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with precision(name):
            loss = model(data).loss
        loss.backward()
        optimizer.step()

    return step


def steps(rounds: int, compiles: bool) -> list[dict]:
    """Return a row for each setting and precision."""
    rows = []
    for setting, (shape, modalities, draws) in SETTINGS.items():
        data = samples(shape, modalities)
        sides = {
            name: step_of(build(shape, modalities, K=draws).train(), data, name)
            for name in PRECISIONS
        }
        if compiles:
            model = build(shape, modalities, K=draws).train()
            sides["bfloat16, compiled"] = step_of(torch.compile(model), data, "bfloat16")
        for name, seconds in in_turns(sides, rounds, 2).items():
            rows.append({"what": f"step, {setting}", "how": name, "ms": 1e3 * seconds})
            print(rows[-1], flush=True)
    return rows


def epochs() -> list[dict]:
    """Return what an epoch of 64 steps takes by Lightning, alone and by DDP on one device."""
    data, rows = samples(VECTOR, 6, 64 * 128), []
    for name in ("auto", "ddp"):
        with tempfile.TemporaryDirectory() as folder:
            own = {"run_dir": folder, "logger": False, "enable_progress_bar": False}
            own |= {"enable_model_summary": False, "strategy": name, "devices": 1}
            start = time.perf_counter()
            fit(build(VECTOR, 6), data, max_epochs=3, seed=0, **own)
            spent = (time.perf_counter() - start) / (3 * 64)
        rows.append({"what": "fit, a step, 6 MLP modalities", "how": name, "ms": 1e3 * spent})
        print(rows[-1], flush=True)
    return rows


def served(rounds: int) -> list[dict]:
    """Return what rows take through the exported model."""
    rng, rows = np.random.default_rng(0), []
    values = rng.normal(size=(500, 20)) + 3 * rng.integers(3, size=(500, 1))
    clusterer = CMVAEClusterer(3, max_epochs=2, random_state=0).fit(values)
    with tempfile.TemporaryDirectory() as folder:
        clusterer.save(Path(folder) / "run")
        for suffix in ("onnx", "pt2"):
            model = load_exported(export(Path(folder) / "run", Path(folder) / f"model.{suffix}"))
            for number in (1, 500):
                some = {"x": values[:number]}
                seconds = in_turns({"": lambda m=model, x=some: m.run(x)}, rounds * 5)[""]
                rows.append({"what": f"{number} rows", "how": suffix, "ms": 1e3 * seconds})
                print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Measure, and record on a GPU."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    arguments = parser.parse_args()
    quiet()
    has_gpu = torch.cuda.is_available()
    if not has_gpu:
        print("no GPU is at hand: what follows is of the CPU, and is not recorded", flush=True)
    rows = steps(arguments.rounds, has_gpu) + epochs() + served(arguments.rounds)
    lines = table(rows, ["what", "how", "ms"])
    if has_gpu:
        write_record("gpu-cost", "python benchmarks/gpu_cost.py", rows, lines)
    else:
        print("\n".join(lines))


if __name__ == "__main__":
    main()
