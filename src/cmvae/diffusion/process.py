r"""The noising process of a diffusion decoder, in the two forms of DiffuseVAE.

(Pandey et al., TMLR 2022.) Both learn p(x_0 | x̂), x̂ a reconstruction, which the denoiser sees.
Form 1 is the standard process (Ho et al., 2020), for t = 1..T with ᾱ_t = Π_{s≤t} (1 − β_s):

.. math:: q(x_t \mid x_0) = N(\sqrt{\bar α_t}\, x_0,\; (1 - \bar α_t) I), \qquad x_T \sim N(0, I).

Form 2 carries x̂ (the paper's "formulation 2"):

.. math::
    q(x_1 \mid x_0, \hat x) &= N(\sqrt{1 - β_1}\, x_0 + \hat x,\; β_1 I) \\
    q(x_t \mid x_{t-1}, \hat x) &= N(\sqrt{1 - β_t}\, x_{t-1} + (1 - \sqrt{1 - β_t})\, \hat x,\; β_t
    I), \quad t > 1.

Put y_t = x_t − x̂ for t ≥ 1 and y_0 = x_0. The first line reads y_1 = √(1−β_1) y_0 + √β_1 ε, and
the second, after x̂ is taken from both sides, y_t = √(1−β_t) y_{t−1} + √β_t ε: y is the standard
process started at x_0, so that

.. math:: q(x_t \mid x_0, \hat x) = N(\sqrt{\bar α_t}\, x_0 + \hat x,\; (1 - \bar α_t) I), \qquad
x_T \sim N(\hat x, I).

So samplers of the standard process sample form 2 unchanged: they run on y, the denoiser sees x_t =
y_t + x̂, and y_0 = x_0 is the result.
"""

import torch
from torch import Generator, Tensor

from cmvae.base.arguments import generator_keyword
from cmvae.diffusion.config import DiffusionConfig
from cmvae.diffusion.library import from_diffusers

SCHEDULES = {"linear": "linear", "cosine": "squaredcos_cap_v2"}


class Process:
    """The forward process, and what a prediction says of x_0; steps go from 0 to T − 1."""

    def __init__(self, config: DiffusionConfig) -> None:
        self.form = config.form
        self.prediction = config.prediction
        steps, betas = config.train_steps, SCHEDULES[config.schedule]
        self.schedule = {"num_train_timesteps": steps, "beta_schedule": betas}  # for diffusers
        self._scheduler = from_diffusers("DDPMScheduler")(**self.schedule)
        self.alphas_cumprod: Tensor = self._scheduler.alphas_cumprod  # ᾱ_t, (T,) float32

    @property
    def n_steps(self) -> int:
        """T, the number of noise levels."""
        return len(self.alphas_cumprod)

    def draw_steps(self, like: Tensor, generator: Generator | None = None) -> Tensor:
        """Draw a step for each row of ``like``, uniformly: (B,) int64."""
        keyword = generator_keyword(generator)
        return torch.randint(self.n_steps, (len(like),), device=like.device, **keyword)

    def noised(self, x: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        """Return y_t of data (B, ...) at ``steps`` (B,), with standard normal ``noise``."""
        return self._scheduler.add_noise(x, noise, steps)

    def seen(self, y: Tensor, condition: Tensor) -> Tensor:
        """Return x_t, which the denoiser sees, from y_t and x̂ (zero where there is none)."""
        return y + condition if self.form == 2 else y

    def target(self, x: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        """Return what the denoiser is to predict: the noise, or the velocity v."""
        epsilon = self.prediction == "epsilon"
        return noise if epsilon else self._scheduler.get_velocity(x, noise, steps)

    def original(self, y: Tensor, prediction: Tensor, step: int) -> Tensor:
        """Return the estimate of x_0 that a prediction at y_t stands for."""
        signal = self.alphas_cumprod[step].to(y)
        if self.prediction == "epsilon":
            return (y - (1 - signal).sqrt() * prediction) / signal.sqrt()
        return signal.sqrt() * y - (1 - signal).sqrt() * prediction
