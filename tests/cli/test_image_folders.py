"""Two folders of images on the command line, good ones and bad ones."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import yaml
from PIL import Image

from cmvae import CMVAE, CMVAEClusterer
from cmvae.files.images import ImageFolder
from cmvae.preprocessing import Preprocessing
from cmvae.runs.folder import read_run
from made_files import given, refused, run

IDS = [f"{i:03d}" for i in range(70)]
ALIGNED = (
    "Training starts with 1 epoch in which encoders learn what modalities share, and 1 in which "
    "decoders learn to read it (--alignment-epochs 1 1; 0 0 for none)."
)


def write_folder(folder, ids=IDS, same=False):
    folder.mkdir()
    rng = np.random.default_rng(len(folder.name))
    for name in ids:
        pixels = rng.integers(0, 60, (9, 8, 3), dtype=np.uint8) * (not same)
        pixels[..., 0 if same else int(name) % 3] += 180
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("pair")
    return {name: write_folder(place / name) for name in ("photo", "sketches")}


def test_they_get_the_start_that_they_need_and_the_run_keeps_it(folders, tmp_path):
    quick = [*given(**folders), "--clusters", 3, "--epochs", 1, "--device", "cpu"]
    status, shown, err = run("fit", *quick, "--out", tmp_path / "run")
    assert (status, err) == (0, "")
    assert ALIGNED in shown.splitlines()
    assert shown.count("conv_small") == shown.count("laplace") == 2
    kept = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert (kept["recipe"]["alignment_epochs"], kept["recipe"]["batch_size"]) == ([1, 1], 16)
    assert {file["network"] for file in kept["modalities"].values()} == {"conv_small"}
    assert list(read_run(tmp_path / "run").log["phase"]) == ["alignment"] * 3 + ["clusters"]
    _, checked, _ = run("fit", "--check", *quick)
    assert ALIGNED in checked.splitlines()


def test_zeros_ask_for_the_start_of_tables(folders, tmp_path):
    plain = [*given(**folders), "--clusters", 3, "--epochs", 1, "--alignment-epochs", 0, 0]
    status, shown, err = run("fit", *plain, "--device", "cpu", "--out", tmp_path / "run")
    assert (status, err) == (0, "")
    assert "Training starts" not in shown
    assert set(read_run(tmp_path / "run").log["phase"]) == {"warm-up", "clusters"}
    assert CMVAE.from_pretrained(tmp_path / "run" / "model").model_config.networks is None


def test_the_estimator_does_the_same_and_keeps_what_it_was_given(folders, tmp_path):
    arrays = {}
    for name, folder in folders.items():
        rows = ImageFolder(folder, name).read()
        arrays[name] = Preprocessing.learn({name: rows}).codecs[name].encode(rows, name)[0]
    settings = {"max_epochs": 1, "device": "cpu", "random_state": 0, "n_clusters": 3}
    fitted = CMVAEClusterer(**settings).fit(arrays)
    assert fitted.model_.model_config.network_of("photo") == "conv_small"
    fitted.save(tmp_path / "saved")
    loaded = CMVAEClusterer.load(tmp_path / "saved")
    assert loaded.get_params() == fitted.get_params()
    assert loaded.alignment_epochs == loaded.batch_size == "auto"


def test_folders_of_one_image_are_refused(tmp_path):
    pair = {name: write_folder(tmp_path / name, IDS[:1]) for name in ("photo", "sketch")}
    refused("at least 2 samples are needed", "fit", *given(**pair), "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_folders_that_share_four_ids_and_images_all_alike_are_told(folders, tmp_path):
    other = write_folder(tmp_path / "other", [f"{i:03d}" for i in range(66, 136)])
    _, _, err = run("fit", "--check", *given(photo=folders["photo"], other=other))
    assert len(err.splitlines()) == 1
    assert "['photo'] and ['other'] have only 4 of 136 samples in common: clusters may tell" in err
    assert err.endswith("give a sample one id in all\n")
    same = write_folder(tmp_path / "same", same=True)
    quick = ["--epochs", 1, "--device", "cpu", "--out", tmp_path / "run"]
    status, shown, err = run("fit", *given(photo=folders["photo"], same=same), *quick)
    assert status == 0
    assert err.startswith("Warning: modality 'same': its 70 images are all the same: they tell no")
    assert "Training starts" not in shown


def test_photographs_are_scaled_one_after_the_other(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    write_folder(tmp_path / "photo", [])
    first = tmp_path / "photo" / "000.jpg"
    Image.fromarray(pixels).resize((3000, 2000)).save(first)
    for name in IDS[1:12]:
        shutil.copy(first, first.with_stem(name))
    script = """
import resource, sys
from pathlib import Path
from cmvae.files.images import ImageFolder
from cmvae.preprocessing import Preprocessing
rows = ImageFolder(Path(sys.argv[1]), "photo").read()
codec = Preprocessing.learn({"photo": rows}).codecs["photo"]
assert codec.shape == (3, 43, 64)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert codec.encode(rows, "photo")[0].shape == (12, 3, 43, 64)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    call = [sys.executable, "-c", script, str(first.parent)]
    done = subprocess.run(call, check=True, timeout=1800, capture_output=True, text=True)
    decoded = 12 * 3000 * 2000 * 3 / 1024  # KiB, of all together
    assert int(done.stdout) < decoded / 2


def test_the_sizes_that_images_had_are_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place, size in enumerate([(200, 90), (100, 120)]):
        Image.new("L", size, 100 * place).save(tmp_path / f"{place}.png")
    status, out, err = run("fit", *given(photo="."), "--check")
    assert status == 0, err
    assert "images of 45 × 64 pixels, grey, 90 to 120 × 100 to 200 in the files" in out


def test_arrays_that_are_no_images_are_not_refined(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("numbers.npy", np.random.default_rng(0).normal(size=(20, 3, 8, 8)))
    message = "--diffusion must name modalities of images, [], got ['x']"
    refused(message, "fit", *given(x="numbers.npy"), "--diffusion", "x", "--out", "run")
    assert not list(tmp_path.glob("run*"))
