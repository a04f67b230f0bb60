"""Proteins that are counted on cells without them: does a likelihood with a background pay?

Usage: python benchmarks/cell_background.py [--seeds 3]. Writes records/cell-background.json and
cell-background.md. Runs on the CPU, in one thread. Needs scanpy, for its data.

The cells: scanpy's pbmc68k_reduced, 700 cells of 10 types (which score and do nothing else), the
300 genes of the most variance. 15 proteins are simulated: each is there in 0.3 of the types, on 0.9
of their cells; its background, e^N(2, 0.5²) counts, differs between cells by a factor of log-sd 0.4
that all proteins share, and the foreground adds e^N(2, 0.7²) times as much. Counts are negative
binomial, r = 5. 150 cells lack the proteins.

Likelihoods of the proteins: ``library``: negative binomial with library size, as counts are read;
``plain``: negative binomial of rates; ``background``: as in totalVI (Gayoso et al., Nature Methods
2021), v NB(β) + (1 − v) NB(β + β e^(o+1)), v and o from the decoder and β, learned, of each
protein. ``r counts`` is the correlation of the expected with the true counts of the 150 cells, on a
log scale, the mean over proteins; ``r means`` that with the means that the counts were drawn from.
"""

import argparse
import logging
import tempfile
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from cell_batches import recovered
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from timing import table, write_record
from torch import Tensor, nn
from torch.nn import functional

from cmvae import CMVAE, CMVAEConfig, fit
from cmvae.data.datasets import IncompleteDataset

PROTEINS, GENES, WITHOUT = 15, 300, 150
EPOCHS, WARMUP = 60, 50
MOST, MOST_FOLD = 15.0, 12.0  # of logarithms of rates, and of what the foreground adds
LIKELIHOODS = ("library", "plain", "background")


def log_mass(counts: Tensor, log_rate: Tensor, log_r: Tensor) -> Tensor:
    """Return the negative binomial's log p(counts)."""
    r, both = log_r.exp(), torch.logaddexp(log_r, log_rate)
    constant = torch.lgamma(counts + r) - torch.lgamma(r) - torch.lgamma(counts + 1)
    return constant + r * (log_r - both) + counts * (log_rate - both)


class Proteins(nn.Module):
    """A likelihood of log(1 + counts) beside as many zeros, so that decoders have two outputs each.

    Args:
        start: The rates that are learned from there, (PROTEINS,).
    """

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.log_start, self.log_r = (
            nn.Parameter(start.log()),
            nn.Parameter(torch.zeros(PROTEINS)),
        )

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        counts = target[..., :PROTEINS].expm1().round()
        own = self.log_prob(output[..., :PROTEINS], output[..., PROTEINS:], counts)
        return torch.cat([own, torch.zeros_like(own)], -1)


class Plain(Proteins):
    """One rate."""

    def log_prob(self, output: Tensor, _: Tensor, counts: Tensor) -> Tensor:
        return log_mass(counts, (output + self.log_start).clamp(max=MOST), self.log_r)

    def rate(self, output: Tensor) -> Tensor:
        return (output[..., :PROTEINS] + self.log_start).clamp(max=MOST).exp()


class Background(Proteins):
    """Background or foreground."""

    def foreground(self, output: Tensor) -> Tensor:
        return self.log_start + torch.log1p((output + 1).clamp(max=MOST_FOLD).exp())

    def log_prob(self, output: Tensor, v: Tensor, counts: Tensor) -> Tensor:
        none = functional.logsigmoid(v) + log_mass(counts, self.log_start, self.log_r)
        some = functional.logsigmoid(-v) + log_mass(counts, self.foreground(output), self.log_r)
        return torch.logaddexp(none, some)

    def rate(self, output: Tensor) -> Tensor:
        v = output[..., PROTEINS:].sigmoid()
        some = self.foreground(output[..., :PROTEINS]).exp()
        return v * self.log_start.exp() + (1 - v) * some


def made(seed: int) -> tuple[np.ndarray, ...]:
    """Return counts of genes, of proteins, which cells have these, types, and proteins' means."""
    counts, obs, _ = recovered()
    genes = counts.toarray()
    genes = genes[:, np.argsort(-np.log1p(genes).var(0))[:GENES]]
    rng = np.random.default_rng(seed)
    types = obs["bulk_labels"].cat.codes.to_numpy()
    n = len(types)
    background, fold = np.exp(rng.normal(2, 0.5, PROTEINS)), np.exp(rng.normal(2, 0.7, PROTEINS))
    marked = rng.random((types.max() + 1, PROTEINS)) < 0.3
    there = marked[types] & (rng.random((n, PROTEINS)) > 0.1)
    ambient = rng.lognormal(0, 0.4, (n, 1))
    means = background * ambient + there * background * fold * rng.lognormal(0, 0.3, (n, 1))
    proteins = rng.poisson(rng.gamma(5.0, means / 5.0))
    seen = np.ones(n, dtype=bool)
    seen[rng.choice(n, WITHOUT, replace=False)] = False
    return genes.astype(np.float32), proteins.astype(np.float32), seen, types, means


def total(counts: np.ndarray) -> dict:
    """Return the settings of counts with library size."""
    return {"library_size": True, "size": float(np.median(counts.sum(1)))}


def measure(kind: str, seed: int) -> dict:
    """Return the figures of one run."""
    genes, proteins, seen, types, means = made(seed)
    params, start = {"rna": total(genes)}, time.process_time()
    logs = np.log1p(proteins) * seen[:, None]
    values, likelihood = np.hstack([logs, np.zeros_like(logs)]), "negative_binomial"
    if kind == "library":
        values, params["protein"] = proteins * seen[:, None], total(proteins[seen])
    elif kind == "plain":
        likelihood = Plain(torch.from_numpy(proteins[seen].mean(0).clip(0.5)))
    else:
        low = np.quantile(proteins[seen], 0.3, 0).clip(1).astype(np.float32)
        likelihood = Background(torch.from_numpy(low))
    model, data = trained(genes, values, seen, likelihood, params, seed)
    with torch.no_grad():
        found = model.predict_clusters(data[:], rule="joint").clusters.numpy()
        made_of = {"cond_mod": "rna", "gen_mod": "protein", "return_mean": True}
        output = model.predict(data[:], **made_of)
        rates = model.to_data(output) if kind == "library" else output
        rates = rates["protein"][:, 0]
        if kind != "library":
            rates = model.likelihoods["protein"].function.rate(rates)
    lacking = np.log1p(rates.numpy()[~seen])
    return {
        "likelihood": kind,
        "seed": seed,
        "clusters": len(np.unique(found)),
        "ARI": adjusted_rand_score(types, found),
        "NMI": normalized_mutual_info_score(types, found),
        "r counts": alike(lacking, np.log1p(proteins[~seen])),
        "r means": alike(lacking, np.log1p(means[~seen])),
        "CPU s": time.process_time() - start,
    }


def trained(
    genes: np.ndarray,
    values: np.ndarray,
    seen: np.ndarray,
    likelihood: str | Callable,
    params: dict,
    seed: int,
) -> tuple[CMVAE, IncompleteDataset]:
    """Return a trained model and its cells."""
    arrays = {"rna": torch.from_numpy(genes), "protein": torch.from_numpy(values)}
    masks = {"rna": torch.ones(len(seen), dtype=torch.bool), "protein": torch.from_numpy(seen)}
    data = IncompleteDataset(arrays, masks=masks)
    torch.manual_seed(seed)
    config = CMVAEConfig(
        n_modalities=2,
        input_dims={name: tuple(own.shape[1:]) for name, own in arrays.items()},
        decoders_dist={"rna": "negative_binomial", "protein": likelihood},
        decoder_dist_params=params,
        latent_dim=16,
        modalities_specific_dim=6,
        number_of_clusters=15,
        K=1,
        prior_and_posterior_dist="normal_with_softplus",
        covariance="full",
        hidden_dims=(64,),
    )
    model = CMVAE(config)
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar"), False)
    how = {"max_epochs": EPOCHS, "warmup_epochs": WARMUP, "batch_size": 70, "seed": seed}
    quiet |= {"enable_model_summary": False, "accelerator": "cpu"}
    with tempfile.TemporaryDirectory() as folder:
        fit(model, data, initial_clusters="auto", run_dir=folder, **how, **quiet)
    return model.eval(), data


def alike(found: np.ndarray, wanted: np.ndarray) -> float:
    """Return the correlation, the mean over columns."""
    pairs = zip(found.T, wanted.T, strict=True)
    return float(np.mean([np.corrcoef(one, other)[0, 1] for one, other in pairs]))


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    seeds = parser.parse_args().seeds
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    record([measure(kind, seed) for seed in range(seeds) for kind in LIKELIHOODS])


def record(rows: list[dict]) -> None:
    """Write each run, and of each likelihood the medians over seeds."""
    columns = ("clusters", "ARI", "NMI", "r counts", "r means", "CPU s")
    medians = []
    for kind in LIKELIHOODS:
        own = [row for row in rows if row["likelihood"] == kind]
        medians.append(
            {
                "likelihood": kind,
                **{name: float(np.median([row[name] for row in own])) for name in columns},
                "r counts, of all": ", ".join(f"{row['r counts']:.3f}" for row in own),
                "ARI, of all": ", ".join(f"{row['ARI']:.3f}" for row in own),
            }
        )
    shown = ["likelihood", *columns, "ARI, of all", "r counts, of all"]
    lines = ["Medians over seeds", "", *table(medians, shown)]
    write_record("cell-background", "python benchmarks/cell_background.py", rows, lines)


if __name__ == "__main__":
    main()
