"""The parts of the recipe, left out or replaced one at a time; run by ``mfeat.py ablation``."""

import copy
import dataclasses
from contextlib import ExitStack
from unittest.mock import patch

import numpy as np
import torch
from rows import quiet, scored
from tables import mfeat_views

from cmvae import CMVAE, CMVAEClusterer, CMVAEConfig, fit, initialize_clusters
from cmvae.datasets import mfeat
from cmvae.training.clustering import train
from cmvae.training.initialization import read_latents

TEN = {"n_clusters": 10}
# Variant → settings of the estimator; each is trained on its own.
VARIANTS = {
    "latent_dim 10": {**TEN, "latent_dim": 10},
    "likelihood scale 1": {**TEN, "scale": 1.0},
    "covariance identity": {**TEN, "covariance": "identity"},
}
# What comes after the warm-up: variant → (settings, what is replaced); one warm-up serves all, and
# the defaults.
STARTS = {
    "start: Gaussian mixture from k-means": ({"start": "gmm"}, {}),
    "start: clusters as narrow as the latent means": (
        {},
        {"cmvae.training.initialization.read_latents": "narrow"},
    ),
    "one epoch after the start": ({}, {"cmvae.training.recipe.MIXTURE_SHARE": 10**9}),
}
INCOMPLETE_STARTS = {
    "start: incomplete samples weigh as much as complete ones": (
        {},
        {"cmvae.training.initialization.read_latents": "equal"},
    ),
}
NUMBERS = {
    "number found: stable groups, without BIC": (
        {},
        {"cmvae.clusters.spectral.information_criterion": "largest"},
    ),
    "number found: groups of Jaccard index above 0.6": (
        {},
        {"cmvae.clusters.spectral.STABLE": 0.6},
    ),
    "number found: BIC of Gaussian mixtures": ({"start": "gmm"}, {}),
}


def replacement(value):
    """Return what takes the place of an inner part of the package."""

    def changed_latents(*arguments):
        latents = read_latents(*arguments)
        if value == "narrow":
            return dataclasses.replace(latents, spread=0 * latents.spread)
        return dataclasses.replace(latents, observed=np.ones_like(latents.observed))

    if value == "largest":
        return lambda points, groups: -groups.max()
    return value if isinstance(value, int | float) else changed_latents


def from_one_warmup(method, rate, seed, settings, variants):
    """Fit the estimator, variants from the same warm-up, and other rules of the first model."""
    quiet()
    views, labels = mfeat_views(rate, seed)
    warm = []

    def keep(model, *arguments, **options):
        warm.append((copy.deepcopy(model.state_dict()), torch.get_rng_state()))
        return initialize_clusters(model, *arguments, **options)

    with patch("cmvae.training.callbacks.initialize_clusters", keep):
        first, data = fitted(views, random_state=seed, **settings)
    rows = [{"method": method, **scored(labels, first.labels_), "clusters": first.n_clusters_}]
    for rule in ("mean", "vote"):
        found = first.model_.predict_clusters(data, rule=rule).clusters
        rows.append({"method": f"{method}, rule {rule}", **scored(labels, found)})
    for name, (changes, replaced) in variants.items():
        with ExitStack() as stack:
            for target, value in replaced.items():
                stack.enter_context(patch(target, replacement(value)))
            stack.enter_context(patch("cmvae.training.clustering.train", after_warmup(*warm[0])))
            other = CMVAEClusterer(random_state=seed, **settings, **changes).fit(views)
        rows.append(
            {"method": name, **scored(labels, other.labels_), "clusters": other.n_clusters_}
        )
    return [{"rate": rate, "seed": seed, **row} for row in rows]


def fitted(views, *arguments, **settings):
    """Return an estimator and the data that its model was trained on."""
    seen = []

    def trained(model, data, *rest, **options):
        seen.append(data)
        train(model, data, *rest, **options)

    with patch("cmvae.training.clustering.train", trained):
        return CMVAEClusterer(*arguments, **settings).fit(views), seen[0]


def after_warmup(state, random_state):
    """Return ``train`` as it goes on after a warm-up that left these weights and draws."""

    def trained(model, *arguments, **options):
        model.load_state_dict(state)
        torch.set_rng_state(random_state)
        train(model, *arguments, **{**options, "warm": True})

    return trained


def paper(rate, seed):
    """Train the paper's model: random centres, Laplace latents, unit scales, ten clusters, vote."""
    return trained_outright(
        "the paper's model and rule", "vote", rate, seed, modalities_specific_dim=10
    )


def without_warmup(rate, seed):
    """Train what the estimator trains, from random centres."""
    ours = {
        "latent_dim": 24,
        "modalities_specific_dim": 10,
        "prior_and_posterior_dist": "normal_with_softplus",
        "covariance": "full",
        "decoder_dist_params": {name: {"scale": "learned"} for name in mfeat(0.0, 0).modalities},
    }
    return trained_outright("no warm-up, random centres", "joint", rate, seed, **ours)


def trained_outright(method, rule, rate, seed, **settings):
    quiet()
    data = mfeat(rate, seed)
    torch.manual_seed(seed)
    dims = {name: values.shape[1] for name, values in data.data.items()}
    config = CMVAEConfig(
        n_modalities=6, input_dims=dims, number_of_clusters=10, K=1, hidden_dims=(256,), **settings
    )
    model = CMVAE(config)
    silent = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    fit(model, data, max_epochs=35, enable_model_summary=False, **silent)
    found = model.predict_clusters(data, rule=rule).clusters
    return [{"rate": rate, "seed": seed, "method": method, **scored(data.labels, found)}]


def paper_entropy(rate, seed):
    """Start 30 clusters from the latents and let the paper's criterion choose among them."""
    quiet()
    views, labels = mfeat_views(rate, seed)
    model, data = fitted(views, 30, random_state=seed)
    model.model_.prune_clusters(data, rule="joint")
    found = model.model_.predict_clusters(data, rule="joint").clusters
    method = "number found: the paper's entropy from 30"
    number = int(model.model_.active_clusters.sum())
    return [
        {"rate": rate, "seed": seed, "method": method, **scored(labels, found), "clusters": number}
    ]
