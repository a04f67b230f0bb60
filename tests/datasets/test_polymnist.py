"""PolyMNIST: composed by the recipe, read as published."""

import numpy as np
import pytest
import torch
from PIL import Image

from cmvae.data import ByteImages, IncompleteDataset, MultimodalBaseDataset, random_masks
from cmvae.datasets import compose_polymnist, read_polymnist

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


# Composing
# --------------------------------------------------------------------------------------------------


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
    assert {(int(t), int(c)) for t, c in zip(top, left, strict=True)} == {
        (t, c) for t in range(3) for c in range(4)
    }
    assert np.array_equal(
        images[:, 0], np.broadcast_to((top[:, None] + np.arange(28))[..., None], (400, 28, 28))
    )
    assert np.array_equal(
        images[:, 1], np.broadcast_to((left[:, None] + np.arange(28))[:, None], (400, 28, 28))
    )


def test_modalities_share_the_class_and_nothing_else():
    digits, labels = some_digits()
    tuples = compose_polymnist(digits, labels, {"dark": flat(0), "light": flat(250)}, 2000, seed=3)
    assert tuples.modalities == ("dark", "light")
    assert tuples.labels.dtype == torch.int64
    place = {(digit > 128).tobytes(): row for row, digit in enumerate(digits)}
    dark = np.array(
        [place[(image[0] == 255).numpy().tobytes()] for image in tuples.data["dark"].images]
    )
    light = np.array(
        [place[(image[0] == 5).numpy().tobytes()] for image in tuples.data["light"].images]
    )
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
    make = [
        compose_polymnist(*some_digits(), [place_image()] * 2, 30, seed=seed) for seed in (1, 1, 2)
    ]
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
        (
            {"backgrounds": [flat(0), flat(0) / 255]},
            TypeError,
            "background of 'm1': expected dtype uint8, got float64",
        ),
        ({"n_samples": 0}, ValueError, "n_samples must be a positive integer, got 0"),
    ],
)
def test_bad_ingredients(changes, error, message):
    arguments = {
        "digits": np.zeros((2, 28, 28), np.uint8),
        "labels": [0, 1],
        "backgrounds": [flat(0)],
        "n_samples": 3,
    }
    with pytest.raises(error, match=message):
        compose_polymnist(**{**arguments, **changes})


# Reading
# --------------------------------------------------------------------------------------------------

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
        assert torch.equal(
            ds[2].data[name], torch.from_numpy(images[2].transpose(2, 0, 1)).float() / 255
        )
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


def flip_a_bit(path, place=500):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (cut_off, "not a whole image"),
        (flip_a_bit, "not a whole image"),
        (lambda path: flip_a_bit(path, 35), "not a whole image"),  # the length of a chunk
        (lambda path: path.write_bytes(b"not an image"), "not a whole image"),
        (lambda path: path.write_bytes(b""), "not a whole image"),
        (
            lambda path: write_pixels(path, (28, 27)),
            "28 x 28 pixels of mode RGB, got 28 x 27 pixels of mode RGB",
        ),
        (
            lambda path: write_pixels(path, mode="L"),
            "28 x 28 pixels of mode RGB, got 28 x 28 pixels of mode L",
        ),
    ],
)
def test_a_file_that_is_not_such_an_image_is_named(published, spoil, message):
    path = published[0] / "test" / "m3" / "2.1.png"
    spoil(path)
    with pytest.raises(ValueError, match=message) as caught:
        read_polymnist(published[0], "test")
    assert str(path) in str(caught.value)


def test_wrong_folders_and_names_are_named(published):
    with pytest.raises(
        ValueError, match=r"train.m0 does not exist; expected the modalities m0, m1, m2, m3, m4"
    ):
        read_polymnist(published[0])
    with pytest.raises(ValueError, match="modalities: expected 1 to 5, got 6"):
        read_polymnist(published[0], "test", modalities=6)
    (published[0] / "test" / "m2" / "copy of 0.3.png").touch()
    (published[0] / "test" / "m2" / "._0.3.png").touch()
    (published[0] / "test" / "m2" / "notes.txt").touch()
    with pytest.raises(
        ValueError, match=r"m2.copy of 0.3.png: expected a name of the form INDEX.LABEL.png"
    ):
        read_polymnist(published[0], "test")
    (published[0] / "test" / "m2" / "copy of 0.3.png").unlink()
    assert len(read_polymnist(published[0], "test")) == 4
    (published[0] / "test" / "m2" / f"0.{10**20}.png").touch()
    with pytest.raises(
        ValueError, match=r"0.1000*.png: expected a name of the form INDEX.LABEL.png"
    ):
        read_polymnist(published[0], "test")
    (published[0] / "empty" / "m0").mkdir(parents=True)
    with pytest.raises(ValueError, match="empty holds no images in m0"):
        read_polymnist(published[0], "empty", modalities=1)
