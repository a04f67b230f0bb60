import numpy as np
import pandas as pd
import pytest
import torch

from cmvae.files.cell_places import CellRows
from cmvae.files.modality import ModalityFile
from cmvae.preprocessing import Preprocessing
from cmvae.preprocessing.differences import Differences
from cmvae.preprocessing.traceable import codes_of, traceable_codec

N = 60


def learned(rows, **options):
    return Preprocessing.learn({"a": rows}, {"a": ModalityFile(**options)}).codecs["a"]


def raw_of(frame, codec):
    """Return a table as exported models take it."""
    coded = {
        str(own.name): dict(zip(own.values, codes_of(own), strict=True))
        for own in codec.columns
        if hasattr(own, "values")
    }
    raw = np.full((len(frame), len(codec.columns)), np.nan)
    for j, column in enumerate(codec.columns):
        cells = frame[column.name]
        if str(column.name) in coded:
            cells = cells.map(coded[str(column.name)])
        elif column.kind == "date":
            cells = (pd.to_datetime(cells) - pd.Timestamp(0)).dt.total_seconds() / 86_400
        raw[:, j] = cells.to_numpy(dtype=float)
    return raw


def check_same(codec, raw, rows):
    """Compare with the codec's own numbers, bit for bit but for transcendental functions."""
    values, observed = codec.encode(Differences("a").matched(rows, codec), "a")
    found = traceable_codec(codec, "a")(torch.from_numpy(raw))
    there = ~np.isnan(values) & observed.reshape(-1, *(1 for _ in values.shape[1:]))
    np.testing.assert_array_equal(found.observed.numpy(), observed)
    if found.cells is not None:
        np.testing.assert_array_equal(found.cells.numpy(), there)
    np.testing.assert_allclose(found.values.numpy()[there], values[there], rtol=1e-6, atol=0)
    assert not found.refused.any()
    assert (found.values.numpy()[~there] == 0).all()


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "plain": rng.normal(1e6, 3e-3, N),
            "site": pd.Categorical(np.array(["x", "y", "zé"])[rng.integers(0, 3, N)]),
            "income": np.exp(3 * rng.normal(size=N)),
            "change": rng.normal(size=N) * np.exp(2.5 * rng.normal(size=N)),
            "smokes": np.array(["yes", "no"])[rng.integers(0, 2, N)],
            "visits": rng.poisson(9, N),
            "grade": rng.integers(2, 5, N) * 10,
            "flag": rng.random(N) < 0.5,
            "seen": pd.Timestamp("2020-01-31") + pd.to_timedelta(rng.integers(0, 900, N), "h"),
            "constant": np.full(N, 7.5),
        }
    )


@pytest.fixture
def codec(table):
    kinds = {"grade": "category", "seen": "date", "constant": "continuous", "visits": "count"}
    return learned(table, kinds=kinds)


def test_all_kinds_of_columns_are_coded_as_the_codec_does(table, codec):
    kinds = {own.kind for own in codec.columns}
    assert kinds == {"continuous", "category", "binary", "count", "date"}
    assert {own.transform for own in codec.columns if own.kind == "continuous"} >= {
        "none",
        "log1p",
        "arcsinh",
    }
    check_same(codec, raw_of(table, codec), table)
    check_same(codec, raw_of(table.iloc[:1], codec), table.iloc[:1])


def test_missing_and_unknown_cells_are_missing(table, codec):
    table = table.astype(object)
    for j, name in enumerate(table):
        table.loc[j, name] = None
    table.loc[20] = None
    table.loc[21, "site"], table.loc[22, "smokes"] = "elsewhere", "perhaps"
    check_same(codec, raw_of(table, codec), table)


def test_codes_that_are_none_are_missing(table, codec):
    raw = raw_of(table, codec)
    place = [own.name for own in codec.columns].index("site")
    for row, code in enumerate((-1, 3, 0.5, np.inf, np.nan)):
        raw[row, place] = code
    own = [j for j, name in enumerate(codec.names) if name.startswith("site=")]
    cells = traceable_codec(codec, "a")(torch.from_numpy(raw)).cells
    assert not cells[:5, own].any()
    assert cells[5:, own].all()


@pytest.mark.parametrize(
    ("name", "value"),
    [("plain", np.inf), ("plain", 1e300), ("visits", -1.0), ("visits", 2.5), ("visits", np.inf)],
)
def test_what_a_codec_refuses_is_refused(table, codec, name, value):
    raw = raw_of(table, codec)
    raw[3, [own.name for own in codec.columns].index(name)] = value
    found = traceable_codec(codec, "a")(torch.from_numpy(raw))
    assert found.refused.nonzero().flatten().tolist() == [3]
    assert found.values.isfinite().all()


def test_extreme_numbers_keep_their_digits(table, codec):
    names = ["income", "change"]
    for scale in (0.0, 1e-300, 1e-12, 1e7, 1e9, 1e160, 1e300):
        odd = table.assign(**{name: table[name] * scale for name in names})
        check_same(codec, raw_of(odd, codec), odd)


def test_shares_are_roots_as_the_codec_s():
    rows = np.random.default_rng(0).dirichlet(np.ones(4), N)
    frame = pd.DataFrame(rows, columns=list("abcd"))
    codec = learned(frame)
    assert {own.transform for own in codec.columns} == {"sqrt"}
    check_same(codec, rows, frame)


def test_words_are_weighted_and_scaled():
    rng = np.random.default_rng(0)
    words = rng.poisson(3, (N, 60)) * (rng.random((N, 60)) < 0.1).astype(float)
    words[0] = 0
    words[:, 5] = 0
    codec = learned(words)
    assert codec.type == "words"
    words[1, 2:9], words[2] = np.nan, np.nan
    check_same(codec, words, words)
    words[4, 0], words[6, 1], words[7, 2] = -1, np.inf, -np.inf
    found = traceable_codec(codec, "a")(torch.from_numpy(words))
    assert found.refused.nonzero().flatten().tolist() == [4, 6, 7]


def test_arrays_and_images():
    rng = np.random.default_rng(0)
    arrays = rng.normal(50, 3, (N, 2, 3, 4))
    codec = learned(arrays)
    arrays[7] = np.nan
    check_same(codec, arrays, arrays)
    arrays[8, 0, 0, 0] = np.nan
    found = traceable_codec(codec, "a")(torch.from_numpy(arrays))
    assert found.refused.nonzero().flatten().tolist() == [8]
    images = rng.integers(0, 256, (N, 3, 8, 8)).astype(np.uint8)
    codec = learned(images)
    found = traceable_codec(codec, "a")(torch.from_numpy(images))
    assert torch.equal(found.values, codec.stored(codec.encode(images, "a")[0])[:])


@pytest.mark.parametrize("make", ["counts", "peaks", "open", "reals"])
def test_variables_of_cells(make):
    rng = np.random.default_rng(0)
    values = {
        "counts": rng.poisson(2, (N, 5)).astype(float),
        "peaks": rng.poisson(1, (N, 5)).astype(float),
        "open": (rng.random((N, 5)) < 0.4).astype(float),
        "reals": rng.normal(3, 2, (N, 5)),
    }[make]
    names = pd.Index([f"c{i}" for i in range(N)])
    rows = CellRows(values, names, tuple("vwxyz"), None)
    codec = learned(rows, likelihood="bernoulli" if make == "peaks" else None)
    values[3], values[4, 0] = np.nan, np.nan
    if make in ("counts", "peaks"):
        values[5, 0] = 1e7
    check_same(codec, values, rows)
    if make == "reals":
        return
    values[6:9, 1] = -1, 0.5, np.inf
    found = traceable_codec(codec, "a")(torch.from_numpy(values))
    assert found.refused.nonzero().flatten().tolist() == [6, 7, 8]


def test_texts_and_seasons_are_refused_by_name(table):
    texts = pd.DataFrame({"note": ["a b", "b c", "c d a"]})
    with pytest.raises(ValueError, match="modality 'a' cannot be exported: texts"):
        traceable_codec(learned(texts, kinds={"note": "text"}), "a")
    codec = learned(table, kinds={"seen": "date+season"})
    with pytest.raises(ValueError, match=r"modality 'b' cannot be exported: .*'seen'"):
        traceable_codec(codec, "b")


def test_examples_are_as_rows_may_be(table, codec):
    module = traceable_codec(codec, "a")
    found = module(module.example(2))
    assert found.cells.all()
    assert not found.refused.any()
    kinds = [own.kind for own in codec.entries]
    numbers = [j for j, kind in enumerate(kinds) if kind in ("continuous", "date")]
    assert (found.values[:, numbers].abs() < 1e-3).all()
