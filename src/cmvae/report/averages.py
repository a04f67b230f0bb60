"""What a model generates from its clusters on average, in the units of tables."""

from collections.abc import Mapping

import numpy as np
import torch

from cmvae.base.arguments import seeded
from cmvae.report.samples import readable
from cmvae.report.tables import TableSums, flat
from cmvae.runs.run import Run

MOST_DRAWS, FEWEST_DRAWS = 16_384, 64  # of a cluster
AT_ONCE = 1 << 22  # numbers generated at a time
AFFORDABLE = 1 << 26  # and altogether


@torch.no_grad()
def mean_draws(run: Run, tables: Mapping[str, TableSums], seed: int) -> dict[str, np.ndarray]:
    """Return the means of what is generated from each of C clusters, by table, (C, D).

    Latents are drawn, shared and private ones, as many as are affordable, the same for the same
    seed. Of each the likelihood's mean is taken; but of numbers that go through a transform a draw
    of the likelihood: what a mean becomes on the way back is no mean, but near the median. Counts
    are scaled to one total where those of the data are.
    """
    if not tables:
        return {}
    model, width = run.model, sum(len(own.entries) for own in tables.values())
    generator = seeded(seed, model.cluster_centers.device)
    affordable = AFFORDABLE // (width * run.n_clusters)
    n, step = min(MOST_DRAWS, max(FEWEST_DRAWS, affordable)), max(1, AT_ONCE // width)
    sums = {m: np.zeros((run.n_clusters, len(own.entries))) for m, own in tables.items()}
    for cluster in range(run.n_clusters):
        for start in range(0, n, step):
            size = min(step, n - start)
            latents = model.generate_from_prior(size, cluster=cluster, generator=generator)
            decoded = model.decode(latents, list(tables))
            means = model.to_data(decoded)
            bent = {m: own for m, own in decoded.items() if tables[m].is_bent.any()}
            drawn = model.to_data(bent, sample=True, generator=generator) if bent else {}
            for m, own in tables.items():
                values = _cells(own, means[m])
                if m in drawn:
                    values = np.where(own.is_bent, _cells(own, drawn[m]), values)
                sums[m][cluster] += own.to_one_library(values).sum(0)
    return {m: own / n for m, own in sums.items()}


def _cells(table: TableSums, values: torch.Tensor) -> np.ndarray:
    """Return generated values (n, *) in the units of the data, (n, D)."""
    return flat(readable(table.codec, values.detach().cpu().numpy()))
