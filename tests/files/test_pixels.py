import numpy as np
import pytest

from cmvae.files.arrays import ArrayFile
from cmvae.files.modality import ModalityFile
from cmvae.files.pixels import composited, find_images
from cmvae.files.source import ReadingError
from cmvae.preprocessing.preprocessing import learn_codec


def pixels(shape, dtype=np.uint8, alpha=None):
    values = np.random.default_rng(0).integers(1, 255, shape).astype(dtype)
    if alpha is not None:
        values[..., -1] = alpha
    return values


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((5, 8, 9), "none"),
        ((5, 3, 4, 4), "first"),
        ((5, 4, 4, 3), "last"),
        ((5, 1, 4, 4), "first"),
        ((5, 9, 9, 1), "last"),
    ],
)
def test_the_shape_tells_where_channels_are(shape, layout):
    assert find_images(pixels(shape), "here", "m").layout == layout


@pytest.mark.parametrize("shape", [(5, 3, 9, 3), (5, 1, 8, 3), (5, 4, 8, 4), (5, 12, 9, 8)])
def test_two_layouts_are_refused_and_can_be_said(shape):
    values = pixels(shape)
    with pytest.raises(ReadingError, match=r"here: images \(5, .* say which") as caught:
        find_images(values, "here", "m")
    assert caught.value.options == ["layout=first", "layout=last"]
    for layout in ("first", "last"):
        if shape[1 if layout == "first" else 3] not in (2, 4):
            form = find_images(values, "here", "m", layout)
            expected = values if layout == "first" else values.transpose(0, 3, 1, 2)
            np.testing.assert_array_equal(form.apply(values), expected)


@pytest.mark.parametrize("channels", [2, 4])
def test_an_alpha_channel_is_seen_through_on_white(channels):
    values = pixels((6, 7, 8, channels), alpha=255)
    values[:, 0, :, -1] = 0
    form = find_images(values, "here", "m")
    found = form.apply(values)
    assert found.shape == (6, channels - 1, 7, 8)
    assert (found[:, :, 0] == 255).all()
    np.testing.assert_array_equal(found[:, 0, 1:], values[:, 1:, :, 0])
    assert any("alpha" in note for note in form.notes)
    other = values.copy()
    other[:, 0, :, :-1] = 17  # hidden
    np.testing.assert_array_equal(form.apply(other), found)


@pytest.mark.parametrize("channels", [2, 4])
def test_channels_that_are_no_alpha_are_refused(channels):
    with pytest.raises(ValueError, match=rf"images of {channels} channels, the last of which"):
        find_images(pixels((6, 7, 8, channels)), "here", "m")


def test_half_transparent_pixels_are_half_white():
    values = np.array([100, 51], np.uint8).reshape(1, 2, 1, 1)
    assert composited(values).item() == round(255 - (255 - 100) * 0.2)


@pytest.mark.parametrize("bits", [10, 16])
def test_sixteen_bits_become_eight_as_in_training(tmp_path, bits):
    values = np.random.default_rng(0).integers(0, 2**bits, (40, 5, 6, 3)).astype(np.uint16)
    with (tmp_path / "a.NPY").open("wb") as file:
        np.save(file, values)
    source = ArrayFile(tmp_path / "a.NPY", "m")
    pixels = source.read()
    expected = (values >> (bits - 8)).transpose(0, 3, 1, 2)
    learned = learn_codec(pixels, "m")
    np.testing.assert_array_equal(learned.encode(pixels, "m")[0], expected)
    np.testing.assert_array_equal(np.concatenate([p for _, p in source.chunks(7)]), pixels)
    assert source.notes[1] == "sixteen bits a channel, of which eight are kept"
    dark = pixels // 8  # a file of dark images alone is not made brighter
    np.testing.assert_array_equal(learned.encode(dark, "m")[0], dark >> (bits - 8))
    full = learn_codec(pixels, "m", ModalityFile(depth="full"))
    np.testing.assert_array_equal(full.encode(pixels, "m")[0], pixels >> 8)


@pytest.mark.parametrize("bits", [12, 16])
def test_deep_images_are_seen_through_on_white_too(bits):
    white = 2**bits - 1
    values = np.array([[white // 2, white], [7, 0]], np.uint16).repeat(9, 0).reshape(18, 2, 1, 1)
    seen = find_images(values, "here", "m", "first").apply(values)
    assert seen.dtype == np.uint16
    assert seen[[0, -1]].ravel().tolist() == [white // 2, white]


def test_numbers_of_other_kinds_have_channels_first_too():
    values = np.random.default_rng(0).normal(size=(5, 8, 9, 3))
    assert find_images(values, "here", "m").apply(values).shape == (5, 3, 8, 9)
    for shape in [(5, 3, 8, 9), (5, 8, 9, 7), (5, 8, 9), (5, 4)]:
        values = np.zeros(shape)
        assert find_images(values, "here", "m").apply(values) is values
    with pytest.raises(ValueError, match="layout=last does not fit an array of 2 axes"):
        find_images(values, "here", "m", "last")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_ids_in_a_text_of_any_encoding(tmp_path, encoding):
    np.save(tmp_path / "a.npy", np.zeros((3, 2)))
    (tmp_path / "ids.txt").write_bytes("100\r\nÄ1\r\ns 3\r\n\r\n".encode(encoding))
    ids, _ = next(ArrayFile(tmp_path / "a.npy", "m", ids=tmp_path / "ids.txt").chunks(9))
    assert ids == ["100", "Ä1", "s 3"]
