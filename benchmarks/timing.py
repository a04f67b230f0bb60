"""What the benchmarks share: sizes, models, batches, floors, timing in turns, and records."""

import datetime
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

import cmvae
from cmvae import CMVAE, CMVAEConfig, IncompleteDataset, MultimodalBaseDataset
from cmvae.base.files import atomic_write

RECORDS = Path(__file__).parent / "records"
BATCH = 128
VECTOR, IMAGE = (76,), (3, 28, 28)


def in_turns(
    sides: Mapping[str, Callable[[], object]], rounds: int = 30, warm: int = 3
) -> dict[str, float]:
    """Run the sides in turns, ``rounds`` times over; return the median of each one's seconds.

    Noise of the machine that lasts longer than a round then weighs on all sides alike.
    """
    for side in sides.values():
        for _ in range(warm):
            side()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            _synchronise()
            start = time.perf_counter()
            side()
            _synchronise()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def build(
    shape: tuple[int, ...],
    modalities: int,
    *,
    clusters: int = 40,
    K: int = 1,
    networks: Callable[[], tuple[Mapping[str, nn.Module], Mapping[str, nn.Module]]] | None = None,
    **settings: object,
) -> CMVAE:
    """Return a model of equal modalities: 76 features, hidden layer of 512; or images 3×28×28."""
    torch.manual_seed(0)
    names = [f"m{i}" for i in range(modalities)]
    encoders, decoders = networks() if networks else (None, None)
    config = CMVAEConfig(
        n_modalities=modalities,
        input_dims=dict.fromkeys(names, shape),
        number_of_clusters=clusters,
        K=K,
        **{
            "latent_dim": 32,
            "modalities_specific_dim": 32,
            "loss": "iwae_looser",
            "hidden_dims": (512,),
            **settings,
        },
    )
    return CMVAE(config, encoders, decoders).to(device())


def device() -> torch.device:
    """Return the GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def bfloat16_pays() -> bool:
    """Return whether bfloat16 is taken to be faster than float32, by the kind of processor.

    That is on GPUs that do not emulate it, and on x86 processors that calculate in it; on one that
    does not a step of a diffusion decoder took eleven times as long.
    """
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    known = getattr(torch.cpu, "get_capabilities", dict)()  # not in every version of torch
    return any(known.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def samples(
    shape: tuple[int, ...], modalities: int, n: int = BATCH, missing: float = 0.0
) -> MultimodalBaseDataset:
    """Return n samples of noise, a share of entries missing; each keeps one modality at least."""
    torch.manual_seed(1)
    data = {f"m{i}": torch.rand(n, *shape, device=device()) for i in range(modalities)}
    if not missing:
        return MultimodalBaseDataset(data)
    observed = torch.rand(n, modalities) >= missing
    empty = (~observed.any(1)).nonzero().squeeze(-1)
    observed[empty, torch.randint(modalities, (len(empty),))] = True
    return IncompleteDataset(
        data, {name: observed[:, i].to(device()) for i, name in enumerate(data)}
    )


def training_step(model: CMVAE, data: MultimodalBaseDataset) -> Callable[[], None]:
    """Return forward and backward of the objective on a batch, without the optimiser's step."""
    model.train()

    def step() -> None:
        model.zero_grad(set_to_none=True)
        model(data).loss.backward()

    return step


def training_floor(model: CMVAE, data: MultimodalBaseDataset, K: int = 1) -> Callable[[], None]:
    """Return forward and backward of the networks alone, on the rows of a training step."""
    names = list(model.modalities)
    observed = torch.stack([_mask(data, m) for m in names])
    rows = {m: int((observed & observed[i]).sum()) * K for i, m in enumerate(names)}
    latents = {
        m: torch.randn(n, decoder_dim(model, m), device=device(), requires_grad=True)
        for m, n in rows.items()
    }
    seen = {m: data.data[m][observed[i]] for i, m in enumerate(names)}

    def step() -> None:
        model.zero_grad(set_to_none=True)
        outputs = [out for m in names for out in tuple(model.encoders[m](seen[m]).values())]
        outputs += [model.decoders[m](latents[m]).reconstruction for m in names]
        torch.autograd.backward([out.sum() for out in outputs])

    return step


def _mask(data: MultimodalBaseDataset, name: str) -> Tensor:
    masks = getattr(data, "masks", None)
    return masks[name] if masks else torch.ones(len(data), dtype=torch.bool, device=device())


def likelihood_floor(model: CMVAE, n: int, draws: int, rows: int = 16384) -> Callable[[], None]:
    """Return all decoders on n × draws rows, without gradients, so many rows at a time."""
    latents = {
        m: torch.randn(n * draws, decoder_dim(model, m), device=device()) for m in model.modalities
    }

    @torch.no_grad()
    def decode() -> None:
        model.eval()
        for m in model.modalities:
            for part in latents[m].split(rows):
                model.decoders[m](part)

    return decode


def decoder_dim(model: CMVAE, modality: str) -> int:
    """Return the size of what a decoder takes."""
    return model.latent_dim + model.model_config.private_dim(modality)


def write_record(
    name: str,
    command: str,
    rows: list[dict],
    lines: list[str],
    *,
    folder: Path = RECORDS,
    jobs: int | None = None,
    more: Mapping[str, object] | None = None,
    **extra: object,
) -> None:
    """Write rows as JSON with machine, versions and date, and a Markdown table.

    Args:
        name: The files' name, without suffix.
        command: What was run.
        rows: The results.
        lines: The Markdown.
        folder: Where the files go.
        jobs: How many runs of one thread each went side by side; None: one, of PyTorch's threads.
        more: What else the JSON tells.
        extra: Versions of other packages.
    """
    threads = f"{torch.get_num_threads()} threads"
    threads = f"one thread for each of {jobs} runs" if jobs else threads
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {threads}"
    if torch.cuda.is_available():
        machine += f", {torch.cuda.get_device_name()}"
    versions = {"cmvae": cmvae.__version__, "torch": torch.__version__, **extra}
    date = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    record = {
        "command": command,
        "date": date,
        "machine": machine,
        "versions": versions,
        **(more or {}),
        "rows": rows,
    }
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / f"{name}.json") as path:
        path.write_text(json.dumps(record, indent=1) + "\n")
    shown = ", ".join(f"{package} {version}" for package, version in versions.items())
    with atomic_write(folder / f"{name}.md") as path:
        path.write_text(f"`{command}`, {date}, {machine}; {shown}\n\n" + "\n".join(lines) + "\n")
    print("\n".join(lines), flush=True)


def table(rows: list[dict], columns: list[str]) -> list[str]:
    """Return Markdown lines."""
    shown = [
        [f"{v:.3g}" if isinstance(v := row.get(c, ""), float) else str(v) for c in columns]
        for row in rows
    ]
    return ["| " + " | ".join(cells) + " |" for cells in (columns, ["---"] * len(columns), *shown)]


def draw_ratios(name: str, rows: list[dict]) -> None:
    """Draw the ratios as bars, each with the mark it is to reach."""
    figure = Figure(figsize=(9, 1 + 0.4 * len(rows)), layout="constrained")
    axes = figure.subplots()
    labels = [f"{row['operation']}: {row['setting']}  {row['ratio']:.2f}" for row in rows]
    axes.barh(labels, [row["ratio"] for row in rows], color="#4477aa")
    for place, row in enumerate(rows):
        if row["target"]:
            mark = float(row["target"].split()[1])
            axes.plot([mark, mark], [place - 0.45, place + 0.45], color="#cc3311", linewidth=2)
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel="ratio of times; red: what it is to reach")
    axes.tick_params(labelsize=8)
    with atomic_write(RECORDS / f"{name}.png") as path:
        figure.savefig(path, dpi=110, format="png")
