import warnings
import zipfile

import numpy as np
import pytest

from cmvae.files.arrays import ArrayFile, array_names, as_images


def test_arrays_have_ids_or_numbers(tmp_path):
    values = np.arange(12.0).reshape(4, 3)
    np.save(tmp_path / "a.npy", values)
    np.savez(tmp_path / "a.npz", values=values, ids=np.array(["p", "q", "r", "s"]))
    np.savez(tmp_path / "two.npz", one=values, other=values)
    (tmp_path / "ids.txt").write_text("k\nl\nm\nn\n")
    parts = list(ArrayFile(tmp_path / "a.npy", "m").chunks(3))
    assert [ids for ids, _ in parts] == [["0", "1", "2"], ["3"]]
    assert all(type(part) is np.ndarray for _, part in parts)
    np.testing.assert_array_equal(parts[1][1], values[3:])
    whole = ArrayFile(tmp_path / "a.npy", "m").read()
    assert type(whole) is np.ndarray
    np.testing.assert_array_equal(whole, values)
    assert next(ArrayFile(tmp_path / "a.npz", "m").chunks(2))[0] == ["p", "q"]
    assert next(ArrayFile(tmp_path / "a.npy", "m", ids=tmp_path / "ids.txt").chunks(9))[0] == [
        "k",
        "l",
        "m",
        "n",
    ]
    assert array_names(tmp_path / "two.npz") == ["one", "other"]
    with pytest.raises(ValueError, match=r"'m'.*holds the arrays \['one', 'other'\]"):
        ArrayFile(tmp_path / "two.npz", "m")
    with pytest.raises(ValueError, match=r"'m'.*no array 'none', but \['one', 'other'\]"):
        ArrayFile(tmp_path / "two.npz", "m", "none")
    (tmp_path / "ids.txt").write_text("k\nl\n")
    with pytest.raises(ValueError, match=r"\(2,\) ids for 4 samples"):
        ArrayFile(tmp_path / "a.npy", "m", ids=tmp_path / "ids.txt")


def test_an_archive_with_two_arrays_of_one_name_is_refused(tmp_path):
    np.save(tmp_path / "one.npy", np.zeros((3, 2)))
    with warnings.catch_warnings(), zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        warnings.simplefilter("ignore")  # of the name
        for _ in range(2):
            file.write(tmp_path / "one.npy", "one.npy")
    with pytest.raises(ValueError, match=r"a\.npz: .*it holds two arrays of one name"):
        ArrayFile(tmp_path / "a.npz", "m", "one")


@pytest.mark.parametrize("dtype", ["complex64", "datetime64[D]", "timedelta64[s]", "i4,f4"])
@pytest.mark.parametrize("shape", [(6,), (3, 2), (2, 1, 3)])
def test_what_is_no_number_is_refused(tmp_path, dtype, shape):
    np.save(tmp_path / "a.npy", np.zeros(shape, dtype))
    with pytest.raises(TypeError, match=r"'m', .*a\.npy: expected numbers, got dtype"):
        ArrayFile(tmp_path / "a.npy", "m")


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_nothing_is_unpickled(tmp_path, name):
    with (tmp_path / name).open("wb") as file:
        (np.savez if name.endswith("z") else np.save)(file, np.array([{"a": 1}], dtype=object))
    with pytest.raises(
        ValueError, match=r"'m'.*not a readable array.*(allow_pickle=False|Python objects)"
    ):
        ArrayFile(tmp_path / name, "m")
    (tmp_path / name).write_bytes(b"PK\x03\x04 none")
    with pytest.raises(ValueError, match=r"'m'.*not a readable array"):
        ArrayFile(tmp_path / name, "m")


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_damaged_arrays_are_named_whatever_the_damage(tmp_path, name):
    path, values = tmp_path / name, np.arange(12.0).reshape(4, 3)
    with path.open("wb") as file:
        (np.savez_compressed if name.endswith("z") else np.save)(file, values)
    whole, rng, told = path.read_bytes(), np.random.default_rng(0), 0
    for place in rng.integers(len(whole), size=400):
        damaged = bytearray(whole)
        damaged[place] ^= int(rng.integers(1, 256))
        path.write_bytes(bytes(damaged))
        try:
            ArrayFile(path, "m")
        except ValueError as error:
            told += "'m'" in str(error)
    assert told > 50
    path.with_suffix(".npz").write_bytes(b"\x93NUMPY" + whole[6:])  # an .npy by another name
    with pytest.raises(ValueError, match="not a readable"):
        array_names(path.with_suffix(".npz"))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 8, 9), (5, 1, 8, 9)),
        ((5, 3, 8, 9), (5, 3, 8, 9)),
        ((5, 8, 9, 3), (5, 3, 8, 9)),
        ((5, 8, 9, 1), (5, 1, 8, 9)),
    ],
)
def test_bytes_are_images_whatever_their_order(tmp_path, shape, expected):
    values = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.save(tmp_path / "a.npy", values)
    ((_, images),) = ArrayFile(tmp_path / "a.npy", "m").chunks(9)
    np.testing.assert_array_equal(images, as_images(values, "m"))
    assert images.shape == expected
    if shape[-1] == 3:
        np.testing.assert_array_equal(images[:, 1], values[..., 1])
