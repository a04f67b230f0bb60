import os

import pytest
import torch

# Consoles take their width when they are made, which is when the first test imports them.
os.environ["COLUMNS"] = "250"

# Tests may run side by side, each in a process of its own; so do the commands that they start.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def float64():
    """Make everything in double precision, from a fixed seed."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield torch.float64
    torch.set_default_dtype(before)


@pytest.fixture
def config():
    """Return a maker of settings for two modalities."""
    from cmvae import CMVAEConfig

    def make(**changes):
        fields = {
            "n_modalities": 2,
            "input_dims": {"a": (3,), "b": (4,)},
            "modalities_specific_dim": 2,
        }
        return CMVAEConfig(**{**fields, **changes})

    return make
