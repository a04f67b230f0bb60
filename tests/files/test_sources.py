import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cmvae.files.arrays import ArrayFile, array_names
from cmvae.files.images import ImageFolder, read_image
from cmvae.files.tables import TableFile

FRAME = pd.DataFrame({"key": ["007", "NA", "x y"], "a": [1.5, np.nan, 3.0], "b": ["u", "v", None]})


def written(folder, name, text):
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_ids_are_strings_and_parts_are_the_whole(tmp_path, suffix):
    path = tmp_path / f"t.{suffix}"
    if suffix == "parquet":
        FRAME.to_parquet(path)
    else:
        FRAME.to_csv(path, index=False, sep="\t" if suffix == "tsv" else ",")
    source = TableFile(path, "t")
    assert (source.id_column, source.columns) == ("key", ["a", "b"])
    whole = source.read()
    assert whole.index.tolist() == ["007", "NA", "x y"]
    np.testing.assert_array_equal(whole["a"], FRAME["a"])
    assert whole["b"].tolist()[:2] == ["u", "v"]
    assert whole["b"].isna().tolist() == [False, False, True]
    parts = list(source.chunks(2))
    assert [ids for ids, _ in parts] == [["007", "NA"], ["x y"]]
    pd.testing.assert_frame_equal(
        pd.concat([part for _, part in parts]), whole, check_dtype=False, check_index_type=False
    )


def test_the_id_column_can_be_named(tmp_path):
    path = written(tmp_path, "t.csv", "a,key\n1,s1\n2,s2\n")
    assert TableFile(path, "t", "key").read().index.tolist() == ["s1", "s2"]
    assert TableFile(path, "t").read().index.tolist() == ["1", "2"]


def test_a_stored_index_of_parquet_is_the_id(tmp_path):
    values = pd.DataFrame({"a": [1.0, 2.0], "b": [3, 4]})
    values.set_index(pd.Index([11, 12])).to_parquet(tmp_path / "plain.parquet")
    values.set_index(pd.Index(["p", "q"], name="cell")).to_parquet(tmp_path / "named.parquet")
    values.to_parquet(tmp_path / "none.parquet")
    assert TableFile(tmp_path / "plain.parquet", "t").read().index.tolist() == ["11", "12"]
    named = TableFile(tmp_path / "named.parquet", "t")
    assert (named.id_column, named.columns, named.read().index.tolist()) == (
        "cell",
        ["a", "b"],
        ["p", "q"],
    )
    assert TableFile(tmp_path / "named.parquet", "t", "b").read().index.tolist() == ["3", "4"]
    assert TableFile(tmp_path / "none.parquet", "t").columns == ["b"]
    assert [ids for ids, _ in TableFile(tmp_path / "plain.parquet", "t").chunks(1)] == [
        ["11"],
        ["12"],
    ]
    assert TableFile(tmp_path / "plain.parquet", "t").columns == ["a", "b"]
    assert TableFile(tmp_path / "plain.parquet", "t", "b").read().index.tolist() == ["3", "4"]
    values.set_index(pd.Index([7, 3], name="n")).to_parquet(tmp_path / "uneven.parquet")
    assert TableFile(tmp_path / "uneven.parquet", "t", "n").read().index.tolist() == ["7", "3"]


def test_columns_can_be_said_to_be_texts(tmp_path):
    path = written(tmp_path, "t.csv", "id,code,n\ns1,007,1\ns2,08,2\n")
    ((_, plain),) = TableFile(path, "t").chunks(9)
    ((_, texts),) = TableFile(path, "t").chunks(9, texts=["code"])
    assert plain["code"].tolist() == [7, 8]
    assert texts["code"].tolist() == ["007", "08"]
    assert texts["n"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.csv", "", "the file is empty"),
        ("t.csv", "id,a,a\ns1,1,2\n", r"columns \['a'\] occur more than once"),
        ("t.csv", "a,b\ns1,1,2\n", "the first row has 3 fields, the header 2: name every column"),
        ("t.csv", "id,a\ns1,1\ns2,1,5\n", "not a readable .csv table"),
        ("t.csv", "id,a\n,1\ns1,2\n", r"1 rows have no id, the first \[0\]"),
        ("t.csv", "id\ns1\n", "no columns beside the ids"),
        ("t.parquet", "PAR", "not a readable .parquet table"),
    ],
)
def test_bad_tables_are_named(tmp_path, name, text, message):
    path = written(tmp_path, name, text)
    with pytest.raises(ValueError, match=message) as caught:
        TableFile(path, "m").read()
    assert "'m'" in str(caught.value)
    assert name in str(caught.value)


def test_arrays_have_ids_or_numbers(tmp_path):
    values = np.arange(12.0).reshape(4, 3)
    np.save(tmp_path / "a.npy", values)
    np.savez(tmp_path / "a.npz", values=values, ids=np.array(["p", "q", "r", "s"]))
    np.savez(tmp_path / "two.npz", one=values, other=values)
    (tmp_path / "ids.txt").write_text("k\nl\nm\nn\n")
    parts = list(ArrayFile(tmp_path / "a.npy", "m").chunks(3))
    assert [ids for ids, _ in parts] == [["0", "1", "2"], ["3"]]
    np.testing.assert_array_equal(parts[1][1], values[3:])
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
    assert images.shape == expected
    if shape[-1] == 3:
        np.testing.assert_array_equal(images[:, 1], values[..., 1])


def test_images_of_any_mode_and_size(tmp_path):
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (6, 4), dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "b.png")
    Image.fromarray(grey).convert("RGB").convert("P").save(tmp_path / "a.gif")
    (tmp_path / "notes.txt").write_text("none")
    (tmp_path / ".hidden.png").write_text("none")
    folder = ImageFolder(tmp_path, "m")
    assert [ids for ids, _ in folder.chunks(1)] == [["a"], ["b"]]
    assert folder.measure() == (3, 6, 4)
    np.testing.assert_array_equal(read_image(tmp_path / "b.png", (1, 6, 4), "m")[0], grey)
    colours = read_image(tmp_path / "b.png", (3, 6, 4), "m")
    assert all((channel == grey).all() for channel in colours)
    assert read_image(tmp_path / "a.gif", (3, 12, 7), "m").shape == (3, 12, 7)
    (tmp_path / "a.gif").unlink()
    assert folder.__class__(tmp_path, "m").measure() == (1, 6, 4)


def test_turned_photographs_stand_upright(tmp_path):
    pixels = np.zeros((4, 8, 3), dtype=np.uint8)
    pixels[:, :4, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    assert ImageFolder(tmp_path, "m").measure() == (3, 8, 4)
    upright = read_image(tmp_path / "a.png", (3, 8, 4), "m")
    assert upright[0, :4].min() == 255
    assert upright[0, 4:].max() == 0


def test_bad_images_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"'m'.*holds no images"):
        ImageFolder(tmp_path, "m")
    (tmp_path / "a.jpg").write_bytes(b"none")
    with pytest.raises(ValueError, match=r"'m': broken image .*a\.jpg"):
        ImageFolder(tmp_path, "m").measure()
    Image.fromarray(np.zeros((4, 4), dtype=np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(ValueError, match=r"deep\.png.*eight bits a channel"):
        read_image(tmp_path / "deep.png", (1, 4, 4), "m")
