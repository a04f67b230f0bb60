"""What images need is chosen where settings leave it open."""

import numpy as np
import pandas as pd
import pytest
import torch

from cmvae.files.join import JoinedRows
from cmvae.files.modality import ModalityFile
from cmvae.preprocessing import Preprocessing
from cmvae.runs.config import RunConfig
from cmvae.runs.run import prepare, train_run
from cmvae.training.recipe import Recipe

N = 90
SHARED = np.ones(N, bool)


def images(channels=3, n=N, seed=0):
    """Return images of three colours, each with a spot somewhere that nothing else tells."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 40, (n, channels, 12, 12), dtype=np.uint8)
    pixels[np.arange(n), np.arange(n) % 3 % channels] += 120
    for image, (row, column) in zip(pixels, rng.integers(0, 9, (n, 2)), strict=True):
        image[:, row : row + 3, column : column + 3] = 250
    return pixels


def prepared(data, masks=None, files=None, **recipe):
    learned = Preprocessing.learn(data, files)
    masks = dict.fromkeys(data, SHARED) | (masks or {})
    fields = {"n_clusters": 3, "latent_dim": 3, "private_dim": 3, **recipe}
    config = RunConfig(
        modalities={name: ModalityFile() for name in data} | (files or {}),
        device="cpu",
        recipe=Recipe(**fields),
    )
    encoded = {name: learned.codecs[name].encode(own, name)[0] for name, own in data.items()}
    return prepare(config, learned, JoinedRows(list(map(str, range(N))), encoded, masks))


def two(**changes):
    return {"a": images(), "b": images(seed=1)} | changes


def test_two_modalities_of_images_are_aligned_and_get_small_residual_networks():
    found = prepared({**two(), "t": np.random.default_rng(0).normal(size=(N, 3))})
    assert found.config.recipe.alignment == (200, 75)  # of 6 batches of 16
    assert found.settings.networks == {"a": "conv_small", "b": "conv_small"}
    assert found.settings.likelihood_of("a") == ("laplace", {"scale": "learned"})
    assert found.settings.likelihood_of("t")[0] != "laplace"
    again = prepare(found.config, found.preprocessing, found.rows)
    assert again.config == found.config
    assert again.settings == found.settings


def test_where_pairs_are_missing_the_alignment_is_longer():
    some = {"b": np.arange(N) % 5 != 0}
    assert prepared(two(), some).config.recipe.alignment == (250, 75)
    three = {**two(), "c": images(seed=2)}
    both = {"b": np.arange(N) % 5 != 0, "c": np.arange(N) % 5 == 0}  # a third of all pairs
    assert prepared(three, both, max_epochs=900).config.recipe.alignment == (600, 75)


def test_images_with_captions_are_aligned_and_captions_keep_their_networks():
    words = ["a red spot here", "some green spot", "blue spots there again"]
    captions = pd.DataFrame({"words": [f"{words[i % 3]} n{i % 7}" for i in range(N)]})
    files = {"b": ModalityFile(kinds={"words": "text"})}
    found = prepared({"a": images(), "b": captions}, files=files)
    assert found.config.recipe.alignment == (200, 75)
    assert found.settings.networks == {"a": "conv_small"}
    assert prepared({"b": captions}, files=files).config.recipe.alignment is None


def test_what_is_chosen_wins():
    files = {
        "a": ModalityFile(network="conv", likelihood="bernoulli"),
        "b": ModalityFile(likelihood_params={"scale": 0.5}),
    }
    found = prepared(two(), files=files, max_epochs=9, batch_size=45)
    assert (found.config.recipe.alignment, found.config.recipe.batch_size) == ((9, 4), 45)
    assert found.settings.networks == {"a": "conv", "b": "conv_small"}
    assert found.settings.likelihood_of("a")[0] == "bernoulli"
    assert found.settings.likelihood_of("b") == ("normal", {"scale": 0.5})
    for chosen in (None, (0, 0), [0, 0]):
        plain = prepared(two(), alignment_epochs=chosen)
        assert plain.config.recipe.alignment is plain.settings.networks is None
    found = prepared(two())
    for size in ("auto", found.config.recipe.batch_size):
        given = prepared(two(), alignment_epochs=(2, 3), batch_size=size)
        assert given.config.recipe.alignment_epochs == (2, 3)
        assert given.settings == found.settings  # the numbers of epochs are all that is chosen
        assert given.config.recipe.batch_size == found.config.recipe.batch_size


@pytest.mark.parametrize(
    ("data", "masks"),
    [
        ({"a": images()}, {}),
        (two(b=np.random.default_rng(0).normal(size=(N, 3))), {}),
        (two(b=images().astype(float)), {}),
        (two(), {"b": np.arange(N) < 63}),
        (two(b=images()[..., :4]), {}),
    ],
    ids=["one", "a table", "an array", "few pairs", "tiny"],
)
@pytest.mark.filterwarnings("ignore:modalities .* samples with two of them:UserWarning")
def test_other_data_are_warmed_up_as_ever(data, masks):
    found = prepared(data, masks)
    assert found.config.recipe.alignment_epochs == "auto"
    assert found.config.recipe.alignment is found.settings.networks is None
    assert found.config.recipe.start_of_training(N).warmup_epochs > 0


def test_too_few_pairs_are_told():
    message = r"^modalities \['a', 'b'\]: 63 samples with two of them, of the 64 .* as with tables$"
    with pytest.warns(UserWarning, match=message):
        prepared(two(), {"b": np.arange(N) < 63})


def test_images_that_are_all_alike_are_told_and_align_nothing():
    same = np.full((N, 3, 12, 12), 90, np.uint8)
    message = r"^modality 'b': its 90 images are all the same: they tell .* leave it out$"
    with pytest.warns(UserWarning, match=message):
        found = prepared(two(b=same))
    assert found.config.recipe.alignment is None


def test_modalities_that_hardly_share_samples_are_told():
    masks = {"a": np.arange(N) < 50, "b": np.arange(N) >= 46}
    with pytest.warns(UserWarning, match=r"\['a'\] and \['b'\] have only 4 of 90 samples in comm"):
        prepared(two(), masks)
    with pytest.warns(UserWarning, match="have no sample in common"):
        prepared(two(), {"a": np.arange(N) < 50, "b": np.arange(N) >= 50})
    with pytest.warns(UserWarning, match="10 samples with two of them") as told:
        prepared(two(), {"a": np.arange(N) < 50, "b": np.arange(N) >= 40})
    assert len(told) == 1


def test_drawn_images_are_as_noisy_as_what_decoders_leave():
    found = prepared(two(), max_epochs=6)
    run = train_run(found, seed=0)
    model = run.model
    torch.manual_seed(0)
    for name, made in model.decode(model.encode(found.data)).items():
        seen = torch.from_numpy(found.rows.data[name]) / 255
        left = float((made[:, 0] - seen).detach().abs().mean())
        assert model.likelihoods[name].scale == pytest.approx(left, rel=0.2)
