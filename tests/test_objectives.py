import math
from itertools import product

import pytest
import torch
from torch import distributions, nn

from cmvae import CMVAE
from cmvae.objectives import draw_latents, dreg_bound, iwae_bound
from helpers import (
    LATENT,
    SHAPES,
    STYLE,
    Encoder,
    incomplete,
    loss_and_gradients,
    make_config,
    make_data,
    make_model,
    networks,
    randomise,
)

pytestmark = pytest.mark.usefixtures("float64")
ESTIMATORS = [("iwae_looser", "unbiased"), ("dreg_looser", "unbiased"), ("dreg_looser", "published")]


# The bound -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("loss", "estimator"), ESTIMATORS[:2])
@pytest.mark.parametrize("seed", range(3))
def test_one_modality_one_cluster_one_draw_is_the_textbook_elbo(loss, estimator, seed):
    settings = {"number_of_clusters": 1, "K": 1, "prior_and_posterior_dist": "normal"}
    model = make_model({"a": (5,)}, seed=seed, loss=loss, dreg_estimator=estimator, **settings)
    x = make_data({"a": (5,)}, n=7, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    output = model(x, generator=generator)

    generator.manual_seed(seed)
    encoded = model.encoders["a"](x["a"])
    q_z = distributions.Normal(encoded.embedding, (encoded.log_covariance / 2).exp())
    q_w = distributions.Normal(encoded.style_embedding, (encoded.style_log_covariance / 2).exp())
    z = q_z.mean + q_z.stddev * torch.randn(1, 7, 1, LATENT, generator=generator)[0, :, 0]
    w = q_w.mean + q_w.stddev * torch.randn(7, 1, STYLE, generator=generator)[:, 0]
    mean = model.decoders["a"](torch.cat([z, w], -1)).reconstruction
    terms = (
        distributions.Normal(mean, 1.0).log_prob(x["a"]).sum(-1),
        distributions.Normal(model.cluster_centers[0], 1.0).log_prob(z).sum(-1),
        distributions.Normal(0.0, 1.0).log_prob(w).sum(-1),
        -q_z.log_prob(z).sum(-1),
        -q_w.log_prob(w).sum(-1),
    )
    torch.testing.assert_close(output.loss, -sum(terms).mean(), rtol=1e-12, atol=1e-12)


def reference_bound(model, batch, draws, beta):
    """Return the bound of every sample: SPEC's formula in loops."""
    names, masks = model.modalities, batch.get("masks")
    factors = model.rescale_factors
    dist = {"laplace_with_softmax": distributions.Laplace}.get(
        model.model_config.prior_and_posterior_dist, distributions.Normal
    )
    bounds = []
    for i in range(len(batch["data"][names[0]])):
        seen = [n for n, m in enumerate(names) if masks is None or masks[m][i]]
        encoded = {n: model.encoders[names[n]](batch["data"][names[n]][i : i + 1]) for n in seen}
        q_z = {n: dist(e.embedding[0], model.family.scale(e.log_covariance[0])) for n, e in encoded.items()}
        q_w = {n: dist(e.style_embedding[0], model.family.scale(e.style_log_covariance[0])) for n, e in encoded.items()}
        total = 0.0
        for m in seen:
            log_omega = []
            for k in range(draws.z.shape[2]):
                z, w = draws.z[m, i, k], draws.own[m][i, k]
                value = 0.0
                for n in seen:
                    style = w if n == m else draws.others[n][m, i, k]
                    mean = model.decoders[names[n]](torch.cat([z, style])[None]).reconstruction[0]
                    target = batch["data"][names[n]][i]
                    value = value + factors[names[n]] * distributions.Normal(mean, 1.0).log_prob(target).sum()
                clusters = dist(model.cluster_centers, 1.0).log_prob(z).sum(-1)
                log_p_z = (model.pc_params.log() + clusters).logsumexp(-1)
                log_q_z = torch.stack([q_z[n].log_prob(z).sum() for n in seen]).logsumexp(0) - math.log(len(seen))
                log_p_w, log_q_w = dist(0.0, 1.0).log_prob(w).sum(), q_w[m].log_prob(w).sum()
                log_omega.append(value + beta * (log_p_z + log_p_w - log_q_z - log_q_w))
            total = total + torch.stack(log_omega).logsumexp(0) - math.log(len(log_omega))
        bounds.append(total / len(seen))
    return torch.stack(bounds)


@pytest.mark.parametrize("family", ["laplace_with_softmax", "normal_with_softplus", "normal"])
@pytest.mark.parametrize(("beta", "rescaling"), [(1.0, False), (2.5, True)])
def test_the_bound_is_the_formula_with_modalities_missing(family, beta, rescaling, monkeypatch):
    model = make_model(beta=beta, uses_likelihood_rescaling=rescaling, prior_and_posterior_dist=family)
    batch, kept = incomplete(), []

    def drawn(*arguments):
        kept.append(draw_latents(*arguments))
        return kept[-1]

    monkeypatch.setattr("cmvae.model.draw_latents", drawn)
    output = model(batch)
    expected = reference_bound(model, batch, kept[0], beta)
    torch.testing.assert_close(output.loss_sum, -expected.sum(), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(output.loss, -expected.mean(), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("make_batch", [make_data, incomplete])
@pytest.mark.parametrize("beta", [1.0, 2.5])
@pytest.mark.parametrize("covariance", ["identity", "diagonal"])
def test_all_estimators_have_the_same_value_and_other_gradients_of_encoders_only(make_batch, beta, covariance):
    results = []
    for loss, estimator in ESTIMATORS:
        model = make_model(loss=loss, dreg_estimator=estimator, beta=beta, covariance=covariance)
        results.append(loss_and_gradients(model, make_batch()))
    for output, grads in results[1:]:
        assert torch.equal(output.loss, results[0][0].loss)
        for name, gradient in grads.items():
            same = torch.allclose(gradient, results[0][1][name], rtol=1e-9, atol=1e-12)
            assert same != name.startswith("encoders"), name


def test_no_draw_is_shared_between_modalities_or_samples():
    model = make_model(prior_and_posterior_dist="normal")
    batch = model._read(make_data())
    draws = draw_latents(model._experts(batch), model._priors, 3)
    experts = model._experts(batch)
    noise = (draws.z - experts.loc.unsqueeze(2)) / experts.scale.unsqueeze(2)
    assert len(noise.flatten().unique()) == noise.numel()
    for other in draws.others:
        assert len(other.flatten().unique()) == other.numel()


# Gradients -----------------------------------------------------------------------------------------------------------


def small_models(modalities, K, beta, estimator="unbiased", family="normal"):
    """Return an IWAE and a DReG model with the same networks and values."""
    torch.manual_seed(1)
    shapes = {f"m{i}": (2,) for i in range(modalities)}
    dim = 2 if family == "laplace_with_softmax" else 1
    sizes = {"latent_dim": dim, "modalities_specific_dim": dim, "number_of_clusters": 2}
    encoders, decoders = networks(shapes, dim, dim)
    settings = {"K": K, "beta": beta, "prior_and_posterior_dist": family, **sizes}
    models = [
        CMVAE(make_config(shapes, loss=loss, dreg_estimator=estimator, **settings), encoders, decoders)
        for loss in ("iwae_looser", "dreg_looser")
    ]
    models[1].load_state_dict(models[0].state_dict())
    return models


def repeated_samples(modalities, repeats, missing, scale=4.0):
    """Return a batch of two samples, each many times."""
    names = [f"m{i}" for i in range(modalities)]
    x = make_data(dict.fromkeys(names, (2,)), n=2, seed=3)
    masks = {m: torch.ones(2, dtype=torch.bool) for m in names}
    if missing:
        masks[names[0]][0] = False
        if modalities > 2:
            masks[names[1]][1] = False
    data = {m: scale * v.repeat(repeats, 1) for m, v in x.items()}
    return {"data": data, "masks": {m: mask.repeat(repeats) for m, mask in masks.items()}}


def one_gradient(model, batch, seed):
    """Return the encoders' gradient, flat, and that of the rest."""
    names, parameters = zip(*model.named_parameters(), strict=True)
    torch.manual_seed(seed)
    grads = torch.autograd.grad(model(batch).loss, parameters, materialize_grads=True)
    is_encoder = [name.startswith("encoders") for name in names]
    flat = [g.flatten() for g in grads]
    encoders = torch.cat([g for g, e in zip(flat, is_encoder, strict=True) if e])
    return encoders, torch.cat([g for g, e in zip(flat, is_encoder, strict=True) if not e])


def compare_gradients(models, batch, precision, least=30, most=600):
    """Draw gradients on common noise until every standard error is below a share of the norm.

    Returns:
        The means of differences in units of their standard errors.
    """
    differences, firsts = [], []
    for seed in range(most):
        (first, others), (second, same_others) = (one_gradient(model, batch, seed) for model in models)
        # Everything but the encoders has the same gradient on the same noise, not only on average.
        torch.testing.assert_close(others, same_others, rtol=1e-8, atol=1e-10)
        differences.append(second - first)
        firsts.append(second)
        if len(differences) >= least and len(differences) % 10 == 0:
            stacked = torch.stack(differences)
            error = stacked.std(0) / math.sqrt(len(stacked))
            norm = torch.stack(firsts).mean(0).norm()
            if error.max() <= precision * norm:
                break
    else:
        pytest.fail(f"{most} batches do not show {precision} of the gradient's norm")
    moved = error > 1e-12 * norm
    return stacked.mean(0)[moved] / error[moved]


SCENARIOS = [
    (modalities, beta, K, missing)
    for modalities, beta, K, missing in product((1, 2, 3), (1.0, 2.5), (1, 8), (False, True))
    if modalities > 1 or not missing
]


@pytest.mark.parametrize(("modalities", "beta", "K", "missing"), SCENARIOS)
def test_dreg_is_unbiased(modalities, beta, K, missing):
    batch = repeated_samples(modalities, 400 if K == 1 else 200, missing)
    deviations = compare_gradients(small_models(modalities, K, beta), batch, precision=0.01)
    assert len(deviations) >= 10
    assert deviations.abs().max() <= 4


@pytest.mark.parametrize(("modalities", "beta", "K"), [(1, 1.0, 4), (2, 2.5, 2)])
def test_dreg_is_unbiased_with_laplace_experts(modalities, beta, K):
    models = small_models(modalities, K, beta, family="laplace_with_softmax")
    deviations = compare_gradients(models, repeated_samples(modalities, 100, False, scale=1.5), precision=0.015)
    assert deviations.abs().max() <= 4


@pytest.mark.parametrize(
    ("modalities", "beta", "K", "biased"),
    [
        (1, 1.0, 1, False),
        (1, 1.0, 8, False),
        (1, 2.5, 8, True),
        (2, 1.0, 8, True),
        (2, 2.5, 8, True),
        (2, 2.5, 1, False),
    ],
)
def test_the_published_rule_is_biased_beyond_one_expert_and_beta_one(modalities, beta, K, biased):
    models = small_models(modalities, K, beta, estimator="published")
    deviations = compare_gradients(models, repeated_samples(modalities, 200, False), precision=0.01)
    assert (deviations.abs().max() > 8) == biased
    assert biased or deviations.abs().max() <= 4


@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_dreg_has_less_variance_than_iwae(modalities):
    batch = repeated_samples(modalities, 20, False, scale=1.0)
    iwae, dreg = (
        torch.stack([one_gradient(model, batch, seed)[0] for seed in range(80)]).var(0).sum()
        for model in small_models(modalities, 16, 1.0)
    )
    assert dreg <= 0.9 * iwae


@pytest.mark.parametrize(("loss", "estimator"), ESTIMATORS)
@pytest.mark.parametrize("make_batch", [make_data, incomplete])
def test_a_factor_on_the_loss_is_a_factor_on_the_gradients(loss, estimator, make_batch):
    model = make_model(loss=loss, dreg_estimator=estimator, beta=2.5)
    batch = make_batch()
    _, expected = loss_and_gradients(model, batch)
    for factor in (1e-6, -3.0, 1e5):
        torch.manual_seed(1)
        model.zero_grad()
        (factor * model(batch).loss).backward()
        for name, p in model.named_parameters():
            torch.testing.assert_close(p.grad / factor, expected[name], rtol=1e-9, atol=1e-12)
    torch.manual_seed(1)
    model.zero_grad()
    model(batch).loss_sum.backward()
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.grad / len(batch.get("data", batch)["a"]), expected[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("loss", "estimator"), ESTIMATORS)
def test_samples_may_be_weighted_after_the_bound(loss, estimator):
    model = make_model(loss=loss, dreg_estimator=estimator, beta=2.5)
    batch = model._read(incomplete())
    weights = torch.tensor([0.0, 1.0, 2.0, 0.0, -1.0, 0.5, 0.0, 1.0])
    experts = model._experts(batch)
    draws = draw_latents(experts, model._priors, 3, torch.Generator().manual_seed(4))

    def log_likelihood(z, drawn):
        return torch.stack([model._log_likelihood(n, batch, z, drawn) for n in range(3)])

    arguments = (experts, draws, model.mixture, log_likelihood, 2.5)
    bound = iwae_bound(*arguments) if loss == "iwae_looser" else dreg_bound(*arguments, estimator=estimator)
    parameters = list(model.encoders.parameters())
    weighted = torch.autograd.grad((weights * bound.value).sum(), parameters, retain_graph=True)
    summed = [torch.zeros_like(p) for p in parameters]
    for weight, value in zip(weights, bound.value, strict=True):
        for total, g in zip(summed, torch.autograd.grad(value, parameters, retain_graph=True), strict=True):
            total += weight * g
    for one, other in zip(weighted, summed, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("loss", "estimator"), ESTIMATORS)
def test_no_gradient_is_needed(loss, estimator):
    model, batch = make_model(loss=loss, dreg_estimator=estimator), incomplete()
    expected, _ = loss_and_gradients(model, batch)
    torch.manual_seed(1)
    with torch.no_grad():
        output = model(batch)
    assert not output.loss.requires_grad
    assert torch.equal(output.loss, expected.loss.detach())
    torch.manual_seed(1)
    with torch.inference_mode():
        assert torch.equal(model(batch).loss, expected.loss.detach())


@pytest.mark.parametrize(("loss", "estimator"), ESTIMATORS)
@pytest.mark.parametrize("frozen", ["encoders", "encoders.a", "encoders.b", "decoders", "mixture"])
def test_frozen_parts_leave_the_other_gradients_alone(loss, estimator, frozen):
    model, batch = make_model(loss=loss, dreg_estimator=estimator, beta=2.5), incomplete()
    output, expected = loss_and_gradients(model, batch)
    for name, p in model.named_parameters():
        p.requires_grad_(not name.startswith(frozen))
    again, grads = loss_and_gradients(model, batch)
    assert torch.equal(output.loss, again.loss)
    assert set(grads) == {name for name in expected if not name.startswith(frozen)}
    for name, gradient in grads.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-9, atol=1e-12)


def test_compiled_models_have_the_same_loss_and_gradients():
    shapes = {"a": (2,), "b": (2,)}
    model, batch = make_model(shapes, beta=2.5, number_of_clusters=2), make_data(shapes)
    expected, grads = loss_and_gradients(model, batch)
    torch.compiler.reset()
    compiled = torch.compile(model, backend="aot_eager")
    torch.manual_seed(1)
    model.zero_grad()
    output = compiled(batch)
    output.loss.backward()
    torch.testing.assert_close(output.loss, expected.loss, rtol=1e-10, atol=1e-10)
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.grad, grads[name], rtol=1e-8, atol=1e-10)


def test_saturated_weights_give_finite_gradients():
    """One draw far better than the others: v is 0 or 1 to the last digit."""
    torch.manual_seed(0)
    config = make_config({"a": (2,), "b": (2,)}, beta=2.5, K=5)
    encoders, decoders = networks({"a": (2,), "b": (2,)})
    model = randomise(CMVAE(config, encoders, decoders))
    data = {m: 1e4 * x for m, x in make_data({"a": (2,), "b": (2,)}).items()}
    output, grads = loss_and_gradients(model, data)
    assert output.loss.isfinite()
    assert all(g.isfinite().all() for g in grads.values())


def test_disjoint_experts_give_finite_gradients():
    """Experts whose densities underflow at each other's draws."""
    model = make_model(prior_and_posterior_dist="normal", K=2)
    with torch.no_grad():
        for i, encoder in enumerate(model.encoders.values()):
            assert isinstance(encoder, Encoder)
            assert isinstance(encoder.last, nn.Linear)
            encoder.last.bias[:LATENT] += 1e3 * i
    output, grads = loss_and_gradients(model, make_data(SHAPES))
    assert output.loss.isfinite()
    assert all(g.isfinite().all() for g in grads.values())
