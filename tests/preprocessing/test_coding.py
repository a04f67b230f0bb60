import json
import math

import numpy as np
import pandas as pd
import pytest
import torch

from cmvae import CMVAE, CMVAEConfig
from cmvae.likelihoods import build_likelihood
from cmvae.preprocessing.coding import TableCoding, encode_table
from cmvae.preprocessing.kinds import column_kinds


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


def test_values_names_and_blocks():
    table = frame()
    values, coding = encode_table(table)
    assert values.dtype == np.float32
    assert coding.names == [
        *("weight", "constant", "smokes", "treated", "visits"),
        *("colour=blue", "colour=green", "colour=red", "stage=3", "stage=2", "stage=1"),
    ]
    by_name = dict(zip(coding.names, values.T, strict=True))
    weight = (table["weight"] - table["weight"].mean()) / table["weight"].std(ddof=0)
    np.testing.assert_allclose(by_name["weight"], weight, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(by_name["constant"], 0, atol=1e-7)
    for name in ("smokes", "treated", "visits"):
        assert (by_name[name] == table[name]).all()
    for value in ("red", "blue", "green"):
        assert (by_name[f"colour={value}"] == (table["colour"] == value)).all()
    assert not by_name["stage=2"].any()
    dist, params = coding.likelihood(scale="learned", counts="poisson")
    assert (dist, params["columns"]) == (
        "mixed",
        [
            ["normal", 2, {"scale": "learned"}],
            ["bernoulli", 2, {}],
            ["poisson", 1, {}],
            ["categorical", [3, 3]],
        ],
    )
    build_likelihood(dist, params, "m", values.shape[1:]).check(torch.as_tensor(values), "m")


@pytest.mark.parametrize("through_json", [False, True])
def test_tables_come_back(through_json):
    table = frame()
    values, coding = encode_table(table)
    if through_json:
        assert TableCoding.from_json(coding.to_json()) == coding
        coding = TableCoding.from_json(coding.to_json())
    back = coding.decode(values, sample=True, index=table.index)
    want = table.astype({"stage": int})
    pd.testing.assert_frame_equal(back, want, check_dtype=False, rtol=1e-6)
    assert back["smokes"].dtype == bool
    assert back["visits"].dtype == np.int64
    np.testing.assert_array_equal(coding.encode(back), values)
    np.testing.assert_array_equal(coding.encode(table[table.columns[::-1]]), values)


def test_means_are_not_rounded():
    _, coding = encode_table(frame())
    values = np.array([[0.5, 0, 0.3, 0.9, 2.6, 0.2, 0.5, 0.3, 0, 0.1, 0.9]])
    means, draws = coding.decode(values), coding.decode(np.rint(values), sample=True)
    assert means["visits"].tolist() == [2.6]
    assert means["smokes"].tolist() == [0.3]
    assert draws["visits"].tolist() == [3]
    assert draws["smokes"].tolist() == [False]
    assert draws["treated"].tolist() == [1]
    assert means["colour"].tolist() == ["green"]
    assert means["stage"].tolist() == [1]
    with pytest.raises(ValueError, match=r"\(n, 11\); got \(1, 10\)"):
        coding.decode(values[:, 1:])


@pytest.mark.parametrize(
    ("columns", "dist", "params"),
    [
        (["weight", "constant"], "normal", {"scale": 0.5}),
        (["smokes", "treated"], "bernoulli", {}),
        (["visits"], "negative_binomial", {}),
        (["colour"], "categorical", {}),
        (["colour", "stage"], "mixed", {"columns": [["categorical", [3, 3]]]}),
    ],
)
def test_tables_of_one_kind_have_its_likelihood(columns, dist, params):
    values, coding = encode_table(frame()[columns])
    assert coding.likelihood(scale=0.5) == (dist, params)
    build_likelihood(dist, params, "m", values.shape[1:]).check(
        torch.as_tensor(values), "m", values.shape[1:]
    )


def test_rows_that_are_missing_are_nan_and_do_not_count():
    whole = frame()
    kept = whole.drop(index=whole.index[[2, 5]])
    table = kept.reindex(whole.index)  # as tables are joined
    values, coding = encode_table(table, column_kinds(whole))
    assert np.isnan(values).all(1).nonzero()[0].tolist() == [2, 5]
    assert TableCoding.of(kept).names == coding.names
    np.testing.assert_allclose(
        values[~np.isnan(values).all(1)], encode_table(kept)[0], rtol=1e-5, atol=1e-6
    )
    assert column_kinds(table) == column_kinds(whole)


def test_arrays_have_numbered_columns():
    array = np.random.default_rng(0).normal(size=(30, 2))
    values, coding = encode_table(array)
    assert coding.names == ["0", "1"]
    np.testing.assert_allclose(coding.decode(values).to_numpy(), array, rtol=1e-5, atol=1e-6)
    assert TableCoding.from_json(coding.to_json()).encode(array).tolist() == values.tolist()


def test_integer_categories_come_back_as_integers():
    table = pd.DataFrame({"code": [7, 9, 7, 8]})
    values, coding = encode_table(table, ["category"])
    assert coding.decode(values)["code"].tolist() == [7, 9, 7, 8]
    np.testing.assert_array_equal(
        coding.encode(table.astype(float)), values
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
        (
            "weight",
            np.nan,
            ValueError,
            r"'t': single missing cells.*in 1 rows, the first \['s3'\], of columns \['wei",
        ),
        ("colour", None, ValueError, r"'t': single missing cells.*of columns \['colour'\]"),
    ],
)
def test_cells_that_cannot_be_are_named(column, value, error, message):
    coding, table = TableCoding.of(frame()), frame(seed=1)
    coding.encode(table, "t")
    table[column] = table[column].astype(object)
    table.loc["s3", column] = value
    with pytest.raises(error, match=message):
        coding.encode(table, "t")


def test_categories_are_in_the_order_of_their_size():
    coding = TableCoding.of(pd.DataFrame({"x": [10, 2, "b", "a", 10]}), ["category"])
    assert coding.names == ["x=2", "x=10", "x=a", "x=b"]


def test_other_columns_and_kinds_are_refused():
    coding, table = TableCoding.of(frame()), frame()
    with pytest.raises(
        ValueError, match=r"'t'.*unknown columns \['mass'\], missing columns \['weight'\]"
    ):
        coding.encode(table.rename(columns={"weight": "mass"}), "t")
    with pytest.raises(ValueError, match=r"'t': kinds must be 7 of"):
        TableCoding.of(table, ["count"], "t")
    with pytest.raises(ValueError, match=r"'t': kinds must be 7 of"):
        TableCoding.of(table, ["number"] * 7, "t")
    with pytest.raises(ValueError, match="no rows"):
        TableCoding.of(table.iloc[:0])
    with pytest.raises(TypeError, match=r"strings or integers; got \[\(1, 2\)\]"):
        TableCoding.of(
            pd.DataFrame({(1, 2): [1.0, 2.5]}.values(), index=["x"]).T.set_axis([(1, 2)], axis=1)
        )


def test_bad_json_is_refused():
    fields = json.loads(TableCoding.of(frame()).to_json())
    wrong_kind, no_spread = json.loads(json.dumps(fields)), json.loads(json.dumps(fields))
    wrong_kind["columns"][0]["kind"] = "number"
    no_spread["columns"][1]["spread"] = 0
    texts = ["{", "[]", "{}", '{"columns": []}', '{"columns": [{"name": "a"}]}']
    for text in [*texts, json.dumps(wrong_kind), json.dumps(no_spread)]:
        with pytest.raises(ValueError, match="not a stored coding of a table"):
            TableCoding.from_json(text)


@pytest.mark.parametrize(
    "change",
    [
        {"spread": "1"}, {"spread": math.inf}, {"spread": True}, {"center": None}, {"center": math.nan},
        {"name": [1]}, {"name": True}, {"kind": ["count"]}, {"kind": "category"}, {"kind": "binary", "values": [0]},
        {"kind": "category", "values": [[1]]},
    ],
)  # fmt: skip
def test_fields_that_no_column_has_are_refused(change):
    column = {"name": "a", "kind": "continuous", "center": 0, "spread": 1.0, "values": []}
    assert TableCoding.from_json(json.dumps({"columns": [column]})).names == ["a"]
    with pytest.raises(ValueError, match=r"columns \[.*\] have no known kind, numbers or values"):
        TableCoding.from_json(json.dumps({"columns": [{**column, **change}]}))


def test_a_mixed_table_goes_through_a_model():
    torch.manual_seed(0)
    values, coding = encode_table(frame())
    dist, params = coding.likelihood(scale="learned")
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
    table = coding.decode(drawn, sample=True)
    assert list(table) == list(frame())
    assert set(table["colour"]) <= {"red", "blue", "green"}
    assert (table["visits"] >= 0).all()
    np.testing.assert_allclose(coding.encode(table), drawn, rtol=1e-4, atol=1e-5)
