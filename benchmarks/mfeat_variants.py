"""The parts of the recipe, left out or replaced one at a time; run by ``mfeat.py ablation``."""

import torch
from rows import quiet, scored
from tables import mfeat_views

from cmvae import CMVAE, CMVAEClusterer, CMVAEConfig, fit
from cmvae.datasets import mfeat

TEN = {"n_clusters": 10}
# Variant → settings of the estimator; each is trained on its own.
VARIANTS = {
    "latent_dim 10": {**TEN, "latent_dim": 10},
    "likelihood scale 1": {**TEN, "scale": 1.0},
    "covariance identity": {**TEN, "covariance": "identity"},
    "start: the model's normalised cut": {**TEN, "start": "spectral"},
    "start: Gaussian mixture from k-means": {**TEN, "start": "gmm"},
}


def paper(rate, seed):
    """Train the paper's model: random centres, Laplace latents, unit scales, ten clusters, vote."""
    return trained_outright("vote", rate, seed, modalities_specific_dim=10)


def without_warmup(rate, seed):
    """Train what the estimator trains, from random centres."""
    ours = {
        "latent_dim": 24,
        "modalities_specific_dim": 10,
        "prior_and_posterior_dist": "normal_with_softplus",
        "covariance": "full",
        "decoder_dist_params": {name: {"scale": "learned"} for name in mfeat(0.0, 0).modalities},
    }
    return trained_outright("joint", rate, seed, **ours)


def trained_outright(rule, rate, seed, **settings):
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
    return scored(data.labels, found)


def paper_entropy(rate, seed):
    """Start 30 clusters from the latents and let the paper's criterion choose among them."""
    quiet()
    views, labels = mfeat_views(rate, seed)
    model = CMVAEClusterer(30, random_state=seed).fit(views)
    data = mfeat(rate, seed)
    model.model_.prune_clusters(data, rule="joint")
    found = model.model_.predict_clusters(data, rule="joint").clusters
    number = int(model.model_.active_clusters.sum())
    return {**scored(labels, found), "clusters": number}


# Model → what trains and scores it.
MODELS = {
    "the paper's model and rule": paper,
    "no warm-up, random centres": without_warmup,
    "number found: the paper's entropy from 30": paper_entropy,
}
