"""What latents hold: the class, by a linear probe; of an image, in nats; and in how many units."""

import math
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from cmvae import CMVAE
from cmvae.models.families import Family
from cmvae.models.inference import evaluating, experts_given

SAMPLES = 2_000  # tuples behind a probe, of the training set, and behind the rest
ACTIVE = 0.01  # variance of the posterior means in an active unit
PROBE_Z = "linear probe of z, one modality (mean)"
PROBE_W = "linear probe of w, one modality (mean)"
INFORMATION = "I(z; x), nats, one modality (mean)"
UNITS = "active units of z, one modality (mean)"
LATENTS = (PROBE_Z, PROBE_W, INFORMATION, UNITS)


@torch.no_grad()
def score_latents(model: CMVAE, train: Any, test: Any) -> tuple[dict[str, float], dict]:
    """Return the measures in the mean over modalities, and each modality's own.

    The information is that of the aggregate posterior of as many samples, so at most log 2,000 =
    7.6 nats (Hoffman and Johnson, "ELBO surgery", 2016); units as Burda et al. (2016) count them.
    """
    names = list(model.modalities)
    with evaluating(model):
        known, new = (experts_given(model, part[:SAMPLES], names, 512) for part in (train, test))
    labels = np.asarray(train.labels[:SAMPLES]), np.asarray(test.labels[:SAMPLES])
    each: dict[str, dict[str, float]] = {name: {} for name in LATENTS}
    for i, m in enumerate(names):
        there = known.observed[i].cpu()
        expected = labels[0][there.numpy()], labels[1]
        each[PROBE_Z][m] = _probe(known.loc[i][there], new.loc[i], *expected)
        each[PROBE_W][m] = _probe(known.private_loc[i][there], new.private_loc[i], *expected)
        each[INFORMATION][m] = _information(new.family, new.loc[i], new.scale[i])
        each[UNITS][m] = int((new.loc[i].var(0) > ACTIVE).sum())
    return {name: float(np.mean([*values.values()])) for name, values in each.items()}, each


def _probe(known: Tensor, new: Tensor, labels: np.ndarray, expected: np.ndarray) -> float:
    """Return the accuracy of a logistic regression on latents of one set, tried on another's."""
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000))
    return float(probe.fit(known.cpu().numpy(), labels).score(new.cpu().numpy(), expected))


def _information(family: Family, loc: Tensor, scale: Tensor) -> float:
    """Return E[log q(z|x) - log mean of q(z|x') over all x'], z one draw from each q(z|x)."""
    generator = torch.Generator(loc.device).manual_seed(0)
    z = loc + scale * family.noise(tuple(loc.shape), loc, generator)
    logs = torch.stack([family.log_prob(row, loc, scale) for row in z])  # (of z, of x)
    return float((logs.diagonal() - logs.logsumexp(1) + math.log(len(z))).mean())
