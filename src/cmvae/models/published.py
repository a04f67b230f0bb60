"""The settings of the paper's experiments, as ``CMVAEConfig.paper`` gives them.

Palumbo et al., "Deep Generative Clustering with Multimodal Diffusion Variational Autoencoders"
(ICLR 2024), and the defaults of its authors' program where the paper is silent. The networks are
those of this package: the paper's are not repeated. PolyMNIST has Laplace likelihoods of scale
0.75. CUBICC has photographs with Laplace likelihoods of scale 0.01, weighted by words / pixels, and
captions weighted by 5; its β is 1, and 5 in one of their commands. Training takes Adam with amsgrad
and a step size of 0.001, as :func:`cmvae.fit` does.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from cmvae.base.words import quoted, shown

Shapes = Mapping[str, Any]


def _polymnist(shapes: Shapes) -> dict[str, Any]:
    return {
        "latent_dim": 32,
        "modalities_specific_dim": 32,
        "number_of_clusters": 40,
        "beta": 2.5,
        "K": 1,
        "loss": "iwae_looser",
        "prior_and_posterior_dist": "laplace_with_softmax",
        "decoders_dist": dict.fromkeys(shapes, "laplace"),
        "decoder_dist_params": {name: {"scale": 0.75} for name in shapes},
        "networks": "resnet",
    }


def _cubicc(shapes: Shapes) -> dict[str, Any]:
    if set(shapes) != set(_CUBICC):
        raise ValueError(f"input_dims must be those of {quoted(_CUBICC)}, got {shown(shapes)}")
    words, pixels = shapes["caption"][0], math.prod(shapes["image"])
    return {
        "latent_dim": 64,
        "modalities_specific_dim": 32,
        "number_of_clusters": 35,
        "beta": 1.0,
        "K": 10,
        "loss": "dreg_looser",
        "dreg_estimator": "published",
        "prior_and_posterior_dist": "normal_with_softplus",
        "decoders_dist": {"image": "laplace", "caption": "categorical"},
        "decoder_dist_params": {"image": {"scale": 0.01}},
        "uses_likelihood_rescaling": True,
        "rescale_factors": {"image": words / pixels, "caption": 5.0},
        "networks": {"image": "resnet"},
    }


_CUBICC = {"image": (3, 64, 64), "caption": (32, 1590)}
_PAPER: dict[str, tuple[Shapes, Callable[[Shapes], dict[str, Any]]]] = {
    "polymnist": ({f"m{i}": (3, 28, 28) for i in range(5)}, _polymnist),
    "cubicc": (_CUBICC, _cubicc),
}


def paper_settings(data: Any, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of ``CMVAEConfig`` of an experiment, with changes."""
    if not isinstance(data, str) or data not in _PAPER:
        raise ValueError(f"the paper's data are {quoted(_PAPER)}, got {shown(data)}")
    usual, make = _PAPER[data]
    shapes = changes.get("input_dims", usual)
    if not isinstance(shapes, Mapping):
        raise ValueError(f"input_dims must be modality to shape, got {shown(shapes)}")
    return {"n_modalities": len(shapes), "input_dims": dict(shapes), **make(shapes), **changes}
