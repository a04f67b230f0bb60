"""A training in a process that torchrun started; run by test_processes."""

import sys
import warnings
from pathlib import Path

import torch
from lightning.pytorch import Callback

from cmvae import CMVAE, CMVAEConfig, MultimodalBaseDataset, fit

FIELDS = {
    "latent_dim": 2,
    "modalities_specific_dim": 2,
    "number_of_clusters": 2,
    "hidden_dims": (4,),
    "K": 1,
}
QUIET = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}


class Spoil(Callback):
    """Makes the values of a modality NaN, or huge, in the second epoch of the second process."""

    def __init__(self, case):
        self.value = torch.nan if case.startswith("nan") else 1e30
        self.place = case if case == "none" else "val" if "validation" in case else "train"

    def on_train_batch_start(self, trainer, pl_module, batch, index):
        self.spoil(trainer, batch, "train")

    def on_validation_batch_start(self, trainer, pl_module, batch, index, dataloader_idx=0):
        self.spoil(trainer, batch, "val")

    def spoil(self, trainer, batch, place):
        if (self.place, trainer.global_rank, trainer.current_epoch) == (place, 1, 1):
            batch["data"]["b"] = batch["data"]["b"] * self.value


def main(folder, devices, case):
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data = MultimodalBaseDataset({"a": torch.randn(16, 4), "b": torch.randn(16, 3)})
    model = CMVAE(CMVAEConfig(n_modalities=2, input_dims={"a": 4, "b": 3}, **FIELDS))
    own = {} if devices == "none" else {"devices": int(devices)}
    trainer = fit(
        *(model, data, data),
        **{"max_epochs": 3, "batch_size": 4, "accelerator": "cpu", "run_dir": folder},
        **{"callbacks": [Spoil(case)], **own, **QUIET},
    )
    state = dict(model.state_dict())
    torch.save(state, Path(folder) / f"rank{trainer.global_rank}.pt")


if __name__ == "__main__":
    main(*sys.argv[1:])
