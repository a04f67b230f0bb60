"""Does a model make counts like those that it was given? Posterior predictive checks.

Latents are drawn from the posterior of each sample and counts from the likelihood, with the
sample's own total: data such as the model would have us see. What it has not understood shows where
statistics of these replicates lie apart from those of the data (Rubin, "Bayesianly justifiable and
relevant frequency calculations", 1984; Gelman, Meng and Stern, "Posterior predictive assessment of
model fitness via realized discrepancies", 1996).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from cmvae.base.arguments import positive_int, seeded
from cmvae.data.datasets import IncompleteDataset
from cmvae.data.observed import coded_values
from cmvae.likelihoods import NegativeBinomial, Poisson
from cmvae.models.inference import likelihood_of

if TYPE_CHECKING:
    from cmvae.models.cmvae import CMVAE

MOST_CORRELATED = 100  # features of the largest variance whose correlations are looked at
AT_ONCE = 256


@dataclass(frozen=True)
class PredictiveCheck:
    """Statistics of the D counts of a modality, of the data and of R replicates.

    Attributes:
        n_samples: How many samples were looked at.
        means: Mean of each count, (D,), and of replicates (R, D).
        zeros: Likewise the share of samples in which it is 0.
        spreads: Likewise the standard deviation of log(1 + count).
        correlations: Correlations of log(1 + count) between pairs of the ``correlated`` counts,
            (P,), and of replicates (R, P).
        correlated: Places of the counts of the largest spread, at most 100.
    """

    n_samples: int
    means: tuple[np.ndarray, np.ndarray]
    zeros: tuple[np.ndarray, np.ndarray]
    spreads: tuple[np.ndarray, np.ndarray]
    correlations: tuple[np.ndarray, np.ndarray]
    correlated: np.ndarray

    def summary(self) -> dict[str, dict[str, float]]:
        """Return for each statistic ``data`` and ``replicated``, averages, and the ``error``.

        The error is the mean absolute difference between data and the mean of replicates, of means
        and spreads relative to those of the data; ``outside`` the share of features, or pairs, of
        which the data lie outside all replicates, ``expected`` that of data that the model made.
        """
        found = {}
        for name in ("means", "zeros", "spreads", "correlations"):
            data, made = getattr(self, name)
            if not len(data):
                continue
            error = np.abs(data - made.mean(0)).mean()
            if name in ("means", "spreads"):
                error /= max(np.abs(data).mean(), 1e-12)
            outside = (data < made.min(0)) | (data > made.max(0))
            found[name] = {
                "data": float(data.mean()),
                "replicated": float(made.mean()),
                "error": float(error),
                "outside": float(outside.mean()),
                "expected": 2 / (len(made) + 1),
            }
        return found


def checkable(model: "CMVAE", modality: str) -> bool:
    """Tell whether a modality is counts of one kind, which :func:`predictive_check` is for."""
    return isinstance(likelihood_of(model, modality), Poisson | NegativeBinomial)


@torch.no_grad()
def predictive_check(
    model: "CMVAE",
    data: IncompleteDataset,
    modality: str,
    *,
    replicates: int = 20,
    most_samples: int = 1000,
    seed: int = 0,
) -> PredictiveCheck:
    """Replicate the counts of a modality, and measure data and replicates alike.

    Args:
        model: The model, which is left as it is.
        data: Samples, those it was trained with or others.
        modality: One whose likelihood is Poisson or negative binomial.
        replicates: How often all samples are replicated, R.
        most_samples: Of more than so many samples that many are looked at, drawn at random.
        seed: Of the draws.

    Raises:
        TypeError: For what is no dataset of samples that may lack modalities.
        KeyError: For a modality that is not there.
        ValueError: For a modality that is not counts, or that fewer than two samples have.
    """
    if not isinstance(data, IncompleteDataset):
        what = "an IncompleteDataset, such as cells.dataset"
        raise TypeError(f"data: expected {what}, got {type(data).__name__}")
    if modality not in model.modalities or modality not in data.data:
        raise KeyError(f"modality: unknown {modality!r}; there are {list(data.data)}")
    if not checkable(model, modality):
        raise ValueError(f"modality {modality!r} is not counts, whose replicates are checked")
    rows = _rows(data, modality, positive_int("most_samples", most_samples), seed)
    parts = [values for _, values in coded_values(data, modality, rows, AT_ONCE)]
    values = np.concatenate(parts).reshape(len(rows), -1)
    correlated = _most_spread(values)
    generator = seeded(seed, model.cluster_centers.device)
    own = _statistics(values, correlated)
    made = [
        _statistics(_replicate(model, data, modality, rows, values, generator), correlated)
        for _ in range(positive_int("replicates", replicates))
    ]
    means, zeros, spreads, correlations = (
        (own[i], np.stack([each[i] for each in made])) for i in range(len(own))
    )
    return PredictiveCheck(len(rows), means, zeros, spreads, correlations, correlated)


def _rows(data: IncompleteDataset, modality: str, most: int, seed: int) -> np.ndarray:
    """Return samples that have the modality, sorted, at most so many."""
    rows = np.flatnonzero(data.masks[modality].numpy())
    if len(rows) < 2:
        raise ValueError(f"modality {modality!r}: {len(rows)} samples have it, needed are two")
    drawn = np.random.default_rng(seed).permutation(len(rows))[:most]
    return rows[np.sort(drawn)]


def _replicate(
    model: "CMVAE",
    data: IncompleteDataset,
    modality: str,
    rows: np.ndarray,
    values: np.ndarray,
    generator: torch.Generator,
) -> np.ndarray:
    """Return counts drawn for samples, (n, D), NaN where theirs are missing."""
    likelihood: Any = likelihood_of(model, modality)
    size, made = likelihood.counts[0].size, []
    for start in range(0, len(rows), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        decoded = model.predict(data[rows[part]], gen_mod=modality, generator=generator)
        rates = likelihood.mean(decoded[modality][:, 0])
        own = torch.as_tensor(values[part]).to(rates)
        if size is not None:
            # The total is of the counts that are there.
            there = torch.where(own.isnan(), 0, rates.flatten(1)).sum(-1)
            scale = own.nansum(-1) / there.clamp_min(1e-30)
            rates = rates * scale.reshape(-1, *[1] * (rates.dim() - 1))
        drawn = likelihood.sample_of_rates(rates, generator).flatten(1)
        made.append(torch.where(own.isnan(), own, drawn).cpu().numpy())
    return np.concatenate(made)


def _most_spread(values: np.ndarray) -> np.ndarray:
    """Return the places of the counts that vary most, in their order."""
    spread = np.nan_to_num(np.nanstd(np.log1p(values), 0))
    order = np.argsort(-spread, kind="stable")[:MOST_CORRELATED]
    return np.sort(order[spread[order] > 0])


def _statistics(values: np.ndarray, correlated: Sequence[int] | np.ndarray) -> list[np.ndarray]:
    """Return means, shares of zeros and spreads, (D,), and correlations of pairs, (P,)."""
    logs, seen = np.log1p(values), (~np.isnan(values)).sum(0)
    zeros = (values == 0).sum(0) / seen.clip(1)
    chosen = logs[:, correlated]
    chosen = np.nan_to_num(chosen - np.nanmean(chosen, 0))
    chosen /= np.sqrt((chosen**2).sum(0)).clip(1e-12)
    pairs = np.triu_indices(len(correlated), 1)
    return [np.nanmean(values, 0), zeros, np.nanstd(logs, 0), (chosen.T @ chosen)[pairs]]
