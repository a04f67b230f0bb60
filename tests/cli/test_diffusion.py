"""``cmvae fit --diffusion`` and ``cmvae generate --refine``, on a folder of images and a table."""

import json
import logging
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from lightning.pytorch import Trainer
from PIL import Image

from cmvae.diffusion.training import DCMVAEModule
from cmvae.runs.folder import read_run
from cmvae.runs.generated import SAMPLING
from cmvae.training.module import CMVAEModule
from made_files import contents, given, names, refused, run

FIT = ["--clusters", 3, "--epochs", 2, "--device", "cpu", "--diffusion", "img"]
QUICK = [*FIT, "--diffusion-epochs", 2]


@pytest.fixture(scope="module")
def inputs(files):
    return given(a=files / "a.csv", img=files / "img")


@pytest.fixture(scope="module")
def refined(inputs, tmp_path_factory):
    """A run folder with a diffusion decoder, and what was printed; not to be changed."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    out = tmp_path_factory.mktemp("refined") / "run"
    status, said, err = run("fit", *inputs, *QUICK, "--out", out)
    assert status == 0, err
    return out, said


def pictures(folder):
    """Return the images of a folder by name, (H, W, 3)."""
    return {path.name: np.asarray(Image.open(path)) for path in sorted(folder.iterdir())}


def test_decoders_are_told_of_trained_and_kept(refined):
    out, said = refined
    assert "Diffusion decoder of img (1 of 1): 2 epochs" in said
    assert f"Diffusion decoders of img: cmvae generate {out} --refine uses them" in said
    found = read_run(out)
    assert found.config.diffusion == ("img",)
    assert found.metrics["diffusion"]["img"]["epochs"] == 2
    assert 0 < found.metrics["diffusion"]["img"]["loss"] < 2
    assert {"diffusion.json", "diffusion.safetensors"} < set(names(out / "model"))
    status, checked, _ = run("verify", out)
    assert status == 0, checked


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_killed_training_of_decoders_goes_on_and_the_model_is_not_trained_again(
    refined, inputs, tmp_path, epoch
):
    own, out = DCMVAEModule.on_train_epoch_end, tmp_path / "run"

    def interrupt(module):
        own(module)
        if module.current_epoch == epoch:
            raise KeyboardInterrupt

    with mock.patch.object(DCMVAEModule, "on_train_epoch_end", interrupt):
        status, _, err = run("fit", *inputs, *QUICK, "--out", out)
    assert status == 130
    assert err.strip().endswith(f"go on with: cmvae fit --out {out} --resume")
    refused("alone", "fit", "--resume", "--out", out, "--diffusion", "img")
    steps, train = [], DCMVAEModule.train_output

    def count(module, batch):
        steps.append(module.current_epoch)
        return train(module, batch)

    again = mock.patch.object(CMVAEModule, "train_output", side_effect=AssertionError)
    with again, mock.patch.object(DCMVAEModule, "train_output", count):
        status, _, err = run("fit", "--out", out, "--resume")
    assert status == 0, err
    assert set(steps) == ({0, 1} if epoch == 0 else {1})
    assert contents(out) == contents(refined[0])


def test_finished_decoders_are_not_trained_again(refined, inputs, tmp_path):
    out = tmp_path / "run"
    with mock.patch("cmvae.runs.fitting.write_run", side_effect=OSError("full")):
        refused("full", "fit", *inputs, *QUICK, "--out", out)
    steps = [mock.patch.object(own, "train_output") for own in (CMVAEModule, DCMVAEModule)]
    with steps[0] as first, steps[1] as second:
        status, _, err = run("fit", "--out", out, "--resume")
    assert status == 0, err
    assert not first.called
    assert not second.called
    assert contents(out) == contents(refined[0])


def test_images_are_refined_and_all_else_stays(refined, tmp_path):
    options = ["generate", refined[0], "--samples", 3, "--seed", 4]
    assert run(*options, "--out", tmp_path / "plain")[0] == 0
    status, _, err = run(*options, "--refine", "--out", tmp_path / "sharp")
    assert status == 0, err
    plain, sharp = (pictures(tmp_path / name / "img") for name in ("plain", "sharp"))
    assert list(plain) == list(sharp)
    assert all(sharp[name].shape == (10, 12, 3) for name in sharp)
    assert not any(np.array_equal(plain[name], sharp[name]) for name in sharp)
    tables = [pd.read_csv(tmp_path / name / "a.csv") for name in ("plain", "sharp")]
    pd.testing.assert_frame_equal(*tables)
    record = json.loads((tmp_path / "sharp" / "generated.json").read_text())
    assert record["refined"] == ["img"]
    assert run(*options, "--refine", "--out", tmp_path / "again")[0] == 0
    assert contents(tmp_path / "again") == contents(tmp_path / "sharp")


def test_images_made_from_a_table_are_refined_and_not_drawn_over(refined, files, tmp_path):
    table = ["--from", f"a={files / 'a.csv'}", "--to", "img", "--draw"]
    options = ["generate", refined[0], *table, "--refine", "--out", tmp_path / "made"]
    given_values = []
    sample = "cmvae.diffusion.decoder.DiffusionDecoder.sample"

    def half(decoder, reconstruction, *_):
        given_values.append(reconstruction)
        return 0 * reconstruction + 0.5

    with mock.patch(sample, half):
        status, _, err = run(*options)
    assert status == 0, err
    assert sum(map(len, given_values)) == 50 * SAMPLING["candidates"]
    made = pictures(tmp_path / "made" / "img")
    assert len(made) == 50
    assert all(((image == 127) | (image == 128)).all() for image in made.values())


def test_what_cannot_be_refined_is_told_in_a_line(refined, fitted, inputs, tmp_path):
    out = ["--out", tmp_path / "made"]
    message = f"--refine: {fitted[0]} has no diffusion decoders; fit it with --diffusion NAME"
    refused(message, "generate", fitted[0], "--refine", *out)
    message = "--refine: ['a'] have no diffusion decoders, those of ['img'] do"
    refused(message, "generate", refined[0], "--refine", "--to", "a", *out)
    refused("leave out", "generate", refined[0], "--refine", "--impute", *out)
    options = ["fit", *inputs, "--epochs", 1, "--out", tmp_path / "run"]
    message = "--diffusion must name modalities of images, ['img'], got ['a', 'c']"
    refused(message, *options, "--diffusion", "img", "--diffusion", "a", "--diffusion", "c")
    missing = mock.patch.dict("sys.modules", {"diffusers": None})
    with missing:
        refused("cmvae[diffusion]", *options, "--diffusion", "img")
    assert names(tmp_path) == []


def test_other_clusters_have_decoders_of_their_own(refined, tmp_path):
    first = read_run(refined[0])
    out = tmp_path / "run"
    assert run("fit", "--config", refined[0] / "config.yaml", "--out", out)[0] == 0
    status, _, err = run("select", out, "--clusters", 2)
    assert status == 0, err
    found = read_run(out)
    assert found.n_clusters == 2
    assert found.metrics["diffusion"]["img"]["loss"] != first.metrics["diffusion"]["img"]["loss"]
    assert run("generate", out, "--refine", "--samples", 1, "--out", tmp_path / "made")[0] == 0


def test_each_decoder_has_a_bar_where_someone_looks_on(inputs, tmp_path):
    options = [*inputs, *FIT, "--diffusion-epochs", 1, "--out", tmp_path / "run"]
    lines = mock.patch("cmvae.training.progress.SILENCE", 0.0)  # there is no terminal
    with lines, mock.patch("cmvae.training.fit.Trainer", wraps=Trainer) as trainers:
        status, _, err = run("fit", *options)
    assert status == 0, err
    assert [call.kwargs["enable_progress_bar"] for call in trainers.call_args_list] == [True, True]
    assert [line.partition(":")[0] for line in err.splitlines()][-1] == "epoch 1 of 1"
