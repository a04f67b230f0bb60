import numpy as np
import pandas as pd
import pytest
from scipy.stats import kurtosis

from cmvae.files.modality import ModalityFile
from cmvae.preprocessing import TableCodec, learn_codec
from cmvae.preprocessing.transforms import backward, forward

RNG = np.random.default_rng(0)
PLAIN = {
    "normal": RNG.normal(size=300),
    "even": RNG.random(300),
    "steep": RNG.random(300) ** 2,
}
HEAVY = {"income": np.exp(10 + 1.5 * RNG.normal(size=300)), "ratio": RNG.standard_cauchy(300) - 3}


def transforms(codec):
    return {column.name: column.transform for column in codec.columns}


def shares(n=60, columns=4, total=1.0):
    return total * RNG.dirichlet(np.arange(1, columns + 1), n)


@pytest.mark.parametrize("origin", [0.0, 5.0])
@pytest.mark.parametrize("name", ["none", "sqrt", "log1p", "arcsinh"])
def test_transforms_rise_and_are_undone(name, origin):
    numbers = np.concatenate([[0.0], np.logspace(-6, 12, 50)]) + origin
    if name == "arcsinh":
        numbers = np.concatenate([-numbers[:0:-1], numbers])
    values = forward(numbers, name, origin, 2.0)
    assert (np.diff(values) > 0).all()
    np.testing.assert_allclose(backward(values, name, origin, 2.0), numbers, rtol=1e-9, atol=1e-9)
    assert np.isfinite(backward(np.array([-1e99, 1e99]), name, origin, 2.0)).all()


def test_of_heavy_tails_there_is_a_logarithm_or_an_arcsinh():
    table = pd.DataFrame({**PLAIN, **HEAVY})
    codec = learn_codec(table, "t")
    none = dict.fromkeys(PLAIN, "none")
    assert transforms(codec) == {**none, "income": "log1p", "ratio": "arcsinh"}
    assert codec.describe() == (
        "5 continuous: normal, even, steep, income, ratio; 1 of these as logarithms: income; "
        "1 of these as arcsinh: ratio"
    )
    values, _ = codec.encode(table, "t")
    np.testing.assert_allclose(values.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(values.std(0), 1, rtol=1e-5)
    assert kurtosis(values[:, 3]) < 5 < kurtosis(table["income"])
    want = (table["normal"] - table["normal"].mean()) / table["normal"].std(ddof=0)
    np.testing.assert_allclose(values[:, 0], want, rtol=1e-4, atol=1e-6)
    again = TableCodec.from_json(codec.to_json())
    pd.testing.assert_frame_equal(again.decode(values), table, rtol=1e-3)
    np.testing.assert_allclose(again.readable(values), table, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(again.encode(again.decode(values), "t")[0], values, atol=1e-4)


def test_rare_and_constant_values_have_no_heavy_tail_to_tame():
    rare = (np.arange(300) % 60 == 0).astype(float)
    codec = learn_codec(np.stack([rare, 7 * rare - 2, np.full(300, 3.0)], 1), "t")
    assert set(transforms(codec).values()) == {"none"}


def test_what_was_chosen_is_taken_as_it_is():
    table = pd.DataFrame({**PLAIN, **HEAVY})
    codec = learn_codec(table, "t", ModalityFile(kinds={"income": "continuous"}))
    assert (transforms(codec)["income"], transforms(codec)["ratio"]) == ("none", "arcsinh")
    codec = learn_codec(table, "t", ModalityFile(likelihood="laplace"))
    assert set(transforms(codec).values()) == {"none"}


@pytest.mark.parametrize("total", [1.0, 100.0])
@pytest.mark.parametrize("kind", [np.asarray, pd.DataFrame])
def test_shares_are_square_roots(total, kind):
    table = kind(shares(total=total).round(6))
    codec = learn_codec(table, "t")
    assert set(transforms(codec).values()) == {"sqrt"}
    assert codec.describe() == (
        "4 continuous: 0, 1, 2, 3; 4 of these as square roots of shares: 0, 1, 2, 3"
    )
    values, _ = codec.encode(table, "t")
    roots = np.sqrt(np.asarray(table))
    np.testing.assert_allclose(values, (roots - roots.mean(0)) / roots.std(0), atol=1e-4)
    np.testing.assert_allclose(codec.readable(values), table, rtol=1e-3, atol=1e-4 * total)
    assert (codec.readable(values - 9) == 0).all()


def test_counts_of_one_total_are_shares():
    table = pd.DataFrame(RNG.multinomial(500, [0.1, 0.2, 0.3, 0.4], 60))
    assert set(transforms(learn_codec(table, "t")).values()) == {"sqrt"}
    chosen = learn_codec(table, "t", ModalityFile(likelihood="poisson"))
    assert {column.kind for column in chosen.columns} == {"count"}


@pytest.mark.parametrize(
    "table",
    [
        shares()[:, :3],  # their sums differ
        shares(columns=2),
        shares() - 0.5,
        2000 + RNG.integers(-1, 2, (60, 3)) / 4,  # the sums of years hardly differ either
        np.full((60, 3), 2.0),
    ],
)
def test_other_tables_are_no_shares(table):
    codec = learn_codec(table, "t")
    assert "sqrt" not in transforms(codec).values()


def test_categories_as_zeros_and_ones_are_no_shares():
    table = pd.DataFrame(np.eye(3, dtype=int)[np.arange(60) % 3])
    assert {column.kind for column in learn_codec(table, "t").columns} == {"binary"}
