"""Models that version 0.1.0 saved say the same."""

import json
from pathlib import Path

import torch

from cmvae import CMVAE

SAVED = Path(__file__).with_name("saved-0.1.0")


def test_a_model_of_0_1_0_says_what_it_said():
    known = json.loads((SAVED / "expected.json").read_text(encoding="utf-8"))
    data = {name: torch.tensor(values) for name, values in known["data"].items()}
    masks = {name: torch.tensor(seen) for name, seen in known["masks"].items()}
    model, batch = CMVAE.from_pretrained(SAVED), {"data": data, "masks": masks}
    found = model.predict_clusters(batch)
    assert found.clusters.tolist() == known["clusters"]
    torch.testing.assert_close(found.probabilities, torch.tensor(known["probabilities"]))
    z = model.encode(batch, return_mean=True).z[:, 0]
    torch.testing.assert_close(z, torch.tensor(known["z"]))
    generator = torch.Generator().manual_seed(2)
    nll = model.compute_joint_nll(batch, K=30, reduction="none", generator=generator)
    torch.testing.assert_close(nll, torch.tensor(known["nll"]))
    assert model.n_clusters == 3
