"""Classifiers learn, are the same each time, and are read from a cache only if it fits."""

import json

import numpy as np
import pytest
import torch

from cmvae import IncompleteDataset, MultimodalBaseDataset
from cmvae.metrics import DigitClassifier, train_classifiers
from cmvae.metrics.classifiers import augmented

SETTINGS = {"n_classes": 3, "epochs": 3, "batch_size": 20}


def bars(n=240, seed=0, noise=0.15):
    """Return images of a horizontal bar, a vertical one, or a square, in one and three channels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    shapes = torch.zeros(3, 1, 12, 12)
    shapes[0, :, 4:8], shapes[1, :, :, 4:8], shapes[2, :, 4:8, 4:8] = 0.8, 0.8, 0.8
    grey, coloured = (
        shapes[labels],
        shapes[labels].expand(-1, 3, -1, -1) * torch.rand(n, 3, 1, 1, generator=generator),
    )
    images = {"g": grey, "c": 1 - coloured}
    data = {
        m: (x + noise * torch.rand(x.shape, generator=generator)).clamp(max=1)
        for m, x in images.items()
    }
    return MultimodalBaseDataset(data, labels)


def changed(data, change):
    return MultimodalBaseDataset({m: change(x) for m, x in data.data.items()}, data.labels)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    state = torch.get_rng_state()
    found = train_classifiers(bars(), bars(90, seed=1), cache=cache, **SETTINGS)
    assert torch.equal(state, torch.get_rng_state())
    return found, cache


def same(one, other):
    states = [c.classifiers[m].state_dict() for c in (one, other) for m in one.classifiers]
    half = len(states) // 2
    return all(
        torch.equal(a[k], b[k])
        for a, b in zip(states[:half], states[half:], strict=True)
        for k in a
    )


def test_every_modality_is_learned(trained):
    found, _ = trained
    assert set(found.accuracy) == {"g", "c"}
    assert min(found.accuracy.values()) > 0.9
    test = bars(90, seed=1)
    with torch.no_grad():
        for m, classifier in found.classifiers.items():
            assert not classifier.training
            classes = classifier(test.data[m]).argmax(1)
            assert float((classes == test.labels).float().mean()) == pytest.approx(
                found.accuracy[m]
            )


def test_features_are_what_the_last_layer_reads(trained):
    classifier, images = trained[0].classifiers["c"], bars(5).data["c"]
    with torch.no_grad():
        assert classifier.features(images).shape == (5, 128)
        assert torch.equal(classifier.head(classifier.features(images)), classifier(images))
        assert torch.equal(classifier(images * 3 - 1), classifier((images * 3 - 1).clamp(0, 1)))
    with pytest.raises(ValueError, match="images must be"):
        classifier.features(bars(5).data["g"])


def test_the_same_again_comes_from_the_cache_and_something_else_does_not(trained, monkeypatch):
    found, cache = trained
    calls = []
    monkeypatch.setattr("cmvae.metrics.classifiers._train", lambda *_: calls.append(1))
    again = train_classifiers(bars(), bars(90, seed=1), cache=cache, **SETTINGS)
    assert same(found, again)
    assert again.accuracy == found.accuracy
    assert not calls
    assert not any(c.training for c in again.classifiers.values())
    others = [
        (bars(seed=2), bars(90, seed=1), SETTINGS),
        (bars(), bars(90, seed=3), SETTINGS),
        (bars(), bars(90, seed=1), {**SETTINGS, "seed": 1}),
        (bars(), bars(90, seed=1), {**SETTINGS, "epochs": 4}),
        (bars(), bars(90, seed=1), {**SETTINGS, "limit_train_batches": 1}),
    ]
    for train, test, settings in others:
        train_classifiers(train, test, cache=cache, **settings)
    assert len(calls) == len(others)


def test_the_seed_decides(tmp_path):
    short = {**SETTINGS, "epochs": 1}
    runs = [
        train_classifiers(bars(60), bars(30), cache=tmp_path / str(i), seed=s, **short)
        for i, s in enumerate([5, 5, 6])
    ]
    assert same(runs[0], runs[1])
    assert not same(runs[0], runs[2])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_images_of_any_floating_dtype_are_learned(tmp_path, dtype):
    data = changed(bars(60), lambda x: x.to(dtype))
    assert train_classifiers(
        data, data, cache=tmp_path, **{**SETTINGS, "epochs": 1, "seed": np.int64(3)}
    ).classifiers


def test_the_environment_names_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CMVAE_CACHE", str(tmp_path / "kept"))
    train_classifiers(bars(60), bars(30), **{**SETTINGS, "epochs": 1})
    (folder,) = (tmp_path / "kept").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    record = json.loads((folder / "config.json").read_text())
    assert record["shapes"] == {"g": [1, 12, 12], "c": [3, 12, 12]}


def test_a_damaged_cache_is_named(tmp_path):
    settings = {**SETTINGS, "epochs": 1, "cache": tmp_path}
    train_classifiers(bars(60), bars(30), **settings)
    (folder,) = tmp_path.iterdir()
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-40])
    with pytest.raises(ValueError, match=f"{folder} is damaged"):
        train_classifiers(bars(60), bars(30), **settings)
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="is damaged"):
        train_classifiers(bars(60), bars(30), **settings)


def test_augmentation_moves_each_image_its_own_way_and_little():
    torch.manual_seed(0)
    images = torch.zeros(64, 1, 28, 28)
    images[:, :, 13:15, 13:15] = 1
    moved = augmented(images)
    smooth = torch.nn.functional.avg_pool2d(moved, 3, stride=1, padding=1).flatten(1)
    places = torch.stack([smooth.argmax(1) // 28, smooth.argmax(1) % 28], 1)
    assert (places - 13.5).abs().max() <= 4
    assert len(places.unique(dim=0)) > 8


def test_what_does_not_fit_is_refused(tmp_path):
    train, test = bars(60), bars(30)
    settings = {**SETTINGS, "cache": tmp_path}
    with pytest.raises(ValueError, match="labels must be below n_classes = 2, got 2"):
        train_classifiers(train, test, **{**settings, "n_classes": 2})
    with pytest.raises(ValueError, match="differ in modalities or shapes"):
        train_classifiers(
            train, MultimodalBaseDataset({"g": test.data["g"]}, test.labels), **settings
        )
    gaps = IncompleteDataset(train.data, {"g": torch.arange(60) > 3}, train.labels)
    with pytest.raises(ValueError, match=r"train: every sample .* \['g'\]"):
        train_classifiers(gaps, test, **settings)
    with pytest.raises(ValueError, match="train has no labels"):
        train_classifiers(MultimodalBaseDataset(train.data), test, **settings)
    with pytest.raises(
        ValueError,
        match=r"train: images of modality 'g' must be .* \[0, 1\], got torch.float32 from 0",
    ):
        train_classifiers(changed(train, lambda x: 255 * x), test, **settings)
    with pytest.raises(
        ValueError,
        match=r"test: images of modality 'g' must be floats in \[0, 1\], got torch.uint8",
    ):
        train_classifiers(train, changed(test, lambda x: (255 * x).byte()), **settings)
    with pytest.raises(TypeError, match=r"seed must be an integer, got 1\.5"):
        train_classifiers(train, test, **{**settings, "seed": 1.5})
    with pytest.raises(ValueError, match="input_shape"):
        DigitClassifier((3, 4, 28))
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(OSError, match=f"cache: cannot write to {file}"):
        train_classifiers(train, test, **{**settings, "cache": file})
