import numpy as np
import pytest
from PIL import Image

from cmvae.files.images import ImageFolder, measure_images, read_image


def test_images_of_any_mode_and_size(tmp_path):
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (6, 4), dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "b.png")
    Image.fromarray(grey).convert("RGB").convert("P").save(tmp_path / "a.gif")
    (tmp_path / "notes.txt").write_text("none")
    (tmp_path / ".hidden.png").write_text("none")
    folder = ImageFolder(tmp_path, "m")
    assert [ids for ids, _ in folder.chunks(1)] == [["a"], ["b"]]
    assert folder.read() == [tmp_path / "a.gif", tmp_path / "b.png"]
    assert measure_images(folder.read(), "m") == (3, 6, 4)
    np.testing.assert_array_equal(read_image(tmp_path / "b.png", (1, 6, 4), "m")[0], grey)
    colours = read_image(tmp_path / "b.png", (3, 6, 4), "m")
    assert all((channel == grey).all() for channel in colours)
    assert read_image(tmp_path / "a.gif", (3, 12, 7), "m").shape == (3, 12, 7)
    (tmp_path / "a.gif").unlink()
    assert measure_images([tmp_path / "b.png"], "m") == (1, 6, 4)


def test_turned_photographs_stand_upright(tmp_path):
    pixels = np.zeros((4, 8, 3), dtype=np.uint8)
    pixels[:, :4, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    assert measure_images([tmp_path / "a.png"], "m") == (3, 8, 4)
    upright = read_image(tmp_path / "a.png", (3, 8, 4), "m")
    assert upright[0, :4].min() == 255
    assert upright[0, 4:].max() == 0


def test_bad_images_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"'m'.*holds no images"):
        ImageFolder(tmp_path, "m")
    (tmp_path / "a.jpg").write_bytes(b"none")
    with pytest.raises(ValueError, match=r"'m': broken image .*a\.jpg"):
        measure_images(ImageFolder(tmp_path, "m").read(), "m")
    Image.fromarray(np.zeros((4, 4), dtype=np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(ValueError, match=r"deep\.png.*eight bits a channel"):
        read_image(tmp_path / "deep.png", (1, 4, 4), "m")
