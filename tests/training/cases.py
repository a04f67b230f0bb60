"""A small model, its data, and short trainings of it."""

import torch
from lightning.pytorch import Callback

from cmvae import CMVAE, CMVAEConfig, IncompleteDataset, fit

QUIET = {
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "accelerator": "cpu",
}


def data(n=60, seed=0):
    generator = torch.Generator().manual_seed(seed)
    group = torch.arange(n) % 3
    shift = torch.tensor([-3.0, 0.0, 3.0])[group]
    tables = {
        "a": torch.randn(n, 4, generator=generator) + shift[:, None],
        "b": torch.randn(n, 3, generator=generator) - shift[:, None],
    }
    masks = {"a": torch.arange(n) % 5 != 0, "b": torch.arange(n) % 5 != 1}
    return IncompleteDataset(tables, masks, labels=group)


def model(seed=0, **changes):
    torch.manual_seed(seed)
    fields = {
        "n_modalities": 2,
        "input_dims": {"a": 4, "b": 3},
        "latent_dim": 2,
        "modalities_specific_dim": 2,
        "number_of_clusters": 4,
        "prior_and_posterior_dist": "normal",
        "K": 2,
        "hidden_dims": (16,),
    }
    return CMVAE(CMVAEConfig(**{**fields, **changes}))


def weights(trained):
    return torch.cat([value.detach().flatten().double() for value in trained.state_dict().values()])


def train(trained, samples, run_dir=None, **arguments):
    """Fit without a word, and without files unless a folder is given."""
    files = {"logger": False, "enable_checkpointing": False}
    if run_dir is not None:
        files = {"run_dir": run_dir}
    return fit(trained, samples, **{"batch_size": 20, **files, **QUIET, **arguments})


class StopAfter(Callback):
    """Ends training after so many epochs, as a limit of time would."""

    def __init__(self, epochs):
        self.epochs = epochs

    def on_train_epoch_end(self, trainer, pl_module):
        trainer.should_stop = trainer.current_epoch == self.epochs - 1
