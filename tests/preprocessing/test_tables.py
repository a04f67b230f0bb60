import json
import math

import numpy as np
import pandas as pd
import pytest
import torch

from cmvae import CMVAE, CMVAEConfig
from cmvae.likelihoods import build_likelihood
from cmvae.preprocessing import TableCodec, column_kinds, encode_table


def frame(n=120, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "colour": rng.choice(["red", "blue", "green"], n),
            "weight": rng.normal(70, 12, n),
            "visits": rng.poisson(30, n) * rng.integers(0, 3, n),
            "smokes": rng.integers(0, 2, n).astype(bool),
            "constant": np.full(n, 0.1),
            "stage": pd.Categorical(rng.choice([3, 1], n), categories=[3, 2, 1]),
            "treated": rng.integers(0, 2, n),
        },
        index=[f"s{i}" for i in range(n)],
    )


VISITS = float(f"{frame()['visits'].mean():.6g}")


def test_values_names_and_blocks():
    table = frame()
    values, codec = encode_table(table)
    assert values.dtype == np.float32
    assert codec.names == [
        *("weight", "constant", "smokes", "treated", "visits"),
        *("colour=blue", "colour=green", "colour=red", "stage=3", "stage=2", "stage=1"),
    ]
    by_name = dict(zip(codec.names, values.T, strict=True))
    weight = (table["weight"] - table["weight"].mean()) / table["weight"].std(ddof=0)
    np.testing.assert_allclose(by_name["weight"], weight, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(by_name["constant"], 0, atol=1e-7)
    for name in ("smokes", "treated", "visits"):
        assert (by_name[name] == table[name]).all()
    for value in ("red", "blue", "green"):
        assert (by_name[f"colour={value}"] == (table["colour"] == value)).all()
    assert not by_name["stage=2"].any()
    dist, params = codec.likelihood("poisson", scale="learned")
    assert (dist, params["columns"]) == (
        "mixed",
        [
            ["normal", 2, {"scale": "learned"}],
            ["bernoulli", 2, {}],
            ["poisson", 1, {"means": [VISITS]}],
            ["categorical", [3, 3]],
        ],
    )
    build_likelihood(dist, params, "m", values.shape[1:]).check(torch.as_tensor(values), "m")


@pytest.mark.parametrize("through_json", [False, True])
def test_tables_come_back(through_json):
    table = frame()
    values, codec = encode_table(table)
    if through_json:
        assert TableCodec.from_json(codec.to_json()) == codec
        codec = TableCodec.from_json(codec.to_json())
    back = codec.decode(values, sample=True).set_axis(table.index)
    want = table.astype({"stage": int})
    pd.testing.assert_frame_equal(back, want, check_dtype=False, rtol=1e-6)
    assert back["smokes"].dtype == bool
    assert back["visits"].dtype == np.int64
    np.testing.assert_array_equal(codec.encode(back)[0], values)
    np.testing.assert_array_equal(codec.encode(table[table.columns[::-1]])[0], values)


def test_means_are_not_rounded():
    _, codec = encode_table(frame())
    values = np.array([[0.5, 0, 0.3, 0.9, 2.6, 0.2, 0.5, 0.3, 0, 0.1, 0.9]])
    means, draws = codec.decode(values), codec.decode(np.rint(values), sample=True)
    assert means["visits"].tolist() == [2.6]
    assert means["smokes"].tolist() == [0.3]
    assert draws["visits"].tolist() == [3]
    assert draws["smokes"].tolist() == [False]
    assert draws["treated"].tolist() == [1]
    assert means["colour"].tolist() == ["green"]
    assert means["stage"].tolist() == [1]
    with pytest.raises(ValueError, match=r"\(n, 11\); got \(1, 10\)"):
        codec.decode(values[:, 1:])


@pytest.mark.parametrize(
    ("columns", "dist", "params"),
    [
        (["weight", "constant"], "normal", {"scale": 0.5}),
        (["smokes", "treated"], "bernoulli", {}),
        (["visits"], "negative_binomial", {"means": [VISITS]}),
        (["colour"], "categorical", {}),
        (["colour", "stage"], "mixed", {"columns": [["categorical", [3, 3]]]}),
    ],
)
def test_tables_of_one_kind_have_its_likelihood(columns, dist, params):
    values, codec = encode_table(frame()[columns])
    assert codec.likelihood(scale=0.5) == (dist, params)
    build_likelihood(dist, params, "m", values.shape[1:]).check(
        torch.as_tensor(values), "m", values.shape[1:]
    )


def test_rows_that_are_missing_are_nan_and_do_not_count():
    whole = frame()
    kept = whole.drop(index=whole.index[[2, 5]])
    table = kept.reindex(whole.index)  # as tables are joined
    values, codec = encode_table(table, dict(zip(whole, column_kinds(whole), strict=True)))
    assert np.isnan(values).all(1).nonzero()[0].tolist() == [2, 5]
    assert encode_table(kept)[1].names == codec.names
    np.testing.assert_allclose(
        values[~np.isnan(values).all(1)], encode_table(kept)[0], rtol=1e-5, atol=1e-6
    )
    assert column_kinds(table) == column_kinds(whole)


def test_arrays_have_numbered_columns():
    array = np.random.default_rng(0).normal(size=(30, 2))
    values, codec = encode_table(array)
    assert codec.names == ["0", "1"]
    np.testing.assert_allclose(codec.decode(values).to_numpy(), array, rtol=1e-5, atol=1e-6)
    assert TableCodec.from_json(codec.to_json()).encode(array)[0].tolist() == values.tolist()


def test_integer_categories_come_back_as_integers():
    table = pd.DataFrame({"code": [7, 9, 7, 8]})
    values, codec = encode_table(table, {"code": "category"})
    assert codec.decode(values)["code"].tolist() == [7, 9, 7, 8]
    np.testing.assert_array_equal(
        codec.encode(table.astype(float))[0], values
    )  # as joined tables have them


@pytest.mark.parametrize(
    ("column", "value", "error", "message"),
    [
        (
            "colour",
            "purple",
            ValueError,
            r"'t'.*'colour' \(category\) holds \['purple'\]: unknown categories.*'blue'",
        ),
        ("smokes", 2, ValueError, r"'t'.*'smokes' \(binary\) holds \[2\]"),
        ("visits", -1, ValueError, r"'t'.*'visits' \(count\) holds \[-1"),
        (
            "visits",
            1.5,
            ValueError,
            r"'t'.*'visits' \(count\) holds \[1.5\]: values that are no counts",
        ),
        ("weight", np.inf, ValueError, r"'t'.*'weight' holds infinite values in rows \['s3'\]"),
        ("weight", "heavy", TypeError, r"'t'.*'weight' holds something that is no number"),
    ],
)
def test_cells_that_cannot_be_are_named(column, value, error, message):
    codec, table = encode_table(frame())[1], frame(seed=1)
    codec.encode(table, "t")
    table[column] = table[column].astype(object)
    table.loc["s3", column] = value
    with pytest.raises(error, match=message):
        codec.encode(table, "t")


def with_gaps(seed=0):
    """Return the table, one with a fifth of its cells missing, and which are there."""
    table = frame(seed=seed)
    there = np.random.default_rng(seed + 9).random(table.shape) > 0.2
    gaps = table.astype(object).where(there)
    return table, gaps.assign(stage=gaps["stage"].astype(table["stage"].dtype)), there


def test_missing_cells_are_passed_over_and_coded_as_nan():
    table, gaps, there = with_gaps()
    assert column_kinds(gaps) == column_kinds(table)
    values, codec = encode_table(gaps)
    whole = codec.encode(table)[0]
    for j, column in enumerate(table):
        names = [i for i, own in enumerate(codec.names) if own.split("=")[0] == column]
        seen = there[:, j]
        np.testing.assert_array_equal(values[seen][:, names], whole[seen][:, names])
        assert np.isnan(values[~seen][:, names]).all()
    weight = next(own for own in codec.columns if own.name == "weight")
    seen = table["weight"][there[:, 1]]
    np.testing.assert_allclose([weight.center, weight.spread], [seen.mean(), seen.std(ddof=0)])
    visits = next(own for own in codec.columns if own.name == "visits")
    np.testing.assert_allclose(visits.mean, table["visits"][there[:, 2]].mean(), rtol=1e-5)
    assert np.isfinite(codec.median_total)


def test_cells_may_be_missing_where_none_were_when_the_codec_was_learned():
    codec, gaps = encode_table(frame())[1], with_gaps()[1]
    values, observed = codec.encode(gaps)
    assert observed.all()
    assert 0.1 < np.isnan(values).mean() < 0.3


@pytest.mark.parametrize("gone", [np.nan, None])
@pytest.mark.parametrize("column", list(frame()))
def test_a_whole_column_may_be_missing_of_new_rows(column, gone):
    codec, table = encode_table(frame())[1], frame(seed=1)
    values, observed = codec.encode(table.assign(**{column: gone}))
    own = [name.split("=")[0] == column for name in codec.names]
    assert observed.all()
    np.testing.assert_array_equal(np.isnan(values), np.tile(own, (len(table), 1)))


def test_gaps_leave_what_is_learned_of_shares_and_heavy_tails():
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(4), 80)
    tail = np.exp(3 * rng.normal(size=80))
    table = pd.DataFrame(np.column_stack([shares, tail]), columns=[*"abcd", "tail"])
    table.loc[table.index[:30], "b"] = np.nan
    table.loc[table.index[50:], "tail"] = np.nan
    transforms = {own.name: own.transform for own in encode_table(table)[1].columns}
    assert transforms["tail"] == "log1p"
    only = table[[*"abcd"]]
    assert {own.transform for own in encode_table(only)[1].columns} == {"sqrt"}


def test_a_column_without_cells_is_refused_by_its_codec():
    table = frame().assign(empty=np.nan)
    with pytest.raises(ValueError, match=r"columns \['empty'\] have no cells; leave them out"):
        encode_table(table)


def test_categories_are_in_the_order_of_their_size():
    codec = TableCodec.learn(pd.DataFrame({"x": [10, 2, "b", "a", 10]}), ["category"], "t")
    assert codec.names == ["x=2", "x=10", "x=a", "x=b"]


def test_other_columns_and_kinds_are_refused():
    codec, table = encode_table(frame())[1], frame()
    with pytest.raises(
        ValueError, match=r"'t'.*unknown columns \['mass'\], missing columns \['weight'\]"
    ):
        codec.encode(table.rename(columns={"weight": "mass"}), "t")
    with pytest.raises(ValueError, match=r"'t': kinds must be 7 of"):
        TableCodec.learn(table, ["count"], "t")
    with pytest.raises(ValueError, match=r"'t': kinds must be 7 of"):
        TableCodec.learn(table, ["number"] * 7, "t")
    with pytest.raises(ValueError, match="no rows"):
        TableCodec.learn(table.iloc[:0], column_kinds(table), "t")
    with pytest.raises(TypeError, match=r"strings or integers; got \[\(1, 2\)\]"):
        TableCodec.learn(pd.DataFrame({(1, 2): [1.0, 2.5]}), ["continuous"], "t")


CONTINUOUS = {"name": "a", "kind": "continuous", "center": 0.0, "spread": 1.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spread": "1"}, "spread must be a finite number, got '1'"),
        ({"spread": 0}, "spread must be a positive number, got 0"),
        ({"spread": True}, "spread must be a finite number"),
        ({"center": None}, "center must be a finite number"),
        ({"center": math.nan}, "center must be a finite number"),
        ({"name": [1]}, "name"),
        ({"kind": "number"}, "number"),
        ({"kind": ["count"]}, "kind"),
        ({"kind": "category", "center": None}, "center"),
        ({"values": [0]}, r"unknown arguments \['values'\]"),
    ],
)
def test_fields_that_no_column_has_are_refused(change, message):
    def read(*columns):
        return TableCodec.from_json(json.dumps({"columns": columns}))

    assert read(CONTINUOUS).names == ["a"]
    with pytest.raises(ValueError, match=message):
        read({**CONTINUOUS, **change})
    with pytest.raises(ValueError, match=r"values"):
        read({"name": "a", "kind": "category", "values": []})
    with pytest.raises(ValueError, match=r"columns"):
        read()
    for text in ("{", "[]", "{}"):
        with pytest.raises(ValueError, match=r"not JSON|must be a mapping|columns is missing"):
            TableCodec.from_json(text)


def test_columns_of_files_and_of_python_are_found_by_the_same_names():
    """A file's header has texts where a frame or an array has numbers."""
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(9, 2)))
    values, codec = encode_table(table)
    np.testing.assert_array_equal(codec.encode(table.rename(columns=str))[0], values)
    np.testing.assert_array_equal(codec.encode(table.to_numpy())[0], values)
    with pytest.raises(ValueError, match=r"'t': expected rows \(n, 2\), got 3 columns"):
        codec.encode(np.ones((4, 3)), "t")


@pytest.mark.parametrize("size", [1e-250, 1.0, 1e7, 1e250, 3e307])
def test_columns_of_any_size_are_standardised(size):
    table = size * np.array([[1.0, 5.0, 0.1], [2.0, 5.0, 0.1], [4.0, 5.0, 0.1]])
    values, codec = encode_table(table, dict.fromkeys(range(3), "continuous"))
    expected = [[-1.069045, 0, 0], [-0.267261, 0, 0], [1.336306, 0, 0]]
    np.testing.assert_allclose(values, expected, atol=1e-6)
    np.testing.assert_allclose(codec.decode(values), table, rtol=1e-6)
    np.testing.assert_allclose(codec.readable(values), table, rtol=1e-6)


def test_readable_numbers_are_in_units_of_the_columns():
    table = frame()
    values, codec = encode_table(table)
    restored = pd.DataFrame(codec.readable(values), columns=codec.names, index=table.index)
    assert np.allclose(restored["weight"], table["weight"], rtol=1e-6)
    assert (restored["colour=red"] == (table["colour"] == "red")).all()
    assert (restored["smokes"] == table["smokes"]).all()


def test_a_mixed_table_goes_through_a_model():
    torch.manual_seed(0)
    values, codec = encode_table(frame())
    dist, params = codec.likelihood(scale="learned")
    config = CMVAEConfig(
        n_modalities=1,
        input_dims={"t": values.shape[1:]},
        decoders_dist={"t": dist},
        decoder_dist_params={"t": params},
        modalities_specific_dim=2,
        latent_dim=2,
        K=1,
    )
    model = CMVAE(CMVAEConfig.from_json(config.to_json()))
    model({"t": values}).loss.backward()
    drawn = model.to_data(model.decode(model.generate_from_prior(50)), sample=True)["t"]
    table = codec.decode(drawn, sample=True)
    assert list(table) == list(frame())
    assert set(table["colour"]) <= {"red", "blue", "green"}
    assert (table["visits"] >= 0).all()
    np.testing.assert_allclose(codec.encode(table)[0], drawn, rtol=1e-4, atol=1e-5)


def test_categories_that_look_the_same_are_one_in_any_form_of_unicode():
    composed, decomposed = "Caf\u00e9", "Cafe\u0301"
    table = pd.DataFrame({"place": [composed, "Bar", decomposed, "Bar"]})
    values, codec = encode_table(table, {"place": "category"})
    assert codec.columns[0].values == ("Bar", composed)
    np.testing.assert_array_equal(values[0], values[2])
    later = pd.DataFrame({"place": pd.Categorical([decomposed, "Bar"])})
    np.testing.assert_array_equal(codec.encode(later, "m")[0], values[[0, 1]])


def test_numbers_that_cannot_be_added_up_are_refused():
    table = pd.DataFrame(np.sign(np.random.default_rng(0).normal(size=(40, 3))) * 1.7e308)
    with pytest.raises(ValueError, match=r"'m'.*too large"):
        encode_table(table, dict.fromkeys(table, "continuous"), "m")


def numbers_and_codec():
    frame = pd.DataFrame(np.random.default_rng(0).normal(9, 3, (60, 4)), columns=list("dbca"))
    frame["d"] = np.exp(frame["d"])
    codec = TableCodec.learn(frame, ["continuous"] * 4, "m")
    assert codec.columns[0].transform == "log1p"
    return frame, codec


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64, np.uint8])
def test_plain_numbers_are_coded_as_they_are_in_a_table(kind):
    frame, codec = numbers_and_codec()
    frame = frame.clip(0, 250).astype(kind)
    if kind in (np.float64, np.float32):
        frame.iloc[3, 1], frame.iloc[5] = np.nan, np.nan
    looked_at = frame.iloc[:, ::-1]  # found by name, column by column
    assert codec.plain_numbers(looked_at) is None
    expected, there = codec.encode(looked_at, "m")
    for rows in (frame, frame.to_numpy()):
        assert codec.plain_numbers(rows) is not None
        values, observed = codec.encode(rows, "m")
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, expected)
        np.testing.assert_array_equal(observed, there)


def test_what_is_not_plain_is_looked_at():
    frame, codec = numbers_and_codec()
    infinite = frame.to_numpy()
    infinite[2, 1] = np.inf
    texts, booleans = frame.astype(object).assign(a="1.5"), frame > 0
    for rows in (infinite, texts, booleans, frame.assign(e=1), frame[["d", "b", "c"]]):
        assert codec.plain_numbers(rows) is None
    assert codec.plain_numbers(frame.to_numpy()[:, :3]) is None
    assert codec.replace(ignored=("x",)).plain_numbers(frame.to_numpy()) is None
    with pytest.raises(ValueError, match="infinite values in rows"):
        codec.encode(infinite, "m")
    mixed = TableCodec.learn(frame.assign(a=1), [*["continuous"] * 3, "count"], "m")
    assert mixed.plain_numbers(frame) is None


def test_a_codec_is_the_same_after_it_was_used():
    frame, codec = numbers_and_codec()
    again = TableCodec.from_json(codec.to_json())
    codec.plain_numbers(frame)
    assert codec == again
    assert codec.to_json() == again.to_json()
    wider = codec.replace(columns=(*codec.columns, codec.columns[0].replace(name="e")))
    assert wider.plain_numbers(frame) is None
