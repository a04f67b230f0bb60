"""What generated samples tell of the shared latent: a bound of their mutual information."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Generator, Tensor, nn

from cmvae.base.arguments import generator_keyword
from cmvae.base.processes import are_together, gather
from cmvae.models.alignment import VARIANCE_FLOOR, resemblance
from cmvae.models.inference import Parts, decode_latents, encode_observed, likelihood_of
from cmvae.models.posterior import Experts
from cmvae.models.views import noisy
from cmvae.networks.shapes import is_image

MOST_NOISE = 0.5  # of what decoders make of an image, of its own standard deviation


def information_loss(
    parts: Parts,
    experts: Experts,
    generator: Generator | None = None,
    codes: Tensor | None = None,
) -> Tensor:
    r"""Return how badly the encoders recognise z in what the decoders make of it, a scalar.

    .. math:: -\frac{1}{M B} \sum_n \sum_i
              \log \frac{f(\mu_n(\hat{x}_{n,i}) - z_i)}{\sum_j f(\mu_n(\hat{x}_{n,i}) - z_j)},
              \quad \hat{x}_{n,i} = E[x_n \mid z_i, w_{n,i}]

    with z_i a draw from q(z|X_i), w_{n,i} one from p(w_n) or, for a random half of the samples that
    have observed n, from q(w_n|x_{n,i}), f the critic of
    :func:`cmvae.models.alignment.alignment_loss`, all z standardised by one location and factor.
    log B minus it is a lower bound of the mutual information of z and what modality n shows of it
    beside any private latent (Barber and Agakov, 2003; Chen et al., "InfoGAN", 2016, eq. 5; the
    contrast of van den Oord et al., 2018). Only the decoders learn by it: z and the encoders are
    held constant. ``codes`` are those of the samples' covariates, (B, width).

    The encoders see images through noise of a random scale: what they still recognise is there for
    other eyes too, while a trace that they alone can read is lost in it.

    Without this loss a decoder may read from w_n what z says too, as a reconstruction by its own
    w_n allows; what it makes of a drawn w_n then shows another class than z's.

    Where several processes take a step together, z_j are those of all of them.
    """
    z = experts.sample(experts.choose(1, generator), generator).squeeze(1).detach()
    every, first = _of_all_processes(z)
    centre = every.mean(0)
    factor = ((every - centre).square().mean() + VARIANCE_FLOOR).rsqrt()
    losses = []
    for i, m in enumerate(parts.modalities):
        loc, scale = experts.private_loc[i].detach(), experts.private_scale[i].detach()
        noise = parts.family.noise(tuple(loc.shape), z, generator)
        half = torch.rand(len(z), device=z.device, **generator_keyword(generator)) < 0.5
        own = (half & experts.observed[i]).unsqueeze(-1)
        w = torch.where(own, loc + scale * noise, noise)
        decoded = decode_latents(parts, m, torch.cat([z, w], -1), codes)
        made = likelihood_of(parts, m).mean(decoded)
        if is_image(made.shape[1:]) and made.is_floating_point():
            made = noisy(made, MOST_NOISE, generator)
        with _held(parts.encoders[m]):
            seen = encode_observed(parts, m, made)[0]
        logits = resemblance(parts.family, (seen - centre) * factor, (every - centre) * factor)
        losses.append(-logits.log_softmax(-1).diagonal(first).mean())
    return torch.stack(losses).mean()


def _of_all_processes(z: Tensor) -> tuple[Tensor, int]:
    """Return the latents of all processes, and the place of the first own one among them."""
    if not are_together():
        return z, 0
    parts, own = gather(z)
    return torch.cat(parts), sum(map(len, parts[:own]))


@contextmanager
def _held(network: nn.Module) -> Iterator[None]:
    """Let gradients pass through a network, and none reach its parameters."""
    learning = [value for value in network.parameters() if value.requires_grad]
    for value in learning:
        value.requires_grad_(False)
    try:
        yield
    finally:
        for value in learning:
            value.requires_grad_(True)
