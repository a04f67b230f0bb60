import math

import pytest
import torch
from torch import distributions
from torch.nn import functional

from cmvae import CMVAE, CMVAEConfig
from cmvae.likelihoods import CountBlock, Mixed, build_likelihood

F64 = torch.float64
COLUMNS = [
    ["normal", 2, {"scale": "learned"}],
    ["laplace", 1, {"scale": 0.5}],
    ["bernoulli", 2],
    ["categorical", [3, 2]],
    ["poisson", 1],
    ["negative_binomial", 2, {"inverse_dispersion": "feature"}],
    ["poisson", 2, {"library_size": True, "size": 20}],
]
CUTS = [(0, 2), (2, 3), (3, 5), (5, 8), (8, 10), (10, 11), (11, 13), (13, 15)]


def table(n):
    """Return rows that every block allows, float64."""
    parts = [
        torch.randn(n, 3),
        torch.randint(2, (n, 2)),
        functional.one_hot(torch.randint(3, (n,)), 3),
        functional.one_hot(torch.randint(2, (n,)), 2),
        torch.poisson(torch.full((n, 5), 4.0)),
    ]
    return torch.cat([part.to(F64) for part in parts], 1)


def built():
    mixed = Mixed(COLUMNS, (15,)).double()
    with torch.no_grad():
        for parameter in mixed.parameters():
            parameter += 0.4
    return mixed


def references(output, scale, r):
    """Return PyTorch's distribution of each block; the last one's needs the totals."""
    part = [output[..., start:stop] for start, stop in CUTS]
    return [
        distributions.Normal(part[0], scale),
        distributions.Laplace(part[1], 0.5),
        distributions.Bernoulli(logits=part[2]),
        distributions.OneHotCategorical(logits=part[3]),
        distributions.OneHotCategorical(logits=part[4]),
        distributions.Poisson(part[5].exp()),
        distributions.NegativeBinomial(r, logits=part[6] - r.log()),
        lambda total: distributions.Poisson(total * part[7].softmax(-1)),
    ]


def test_densities_are_those_of_the_blocks():
    torch.manual_seed(0)
    mixed, output, target = built(), torch.randn(4, 6, 15, dtype=F64), table(24).reshape(4, 6, 15)
    r = torch.full((2,), math.exp(0.4), dtype=F64)
    *blocks, last = references(output, math.exp(0.4), r)
    parts = [target[..., start:stop] for start, stop in CUTS]
    blocks.append(last(parts[-1].sum(-1, keepdim=True)))
    want = [block.log_prob(part) for block, part in zip(blocks, parts, strict=True)]
    want = torch.cat([value if value.dim() == 3 else value.unsqueeze(-1) for value in want], -1)
    got = mixed.log_prob(output, target)
    assert got.shape == (4, 6, 12)  # two categorical columns take five values
    torch.testing.assert_close(got, want)
    for axes in (1, 2):
        summed = mixed.log_prob_of_samples(output, target, axes)
        torch.testing.assert_close(summed, want.flatten(axes).sum(-1))


def test_gradients_reach_outputs_and_parameters():
    mixed, output, target = built(), torch.randn(5, 15, dtype=F64, requires_grad=True), table(5)
    mixed.log_prob_of_samples(output, target, 1).sum().backward()
    assert set(dict(mixed.named_parameters())) == {
        "blocks.0.log_scale",
        "blocks.6.log_inverse_dispersion",
    }
    assert all(p.grad.isfinite().all() and p.grad.all() for p in [output, *mixed.parameters()])


def test_samples_agree_with_means_and_are_allowed():
    torch.manual_seed(0)
    n, mixed, output = 40_000, built(), torch.linspace(-1.5, 1.5, 15, dtype=F64)
    sample, mean = mixed.sample(output.expand(n, 15)), mixed.mean(output)
    mixed.check(sample, "t", (15,))
    assert ((sample.mean(0) - mean).abs() < 5 * sample.std(0) / n**0.5).all()
    torch.testing.assert_close(
        mean[5:8].sum() + mean[8:10].sum() + mean[13:].sum(), torch.tensor(22.0, dtype=F64)
    )
    again = [
        mixed.sample(output.expand(9, 15), torch.Generator().manual_seed(s)) for s in (1, 1, 2)
    ]
    assert torch.equal(again[0], again[1])
    assert not torch.equal(again[0], again[2])


def test_counts_are_found_in_place():
    assert built().counts == [
        CountBlock(10, 11, None),
        CountBlock(11, 13, None),
        CountBlock(13, 15, 20.0),
    ]


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (3, 2.0, r"'t'.*bernoulli.*values 3 to 4, 'bernoulli'"),
        (5, 3.0, r"'t'.*sum to 1.*values 5 to 7, 'categorical'"),
        (9, 3.0, r"'t'.*sum to 1.*values 8 to 9, 'categorical'"),
        (12, 0.5, r"'t'.*integers of at least 0; got 0.5.*values 11 to 12, 'negative_binomial'"),
    ],
)
def test_values_that_a_block_cannot_have(place, value, message):
    rows = table(4)
    built().check(rows, "t", (15,))
    rows[2, place] = value
    with pytest.raises(ValueError, match=message):
        built().check(rows, "t", (15,))
    with pytest.raises(ValueError, match=r"'t'.*\(14,\), expected \(15,\)"):
        built().check(rows[:, :14], "t")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (None, "columns must be a list .*None"),
        ([], "columns must be a list"),
        ("normal", "columns must be a list"),
        ([["normal"]], r"columns\[0\] must be \[kind, size\]"),
        ([["normal", 2], "ab"], r"columns\[1\] must be"),
        ([["mixed", 2]], r"columns\[0\]: unknown kind 'mixed'; allowed: 'normal'"),
        ([[["normal"], 2]], r"columns\[0\]: unknown kind"),
        ([["normal", 0]], r"columns\[0\].*positive integer; got 0"),
        ([["normal", 2.0]], "positive integer; got 2.0"),
        ([["normal", [1, 2]]], "positive integer; got"),
        ([["categorical", []]], "positive integer; got"),
        ([["categorical", [2, True]]], "positive integer; got"),
        ([["normal", 2, 3]], "parameters must be a mapping; got 3"),
        (
            [["bernoulli", 2, {"scale": 1}]],
            r"columns\[0\] \('bernoulli'\): got \['scale'\]; allowed: none",
        ),
        (
            [["normal", 2], ["normal", 1, {"scale": -1}]],
            r"columns\[1\] \('normal'\): scale must be",
        ),
        ([["poisson", 1, {"library_size": True}]], r"columns\[0\].*two values"),
        ([["normal", 2]], r"samples of shape \(2,\), but the modality has \(15,\)"),
    ],
)
def test_bad_descriptions_name_the_modality_and_the_block(columns, message):
    with pytest.raises(ValueError, match=rf"'t' \('mixed'\): .*{message}"):
        build_likelihood("mixed", {"columns": columns}, "t", (15,))


def test_shapes_are_never_broadcast():
    for output, target in [
        ((5, 15), (1, 15)),
        ((5, 15), (15,)),
        ((5, 14), (5, 14)),
        ((5, 16), (5, 16)),
    ]:
        for score in (built().log_prob, lambda o, t: built().log_prob_of_samples(o, t, 1)):
            with pytest.raises(ValueError, match="shape"):
                score(torch.zeros(output), torch.ones(target))


def settings(**changes):
    fields = {
        "n_modalities": 2,
        "input_dims": {"table": (15,), "rna": (6,)},
        "modalities_specific_dim": 2,
        "latent_dim": 3,
        "K": 2,
        "number_of_clusters": 3,
        "hidden_dims": (16,),
        "decoders_dist": {"table": "mixed", "rna": "negative_binomial"},
        "decoder_dist_params": {
            "table": {"columns": COLUMNS},
            "rna": {"library_size": True, "size": 30},
        },
    }
    return CMVAEConfig(**{**fields, **changes})


def test_settings_go_through_json_and_are_validated():
    config = settings()
    again = CMVAEConfig.from_json(config.to_json())
    assert again == config
    assert again.to_json() == config.to_json()
    as_tuples = settings(
        decoder_dist_params={
            "table": {"columns": tuple(tuple(c) for c in COLUMNS)},
            "rna": {"library_size": True, "size": 30},
        }
    )
    assert as_tuples == config
    with pytest.raises(ValueError, match=r"'table'.*shape \(15,\), but the modality has \(14,\)"):
        settings(input_dims={"table": (14,), "rna": (6,)})
    with pytest.raises(ValueError, match=r"'rna'.*input_dims"):
        settings(input_dims=None)


def test_a_model_of_tables_trains_saves_and_generates(tmp_path):
    torch.manual_seed(0)
    data = {"table": table(32).float(), "rna": torch.poisson(torch.full((32, 6), 4.0)).int()}
    model = CMVAE(settings())
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        optimiser.zero_grad()
        output = model(data)
        output.loss.backward()
        losses.append(float(output.loss))
        optimiser.step()
    assert sum(losses[-5:]) < sum(losses[:5])
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    model.save_pretrained(tmp_path / "model")
    again = CMVAE.from_pretrained(tmp_path / "model")
    decoded = again.predict(data, cond_mod="table", return_mean=True)
    torch.testing.assert_close(decoded, model.predict(data, cond_mod="table", return_mean=True))
    means, drawn = again.to_data(decoded), again.to_data(decoded, sample=True)
    torch.testing.assert_close(means["rna"].sum(-1), torch.full((32, 1), 30.0))
    assert torch.equal(means["table"], again.likelihoods["table"].mean(decoded["table"]))
    assert torch.equal(drawn["rna"], drawn["rna"].round())
    again(
        {"table": drawn["table"][:, 0], "rna": drawn["rna"][:, 0]}
    )  # what is drawn is allowed as data
    repeated = [
        again.to_data(decoded, True, generator=torch.Generator().manual_seed(1)) for _ in range(2)
    ]
    torch.testing.assert_close(*repeated, rtol=0, atol=0)
    with pytest.raises(KeyError, match="unknown modalities"):
        again.to_data({"other": decoded["rna"]})
