"""The diffusion decoder of one modality: p(x | x̂) or p(x | x̂, z), learned by denoising."""

import copy
from collections.abc import Sequence
from functools import partial

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from cmvae.base.arguments import generator_keyword, positive_int
from cmvae.diffusion.config import DiffusionConfig
from cmvae.diffusion.denoisers import build_denoiser
from cmvae.diffusion.process import Process
from cmvae.diffusion.sampling import Sampler, sample, sampling_steps
from cmvae.diffusion.scaling import ScaleEstimate, Scaling
from cmvae.likelihoods.base import at_least_float32

Condition = tuple[Tensor, Tensor]  # x̂, scaled, and z


class DiffusionDecoder(nn.Module):
    """A denoising diffusion model of data given a reconstruction, after DiffuseVAE (TMLR 2022).

    Args:
        shape: Shape of one sample: (channels, height, width) for images, which get a U-Net; else a
            perceptron.
        config: The settings.
        latent_dim: Size of z, where the settings say that it is given too.

    Attributes:
        denoiser: The network that is trained.
        averaged: The moving average of its weights: what samples, and what eval mode evaluates.
        scaling: The scale on which both work.
        process: The noising process.

    Raises:
        ImportError: If diffusers is not installed.
        TypeError, ValueError: For a size or settings that are not allowed.
    """

    def __init__(
        self,
        shape: int | Sequence[int],
        config: DiffusionConfig | None = None,
        latent_dim: int | None = None,
    ) -> None:
        super().__init__()
        config = self.config = DiffusionConfig() if config is None else config
        if not isinstance(config, DiffusionConfig):
            raise TypeError(f"config must be a DiffusionConfig, got {type(config).__name__}")
        sizes = [shape] if isinstance(shape, int) else shape
        self.shape = tuple(positive_int("shape", size) for size in sizes)
        if not self.shape:
            raise ValueError("shape must hold a size at least, got ()")
        if config.latents and latent_dim is None:
            raise ValueError("latent_dim must be given where config.latents is True, got None")
        self.latent_dim = positive_int("latent_dim", latent_dim) if config.latents else 0
        kind = config.scaling or ("unit" if len(self.shape) == 3 else "standard")
        self.clip = kind == "unit" if config.clip is None else config.clip
        self.scaling = Scaling(self.shape, kind)
        self.process = Process(config)
        self.denoiser = build_denoiser(self.shape, config, self.latent_dim)
        self.averaged = copy.deepcopy(self.denoiser).requires_grad_(False)

    def train(self, mode: bool = True) -> "DiffusionDecoder":
        """Set the mode; the averaged network stays in eval mode."""
        super().train(mode)
        self.averaged.eval()
        return self

    @torch.no_grad()
    def estimate_scaling(self, data: Tensor) -> None:
        """Learn the scale of data (n, *shape), if it is not known yet (:class:`ScaleEstimate`)."""
        estimate = ScaleEstimate(self.scaling, "x")
        estimate.update(data)
        estimate.finish()

    def loss(
        self,
        x: Tensor,
        reconstruction: Tensor,
        generator: Generator | None = None,
        z: Tensor | None = None,
    ) -> Tensor:
        """Return the mean squared error of predictions at random steps, (B,), at least float32.

        Of data x, (B, *shape), given x̂ of that shape and, by a decoder that takes it, z, (B,
        latent_dim); in eval mode by the averaged weights, no condition withheld. ``ValueError`` for
        wrong shapes, or while the scale is not known.
        """
        self._check_shapes(x=x, reconstruction=reconstruction)
        z = self._latents(z, reconstruction)
        clean, condition = self._scaled(x), self._scaled(reconstruction)
        steps = self.process.draw_steps(clean, generator)
        noise = torch.empty_like(clean).normal_(**generator_keyword(generator))
        given = torch.ones(len(clean), dtype=torch.bool, device=clean.device)
        if self.training and self.config.condition_dropout:
            uniform = torch.empty(len(clean), device=clean.device)
            uniform = uniform.uniform_(**generator_keyword(generator))
            given = uniform >= self.config.condition_dropout
        network = self.denoiser if self.training else self.averaged
        noised = self.process.noised(clean, noise, steps)
        predicted = at_least_float32(self._predict(network, noised, (condition, z), given, steps))
        target = self.process.target(clean, noise, steps).to(predicted.dtype)
        return functional.mse_loss(predicted, target, reduction="none").flatten(1).mean(1)

    @torch.no_grad()
    def sample(
        self,
        reconstruction: Tensor,
        sampler: Sampler | None = None,
        generator: Generator | None = None,
        z: Tensor | None = None,
    ) -> Tensor:
        """Draw x from p(x | x̂), both (B, *shape) on the data's scale, by the averaged weights.

        Or from p(x | x̂, z), with z of shape (B, latent_dim), by a decoder that takes it.

        The noise to start from is drawn at once: with the deterministic samplers the batch size
        changes nothing.

        Raises:
            ValueError: For a wrong shape, more steps than in training, guidance of a decoder that
                was trained without withholding conditions, or a scale that is not known yet.
        """
        self._check_shapes(reconstruction=reconstruction)
        z = self._latents(z, reconstruction)
        sampler = Sampler() if sampler is None else sampler
        if sampler.guidance != 1 and not self.config.condition_dropout:
            needed = "a decoder trained with condition_dropout above 0"
            raise ValueError(f"guidance {sampler.guidance} needs {needed}")
        condition = self._scaled(reconstruction)
        noise = start = torch.empty_like(condition).normal_(**generator_keyword(generator))
        if sampler.strength < 1:
            first = sampling_steps(self.process, sampler.steps, sampler.strength)[0]
            firsts = torch.full((len(noise),), first, device=noise.device)
            start = self.process.noised(condition, noise, firsts)
        clip = self.clip if sampler.clip is None else sampler.clip

        def estimate(part: Condition, y: Tensor, step: int) -> Tensor:
            predicted = self._guided(y, part, step, float(sampler.guidance))
            found = self.process.original(y, predicted, step)
            return found.clamp(-1, 1) if clip else found

        size = sampler.batch_size
        drawn = [
            sample(partial(estimate, (part, own)), begin, self.process, sampler, generator)
            for begin, part, own in zip(
                *(x.split(size) for x in (start, condition, z)), strict=True
            )
        ]
        return self.scaling.inverse(torch.cat(drawn) if drawn else condition)

    def _scaled(self, x: Tensor) -> Tensor:
        """Return data on the scale of the diffusion, in the dtype of the parameters."""
        return self.scaling(x.to(self.scaling.shift.dtype))

    def _latents(self, z: Tensor | None, like: Tensor) -> Tensor:
        """Return z in the dtype of the parameters, of no entries where it is not taken."""
        shift = self.scaling.shift
        if not self.latent_dim:
            return shift.new_empty(len(like), 0)
        wanted = (len(like), self.latent_dim)
        if z is None or tuple(z.shape) != wanted:
            got = "None" if z is None else tuple(z.shape)
            raise ValueError(f"z must be {wanted}, got {got}")
        return z.to(shift)

    def _guided(self, y: Tensor, condition: Condition, step: int, guidance: float) -> Tensor:
        """Return the prediction at y_t with classifier-free guidance, both from one call."""
        wanted = [True] if guidance == 1 else [False] if guidance == 0 else [False, True]
        given = torch.tensor(wanted, device=y.device).repeat_interleave(len(y))
        steps = torch.full((len(given),), step, device=y.device)
        y_s, x_hats, z_s = (torch.cat([own] * len(wanted)) for own in (y, *condition))
        predicted = self._predict(self.averaged, y_s, (x_hats, z_s), given, steps).to(y.dtype)
        without, *given_it = predicted.chunk(len(wanted))
        return without.lerp(given_it[0], guidance) if given_it else without

    def _predict(
        self, network: nn.Module, y: Tensor, condition: Condition, given: Tensor, steps: Tensor
    ) -> Tensor:
        """Return a prediction at y_t; x̂ and z count only where ``given``, (B,) boolean."""
        reconstruction, z = condition
        x_hat = reconstruction * given.reshape(-1, *[1] * len(self.shape)).to(reconstruction)
        latents = [z * given[:, None].to(z)] if self.latent_dim else []
        return network(self.process.seen(y, x_hat), x_hat, given, steps, *latents)

    def _check_shapes(self, **tensors: Tensor) -> None:
        for name, tensor in tensors.items():
            if tuple(tensor.shape[1:]) != self.shape:
                wanted = f"(B, {str(self.shape)[1:-1]})"
                raise ValueError(f"{name} must be {wanted}, got {tuple(tensor.shape)}")
