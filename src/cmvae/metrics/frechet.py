"""The Fréchet distance between two sets of features."""

from typing import Any

import numpy as np

from cmvae.base.arguments import positive_float, positive_int
from cmvae.base.words import shown
from cmvae.data.checks import as_tensor


def frechet_distance(features_a: Any, features_b: Any) -> float:
    r"""Return the squared Fréchet distance of two sets of features, by their means and covariances.

    .. math:: \lVert m_a - m_b \rVert^2 + \mathrm{tr}\,(S_a + S_b - 2 (S_a S_b)^{1/2})

    Features may be those of any extractor; the distance bears the name "FID" only with the
    Inception features of Heusel et al. ("GANs Trained by a Two Time-Scale Update Rule Converge to a
    Local Nash Equilibrium", 2017), and distances over other features cannot be compared with it. It
    is larger on average the fewer the samples, so compare equal numbers only. Singular covariances,
    as with fewer samples than features, are no difficulty.

    Args:
        features_a: (n, d) finite numbers.
        features_b: (k, d) likewise; n and k may differ.

    Returns:
        A number ≥ 0, in the square of the features' unit.

    Raises:
        TypeError: for what is not numbers.
        ValueError: for other than two axes, fewer than two samples, differing d, NaN or infinity.
    """
    return _distance(*_both(features_a, features_b))


def frechet_interval(
    features_a: Any, features_b: Any, *, level: float = 0.95, n_resamples: int = 200, seed: int = 0
) -> tuple[float, float]:
    """Return a bootstrap confidence interval of :func:`frechet_distance`.

    Both sets are resampled. It is the basic interval, [2D − upper quantile, 2D − lower quantile] of
    the resampled distances: like the distance D itself these are biased upwards, and the reflection
    takes that bias out, so that the interval may lie below D (Davison and Hinkley, "Bootstrap
    Methods and their Application", 1997, section 5.2).

    The coverage aimed at is ``level``, in (0, 1). Features and errors are those of the distance.

    Returns:
        Lower and upper end, both ≥ 0.

    Raises:
        ValueError: for a level outside (0, 1) or fewer than one resample.
    """
    if not positive_float("level", level) < 1:
        raise ValueError(f"level must be a number between 0 and 1, got {shown(level)}")
    count = positive_int("n_resamples", n_resamples)
    both, rng = _both(features_a, features_b), np.random.default_rng(seed)

    def resampled() -> float:
        return _distance(*(x[rng.integers(len(x), size=len(x))] for x in both))

    quantiles = np.quantile([resampled() for _ in range(count)], [(1 + level) / 2, (1 - level) / 2])
    lower, upper = (2 * _distance(*both) - quantiles).clip(min=0).tolist()
    return lower, upper


def _both(features_a: Any, features_b: Any) -> tuple[np.ndarray, np.ndarray]:
    a, b = _features(features_a, "features_a"), _features(features_b, "features_b")
    if a.shape[1] != b.shape[1]:
        sizes = f"{a.shape[1]} and {b.shape[1]} features"
        raise ValueError(f"features_a and features_b differ in size: {sizes}")
    return a, b


def _features(values: Any, name: str) -> np.ndarray:
    """Return features as float64, (n, d)."""
    array = as_tensor(values, name).detach().cpu().double().numpy()
    if array.ndim != 2 or array.shape[1] == 0:
        raise ValueError(f"{name}: expected shape (n, d), d at least 1, got {array.shape}")
    if len(array) < 2:
        raise ValueError(f"{name}: expected at least two samples, got {len(array)}")
    bad = ~np.isfinite(array).all(1)
    if bad.any():
        where = f"{int(bad.sum())} samples, the first of them {int(bad.argmax())}"
        raise ValueError(f"{name}: NaN or infinity in {where}")
    return array


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    """Return the distance between features (n, d) and (k, d)."""
    from scipy.linalg import eigh, eigvalsh

    cov_a, cov_b = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    # tr (S_a S_b)^½ = tr (R' S_b R)^½ with R R' = S_a: eigenvalues of a symmetric matrix are real
    # and accurate, also where S_a is singular. Rounding may leave what is zero slightly negative.
    values, vectors = eigh(cov_a)
    root = vectors * np.sqrt(values.clip(min=0))
    cross = np.sqrt(eigvalsh(root.T @ cov_b @ root).clip(min=0)).sum()
    distance = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * cross
    return max(float(distance), 0.0)
