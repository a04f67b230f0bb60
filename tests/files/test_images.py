import struct
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from cmvae.files.images import ImageFolder, measure_bits, measure_images, read_image
from cmvae.files.modality import ModalityFile
from cmvae.files.source import ReadingError
from cmvae.preprocessing.preprocessing import learn_modality


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
    assert measure_images(folder.read(), "m")[:3] == (3, 6, 4)
    np.testing.assert_array_equal(read_image(tmp_path / "b.png", (1, 6, 4), "m")[0], grey)
    colours = read_image(tmp_path / "b.png", (3, 6, 4), "m")
    assert all((channel == grey).all() for channel in colours)
    assert read_image(tmp_path / "a.gif", (3, 12, 7), "m").shape == (3, 12, 7)
    (tmp_path / "a.gif").unlink()
    assert measure_images([tmp_path / "b.png"], "m")[:3] == (1, 6, 4)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ([(43, 64)], ""),
        ([(2000, 3000)], ", 2000 × 3000 in the files"),
        ([(43, 64), (43, 64), (20, 90)], ", 20 to 43 × 64 to 90 in the files"),
    ],
)
def test_it_is_said_of_which_sizes_scaled_images_are(tmp_path, sizes, said):
    for place, (height, width) in enumerate(sizes):
        Image.new("L", (width, height)).save(tmp_path / f"{place}.png")
    paths = sorted(tmp_path.glob("*.png"))
    assert measure_images(paths, "m").scaled_to(43, 64) == said
    _, summary = learn_modality(paths, "m", ModalityFile(size=(43, 64)))
    assert summary.what == f"images of 43 × 64 pixels, grey{said}"


def test_turned_photographs_stand_upright(tmp_path):
    pixels = np.zeros((4, 8, 3), dtype=np.uint8)
    pixels[:, :4, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    assert measure_images([tmp_path / "a.png"], "m")[:3] == (3, 8, 4)
    upright = read_image(tmp_path / "a.png", (3, 8, 4), "m")
    assert upright[0, :4].min() == 255
    assert upright[0, 4:].max() == 0


def test_bad_images_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"'m'.*holds no images"):
        ImageFolder(tmp_path, "m")
    (tmp_path / "a.jpg").write_bytes(b"none")
    with pytest.raises(ValueError, match=r"'m': broken image .*a\.jpg"):
        measure_images(ImageFolder(tmp_path, "m").read(), "m")
    Image.fromarray(np.full((4, 4), 0.5, np.float32)).save(tmp_path / "deep.tiff")
    with pytest.raises(ValueError, match=r"deep\.tiff.*it holds fractions"):
        read_image(tmp_path / "deep.tiff", (1, 4, 4), "m")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_stored_where_nothing_is_seen_does_not_count(tmp_path, mode):
    rng = np.random.default_rng(0)
    pixels = np.zeros((6, 6, 4), np.uint8)
    pixels[2:4, 2:4] = 90, 90, 90, 255
    for name in "ab":
        image = Image.fromarray(pixels)
        if mode == "P":  # its palette names the colour that is not seen
            image = Image.fromarray((pixels[..., 3] == 0).astype(np.uint8))
            image.putpalette([90, 90, 90, *rng.integers(0, 255, 3).tolist()])
            image = image.convert("P")
            image.info["transparency"] = 1
            image.save(tmp_path / f"{name}.png", transparency=1)
        else:
            image.convert(mode).save(tmp_path / f"{name}.png")
        pixels[pixels[..., 3] == 0] = [*rng.integers(0, 255, 3), 0]
    one, two = (read_image(tmp_path / f"{name}.png", (3, 6, 6), "m") for name in "ab")
    np.testing.assert_array_equal(one, two)
    assert one[:, 0, 0].tolist() == [255, 255, 255]
    assert one[:, 2, 2].tolist() == [90, 90, 90]


def test_half_of_a_transparent_pixel_is_seen(tmp_path):
    Image.fromarray(np.array([[[0, 200, 100, 128]]], np.uint8)).save(tmp_path / "a.png")
    found = read_image(tmp_path / "a.png", (3, 1, 1), "m").ravel()
    np.testing.assert_allclose(found, [127, 227, 177], atol=1)


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_deep_images_keep_the_bits_that_they_use(tmp_path, bits, ending):
    values = np.linspace(0, 2**bits - 1, 48).reshape(6, 8).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / f"a.{ending}")
    paths = [tmp_path / f"a.{ending}"]
    assert measure_bits(paths, "m", "used") == bits
    assert measure_bits(paths, "m", "full") == 16
    with pytest.raises(ReadingError, match=rf"a\.{ending} has sixteen bits .* eight") as error:
        measure_bits(paths, "m", None)
    assert error.value.options == ["depth=used", "depth=full"]
    assert measure_images(paths, "m")[:3] == (1, 6, 8)
    read = read_image(paths[0], (1, 6, 8), "m", bits)[0]
    np.testing.assert_array_equal(read, values >> (bits - 8))


def test_what_is_passed_over_is_counted(tmp_path):
    for name in ("a.PNG", "more/b.png", "more/deep/c.jpg", "d.HEIC", "e.heic", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(("PNG", "png", "jpg")):
            Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / name)
        else:
            (tmp_path / name).write_bytes(b"none")
    folder = ImageFolder(tmp_path, "m")
    assert folder.notes == [
        "3 files passed over: 2 .heic, 1 .txt",
        "2 images in subfolders passed over (subfolders=yes reads them)",
    ]
    assert f"m ({tmp_path.name}): 3 files passed over" in folder.account
    whole = ImageFolder(tmp_path, "m", subfolders=True)
    assert [ids for ids, _ in whole.chunks(9)] == [["a", "more/b", "more/deep/c"]]
    assert whole.notes == ["3 files passed over: 2 .heic, 1 .txt"]
    (tmp_path / "a.PNG").unlink()
    with pytest.raises(ValueError, match=r"no images .*; 2 are in subfolders: subfolders=yes"):
        ImageFolder(tmp_path, "m")


def test_two_images_of_one_id_are_refused(tmp_path):
    for name in ("a.png", "a.jpg"):
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / name)
    with pytest.raises(ValueError, match=r"'m'.*several images for one id: \['a'\]"):
        ImageFolder(tmp_path, "m")


def deep_colours(path, pixels):
    """Write a PNG of (H, W, 3) with sixteen bits a channel, which Pillow reads but not writes."""

    def part(name, content):
        return (
            struct.pack(">I", len(content))
            + name
            + content
            + struct.pack(">I", zlib.crc32(name + content))
        )

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, 2, 0, 0, 0)
    parts = part(b"IHDR", head) + part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)


@pytest.mark.skipif(sys.platform != "linux", reason="names are any bytes on Linux")
def test_names_that_are_no_text_are_refused_by_name(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a\udcff.png")
    with pytest.raises(ValueError, match=r"'m', .*no text in UTF-8: \['a\\udcff'\]"):
        ImageFolder(tmp_path, "m")


@pytest.mark.parametrize("depth", [None, "used"])
def test_colours_of_sixteen_bits_are_not_read_as_black(tmp_path, depth):
    path = tmp_path / "a.png"
    deep_colours(path, np.full((4, 4, 3), 4000))
    with pytest.raises(ReadingError, match=r"a\.png has sixteen bits a channel, in col") as caught:
        measure_bits([path], "m", depth)
    assert caught.value.options == ["depth=full"]
    assert measure_bits([path], "m", "full") == 8
    assert (read_image(path, (3, 4, 4), "m") == 4000 >> 8).all()


def test_a_tiff_of_several_pictures_is_refused(tmp_path):
    pages = [Image.fromarray(np.full((8, 8), level, np.uint8)) for level in (0, 90, 200)]
    path = tmp_path / "stack.tif"
    pages[0].save(path, save_all=True, append_images=pages[1:])
    with pytest.raises(ValueError, match=r"stack\.tif: it holds 3 pictures, the pages of a TIFF"):
        measure_images([path], "m")
    pages[1].save(path, save_all=True, append_images=[pages[2].resize((2, 2))])
    assert measure_images([path], "m")[:3] == (1, 8, 8)  # a small copy is no other picture
    assert (read_image(path, (1, 8, 8), "m") == 90).all()
