"""How far a cluster is from all others in one number: a standard effect size for each kind.

The reference is Cohen, "Statistical power analysis for the behavioral sciences" (2nd edition,
1988), chapters 2 and 6.
"""

from collections.abc import Callable

import numpy as np

from cmvae.preprocessing.codec import Entry
from cmvae.preprocessing.transforms import SAID

COHENS_D, COHENS_H, FOLD = "Cohen's d", "Cohen's h", "log2 fold change"
SYMBOLS = {COHENS_D: "d", COHENS_H: "h", FOLD: "log₂"}
"""What stands beside an effect size where there is little room."""

OF_KIND = {
    "continuous": COHENS_D,
    "date": COHENS_D,
    "date+season": COHENS_D,
    "binary": COHENS_H,
    "category": COHENS_H,
    "count": FOLD,
    "words": FOLD,
}
"""Kind of a number to its effect size."""


def kind_of(entry: Entry, library: float | None = None) -> str:
    """Return the whole name of the effect size of a number.

    Args:
        entry: What the number is.
        library: Of counts, the total to which samples were scaled first; None: to none.
    """
    own = OF_KIND[entry.kind]
    if own == COHENS_D and entry.transform != "none":
        return f"{own}, {SAID[entry.transform]}"
    return f"{own}, per {library:.6g} counts" if own == FOLD and library is not None else own


def cohens_d(inside: np.ndarray, outside: np.ndarray, pooled: np.ndarray) -> np.ndarray:
    """Return differences of means, (D,), over pooled standard deviations.

    Where these are 0 it is infinite, or 0 where the means are equal too.
    """
    difference = inside - outside
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(difference == 0, 0.0, difference / pooled))


def cohens_h(inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Return 2 arcsin √p − 2 arcsin √q of shares p and q, (D,), between −π and π."""
    angles = [2 * np.arcsin(np.sqrt(np.clip(share, 0, 1))) for share in (inside, outside)]
    return np.asarray(angles[0] - angles[1])


def effect_sizes(entries: list[Entry], of: Callable[[str], np.ndarray]) -> np.ndarray:
    """Return the effect sizes of D numbers, each by that of its kind, (D,).

    Args:
        entries: What the numbers are.
        of: Gives the effect sizes of all of them by the name of one.
    """
    wanted = np.array([OF_KIND[entry.kind] for entry in entries])
    found = np.full(len(entries), np.nan)
    for name in np.unique(wanted):
        found[wanted == name] = of(str(name))[wanted == name]
    return found
