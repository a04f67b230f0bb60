import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cmvae.files.writing import open_rows, write_image

FIRST = pd.DataFrame({"id": ["007", "a,b"], "x": [0.1, 1 / 3], "n": [1, 2]})
SECOND = pd.DataFrame({"id": ["é"], "x": [np.float32(1e-7)], "n": [3]})


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_parts_become_one_file(tmp_path, suffix):
    path = tmp_path / f"rows{suffix}"
    with open_rows(path) as append:
        for part in (FIRST, SECOND):
            append(part)
        assert not path.exists()
    if suffix == ".parquet":
        found = pd.read_parquet(path)
    else:
        separator = "\t" if suffix == ".tsv" else ","
        found = pd.read_csv(path, sep=separator, dtype={"id": str})
    whole = pd.concat([FIRST, SECOND], ignore_index=True)
    pd.testing.assert_frame_equal(found, whole, check_dtype=False, rtol=1e-8)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_failure_leaves_the_old_file(tmp_path, suffix):
    path = tmp_path / f"rows{suffix}"
    path.write_text("old")

    def fail():
        with open_rows(path) as append:
            append(FIRST)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [(path.name, "old")]


@pytest.mark.parametrize(("channels", "mode"), [(3, "RGB"), (1, "L"), (2, "L")])
def test_images_are_written_as_they_are(tmp_path, channels, mode):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, channels), dtype=np.uint8)
    write_image(tmp_path / "a.png", pixels)
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == mode
        found = np.asarray(image)
    np.testing.assert_array_equal(found, pixels if channels == 3 else pixels[..., 0])
