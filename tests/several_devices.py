"""A training on two devices with a modality that most batches lack; run by test_training."""

import os
import sys
from pathlib import Path

import torch

import cmvae.training.initialization
from cmvae import CMVAE, CMVAEConfig, IncompleteDataset, fit


def main(folder):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    n = 8
    data = {"a": torch.randn(n, 4), "b": torch.randn(n, 3)}
    samples = IncompleteDataset(data, {"b": torch.arange(n) == 0})
    fields = {
        "latent_dim": 2,
        "modalities_specific_dim": 2,
        "number_of_clusters": 2,
        "hidden_dims": (4,),
        "K": 1,
    }
    model = CMVAE(CMVAEConfig(n_modalities=2, input_dims={"a": 4, "b": 3}, **fields))
    # Each device draws four samples of its own, and would start other clusters from them.
    cmvae.training.initialization.MAX_SAMPLES = 4
    torch.manual_seed(int(os.environ.get("LOCAL_RANK", "0")))
    two = {"devices": 2, "accelerator": "cpu", "run_dir": folder}
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    trainer = fit(model, samples, max_epochs=3, warmup_epochs=1, batch_size=2, **two, **quiet)
    state = {name: value.detach() for name, value in model.state_dict().items()}
    torch.save(
        {"steps": trainer.global_step, "state": state},
        Path(folder) / f"rank{trainer.global_rank}.pt",
    )


if __name__ == "__main__":
    main(sys.argv[1])
