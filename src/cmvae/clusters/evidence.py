"""What is believed of the number of groups, as plain numbers."""

from dataclasses import dataclass

MOST = 100  # the largest number that is looked for


@dataclass(frozen=True)
class NumberEvidence:
    """What speaks for each number of clusters.

    Attributes:
        numbers: The numbers compared, (k,) from 2; empty where nothing was compared.
        scores: Their scores, (k,), the larger the better, as
            :func:`cmvae.clusters.number.count_clusters` says.
        chosen: The number found.
        runner_up: The next best; None where there is none.
        share: How often, of random subsets of the samples, the same number won; the closer to 1 the
            surer.
        strength: How much more structure there is than in a single cloud of the same covariance
            (:func:`cmvae.clusters.number.structure`). At most 0: one cluster.
    """

    numbers: tuple[int, ...]
    scores: tuple[float, ...]
    chosen: int
    runner_up: int | None
    share: float
    strength: float

    @property
    def is_compared(self) -> bool:
        """Whether there was anything to compare: from 8 samples on, two of them different."""
        return bool(self.numbers) or self.strength != 0

    def describe(self) -> str:
        """Say how sure the number is: ``next best: 4; the same in 90 % of subsets``."""
        if not self.numbers:
            alone = "no more structure than in a single cloud"
            return alone if self.is_compared else "none compared"
        others = "" if self.runner_up is None else f"next best: {self.runner_up}; "
        return f"{others}the same in {100 * self.share:.0f} % of subsets"
