"""Diffusion decoders of a run: how they are trained where nobody tunes them."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from cmvae.base.processes import by_first
from cmvae.base.quiet import quiet_training
from cmvae.base.words import counted
from cmvae.diffusion.config import DiffusionConfig
from cmvae.diffusion.dcmvae import DCMVAE
from cmvae.models.cmvae import CMVAE
from cmvae.preprocessing import Preprocessing
from cmvae.runs.config import RunConfig

if TYPE_CHECKING:
    from cmvae.runs.run import Prepared, Run

STEPS, BATCH = 2000, 64
COARSEST = 8  # pixels at a side of the coarsest resolution, at most
FIRST, OTHERS = 48, 96  # channels of the finest resolution, and of others
RUNS = "diffusion"  # folders of the trainings, with the place of a modality


def decoder_settings(shape: tuple[int, ...]) -> DiffusionConfig:
    """Return settings for images (channels, height, width) that train in minutes on a processor.

    Squares of 2 × 2 pixels become channels where a side has 16 or more; then there are as many
    resolutions as bring the longer side to 8, two at least.
    """
    patch = 2 if max(shape[1:]) >= 2 * COARSEST else 1
    side, channels = math.ceil(max(shape[1:]) / patch), [FIRST, OTHERS]
    while math.ceil(side / 2 ** (len(channels) - 1)) > COARSEST:
        channels.append(OTHERS)
    return DiffusionConfig(
        latents=True,
        channels=tuple(channels),
        patch=patch,
        layers_per_block=1,
        attention=False,
        prediction="v",
        schedule="cosine",
        ema_decay=0.995,
    )


def check_refined(config: RunConfig, preprocessing: Preprocessing) -> None:
    """Raise ``ValueError`` for diffusion decoders of a modality that holds no images."""
    known = [name for name, codec in preprocessing.codecs.items() if codec.content == "images"]
    if others := [name for name in config.diffusion if name not in known]:
        raise ValueError(f"diffusion must name modalities of images, {known}, got {others}")


def refined_model(config: RunConfig, model: CMVAE) -> DCMVAE:
    """Return a model with the diffusion decoders that a run is to have, which are not trained.

    Raises:
        ImportError: If diffusers is not installed.
    """
    shapes = model.model_config.input_dims or {}
    return DCMVAE(model, {name: decoder_settings(shapes[name]) for name in config.diffusion})


def with_decoders(
    run: "Run",
    prepared: "Prepared",
    run_dir: Path,
    tell: Callable[[str], None] | None = None,
    **trainer_arguments: Any,
) -> "Run":
    """Train the diffusion decoders that a run is to have, one after the other.

    Each goes on from its last checkpoint, if it has one; one that came to its end stays as it is.

    Args:
        run: The run, whose model is trained; one that is to have none is returned as it is.
        prepared: What it was trained on.
        run_dir: Where checkpoints and logs go, a folder for each.
        tell: Is told, in a line, which decoder is trained.
        **trainer_arguments: For :func:`cmvae.fit`.
    """
    config, figures, where = prepared.config, {}, prepared.config.where.resolve()
    if not config.diffusion:
        return run
    whole = refined_model(config, run.model)
    steps = math.ceil(len(prepared.data) / BATCH)
    auto = config.diffusion_epochs == "auto"
    epochs = math.ceil(STEPS / steps) if auto else int(config.diffusion_epochs)
    for place, name in enumerate(config.diffusion):
        if tell is not None:
            which = f"{place + 1} of {len(config.diffusion)}"
            tell(f"Diffusion decoder of {name} ({which}): {counted(epochs, 'epoch')}")
        own = run_dir / f"{RUNS}-{place}"
        trained = _trained(run, name, prepared, own, epochs, trainer_arguments)
        whole.decoders[name].load_state_dict(trained.decoders[name].state_dict())
        loss = by_first(where.processes, partial(_last_loss, own))
        figures[name] = {"epochs": epochs, "loss": loss}
    return replace(run, refined=whole.eval(), metrics={**run.metrics, "diffusion": figures})


def _last_loss(run_dir: Path) -> float:
    from cmvae.training.checkpoints import read_log

    return float(read_log(run_dir)["train/loss"].iloc[-1])


def _trained(
    run: "Run", name: str, prepared: "Prepared", run_dir: Path, epochs: int, arguments: Any
) -> DCMVAE:
    """Return a model with one decoder, trained; the global generator is left alone."""
    from cmvae.runs.run import drawn_seed
    from cmvae.training.checkpoints import to_resume
    from cmvae.training.fit import ONE_AT_A_TIME, fit

    config, seed = prepared.config, drawn_seed(prepared.config.seed)
    where = config.where.resolve()
    with ONE_AT_A_TIME, quiet_training(), torch.random.fork_rng():
        torch.manual_seed(seed)
        model = refined_model(config.replace(diffusion=(name,)), run.model)
        fit(
            model,
            prepared.data,
            max_epochs=epochs,
            batch_size=where.share_of(min(BATCH, len(prepared.data))),
            seed=seed,
            run_dir=run_dir,
            resume_from=by_first(where.processes, partial(to_resume, run_dir)),
            overwrite=True,
            gradient_clip_val=1.0,
            **{**where.trainer_arguments(), "enable_progress_bar": False, **arguments},
        )
    return model
