import copy
import math
import warnings

import numpy as np
import pytest
import torch
from torch import distributions, nn

from cmvae import CMVAE, CMVAEConfig, IncompleteDataset, ModelOutput, MultimodalBaseDataset
from cmvae.models.inference import experts_of, read_batch
from helpers import (
    LATENT,
    SHAPES,
    STYLE,
    Decoder,
    Encoder,
    assert_same,
    assert_same_snapshot,
    incomplete,
    make_config,
    make_data,
    make_model,
    networks,
    snapshot,
)

pytestmark = pytest.mark.usefixtures("float64")
DIMS = {"a": 2, "b": 3, "c": 4}


def mixed_model(**settings):
    """Return a model whose private latents have different dimensions."""
    encoders = {m: Encoder(SHAPES[m], LATENT, DIMS[m]) for m in SHAPES}
    decoders = {m: Decoder(SHAPES[m], LATENT, DIMS[m]) for m in SHAPES}
    return CMVAE(make_config(modalities_specific_dim=DIMS, **settings), encoders, decoders)


# Construction
# --------------------------------------------------------------------------------------------------


def test_attributes():
    config = make_config(number_of_clusters=6)
    model = CMVAE(config, *networks())
    assert isinstance(model, nn.Module)
    assert model.model_config is not config
    assert config.custom_architectures == []
    assert sorted(model.model_config.custom_architectures) == ["decoders", "encoders"]
    assert CMVAE(make_config()).model_config.custom_architectures == []
    assert model.n_clusters == 6
    assert type(model.n_clusters) is int
    assert model.latent_dim == LATENT
    assert model.cluster_centers.shape == (6, LATENT)
    assert model.active_clusters.dtype == torch.bool
    assert model.active_clusters.shape == (6,)
    assert model.cluster_centers.abs().max() <= 1
    torch.testing.assert_close(model.pc_params, torch.full((6,), 1 / 6))


@pytest.mark.parametrize("family", ["laplace_with_softmax", "normal_with_softplus", "normal"])
def test_priors_start_with_scale_one(family):
    model = CMVAE(
        make_config(prior_and_posterior_dist=family, reconstruction_option="single_prior")
    )
    base = distributions.Normal if model.family.is_normal else distributions.Laplace
    z, w = torch.randn(5, LATENT), torch.randn(5, STYLE)
    expected = base(model.cluster_centers, 1.0).log_prob(z[:, None]).sum(-1)
    torch.testing.assert_close(model.mixture.log_prob_clusters(z), expected)
    for prior in model.private_priors.values():
        torch.testing.assert_close(prior.log_prob(w), base(0.0, 1.0).log_prob(w).sum(-1))
        drawn = [
            prior.sample((4,), auxiliary=a, generator=torch.Generator().manual_seed(1))
            for a in (False, True)
        ]
        torch.testing.assert_close(*drawn, rtol=3e-6, atol=0)


@pytest.mark.parametrize("learned", [True, False])
def test_only_the_auxiliary_priors_are_learned(learned):
    model = make_model(learn_modality_prior=learned, prior_and_posterior_dist="normal")
    names = [name for name, _ in model.named_parameters() if name.startswith("private_priors")]
    assert len(names) == (3 if learned else 0)
    before = model.private_priors["a"].log_prob(torch.ones(1, STYLE))
    with torch.no_grad():
        model.private_priors["a"].raw_scale += 3
    assert torch.equal(model.private_priors["a"].log_prob(torch.ones(1, STYLE)), before)


def test_default_rescaling_is_by_the_number_of_input_dimensions():
    shapes = {"a": (3,), "b": (2, 6), "c": (24,)}
    model = CMVAE(make_config(shapes, uses_likelihood_rescaling=True))
    assert model.rescale_factors == {"a": 8.0, "b": 2.0, "c": 1.0}
    given = {"a": 0.5, "b": 2.0, "c": 3.0}
    model = CMVAE(make_config(shapes, uses_likelihood_rescaling=True, rescale_factors=given))
    assert model.rescale_factors == given
    assert set(CMVAE(make_config(shapes)).rescale_factors.values()) == {1.0}


def bare(**fields):
    return CMVAEConfig(
        **{"n_modalities": 3, "modalities_specific_dim": 2, "latent_dim": LATENT, **fields}
    )


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: CMVAE({"n_modalities": 2}), TypeError, "model_config.*dict"),
        (lambda: CMVAE(bare()), ValueError, "input_dims"),
        (lambda: CMVAE(bare(), networks()[0]), ValueError, "input_dims.*decoders"),
        (lambda: CMVAE(bare(), None, networks()[1]), ValueError, "input_dims.*encoders"),
        (
            lambda: CMVAE(bare(n_modalities=2), *networks()),
            ValueError,
            r"encoders.*'a', 'b', 'c'.*n_modalities is 2",
        ),
        (
            lambda: CMVAE(make_config(), list(networks()[0].values())),
            TypeError,
            "encoders must be a mapping.*list",
        ),
        (
            lambda: CMVAE(make_config(), {**networks()[0], "a": 3}),
            TypeError,
            r"encoders\['a'\].*Module.*int",
        ),
        (
            lambda: CMVAE(make_config(), networks({"a": (3,), "x": (4,)})[0]),
            ValueError,
            "encoders has modalities.*'a', 'x'",
        ),
        (
            lambda: CMVAE(bare(uses_likelihood_rescaling=True), *networks()),
            ValueError,
            "rescal.*input_dims",
        ),
        (
            lambda: CMVAE(make_config(custom_architectures=["decoders"])),
            ValueError,
            "custom_architectures.*decoders=",
        ),
        (lambda: CMVAE(make_config(), models={}), TypeError, "models"),
    ],
)
def test_what_cannot_be_built(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_no_input_dims_are_needed_with_custom_networks():
    model, data = CMVAE(bare(), *networks()), make_data()
    model(data).loss.backward()
    assert {m: x.shape for m, x in model.predict(data).items()} == {
        m: (8, 1, *s) for m, s in SHAPES.items()
    }


def test_latents_of_size_one_are_warned_of():
    with pytest.warns(UserWarning, match="latent_dim.*cannot be learned"):
        CMVAE(make_config(latent_dim=1))
    with pytest.warns(UserWarning, match="modalities_specific_dim of 'b'"):
        CMVAE(make_config(modalities_specific_dim={"a": 2, "b": 1, "c": 2}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CMVAE(make_config(latent_dim=1, prior_and_posterior_dist="normal"))
        CMVAE(make_config())


# forward
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["dreg_looser", "iwae_looser"])
@pytest.mark.parametrize(("beta", "rescaling"), [(1.0, False), (2.5, False), (2.5, True)])
@pytest.mark.parametrize("make_batch", [make_data, incomplete])
def test_metrics_add_up_to_minus_the_loss(loss, beta, rescaling, make_batch):
    model = make_model(loss=loss, beta=beta, uses_likelihood_rescaling=rescaling, K=1)
    output = model(make_batch())
    metrics = dict(output.metrics)
    assert not any(value.requires_grad for value in metrics.values())
    assert all(value.shape == () for value in metrics.values())
    assert 0 <= metrics.pop("active_units") <= LATENT
    assert 1 <= metrics.pop("clusters_in_use") <= 4
    names = [f"{kind}_log_likelihood_{m}" for m in SHAPES for kind in ("self", "cross")]
    assert set(metrics) == {*names, "log_p_z", "log_p_w", "log_q_z", "log_q_w"}
    total = sum(-value if name.startswith("log_q") else value for name, value in metrics.items())
    torch.testing.assert_close(total, -output.loss.detach(), rtol=1e-11, atol=1e-11)


def test_metrics_of_a_modality_nobody_has_are_zero():
    data = {m: x for m, x in make_data().items() if m != "b"}
    metrics = make_model()(data).metrics
    assert metrics["self_log_likelihood_b"] == metrics["cross_log_likelihood_b"] == 0
    assert metrics["cross_log_likelihood_a"] < 0
    assert make_model()({"a": make_data()["a"]}).metrics["cross_log_likelihood_a"] == 0


def test_active_units_and_clusters_in_use():
    model, data = (
        make_model({"a": (3,)}, prior_and_posterior_dist="normal"),
        {"a": 10 * torch.randn(50, 3)},
    )
    layer = model.encoders["a"].last
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.zero_()
        layer.weight[0, 0] = 1.0
        model.cluster_centers = torch.tensor(
            [[-50.0, 0, 0], [50.0, 0, 0], [0, 90.0, 0], [0, -90.0, 0]]
        )
    metrics = model(data).metrics
    assert metrics["active_units"] == 1
    assert metrics["clusters_in_use"] == 2


@pytest.mark.parametrize("K", [1, 3])
def test_the_loss_is_a_mean_and_a_sum(K):
    output = make_model(K=K)(make_data())
    assert output.loss.shape == output.loss_sum.shape == ()
    torch.testing.assert_close(output.loss_sum, 8 * output.loss)


def test_forward_takes_K_and_beta_for_this_call_only():
    model, data = make_model(K=3), make_data()
    other = make_model(K=5, beta=2.5)
    torch.manual_seed(1)
    got = model(data, K=5, beta=2.5).loss
    torch.manual_seed(1)
    assert torch.equal(got, other(data).loss)
    assert model.model_config.K == 3
    for arguments, error in (
        *[({"K": value}, ValueError) for value in (0, -1)],
        *[({"K": value}, TypeError) for value in (1.5, 2.0, True, "3")],
        ({"beta": -1.0}, ValueError),
    ):
        with pytest.raises(error, match=next(iter(arguments))):
            model(data, **arguments)


def test_the_networks_run_in_the_current_mode():
    model, data = make_model(noisy=True), make_data()
    before = snapshot(model)["state"]["encoders.a.before.2.running_mean"]
    model.eval()
    model(data)
    assert torch.equal(model.encoders["a"].before[2].running_mean, before)
    model.train()
    model(data)
    assert not torch.equal(model.encoders["a"].before[2].running_mean, before)


def test_training_lowers_the_loss():
    torch.manual_seed(0)
    model, data = CMVAE(make_config(), *networks()), make_data(n=64)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        loss = model(data).loss
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < np.mean(losses[:5]) - 1
    assert not torch.equal(model.private_priors["a"].raw_scale, torch.zeros(STYLE))


# encode
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("N", [1, 4])
@pytest.mark.parametrize("return_mean", [False, True])
def test_shapes_of_encodings(N, return_mean):
    model, data = mixed_model(), incomplete()
    output = model.encode(data, N=N, return_mean=return_mean)
    assert list(output) == ["z", "modalities_z", "one_latent_space"]
    assert output.one_latent_space is False
    assert output.z.shape == (8, N, LATENT)
    assert {m: w.shape for m, w in output.modalities_z.items()} == {
        m: (8, N, d) for m, d in DIMS.items()
    }


def test_flatten_merges_with_draws_fastest():
    model = mixed_model()
    seeds = [torch.Generator().manual_seed(1) for _ in range(2)]
    plain = model.encode(incomplete(), N=3, generator=seeds[0])
    flat = model.encode(incomplete(), N=3, flatten=True, generator=seeds[1])
    assert flat.z.shape == (24, LATENT)
    for i in range(8):
        for k in range(3):
            assert torch.equal(flat.z[3 * i + k], plain.z[i, k])
            assert all(
                torch.equal(flat.modalities_z[m][3 * i + k], plain.modalities_z[m][i, k])
                for m in SHAPES
            )


def test_means_are_averages_of_the_experts_that_are_conditioned_on_and_observed():
    model, batch = mixed_model(), incomplete()
    for cond in ("all", ["a", "b"], "c"):
        names = list(SHAPES) if cond == "all" else [cond] if isinstance(cond, str) else cond
        keep = torch.stack([batch.masks[m] for m in names]).any(0)
        part = IncompleteDataset(**batch)[keep]
        output = model.encode(part, cond_mod=cond, return_mean=True, N=2)
        for i in range(len(part)):
            seen = [m for m in names if part.masks[m][i]]
            encoded = {m: model.encoders[m](part.data[m][i : i + 1]) for m in seen}
            expected = torch.stack([e.embedding[0] for e in encoded.values()]).mean(0)
            torch.testing.assert_close(output.z[i], expected.expand(2, -1))
            for m in SHAPES:
                mean = encoded[m].style_embedding[0] if m in encoded else torch.zeros(DIMS[m])
                torch.testing.assert_close(output.modalities_z[m][i], mean.expand(2, -1))


def sharp_model():
    """Return a model whose experts are far apart, with tiny scales: z shows which one drew it."""
    model = make_model(prior_and_posterior_dist="normal")
    with torch.no_grad():
        for i, encoder in enumerate(model.encoders.values()):
            encoder.last.weight.zero_()
            encoder.last.bias.zero_()
            encoder.last.bias[:LATENT] = 10.0 * i
            encoder.last.bias[LATENT : 2 * LATENT] = -20
    return model


def test_the_expert_is_drawn_per_sample_and_per_draw():
    n, N = 60, 500
    batch = incomplete(n=n)
    drawn = (sharp_model().encode(batch, N=N).z[..., 0] / 10).round().long()
    masks = torch.stack(list(batch.masks.values()))
    shares = torch.stack([(drawn == m).double().mean(1) for m in range(3)])
    assert (shares[~masks] == 0).all()
    expected = 1 / masks.sum(0).expand(3, -1)[masks]
    error = (expected * (1 - expected) / N).sqrt().clamp_min(1e-9)
    assert ((shares[masks] - expected) / error).abs().max() < 4.5
    full = drawn[masks.all(0)]
    assert len(full) > 2
    same = (full[0] == full[1]).double().mean()
    assert same == pytest.approx(1 / 3, abs=0.1)
    agreeing = (full[:, 0] == full[:, 1]).double().mean()
    assert agreeing < 1


def test_conditioning_restricts_the_experts():
    drawn = (sharp_model().encode(make_data(), cond_mod=["c", "a"], N=100).z[..., 0] / 10).round()
    assert set(drawn.flatten().tolist()) == {0.0, 2.0}
    drawn = (sharp_model().encode(make_data(), cond_mod="b", N=100).z[..., 0] / 10).round()
    assert set(drawn.flatten().tolist()) == {1.0}


@pytest.mark.parametrize("option", ["joint_prior", "single_prior"])
@pytest.mark.parametrize("family", ["normal", "laplace_with_softmax"])
def test_private_latents_not_conditioned_on_come_from_the_named_prior(option, family):
    model = make_model(reconstruction_option=option, prior_and_posterior_dist=family)
    with torch.no_grad():
        model.private_priors["b"].raw_scale.copy_(torch.tensor([1.0, -1.5]))
    n = 30_000
    raw = model.private_priors["b"].raw_scale
    scale = model.family.scale(raw).detach() if option == "single_prior" else torch.ones(2)
    deviation = scale * (1 if model.family.is_normal else math.sqrt(2))
    drawn = {
        "conditioned on another": model.encode(make_data(n=2), cond_mod="a", N=n).modalities_z["b"][
            0
        ],
        "unobserved": model.encode({"a": make_data(n=2)["a"]}, N=n).modalities_z["b"][1],
        "generated": model.generate_from_prior(n).modalities_z["b"],
    }
    for name, w in drawn.items():
        torch.testing.assert_close(w.detach().std(0), deviation, rtol=0.05, atol=0, msg=name)
        assert (w.detach().mean(0) / deviation).abs().max() < 5 / math.sqrt(n), name


def test_who_has_none_of_cond_mod_is_named():
    batch = ModelOutput(
        data=make_data(), masks={"a": torch.arange(8) != 5, "b": torch.arange(8) % 2 == 0}
    )
    with pytest.raises(ValueError, match=r"cond_mod \['a'\].*\[5\]"):
        make_model().encode(batch, cond_mod="a")
    with pytest.raises(ValueError, match=r"cond_mod.*5"):
        make_model().predict(batch, cond_mod=["a", "b"])
    make_model().encode(batch, cond_mod=["a", "c"])


@pytest.mark.parametrize("member", ["encode", "predict"])
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"cond_mod": "x"}, KeyError, r"cond_mod.*'x'.*'a', 'b', 'c'"),
        ({"cond_mod": ["a", "x", "y"]}, KeyError, r"'x', 'y'.*'a', 'b', 'c'"),
        ({"cond_mod": []}, ValueError, "cond_mod is empty"),
        ({"N": 0}, ValueError, "N must"),
        ({"N": 2.0}, TypeError, "N must"),
        ({"N": True}, TypeError, "N must"),
        ({"n": 2}, TypeError, "'n'"),
    ],
)
def test_bad_arguments_of_encode_and_predict(member, arguments, error, message):
    with pytest.raises(error, match=message):
        getattr(make_model(), member)(make_data(), **arguments)


# decode, predict
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lead", [(), (5,), (2, 3), (2, 1, 4)])
def test_decode_takes_any_leading_axes(lead):
    model = mixed_model()
    z = torch.randn(*lead, LATENT)
    styles = {m: torch.randn(*lead, d) for m, d in DIMS.items()}
    decoded = model.decode({"z": z, "modalities_z": styles})
    assert list(decoded) == list(SHAPES)
    for m, shape in SHAPES.items():
        rows = torch.cat([z, styles[m]], -1).reshape(-1, LATENT + DIMS[m])
        expected = model.decoders[m](rows).reconstruction.reshape(*lead, *shape)
        torch.testing.assert_close(decoded[m], expected)
    assert list(model.decode({"z": z, "modalities_z": {"b": styles["b"]}}, "b")) == ["b"]
    assert list(model.decode(ModelOutput(z=z, modalities_z=styles), ["c", "a"])) == ["c", "a"]


def test_bad_embeddings():
    model = mixed_model()
    good = model.encode(make_data())
    for embedding in (good.z, {"z": good.z}, None):
        with pytest.raises(TypeError, match="'z' and 'modalities_z'"):
            model.decode(embedding)
    with pytest.raises(KeyError, match=r"modalities.*'x'.*'a', 'b', 'c'"):
        model.decode(good, "x")
    with pytest.raises(KeyError, match=r"modalities_z lacks 'b'.*'a'"):
        model.decode({"z": good.z, "modalities_z": {"a": good.modalities_z["a"]}}, ["a", "b"])
    for z, w in (
        (good.z[..., :-1], good.modalities_z["a"]),
        (good.z, good.z),
        (good.z[:-1], good.modalities_z["a"]),
    ):
        with pytest.raises(ValueError, match=r"z must be \(\.\.\., 3\).*'a'"):
            model.decode({"z": z, "modalities_z": {"a": w}}, "a")


@pytest.mark.parametrize("N", [1, 3])
@pytest.mark.parametrize("gen_mod", ["all", "b", ["c", "a"]])
def test_predict_is_encode_then_decode(N, gen_mod):
    model = mixed_model()
    names = list(SHAPES) if gen_mod == "all" else [gen_mod] if isinstance(gen_mod, str) else gen_mod
    for flatten in (False, True):
        seeds = [torch.Generator().manual_seed(1) for _ in range(2)]
        got = model.predict(make_data(), "a", gen_mod, N=N, flatten=flatten, generator=seeds[0])
        expected = model.decode(
            model.encode(make_data(), "a", N, flatten=flatten, generator=seeds[1]), gen_mod
        )
        assert_same(dict(got), dict(expected))
        lead = (8 * N,) if flatten else (8, N)
        assert {m: x.shape for m, x in got.items()} == {m: (*lead, *SHAPES[m]) for m in names}
    with pytest.raises(KeyError, match="'x'"):
        model.predict(make_data(), gen_mod="x")


# Generation and clusters
# --------------------------------------------------------------------------------------------------


def test_generation():
    output = mixed_model().generate_from_prior(6)
    assert output.z.shape == (6, LATENT)
    assert {m: w.shape for m, w in output.modalities_z.items()} == {
        m: (6, d) for m, d in DIMS.items()
    }
    assert output.clusters.shape == (6,)
    assert output.clusters.dtype == torch.int64
    assert output.one_latent_space is False


def test_generated_samples_lie_about_their_centres_in_the_right_shares():
    model = make_model(prior_and_posterior_dist="normal")
    model.cluster_centers = 100 * torch.arange(4.0)[:, None].expand(4, 3)
    output = model.generate_from_prior(20_000)
    assert torch.equal((output.z[:, 0] / 100).round().long(), output.clusters)
    shares = torch.bincount(output.clusters, minlength=4) / 20_000
    torch.testing.assert_close(shares, model.pc_params.detach(), rtol=0, atol=0.015)


@pytest.mark.parametrize(
    "cluster", [2, np.int64(2), torch.tensor(2), [2] * 5, np.full(5, 2), torch.full((5,), 2)]
)
def test_generation_from_a_chosen_cluster(cluster):
    model = make_model()
    assert model.generate_from_prior(5, cluster=cluster).clusters.tolist() == [2] * 5
    model.mixture.keep(torch.tensor([True, True, False, True]))
    with pytest.raises(ValueError, match=r"cluster must be active.*\[0, 1, 3\]"):
        model.generate_from_prior(5, cluster=cluster)


def test_several_clusters_share_the_samples_evenly_in_their_order():
    drawn = make_model().generate_from_prior(6, cluster=[2, 0])
    assert drawn.clusters.tolist() == [2, 2, 2, 0, 0, 0]
    assert drawn.z.shape[0] == 6


def test_generation_from_a_cluster_per_sample():
    model = make_model()
    assert model.generate_from_prior(4, cluster=[3, 0, 0, 1]).clusters.tolist() == [3, 0, 0, 1]
    for cluster in (4, -1, [0, 1, 2, 9]):
        with pytest.raises(ValueError, match=r"cluster.*\[0, 1, 2, 3\]"):
            model.generate_from_prior(4, cluster=cluster)
    for cluster in ([0, 1, 2], [], 0.5, True, [[0, 1, 2, 3]]):
        with pytest.raises(ValueError, match=r"or a list of them whose length divides .* 4"):
            model.generate_from_prior(4, cluster=cluster)
    for arguments, error in (({"n_samples": 0}, ValueError), ({"n_samples": 2.5}, TypeError)):
        with pytest.raises(error, match="n_samples"):
            model.generate_from_prior(**arguments)
    with pytest.raises(TypeError, match="clusters"):
        model.generate_from_prior(4, clusters=[0])


@pytest.mark.parametrize(
    "kind", [torch.Tensor.clone, nn.Parameter, torch.Tensor.numpy, torch.Tensor.tolist]
)
def test_cluster_centers_are_assignable(kind):
    model = make_model()
    parameter, keys = model.cluster_centers, list(model.state_dict())
    values = torch.randn(4, 3)
    model.cluster_centers = kind(values.clone())
    torch.testing.assert_close(model.cluster_centers.detach(), values, rtol=0, atol=0)
    assert model.cluster_centers is parameter
    assert list(model.state_dict()) == keys
    assert "cluster_centers" not in dict(model.named_parameters())
    output = model.predict_clusters(make_data())
    assert output.probabilities.isfinite().all()


@pytest.mark.parametrize(
    "bad", [torch.zeros(3, 3), torch.zeros(4), torch.full((4, 3), float("nan"))]
)
def test_bad_cluster_centers(bad):
    model = make_model()
    before = model.cluster_centers.detach().clone()
    with pytest.raises(ValueError, match=r"cluster_centers.*\(4, 3\)"):
        model.cluster_centers = bad
    assert torch.equal(model.cluster_centers, before)


def test_the_weights_and_their_logits():
    model = make_model()
    model.mixture.keep(torch.tensor([True, False, True, True]))
    torch.testing.assert_close(model.pc_params.sum(), torch.tensor(1.0))
    assert model.pc_params[1] == 0
    assert model._pc_params.isneginf().tolist() == [False, True, False, False]
    torch.testing.assert_close(model._pc_params.softmax(0), model.pc_params)
    assert model.n_clusters == 3


@pytest.mark.parametrize(("size", "rows"), [(2, 8192), (2**11, 2048), (2**23, 1)])
def test_fewer_rows_at_once_where_samples_are_wide(size, rows):
    model = make_model()
    model.model_config = make_config({"a": (1,), "b": (2, size // 2)})
    assert model.rows_at_once == rows
    model.model_config = bare()
    assert model.rows_at_once == 8192


@pytest.mark.parametrize("batch_size", [8192, 3])
def test_predicted_clusters(batch_size):
    model, batch = make_model(prior_and_posterior_dist="normal"), incomplete()
    output = model.predict_clusters(batch, batch_size=batch_size)
    assert {"clusters", "pc_zs", "probabilities"} <= set(output)
    assert output.clusters.shape == (8,)
    assert output.clusters.dtype == torch.int64
    assert output.probabilities.shape == (8, 4)
    assert list(output.pc_zs) == list(SHAPES)
    log_pi = model.pc_params.log()
    for i in range(8):
        expected = []
        for m in SHAPES:
            if not batch.masks[m][i]:
                assert output.pc_zs[m][i].isnan().all()
                continue
            z = model.encoders[m](batch.data[m][i : i + 1]).embedding[0]
            p = (
                (log_pi + distributions.Normal(model.cluster_centers, 1.0).log_prob(z).sum(-1))
                .softmax(0)
                .detach()
            )
            torch.testing.assert_close(output.pc_zs[m][i], p)
            expected.append(p)
        torch.testing.assert_close(output.probabilities[i], torch.stack(expected).mean(0))
        assert output.clusters[i] == torch.stack(expected).mean(0).argmax()
    assert not output.probabilities.requires_grad


def test_chunks_larger_than_the_data_are_all_the_same():
    model, batch = make_model(), incomplete()
    for sample in (False, True):
        one, other = (
            model.predict_clusters(
                batch, batch_size=size, sample=sample, generator=torch.Generator()
            )
            for size in (8, 10**12)
        )
        assert_same(dict(one), dict(other))


def test_drawn_clusters_differ_and_means_do_not():
    model, data = make_model(noisy=True).train(), make_data()
    assert_same(model.predict_clusters(data).pc_zs, model.predict_clusters(data).pc_zs)
    first, second = (model.predict_clusters(data, sample=True) for _ in range(2))
    assert not torch.equal(first.probabilities, second.probabilities)
    many = torch.stack(
        [sharp_model().predict_clusters(data, sample=True).probabilities for _ in range(3)]
    )
    torch.testing.assert_close(
        many[0], sharp_model().predict_clusters(data).probabilities, rtol=0, atol=1e-3
    )


def test_bad_arguments_of_predict_clusters():
    for arguments, error in (
        ({"rule": "median"}, ValueError),
        *[({"batch_size": value}, ValueError) for value in (0, -1)],
        *[({"batch_size": value}, TypeError) for value in (1.5, 2.0, True, "3", None)],
        ({"rules": "mean"}, TypeError),
    ):
        with pytest.raises(error, match=next(iter(arguments))):
            make_model().predict_clusters(make_data(), **arguments)


# Inputs
# --------------------------------------------------------------------------------------------------

MEMBERS = [
    "forward",
    "encode",
    "predict",
    "predict_clusters",
    "prune_clusters",
    "compute_joint_nll",
]


def call(model, member, inputs, **arguments):
    """Call a member and return the tensors of its result."""
    settings = {"compute_joint_nll": {"K": 5}}.get(member, {})
    result = getattr(model, member)(inputs, **settings, **arguments)
    if isinstance(result, dict):
        return {
            name: value
            for name, value in result.items()
            if name not in ("metrics", "one_latent_space")
        }
    return {"result": result}


@pytest.mark.parametrize("member", MEMBERS)
def test_every_form_of_inputs_is_the_same(member):
    data = make_data()
    dataset = MultimodalBaseDataset(data, labels=torch.arange(8))
    collated = torch.utils.data.default_collate([dataset[i] for i in range(8)])
    arrays = {m: x.numpy() for m, x in data.items()}
    single = {m: x.float() for m, x in data.items()}
    results = []
    for inputs in (
        data,
        dataset,
        collated,
        ModelOutput(data=data),
        arrays,
        IncompleteDataset(data, {}),
    ):
        torch.manual_seed(3)
        results.append(call(make_model(), member, inputs))
    for result in results[1:]:
        assert_same(results[0], result)
    torch.manual_seed(3)
    cast = call(make_model(), member, single)
    if member == "compute_joint_nll":
        torch.testing.assert_close(cast["result"], results[0]["result"], rtol=1e-4, atol=1e-4)
        assert cast["result"].dtype == torch.float64


@pytest.mark.parametrize("member", [*MEMBERS, "generate_from_prior"])
def test_a_generator_reproduces_and_leaves_the_global_one_alone(member):
    state = torch.get_rng_state()
    results = []
    inputs = 5 if member == "generate_from_prior" else incomplete()
    for seed in (1, 1, 2):
        model = make_model()
        torch.set_rng_state(state)
        arguments = {"sample": True} if member in ("predict_clusters", "prune_clusters") else {}
        results.append(
            call(model, member, inputs, generator=torch.Generator().manual_seed(seed), **arguments)
        )
        assert torch.equal(torch.get_rng_state(), state)
    results = [
        {k: v.detach() if isinstance(v, torch.Tensor) else v for k, v in r.items()} for r in results
    ]
    assert_same(results[0], results[1])
    with pytest.raises(AssertionError):
        assert_same(results[0], results[2])


@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda d: {**d, "x": d["a"]}, KeyError, r"'x'.*'a', 'b', 'c'"),
        (lambda d: {**d, "a": d["a"][:5]}, ValueError, r"'a' has 5.*'b' has 8"),
        (lambda d: {**d, "b": d["b"][:, :2]}, ValueError, r"'b'.*\(4,\).*\(2,\)"),
        (
            lambda d: {**d, "b": d["b"].index_fill(0, torch.tensor([2, 6]), math.nan)},
            ValueError,
            r"'b'.*samples 2, 6",
        ),
        (
            lambda d: {**d, "c": d["c"].index_fill(0, torch.tensor([7]), math.inf)},
            ValueError,
            r"'c'.*sample 7",
        ),
        (lambda d: {}, ValueError, "modality"),
        (lambda d: {m: x[:0] for m, x in d.items()}, ValueError, "no samples"),
        (lambda d: list(d.values()), TypeError, "inputs.*list"),
        (lambda d: {**d, "a": ["x"] * 8}, TypeError, "'a'"),
        (
            lambda d: {"data": d, "masks": {"a": torch.ones(3, dtype=torch.bool)}},
            ValueError,
            r"'a'.*\(8,\).*\(3,\)",
        ),
        (
            lambda d: {"data": d, "masks": {"x": torch.ones(8, dtype=torch.bool)}},
            KeyError,
            r"'x'.*'a', 'b', 'c'",
        ),
        (
            lambda d: {"data": d, "masks": dict.fromkeys(d, torch.arange(8) != 3)},
            ValueError,
            "nothing is observed in sample 3",
        ),
    ],
)
def test_bad_inputs_are_named(member, change, error, message):
    with pytest.raises(error, match=message):
        call(make_model(), member, change(make_data()))


@pytest.mark.parametrize("member", [*MEMBERS, "generate_from_prior"])
def test_unknown_keywords_are_refused(member):
    inputs = 5 if member == "generate_from_prior" else make_data()
    with pytest.raises(TypeError, match="nonsense"):
        getattr(make_model(), member)(inputs, nonsense=1)


def test_data_outside_the_support_are_named():
    model = CMVAE(make_config({"bits": (3,), "b": (4,)}, decoders_dist={"bits": "bernoulli"}))
    with pytest.raises(ValueError, match=r"'bits'.*\[0, 1\].*2"):
        model({"bits": torch.full((2, 3), 2.0), "b": torch.zeros(2, 4)})


# Evaluation
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "member",
    ["encode", "predict", "decode", "predict_clusters", "compute_joint_nll", "generate_from_prior"],
)
@pytest.mark.parametrize("mode", ["train", "eval", "mixed"])
def test_evaluation_changes_nothing(member, mode):
    """BatchNorm's statistics included."""
    model = make_model(noisy=True)
    model.train(mode != "eval")
    if mode == "mixed":
        model.encoders["a"].eval()
        model.decoders["b"].layers[1].eval()
    before = snapshot(model)
    inputs = {"generate_from_prior": 5, "decode": model.generate_from_prior(6)}.get(
        member, incomplete()
    )
    call(model, member, inputs)
    assert_same_snapshot(before, snapshot(model))


@pytest.mark.parametrize("member", ["predict_clusters", "compute_joint_nll", "prune_clusters"])
def test_modes_are_restored_after_an_exception(member):
    class Failing(Encoder):
        def forward(self, x):
            raise RuntimeError("no memory")

    encoders, decoders = networks(noisy=True)
    encoders["c"] = Failing((2, 2))
    model = CMVAE(make_config(), encoders, decoders).train()
    model.encoders["a"].before[2].eval()
    before = snapshot(model)
    with pytest.raises(RuntimeError, match="no memory"):
        call(model, member, make_data())
    assert_same_snapshot(before, snapshot(model))


def test_forward_leaves_parameters_and_config_alone():
    model = make_model()
    before = snapshot(model)
    model(incomplete())
    assert_same_snapshot(before, snapshot(model))


def test_models_can_be_copied_and_moved():
    model, data = make_model(), make_data()
    twin = copy.deepcopy(model)
    assert_same(model.predict_clusters(data).pc_zs, twin.predict_clusters(data).pc_zs)
    single = twin.float()
    output = single(data)
    assert output.loss.dtype == torch.float32
    assert single.generate_from_prior(3).z.dtype == torch.float32
    torch.testing.assert_close(
        single.predict_clusters(data).probabilities.double(),
        model.predict_clusters(data).probabilities,
        atol=1e-4,
        rtol=0,
    )


def test_a_single_categorical_variable_trains():
    config = CMVAEConfig(
        n_modalities=1,
        input_dims={"a": 5},
        modalities_specific_dim=2,
        decoders_dist={"a": "categorical"},
        K=2,
    )
    model = CMVAE(config)
    indices = torch.tensor([0, 1, 4, 2])
    one_hot = torch.eye(5)[indices]
    torch.manual_seed(0)
    loss = model({"a": indices}).loss
    torch.manual_seed(0)
    torch.testing.assert_close(model({"a": one_hot}).loss, loss)
    loss.backward()
    assert model.compute_joint_nll({"a": indices}, K=5).isfinite()


def test_a_modality_may_not_be_called_all():
    with pytest.raises(ValueError, match="not 'all'"):
        CMVAE(CMVAEConfig(n_modalities=2, input_dims={"all": 2, "b": 2}, modalities_specific_dim=2))


def test_custom_likelihoods_that_broadcast_are_refused():
    config = CMVAEConfig(
        n_modalities=1, input_dims={"a": 3}, modalities_specific_dim=2,
        decoders_dist={"a": lambda r, x: -(r[:, None] - x).square()},
    )  # fmt: skip
    with pytest.raises(ValueError, match="shapes were broadcast"):
        CMVAE(config)({"a": torch.zeros(4, 3)})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_models_of_half_precision_run(dtype):
    config = CMVAEConfig(n_modalities=2, input_dims={"a": 3, "b": 2}, modalities_specific_dim=2)
    model = CMVAE(config).to(dtype)
    data = {"a": torch.randn(6, 3), "b": torch.randn(6, 2)}
    loss = model(data).loss
    loss.backward()
    assert loss.isfinite()
    assert model.predict_clusters(data).clusters.shape == (6,)


def test_predictions_and_generated_samples_carry_no_gradient():
    config = CMVAEConfig(n_modalities=1, input_dims={"a": 3}, modalities_specific_dim=2)
    model = CMVAE(config)
    assert not model.predict({"a": torch.zeros(2, 3)})["a"].requires_grad
    assert not model.generate_from_prior(3).z.requires_grad
    assert model.encode({"a": torch.zeros(2, 3)}).z.requires_grad


def test_half_precision_has_float32_experts_with_and_without_missing_data():
    model = make_model().to(torch.bfloat16)
    for batch in (make_data(), incomplete()):
        experts = experts_of(model, read_batch(model, batch))
        assert {
            t.dtype
            for t in (experts.loc, experts.scale, *experts.private_loc, *experts.private_scale)
        } == {torch.float32}


TOO_MUCH = [
    (lambda m, _: m.generate_from_prior(10**12), "n_samples = 1000000000000 would take .* memory"),
    (lambda m, data: m.encode(data, N=10**12), "N = 1000000000000 would take .* of memory"),
    (lambda m, data: m(data, K=10**12), "K = 1000000000000 would take .* of memory"),
    (lambda m, data: m.compute_joint_nll(data, K=10**14), "K = 100000000000000 would take"),
    (lambda m, _: m.generate_from_prior(10**30), "n_samples must be at most 9223372036854775807"),
]


@pytest.mark.parametrize(("call", "message"), TOO_MUCH)
def test_more_draws_than_memory_holds_are_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call(make_model(), make_data())


ODD_ARGUMENTS = [
    (lambda m, data: m.encode(data, return_mean=1), "return_mean must be True or False, got 1"),
    (lambda m, data: m.encode(data, flatten="x"), "flatten must be True or False, got 'x'"),
    (lambda m, data: m.encode(data, generator=3), "generator must be a torch.Generator or None"),
    (lambda m, data: m.encode(data, cond_mod=[["a"]]), "cond_mod must hold names of modalities"),
    (lambda m, data: m.predict(data, gen_mod=3), "gen_mod must be 'all', a name or a list"),
    (lambda m, data: m(data, generator=3), "generator must be a torch.Generator or None, got 3"),
    (lambda m, data: m.predict_clusters(data, sample="no"), "sample must be True or False"),
    (lambda m, data: m.prune_clusters(data, sample=None), "sample must be True or False"),
    (lambda m, data: m.compute_joint_nll(data, 4, seed="3"), "seed must be an integer from 0"),
    (lambda m, _: m.generate_from_prior(2, generator=3), "generator must be a torch.Generator"),
    (lambda m, _: m.decode({"z": "x", "modalities_z": {}}), "z: expected a numeric tensor"),
    (lambda m, _: m.decode({"z": torch.ones(2, 3), "modalities_z": 3}), "modalities_z: expected"),
    (lambda m, _: m.to_data(3), "reconstructions: expected a mapping"),
    (lambda m, _: m.to_data({"a": None}), r"reconstructions\['a'\]: expected a numeric tensor"),
    (lambda m, _: m.save_pretrained(3), "save_directory must be a path, .* got 3"),
    (lambda m, _: type(m).from_pretrained(3), "pretrained_model_name_or_path must be a path"),
    (lambda m, _: type(m).from_pretrained("x", revision=3), "revision must be a string or None"),
]


@pytest.mark.parametrize(("call", "message"), ODD_ARGUMENTS)
def test_arguments_of_a_wrong_type_are_refused_by_name(call, message):
    with pytest.raises(TypeError, match=message):
        call(make_model(), make_data())


def test_reconstructions_of_another_shape_are_refused_by_name():
    with pytest.raises(ValueError, match=r"reconstructions\['a'\] must be floating .*\(2, 4\)$"):
        make_model().to_data({"a": torch.ones(2, 4)})


@pytest.mark.parametrize(
    "odd",
    [
        torch.empty(8, 3, device="meta"),
        torch.quantize_per_tensor(torch.ones(8, 3), 0.1, 0, torch.qint8),
        torch.nested.nested_tensor([torch.ones(3), torch.ones(3)]),
    ],
)
def test_tensors_that_cannot_be_calculated_with_are_refused_by_name(odd):
    with pytest.raises(TypeError, match=r"^modality 'a': expected a dense tensor of real numbers"):
        make_model().encode({**make_data(), "a": odd})


def test_centres_of_numbers_that_no_machine_holds_are_refused():
    with pytest.raises(TypeError, match=r"^cluster_centers must be finite"):
        make_model().cluster_centers = 10**400
