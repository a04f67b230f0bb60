"""The names that are logged are those that the page tells, one each."""

import re
from pathlib import Path

import pandas as pd
import pytest
import torch
from lightning.pytorch.loggers import Logger, TensorBoardLogger

from cmvae import CMVAE, DCMVAE, CMVAEConfig, DiffusionConfig, MultimodalBaseDataset, fit

PAGE = Path(__file__).parents[2] / "docs" / "logging.md"
QUIET = {"accelerator": "cpu", "enable_progress_bar": False, "batch_size": 16, "seed": 0}


def told():
    """Return the names in the table of the page, NAME for a modality, and without stages."""
    table = PAGE.read_text(encoding="utf-8").partition("| name | what |")[2].partition("\n\n")[0]
    lines = [line for line in table.splitlines() if line]
    names = [n for line in lines for n in re.findall(r"`([^`]+)`", line.split("|")[1])]
    assert len(names) == len(set(names))
    return set(names)


def model(**fields):
    torch.manual_seed(0)
    shapes = {"a": 4, "b": 3}
    small = {"modalities_specific_dim": 2, "hidden_dims": (8,), "K": 1, "number_of_clusters": 3}
    return CMVAE(CMVAEConfig(n_modalities=2, input_dims=shapes, **{**small, **fields}))


def data(covariates=None):
    torch.manual_seed(0)
    own = {"a": torch.randn(32, 4), "b": torch.randn(32, 3)}
    return MultimodalBaseDataset(own, covariates=covariates) if covariates else own


class Kept(Logger):
    """A logger that keeps what it is given, as MLflow's and W&B's send it on."""

    name, version = "kept", 0

    def __init__(self):
        super().__init__()
        self.metrics, self.settings = {}, {}

    def log_metrics(self, metrics, step=None):
        self.metrics |= metrics

    def log_hyperparams(self, params, *_):
        self.settings |= dict(params)


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """Train in every way that logs names of its own; return them with NAME for a modality."""
    folder, kept = tmp_path_factory.mktemp("logs"), Kept()
    batch = {"batch": torch.arange(32) % 2}
    every = {"validation": 0.25, "schedule": "cosine", "logger": kept, **QUIET}
    aligned = model(covariates={"batch": 2}, forgetting=1.0)
    fit(aligned, data(batch), max_epochs=4, alignment_epochs=(1, 1), run_dir=folder / "a", **every)
    fit(model(), data(), max_epochs=2, warmup_epochs=1, run_dir=folder / "b", **every)
    refined = DCMVAE(model(), DiffusionConfig(hidden_dim=8))
    fit(refined, data(), max_epochs=1, run_dir=folder / "c", **every)
    return {
        re.sub(r"(likelihood|denoising)_[ab]$", r"\1_NAME", name) for name in kept.metrics
    }, kept


def test_each_name_is_on_the_page_and_each_of_the_page_is_logged(logged):
    found, _ = logged
    own = {name.replace("val/", "train/") for name in found}
    assert own - told() == set()
    assert told() - own - {"step"} == set()


def test_loggers_get_the_settings_of_the_model(logged):
    _, kept = logged
    assert kept.settings["latent_dim"] == 10
    assert kept.settings["learning_rate"] == 1e-3


def test_tensorboard_shows_every_name(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path, name="digits")
    fit(model(), data(), max_epochs=2, run_dir=tmp_path / "run", logger=logger, **QUIET)
    read = EventAccumulator(logger.log_dir).Reload()
    names = set(read.Tags()["scalars"])
    assert {"train/loss", "train/self_log_likelihood_a", "epoch"} <= names
    assert [event.step for event in read.Scalars("train/loss")] == [1, 3]
    assert pd.Series([event.value for event in read.Scalars("train/loss")]).notna().all()
