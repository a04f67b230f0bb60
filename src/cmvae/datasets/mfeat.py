"""Handwritten digits seen through six feature extractors: the UCI Multiple Features data."""

import importlib.resources

import numpy as np
import torch

from cmvae.base.arrays import moments, standardise
from cmvae.data.datasets import IncompleteDataset, MultimodalBaseDataset, dataset_of
from cmvae.data.masks import random_masks

MODALITIES = ("fac", "fou", "kar", "mor", "pix", "zer")


def load_mfeat() -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Read the UCI Multiple Features data, as published.

    2000 handwritten digits, 200 of each, sorted by digit. Each was described by 216 profile
    correlations (``fac``), 76 Fourier coefficients of the shape (``fou``), 64 Karhunen-Loève
    coefficients (``kar``), 6 morphological features (``mor``), 240 averages of 2 x 3 windows, an
    image of 16 rows and 15 columns with values 0 to 6 (``pix``), and 47 Zernike moments (``zer``).
    Six digits occur twice, equal in all modalities.

    Returns:
        Modality -> (2000, features) float64, as printed in the source; and the digits, (2000,)
        int64.

    References:
        R. Duin, Multiple Features, UCI Machine Learning Repository,
        https://doi.org/10.24432/C5HC70, CC BY 4.0.
    """
    powers = (10 ** np.arange(10)).astype(np.float64)
    data = {}
    with (
        importlib.resources.files("cmvae.datasets").joinpath("mfeat.npz").open("rb") as file,
        np.load(file, allow_pickle=False) as arrays,
    ):
        for name in MODALITIES:
            # A number is stored as its digits, an integer in two bytes, and decimals. A quotient
            # of two exact doubles is rounded as the printed decimal is: it is exactly that number.
            digits = 256 * arrays[f"{name}_high"].astype(np.int64) + arrays[f"{name}_low"]
            data[name] = digits / powers[arrays[f"{name}_decimals"]]
        return data, arrays["labels"].astype(np.int64)


def mfeat(
    missing_rate: float = 0.0, seed: int = 0, standardize: bool = True
) -> MultimodalBaseDataset | IncompleteDataset:
    """Return the UCI Multiple Features data as a dataset, with modalities left out on request.

    Args:
        missing_rate: share of incomplete samples, in [0, 1]; see ``random_masks``.
        seed: seed of what is left out.
        standardize: whether each feature gets mean 0 and standard deviation 1 over the samples that
            observe it; a constant feature becomes 0.

    Returns:
        2000 samples with labels (int64). Modality -> (2000, features) float32, NaN where a modality
        is left out. An ``IncompleteDataset`` if missing_rate is above 0.

    Raises:
        ValueError: for a missing_rate that is not a number in [0, 1].

    Example:
        >>> from cmvae.datasets import mfeat
        >>> len(mfeat(missing_rate=0.3))
        2000
    """
    raw, labels = load_mfeat()
    masks = random_masks(len(labels), MODALITIES, missing_rate, seed)
    data = {}
    for name, features in raw.items():
        features[~masks[name]] = np.nan
        if standardize:
            rows = features[masks[name]]
            center, spread = moments(rows)
            spread = np.where(rows.max(0) == rows.min(0), np.inf, spread)  # makes constants 0
            features = standardise(features, center, spread)
        data[name] = torch.from_numpy(features.astype(np.float32))
    return dataset_of(data, labels, masks if missing_rate > 0 else None)
