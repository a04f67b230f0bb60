import json

import numpy as np
import pandas as pd
import pytest

from cmvae.files.modality import ModalityFile
from cmvae.preprocessing.array_codecs import ArrayCodec, ImageCodec
from cmvae.preprocessing.preprocessing import Preprocessing
from cmvae.preprocessing.table_codecs import TableCodec, TextCodec, learn_table
from cmvae.runs.config import RunConfig

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
        "table": (learn_table(TABLE, {}, None, "table"), TABLE),
        "text": (learn_table(TEXTS, {"caption": "text"}, None, "text"), TEXTS),
        "images": (ImageCodec((3, 5, 6)), RNG.integers(0, 256, (4, 3, 5, 6), dtype=np.uint8)),
        "array": (ArrayCodec.of(array, "array"), array),
    }


@pytest.mark.parametrize("name", ["table", "text", "images", "array"])
def test_rows_come_back_after_json(name):
    codec, rows = codecs()[name]
    stored = Preprocessing.from_json(Preprocessing({name: codec}).to_json()).codecs[name]
    values, observed = codec.encode(rows, name)
    again, _ = stored.encode(rows, name)
    np.testing.assert_array_equal(values, again)
    assert (stored.shape, stored.type, stored.texts) == (codec.shape, name, codec.texts)
    if name == "table":
        pd.testing.assert_frame_equal(
            stored.decode(values, True), TABLE, check_dtype=False, rtol=1e-5
        )
    elif name == "text":
        assert observed.tolist() == [True, True, False, True]
        one_hot = np.eye(codec.shape[1])[values]
        assert stored.decode(one_hot, True)["caption"].tolist() == [
            "a red bird",
            "a bird",
            "",
            "blue birds sing",
        ]
        assert stored.read_texts(values)[0] == "a red bird"
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
    described = learn_table(TABLE, {"visits": "ignore"}, None, "t").describe()
    assert described == "1 continuous: size; 1 category: code; 1 left out: visits"


def test_kinds_and_likelihoods_can_be_chosen():
    scale = "learned"
    plain = learn_table(TABLE, {}, None, "t")
    normal, counts, classes = (
        ["normal", 1, {"scale": scale}],
        ["negative_binomial", 1, {}],
        ["categorical", [2]],
    )
    assert plain.likelihood(None, {}, scale) == ("mixed", {"columns": [normal, counts, classes]})
    laplace = plain.likelihood("laplace", {}, scale)[1]["columns"]
    assert laplace == [["laplace", *normal[1:]], counts, classes]
    assert plain.likelihood("poisson", {}, scale)[1]["columns"][1] == ["poisson", 1, {}]
    with pytest.raises(
        ValueError, match="'bernoulli' fits none of the kinds of its columns: 1 continuous: size"
    ):
        plain.likelihood("bernoulli", {}, scale)
    with pytest.raises(ValueError, match="need columns of one kind"):
        plain.likelihood(None, {"library_size": True}, scale)
    chosen = learn_table(TABLE, {"visits": "ignore", "code": "category"}, "laplace", "t")
    assert chosen.likelihood("laplace", {}, 0.5)[1]["columns"] == [
        ["laplace", 1, {"scale": 0.5}],
        classes,
    ]
    assert chosen.encode(TABLE, "t")[0].shape == (40, 3)
    back = chosen.decode(chosen.encode(TABLE, "t")[0], True)
    pd.testing.assert_frame_equal(back, TABLE[["size", "code"]], rtol=1e-5, check_dtype=False)
    only = learn_table(TABLE[["size"]], {}, "laplace", "t")
    assert only.likelihood("laplace", {"scale": 2.0}, scale) == ("laplace", {"scale": 2.0})
    assert ImageCodec((1, 2, 2)).likelihood("bernoulli", {}, scale) == ("bernoulli", {})
    assert ImageCodec((1, 2, 2)).likelihood(None, {}, scale) == ("normal", {"scale": scale})
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
    assert ImageCodec.of(measured, size).shape == shape


def test_arrays_that_do_not_fit_are_refused():
    codec, rows = codecs()["array"]
    rows = rows.copy()
    rows[1] = np.nan
    assert codec.encode(rows, "m")[1].tolist() == [True, False, True, True, True, True]
    rows[2, 0, 0, 0] = np.inf
    with pytest.raises(ValueError, match=r"'m': NaN or infinity in 1 samples, the first \[2\]"):
        codec.encode(rows, "m")
    for wrong in (rows[:, :1], rows.astype(str), TABLE):
        with pytest.raises(ValueError, match="'m': expected numbers"):
            codec.encode(wrong, "m")
    with pytest.raises(ValueError, match="'m': expected images"):
        ImageCodec((3, 5, 6)).encode(np.zeros((2, 3, 5, 5), dtype=np.uint8), "m")
    with pytest.raises(ValueError, match=r"'m': expected the one column 'caption', got \['size'"):
        codecs()["text"][0].encode(TABLE, "m")


def test_bad_preprocessing_is_refused():
    whole = json.loads(Preprocessing({"t": codecs()["table"][0]}).to_json())
    unknown = {"modalities": {"t": {**whole["modalities"]["t"], "type": "sound"}}}
    for text in ("{", "[]", "{}", json.dumps(unknown), '{"modalities": {"t": {"type": "array"}}}'):
        with pytest.raises(ValueError, match="not a stored preprocessing"):
            Preprocessing.from_json(text)


def test_config_survives_yaml(tmp_path):
    config = RunConfig.make(
        {
            "modalities": {
                "a": str(tmp_path / "a.csv"),
                "b": {
                    "path": str(tmp_path / "b"),
                    "kinds": {"x": "count"},
                    "size": [3, 4],
                    "likelihood": "laplace",
                },
            },
            "seed": 4,
            "recipe": {"n_clusters": 3, "hidden_dims": [32, 16], "scale": 0.5},
        }
    )
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    assert RunConfig.read(tmp_path / "config.yaml") == config
    assert config.modalities["b"].size == (3, 4)
    assert config.recipe.hidden_dims == (32, 16)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"modalities": {}}, "modalities"),
        ({"modalities": {"a": {"file": "x"}}}, "modalities.a.path: Field required"),
        ({"seed": -1}, "seed"),
        ({"seed": "many"}, "seed"),
        ({"colour": 1}, "colour: Extra inputs are not permitted"),
        ({"recipe": {"latent_dim": "big"}}, "recipe.latent_dim"),
        (
            {"modalities": {"a": {"path": "x", "likelihood": "gauss"}}},
            "likelihood: must be one of 'normal'",
        ),
    ],
)
def test_bad_configs_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        RunConfig.make({"modalities": {"a": "x.csv"}, **change})
    assert isinstance(RunConfig.make({"modalities": {"a": "x.csv"}}).modalities["a"], ModalityFile)


def test_types_of_codecs_differ():
    assert {type(codec) for codec, _ in codecs().values()} == {
        TableCodec,
        TextCodec,
        ImageCodec,
        ArrayCodec,
    }
