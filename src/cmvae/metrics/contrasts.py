"""A cluster beside all other samples: fold changes of counts, and a test of means.

The clusters were found in the samples that are compared, so that a test finds differences where one
group of samples was cut in two: p-values put features in an order, and say nothing of whether there
is a cluster (Zhang, Kamath and Tse, "Valid post-clustering differential analysis for single-cell
RNA-seq", Cell Systems 2019).
"""

import numpy as np

from cmvae.metrics.moments import Moments


def log_fold_change(inside: np.ndarray, outside: np.ndarray, fewest: np.ndarray) -> np.ndarray:
    """Return log₂ (a + ε) / (b + ε) of means a and b, (D,).

    ε is one count in all ``fewest`` samples of the smaller side, (D,): a number is not called
    telling for a few counts that happen to fall on one side.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        one = 1 / fewest
        return np.asarray(np.log2((inside + one) / (outside + one)))


def welch_test(moments: Moments, cluster: int) -> np.ndarray:
    """Return two-sided p-values of Welch's t-test of a cluster's means beside all others', (D,).

    NaN where a side has fewer than two values; 1 where nothing varies and the means are equal.
    """
    from scipy.stats import ttest_ind_from_stats  # slow to import

    means, numbers = moments.inside_and_outside(cluster), moments.numbers(cluster)
    spreads = [np.sqrt(variance) for variance in moments.variances(cluster)]
    sides = zip(means, spreads, numbers, strict=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = ttest_ind_from_stats(*next(sides), *next(sides), equal_var=False).pvalue
    there = np.minimum(*numbers) > 1
    return np.where(there, np.where(means[0] == means[1], 1.0, found), np.nan)


def adjusted(p: np.ndarray) -> np.ndarray:
    """Return p-values (D,) corrected for the share of false discoveries; NaN is passed over.

    The reference is Benjamini and Hochberg, "Controlling the false discovery rate" (1995).
    """
    from scipy.stats import false_discovery_control  # slow to import

    found, there = np.full(len(p), np.nan), ~np.isnan(p)
    if there.any():
        found[there] = false_discovery_control(p[there])
    return found
