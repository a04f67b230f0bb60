"""Sampling: from noise to data with any denoiser, by the schedulers of diffusers."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple, TypedDict

import numpy as np
from torch import Generator, Tensor

from cmvae.base.arguments import positive_float, positive_int
from cmvae.base.words import shown
from cmvae.diffusion.library import from_diffusers
from cmvae.diffusion.process import Process

# Below this log of signal to noise, ½ log(ᾱ / (1 − ᾱ)), all is noise: the cosine schedule goes on
# to −10, where dividing predicted noise by √ᾱ leaves nothing of x_0; the linear one ends at −5.06.
MIN_LOG_SNR = -5.1


class _Solver(NamedTuple):
    """A scheduler of diffusers, its arguments, and whether its steps draw noise."""

    scheduler: str
    arguments: dict[str, Any]
    draws: bool


# DPM-Solver++ of order 1 is DDIM (Lu et al., 2022, section 4), and takes any steps; diffusers'
# DDIMScheduler is wrong for numbers of steps that do not divide T.
_DPM, _STOCHASTIC = "DPMSolverMultistepScheduler", "sde-dpmsolver++"
SAMPLERS: dict[str, _Solver] = {
    "ddpm": _Solver("DDPMScheduler", {"clip_sample": False}, draws=True),
    "ddim": _Solver(_DPM, {"solver_order": 1}, draws=False),
    "dpm++": _Solver(_DPM, {"solver_order": 2}, draws=False),
    "sde-dpm++": _Solver(_DPM, {"solver_order": 2, "algorithm_type": _STOCHASTIC}, draws=True),
}


class SamplingOptions(TypedDict, total=False):
    """Keywords of everything that samples; see :class:`Sampler`."""

    sampler: str
    steps: int
    guidance: float
    strength: float
    batch_size: int
    clip: bool | None


@dataclass(frozen=True)
class Sampler:
    """How to sample.

    Args:
        sampler: ``'ddpm'`` (Ho et al., 2020), ``'ddim'`` (Song et al., 2021; deterministic after
            the first noise), ``'dpm++'``, the second-order multistep DPM-Solver++ (Lu et al., 2022;
            likewise), or ``'sde-dpm++'``, its stochastic form, whose noise mends errors of the
            denoiser.
        steps: Evaluations of the denoiser from pure noise to data, from 1 to the T of training.
        guidance: Scale g ≥ 0 of classifier-free guidance (Ho and Salimans, 2022): the prediction is
            (1 − g) · the one without x̂ + g · the one with it.
        strength: Where sampling starts, in (0, 1] (SDEdit; Meng et al., 2022). 1: from pure noise.
            Below: only this share of the steps is taken, the last ones, one at least, from x̂ with
            as much noise as the first of them has: coarse shapes stay x̂'s.
        batch_size: At most so many samples at a time.
        clip: Whether estimates of x_0 are held to [−1, 1]; None: as the decoder's settings say.

    Raises:
        ValueError: For an unknown sampler, or a value out of its range.
        TypeError: For a value of the wrong type.
    """

    sampler: str = "dpm++"
    steps: int = 25
    guidance: float = 1.0
    strength: float = 1.0
    batch_size: int = 256
    clip: bool | None = None

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise ValueError(f"sampler must be one of {list(SAMPLERS)}, got {shown(self.sampler)}")
        positive_int("steps", self.steps)
        positive_int("batch_size", self.batch_size)
        if isinstance(self.guidance, bool) or not isinstance(self.guidance, Real):
            raise TypeError(f"guidance must be a number from 0, got {shown(self.guidance)}")
        if not 0 <= self.guidance < math.inf:
            raise ValueError(f"guidance must be a finite number from 0, got {shown(self.guidance)}")
        if not positive_float("strength", self.strength) <= 1:
            raise ValueError(f"strength must be above 0 and at most 1, got {shown(self.strength)}")
        if self.clip is not None and not isinstance(self.clip, bool):
            raise TypeError(f"clip must be True, False or None, got {shown(self.clip)}")


def sampling_steps(process: Process, number: int, strength: float = 1.0) -> list[int]:
    """Choose steps of the process, at most T, in falling order: evenly spaced, from pure noise.

    With ``strength`` below 1 only that share of them, the last ones, and one at least. Levels of
    noise that cannot be told from more (``MIN_LOG_SNR``) are left out, so that of as many as T, or
    nearly, a few may be missing.
    """
    if number > process.n_steps:
        raise ValueError(f"steps must be at most the {process.n_steps} of training, got {number}")
    signal = process.alphas_cumprod.double()
    usable = max(int((0.5 * (signal / (1 - signal)).log() >= MIN_LOG_SNR).sum()), 1)
    ends = np.linspace(usable, 0, min(number, usable) + 1)[:-1]
    return [int(end) - 1 for end in np.round(ends)[-max(round(strength * len(ends)), 1) :]]


def sample(
    estimate: Callable[[Tensor, int], Tensor],
    start: Tensor,
    process: Process,
    sampler: Sampler,
    generator: Generator | None = None,
) -> Tensor:
    """Run the reverse process of the standard form: x_0, of the shape of ``start``.

    That is y at the first of the steps, (B, ...), floating, standard normal noise where sampling
    starts from it. ``estimate`` takes y_t and t to an estimate of x_0. The ``generator`` gives the
    noise that ``'ddpm'`` and ``'sde-dpm++'`` add on the way.
    """
    solver = SAMPLERS[sampler.sampler]
    settings = {"prediction_type": "sample", **process.schedule, **solver.arguments}
    scheduler = from_diffusers(solver.scheduler)(**settings)
    scheduler.set_timesteps(timesteps=sampling_steps(process, sampler.steps, sampler.strength))
    draws = {"generator": generator} if solver.draws else {}
    y = start
    for step in scheduler.timesteps:
        y = scheduler.step(estimate(y, int(step)), step, y, **draws).prev_sample
    return y
