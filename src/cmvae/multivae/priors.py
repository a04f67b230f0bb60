"""MultiVae's mixture and priors of private latents, and ours: the same numbers, other names."""

import math
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor

from cmvae.models.cmvae import CMVAE
from cmvae.models.config import CMVAEConfig
from cmvae.models.families import FAMILIES, SCALE_FLOOR, Family
from cmvae.models.private_prior import PrivatePrior
from cmvae.multivae.layers import Weights

_CLOSE = 1e-5  # MultiVae adds 1e-6 to scales that are 1


class Priors(NamedTuple):
    """The mixture, and the priors of private latents."""

    logits: Tensor  # (C,), −inf at pruned clusters
    centers: Tensor  # (C, d)
    scales: Tensor  # (C, d)
    raw: dict[str, Tensor]  # modality to raw scale of r_m, (dim,)
    private_scale: float  # of every p(w_m)

    @property
    def covariance(self) -> str:
        """The form of Σ_c that holds the scales."""
        ones = torch.ones_like(self.scales)
        return "identity" if torch.allclose(self.scales, ones, rtol=0, atol=_CLOSE) else "diagonal"


def read_priors(config: CMVAEConfig, modalities: Sequence[str], left: Weights) -> Priors:
    """Take mixture and priors out of the weights that are ``left``.

    Raises:
        ValueError: If one is missing, of another shape, not finite, or such as ours cannot be.
    """
    family = FAMILIES[config.prior_and_posterior_dist]
    clusters, row = range(config.number_of_clusters), (1, config.latent_dim)
    logits = _take(left, "_pc_params", (len(clusters),), pruned=True)
    centers = torch.cat([_take(left, f"mean_clusters.{c}", row) for c in clusters])
    raw = torch.cat([_take(left, f"logvar_clusters.{c}", row) for c in clusters])
    row = (1, config.private_dim(modalities[0]))
    fixed = {"w_mean_prior": _take(left, "w_mean_prior", row)}
    private = family.scale(_take(left, "w_logvar_prior", row))
    raws = {m: _take(left, f"r_logvars_priors.{m}", row)[0] for m in modalities}
    fixed |= {name: _take(left, name, row) for name in map("r_mean_priors.{}".format, modalities)}
    if moved := [name for name, mean in fixed.items() if mean.any()]:
        raise ValueError(f"{moved} must be 0: the means of private priors are not learned")
    scale = float(private.mean())
    if not torch.allclose(private, private.mean(), rtol=0, atol=_CLOSE):
        raise ValueError("w_logvar_prior must give the same scale in every dimension")
    scale = 1.0 if math.isclose(scale, 1.0, abs_tol=_CLOSE) else scale
    return Priors(logits, centers, family.scale(raw), raws, scale)


@torch.no_grad()
def set_priors(model: CMVAE, priors: Priors) -> None:
    """Give a model the mixture and the priors."""
    mixture, active = model.mixture, priors.logits.isfinite()
    mixture.active.copy_(active)
    mixture.logits.copy_(priors.logits.where(active, 0))
    mixture.centers.copy_(priors.centers)
    if mixture.covariance == "diagonal":
        mixture.log_scales.copy_(priors.scales.log())
    for m, raw in priors.raw.items():
        cast(PrivatePrior, model.private_priors[m]).raw_scale.copy_(raw)


@torch.no_grad()
def priors_as_theirs(model: CMVAE) -> Weights:
    """Return mixture and priors of a model under MultiVae's names; ``ValueError`` for others."""
    mixture, family = model.mixture, model.family
    dim = model.model_config.private_dim(model.modalities[0])
    like, scale = mixture.centers, model.model_config.private_scale
    scales = torch.ones_like(like)
    if mixture.covariance == "diagonal":
        scales = mixture.log_scales.exp()
    elif mixture.covariance == "full":
        raise ValueError("covariance 'full' has no counterpart in MultiVae")
    private = like.new_full((1, dim), scale)
    weights = {"w_mean_prior": like.new_zeros(1, dim), "w_logvar_prior": _raw(family, private)}
    weights["_pc_params"] = mixture.masked_logits.clone()
    for c, (center, raw) in enumerate(zip(like, _raw(family, scales), strict=True)):
        weights[f"mean_clusters.{c}"] = center[None].clone()
        weights[f"logvar_clusters.{c}"] = raw[None].clone()
    for m in model.modalities:
        own = cast(PrivatePrior, model.private_priors[m]).raw_scale
        weights[f"r_mean_priors.{m}"] = torch.zeros_like(own)[None]
        weights[f"r_logvars_priors.{m}"] = own[None].clone()
    return weights


def _raw(family: Family, scales: Tensor) -> Tensor:
    """Return raw values that give the scales (*, d); ``ValueError`` where none do."""
    if not family.is_normal:
        if not torch.allclose(scales, torch.ones_like(scales), rtol=0, atol=_CLOSE):
            raise ValueError("with 'laplace_with_softmax' MultiVae has no priors of other scales")
        return torch.zeros_like(scales)
    raw = 2 * scales.log()
    if not torch.allclose(family.scale(raw), scales):
        raw = (scales.double() - SCALE_FLOOR).expm1().log().to(scales.dtype)
    return raw


def _take(left: Weights, name: str, shape: tuple[int, ...], *, pruned: bool = False) -> Tensor:
    """Take a tensor of this shape out of those that are left, finite but where clusters are."""
    if name not in left:
        raise ValueError(f"{name} is missing, which a CMVAE of MultiVae has")
    found = left.pop(name).detach()
    if tuple(found.shape) != shape:
        raise ValueError(f"{name} has the shape {tuple(found.shape)}, {shape} by the settings")
    fine = found.isfinite() | (found == -math.inf) if pruned else found.isfinite()
    if not fine.all() or not found.isfinite().any():
        raise ValueError(f"{name} holds NaN or infinity" + ", or no active cluster" * pruned)
    return found
