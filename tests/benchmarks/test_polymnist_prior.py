"""Where unconditional coherence is lost, of a model whose images are its latents."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from polymnist_prior import AGREE, LOST, N_SAMPLES, REAL, SHOWN, by_cluster, by_source

from cmvae import MultimodalBaseDataset


class Model:
    """Two clusters; a fifth of the first one's draws lie with the second."""

    modalities = ("a", "b")
    cluster_centers = torch.tensor([[3.0], [7.0]])

    def generate_from_prior(self, n, generator):
        clusters = torch.arange(n) % 2
        z = self.cluster_centers[clusters]
        z[::10] = 7.0
        return {"z": z, "w": torch.zeros(n, 1), "clusters": clusters}

    def encode(self, data, flatten, generator):
        return {"z": next(iter(data.values()))}

    def decode(self, latents):
        return dict.fromkeys(self.modalities, latents["z"] + latents["w"])


def sees(images):
    return torch.nn.functional.one_hot(images[:, 0].long(), 10)


def sees_seven_as_five(images):
    return sees(torch.where(images == 7, 5.0, images))


def sees_zero_halfway_and_in_test_images(images):
    return sees(torch.where((images == 5) | (images == 8), 0.0, images))


def test_a_cluster_s_digit_is_what_most_of_its_images_show():
    rows = by_cluster(Model(), {"a": sees, "b": sees}, 0)
    assert [(row["n"], row[SHOWN], row[AGREE]) for row in rows] == [
        (N_SAMPLES // 2, 3, 1.0),
        (N_SAMPLES // 2, 7, 1.0),
    ]
    assert [row["a"] for row in rows] == [pytest.approx(0.8), 1.0]
    assert [row[LOST] for row in rows] == [0.0, 0.0]


def test_the_modality_that_shows_another_digit_is_told_and_its_cluster_comes_first():
    first, last = by_cluster(Model(), {"a": sees, "b": sees_seven_as_five}, 0)
    assert (first[AGREE], sorted([first["a"], first["b"]])) == (0.0, [0.0, 1.0])
    assert (last[SHOWN], last[AGREE]) == (3, pytest.approx(0.8))
    assert [first[LOST], last[LOST]] == pytest.approx([5 / 6, 1 / 6])


def test_z_comes_from_the_mixture_from_each_modality_and_from_the_centres():
    images = {m: torch.full((N_SAMPLES, 1), 3.0) for m in ("a", "b")}
    images["b"] += torch.tensor([4.0, 5.0]).repeat(N_SAMPLES // 2)[:, None]
    judges = {"a": sees, "b": sees_zero_halfway_and_in_test_images}
    rows = by_source(Model(), MultimodalBaseDataset(images), judges, 0)
    assert {row["z from"]: row[AGREE] for row in rows} == pytest.approx(
        {
            "the mixture": 1.0,
            "a of test images": 1.0,
            "b of test images": 0.5,
            "0.5 of the way from the centre": 0.9,
            "0 of the way from the centre": 1.0,
            REAL: 0.0,
        }
    )
