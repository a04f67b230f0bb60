import json
import time
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import torch

from cmvae import CMVAE, CMVAEConfig, fit
from cmvae.base.words import Refusals
from cmvae.files.images import Measured
from cmvae.files.modality import ModalityFile
from cmvae.preprocessing import IdentifierError, Preprocessing, learn_codec
from cmvae.preprocessing.arrays import ArrayCodec, ImageCodec
from cmvae.preprocessing.frames import read_frames

RNG = np.random.default_rng(0)
TABLE = pd.DataFrame(
    {
        "size": RNG.normal(50, 9, 40),
        "visits": RNG.poisson(30, 40) * RNG.integers(0, 2, 40),
        "code": pd.Series(["007", "08"] * 20, dtype=object),
    }
)
TEXTS = pd.DataFrame({"caption": ["A red bird.", "a bird", None, "blue birds sing"]})


def codecs():
    array = RNG.normal(4, 3, (6, 2, 3, 4))
    return {
        "table": (learn_codec(TABLE, "table"), TABLE),
        "text": (learn_codec(TEXTS, "text", ModalityFile(kinds={"caption": "text"})), TEXTS),
        "images": (ImageCodec(shape=(3, 5, 6)), RNG.integers(0, 256, (4, 3, 5, 6), dtype=np.uint8)),
        "array": (ArrayCodec.learn(array, "array"), array),
    }


@pytest.mark.parametrize("name", ["table", "text", "images", "array"])
def test_rows_come_back_after_json(name):
    codec, rows = codecs()[name]
    stored = Preprocessing.from_json(Preprocessing(codecs={name: codec}).to_json()).codecs[name]
    values, observed = codec.encode(rows, name)
    again, _ = stored.encode(rows, name)
    np.testing.assert_array_equal(values, again)
    assert stored == codec
    assert stored.type == name
    if name == "table":
        pd.testing.assert_frame_equal(
            stored.decode(values, True), TABLE, check_dtype=False, rtol=1e-5
        )
    elif name == "text":
        assert observed.tolist() == [True, True, False, True]
        one_hot = np.eye(codec.input_shape[1])[values]
        assert stored.decode(one_hot, True)["caption"].tolist() == [
            "a red bird",
            "a bird",
            "",
            "blue birds sing",
        ]
        assert stored.readable(values)[0] == "a red bird"
    elif name == "images":
        np.testing.assert_array_equal(
            stored.decode(values / 255, False), rows.transpose(0, 2, 3, 1)
        )
        assert stored.decode(np.full((1, 3, 5, 6), 2.0), False).max() == 255
    else:
        assert abs(values.mean()) < 1e-5
        assert abs(values.std() - 1) < 1e-5
        np.testing.assert_allclose(stored.decode(values, False), rows, rtol=1e-4, atol=1e-4)


def test_columns_left_out_are_told():
    described = learn_codec(TABLE, "t", ModalityFile(kinds={"visits": "ignore"})).describe()
    assert described == "1 continuous: size; 1 category: code; 1 left out: visits"


def test_kinds_and_likelihoods_can_be_chosen():
    scale = "learned"
    plain = learn_codec(TABLE, "t")
    normal, counts, classes = (
        ["normal", 1, {"scale": scale}],
        ["negative_binomial", 1, {"means": [float(f"{TABLE['visits'].mean():.6g}")]}],
        ["categorical", [2]],
    )
    assert plain.likelihood(None, {}, scale) == ("mixed", {"columns": [normal, counts, classes]})
    laplace = plain.likelihood("laplace", {}, scale)[1]["columns"]
    assert laplace == [["laplace", *normal[1:]], counts, classes]
    assert plain.likelihood("poisson", {}, scale)[1]["columns"][1] == ["poisson", *counts[1:]]
    with pytest.raises(
        ValueError, match="'bernoulli' fits none of the kinds of its columns: 1 continuous: size"
    ):
        plain.likelihood("bernoulli", {}, scale)
    with pytest.raises(ValueError, match="need columns of one kind"):
        plain.likelihood(None, {"library_size": True}, scale)
    chosen = learn_codec(
        TABLE,
        "t",
        ModalityFile(kinds={"visits": "ignore", "code": "category"}, likelihood="laplace"),
    )
    assert chosen.likelihood("laplace", {}, 0.5)[1]["columns"] == [
        ["laplace", 1, {"scale": 0.5}],
        classes,
    ]
    assert chosen.encode(TABLE, "t")[0].shape == (40, 3)
    back = chosen.decode(chosen.encode(TABLE, "t")[0], True)
    pd.testing.assert_frame_equal(back, TABLE[["size", "code"]], rtol=1e-5, check_dtype=False)
    only = learn_codec(TABLE[["size"]], "t", ModalityFile(likelihood="laplace"))
    assert only.likelihood("laplace", {"scale": 2.0}, scale) == ("laplace", {"scale": 2.0})
    assert ImageCodec(shape=(1, 2, 2)).likelihood("bernoulli", {}, scale) == ("bernoulli", {})
    assert ImageCodec(shape=(1, 2, 2)).likelihood(None, {}, scale) == ("normal", {"scale": scale})
    with pytest.raises(ValueError, match="that of texts is 'categorical'"):
        codecs()["text"][0].likelihood("normal", {}, scale)


@pytest.mark.parametrize(
    ("measured", "size", "shape"),
    [
        ((3, 20, 30), None, (3, 20, 30)),
        ((1, 640, 480), None, (1, 64, 48)),
        ((3, 100, 1000), None, (3, 6, 64)),
        ((3, 100, 100), (16, 12), (3, 16, 12)),
    ],
)
def test_images_are_scaled_to_at_most_64_pixels(measured, size, shape):
    measured = Measured(*measured, measured[1:], measured[1:])
    assert ImageCodec.learn(measured, size).shape == shape


def test_arrays_that_do_not_fit_are_refused():
    codec, rows = codecs()["array"]
    rows = rows.copy()
    rows[1] = np.nan
    assert codec.encode(rows, "m")[1].tolist() == [True, False, True, True, True, True]
    rows[2, 0, 0, 0] = np.inf
    with pytest.raises(ValueError, match=r"'m': NaN or infinity in 1 sample, the first \[2\]"):
        codec.encode(rows, "m")
    for wrong in (rows[:, :1], rows.astype(str), TABLE):
        with pytest.raises(ValueError, match="'m': expected numbers"):
            codec.encode(wrong, "m")
    with pytest.raises(ValueError, match="'m': expected images"):
        ImageCodec(shape=(3, 5, 6)).encode(np.zeros((2, 3, 5, 5), dtype=np.uint8), "m")
    with pytest.raises(ValueError, match=r"'m': expected the one column 'caption', got \['size'"):
        codecs()["text"][0].encode(TABLE, "m")


def test_bad_preprocessing_is_refused():
    whole = json.loads(Preprocessing(codecs={"t": codecs()["table"][0]}).to_json())
    unknown = {"codecs": {"t": {**whole["codecs"]["t"], "type": "sound"}}}
    for bad in ({}, unknown, {"codecs": {}}, {"codecs": {"t": {"type": "array"}}}):
        with pytest.raises(ValueError, match="codecs"):
            Preprocessing.from_json(json.dumps(bad))
    for text in ("{", "[]"):
        with pytest.raises(ValueError, match=r"not JSON|must be a mapping"):
            Preprocessing.from_json(text)


def test_everything_learned_is_nested_json():
    content = json.loads(Preprocessing(codecs={n: c for n, (c, _) in codecs().items()}).to_json())

    def texts(value):
        parts = value.values() if isinstance(value, dict) else value
        return (
            [value]
            if isinstance(value, str)
            else [
                t for part in (parts if isinstance(value, dict | list) else []) for t in texts(part)
            ]
        )

    assert not [text for text in texts(content) if text.startswith(("{", "["))]
    assert content["codecs"]["text"]["tokenizer"]["length"] == 3


def test_arrays_are_numbers_and_frames_go_by_the_kinds_of_their_columns():
    counts = np.stack([RNG.poisson(30, 40) * RNG.integers(0, 2, 40), np.arange(40) % 2], 1)
    of_array, of_frame = learn_codec(counts, "t"), learn_codec(pd.DataFrame(counts), "t")
    assert [column.kind for column in of_array.columns] == ["continuous", "continuous"]
    assert [column.kind for column in of_frame.columns] == ["count", "count"]
    chosen = learn_codec(counts, "t", ModalityFile(kinds={"0": "count"}))
    assert [column.kind for column in chosen.columns] == ["count", "continuous"]
    implied = learn_codec(counts, "t", ModalityFile(likelihood="poisson"))
    assert {column.kind for column in implied.columns} == {"count"}


def test_bytes_are_images_and_other_arrays_are_standardised_as_a_whole():
    pixels = RNG.integers(0, 256, (4, 3, 5, 6), dtype=np.uint8)
    assert learn_codec(pixels, "m") == ImageCodec(shape=(3, 5, 6))
    assert isinstance(learn_codec(pixels.astype(float), "m"), ArrayCodec)
    with pytest.raises(ValueError, match="kinds are for the columns of tables, got ndarray"):
        learn_codec(pixels, "m", ModalityFile(kinds={"0": "count"}))
    with pytest.raises(TypeError, match="'m': expected real numbers, got an array of complex"):
        learn_codec(pixels * 1j, "m")


@pytest.mark.parametrize("form", ["{},5", "{} %", "{}.5 €"])
def test_numbers_as_texts_are_refused_though_all_of_them_differ(form):
    table = TABLE[["size"]].assign(x=[form.format(number) for number in range(40)])
    with pytest.raises(ValueError, match=r"'t': column 'x' holds numbers as texts: \["):
        learn_codec(table, "t")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_single_missing_cells_of_arrays_are_refused_when_learning_too(value):
    array = RNG.normal(4, 3, (6, 2, 3, 4))
    array[2, 1, 0, 3], array[4] = value, np.nan
    message = r"'m': NaN or infinity in 1 sample, the first \[2\]; only tables may lack single"
    with pytest.raises(ValueError, match=message):
        learn_codec(array, "m")
    with pytest.raises(ValueError, match=message):
        ArrayCodec(shape=(2, 3, 4), center=0.0, spread=1.0).encode(array, "m")


def test_a_modality_that_no_sample_has_is_left_out():
    rows = {"a": TABLE[["size"]], "b": np.full((40, 2), np.nan)}
    with pytest.warns(UserWarning, match=r"modalities \['b'\] are left out: no sample has them"):
        assert list(Preprocessing.learn(rows).codecs) == ["a"]
    with pytest.raises(ValueError, match=r"no sample has any of the modalities \['b'\]"):
        Preprocessing.learn({"b": rows["b"]})


def test_all_that_is_wrong_is_said_at_once():
    rows = {
        "a": pd.DataFrame({"when": pd.date_range("2020", periods=40)}),
        "b": pd.DataFrame({"name": [f"n{i}" for i in range(40)]}),
        "c": TABLE,
    }
    kinds = {"c": ModalityFile(kinds={"weight": "count"})}
    with pytest.raises(Refusals) as refused:
        Preprocessing.learn(rows, kinds)
    assert [type(error) for error in refused.value.errors] == [
        IdentifierError,
        IdentifierError,
        KeyError,
    ]
    for text in ("'when' holds dates", "'name' holds 40 different texts", "['weight']"):
        assert text in str(refused.value)


def test_values_come_back_in_the_units_of_the_data():
    learned = Preprocessing.learn({"t": TABLE})
    values = learned.codecs["t"].encode(TABLE, "t")[0]
    np.testing.assert_allclose(learned.restore("t", values)[:, 0], TABLE["size"], rtol=1e-5)
    with pytest.raises(KeyError, match=r"unknown modality 'z'; fitted were \['t'\]"):
        learned.restore("z", values)


@pytest.mark.parametrize("kind", ["continuous", "words"])
def test_many_more_columns_than_rows_take_seconds(kind):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 20_000))
    rows = np.floor(np.abs(rows)) * (rows > 1) if kind == "words" else rows
    tables = {"wide": pd.DataFrame(rows).add_prefix("g")}
    began = time.process_time()
    tracemalloc.start()
    learned = Preprocessing.learn(tables)
    values, _ = learned.codecs["wide"].encode(tables["wide"], "wide")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    model = CMVAE(CMVAEConfig(**learned.settings, modalities_specific_dim=2, K=1))
    fit(
        model,
        {"wide": torch.as_tensor(values)},
        max_epochs=1,
        batch_size=16,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    assert time.process_time() - began < 300
    assert most < 12 * rows.nbytes
    assert learned.codecs["wide"].type == ("words" if kind == "words" else "table")


def test_single_missing_cells_become_a_mask_of_the_dataset():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(12, 3)), rng.normal(size=(12, 2))
    a[2, 1] = a[5] = np.nan
    frames = read_frames({"a": a, "b": b})
    learned = Preprocessing.learn(frames.tables)
    data = learned.dataset(frames.encode(learned))
    assert list(data.cells) == ["a"]
    assert np.argwhere(~data.cells["a"].numpy()).tolist() == [[2, 1], [5, 0], [5, 1], [5, 2]]
    assert data.masks["a"].tolist() == [row != 5 for row in range(12)]


def test_a_column_without_cells_is_left_out_and_named():
    table = pd.DataFrame({"x": np.arange(5.0) ** 2, "gone": np.nan})
    learned = Preprocessing.learn({"a": table})
    (line,) = learned.understood["a"].say_left_out("a")
    assert line == "modality 'a': 1 column left out: 'gone' holds nothing"
    codec = learned.codecs["a"]
    assert codec.names == ["x"]
    assert codec.encode(table.assign(gone=1.0), "a")[0].shape == (5, 1)


def test_a_file_without_values_is_named():
    options = {"m": ModalityFile(path="t.csv")}
    with pytest.raises(ValueError, match=r"\['m'\] \(t\.csv\): there are no rows, or all of their"):
        Preprocessing.learn({"m": pd.DataFrame({"a": []})}, options)
