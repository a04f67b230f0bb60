import math
from dataclasses import replace
from itertools import combinations, permutations, product

import pytest
import torch
from torch import distributions, nn

from cmvae import CMVAE
from cmvae.models.inference import experts_of, log_likelihoods, read_batch
from cmvae.models.objectives import Targets, choose_targets, draw_latents, dreg_bound, iwae_bound
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
ESTIMATORS = [
    ("iwae_looser", "unbiased"),
    ("dreg_looser", "unbiased"),
    ("dreg_looser", "published"),
]


# The bound
# --------------------------------------------------------------------------------------------------


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
    # All noise is drawn at once: for z, for w, and for the w of cross-modal reconstructions, of
    # which there are none.
    noise = torch.randn(7 * (LATENT + 2 * STYLE), generator=generator)
    z = q_z.mean + q_z.stddev * noise[: 7 * LATENT].view(7, LATENT)
    w = q_w.mean + q_w.stddev * noise[7 * LATENT : 7 * (LATENT + STYLE)].view(7, STYLE)
    mean = model.decoders["a"](torch.cat([z, w], -1)).reconstruction
    terms = (
        distributions.Normal(mean, 1.0).log_prob(x["a"]).sum(-1),
        distributions.Normal(model.cluster_centers[0], 1.0).log_prob(z).sum(-1),
        distributions.Normal(0.0, 1.0).log_prob(w).sum(-1),
        -q_z.log_prob(z).sum(-1),
        -q_w.log_prob(w).sum(-1),
    )
    torch.testing.assert_close(output.loss, -sum(terms).mean(), rtol=1e-12, atol=1e-12)


def every_pair(draws):
    """Return draws whose w̃_n are laid out by (m, sample), as without targets; else NaN."""
    if draws.targets is None:
        return draws
    others = []
    for chosen, w in zip(draws.targets.chosen, draws.others, strict=True):
        others.append(w.new_full((*chosen.shape, *w.shape[1:]), math.nan))
        others[-1][chosen] = w.detach()
    return replace(draws, others=tuple(others))


def reference_bound(model, batch, draws, beta):
    """Return the bound of every sample: SPEC's formula in loops."""
    names, masks = model.modalities, batch.get("masks")
    factors, draws, targets = model.rescale_factors, every_pair(draws), draws.targets
    dist = {"laplace_with_softmax": distributions.Laplace}.get(
        model.model_config.prior_and_posterior_dist, distributions.Normal
    )
    bounds = []
    for i in range(len(batch["data"][names[0]])):
        seen = [n for n, m in enumerate(names) if masks is None or masks[m][i]]
        encoded = {n: model.encoders[names[n]](batch["data"][names[n]][i : i + 1]) for n in seen}
        q_z = {
            n: dist(e.embedding[0], model.family.scale(e.log_covariance[0]))
            for n, e in encoded.items()
        }
        q_w = {
            n: dist(e.style_embedding[0], model.family.scale(e.style_log_covariance[0]))
            for n, e in encoded.items()
        }
        total = 0.0
        for m in seen:
            log_omega = []
            for k in range(draws.z.shape[2]):
                z, w = draws.z[m, i, k], draws.own[m][i, k]
                value = 0.0
                for n in seen:
                    if targets is not None and n != m and not targets.chosen[n, m, i]:
                        continue
                    count = 1.0 if targets is None or n == m else targets.weight[m, i]
                    style = w if n == m else draws.others[n][m, i, k]
                    mean = model.decoders[names[n]](torch.cat([z, style])[None]).reconstruction[0]
                    target = batch["data"][names[n]][i]
                    log_p = distributions.Normal(mean, 1.0).log_prob(target).sum()
                    value = value + count * factors[names[n]] * log_p
                clusters = dist(model.cluster_centers, 1.0).log_prob(z).sum(-1)
                log_p_z = (model.pc_params.log() + clusters).logsumexp(-1)
                log_q_z = torch.stack([q_z[n].log_prob(z).sum() for n in seen]).logsumexp(
                    0
                ) - math.log(len(seen))
                log_p_w, log_q_w = dist(0.0, 1.0).log_prob(w).sum(), q_w[m].log_prob(w).sum()
                log_omega.append(value + beta * (log_p_z + log_p_w - log_q_z - log_q_w))
            total = total + torch.stack(log_omega).logsumexp(0) - math.log(len(log_omega))
        bounds.append(total / len(seen))
    return torch.stack(bounds)


@pytest.mark.parametrize("family", ["laplace_with_softmax", "normal_with_softplus", "normal"])
@pytest.mark.parametrize(("beta", "rescaling"), [(1.0, False), (2.5, True)])
def test_the_bound_is_the_formula_with_modalities_missing(family, beta, rescaling, monkeypatch):
    model = make_model(
        beta=beta, uses_likelihood_rescaling=rescaling, prior_and_posterior_dist=family
    )
    batch, kept = incomplete(), []

    def drawn(*arguments):
        kept.append(draw_latents(*arguments))
        return kept[-1]

    monkeypatch.setattr("cmvae.models.inference.draw_latents", drawn)
    output = model(batch)
    expected = reference_bound(model, batch, kept[0], beta)
    torch.testing.assert_close(output.loss_sum, -expected.sum(), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(output.loss, -expected.mean(), rtol=1e-11, atol=1e-11)


FOUR = {"a": (3,), "b": (4,), "c": (2, 2), "d": (1,)}


@pytest.mark.parametrize("shapes", [SHAPES, FOUR])
@pytest.mark.parametrize("targets", [1, 2])
@pytest.mark.parametrize("loss", ["dreg_looser", "iwae_looser"])
def test_the_bound_is_the_formula_with_sampled_targets(shapes, targets, loss, monkeypatch):
    model = make_model(
        shapes, loss=loss, beta=2.5, uses_likelihood_rescaling=True, cross_modal_targets=targets
    )
    batch, kept = incomplete(shapes), []

    def drawn(*arguments):
        kept.append(draw_latents(*arguments))
        return kept[-1]

    monkeypatch.setattr("cmvae.models.inference.draw_latents", drawn)
    output = model(batch)
    assert (kept[0].targets is None) == (targets == len(shapes) - 1)
    expected = reference_bound(model, batch, kept[0], 2.5)
    torch.testing.assert_close(output.loss_sum, -expected.sum(), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("make_batch", [make_data, incomplete])
@pytest.mark.parametrize("beta", [1.0, 2.5])
@pytest.mark.parametrize("covariance", ["identity", "diagonal"])
def test_all_estimators_have_the_same_value_and_other_gradients_of_encoders_only(
    make_batch, beta, covariance
):
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
    batch = read_batch(model, make_data())
    draws = draw_latents(experts_of(model, batch), model.private_priors.values(), 3)
    experts = experts_of(model, batch)
    noise = (draws.z - experts.loc.unsqueeze(2)) / experts.scale.unsqueeze(2)
    assert len(noise.flatten().unique()) == noise.numel()
    for other in draws.others:
        assert len(other.flatten().unique()) == other.numel()


# Gradients
# --------------------------------------------------------------------------------------------------


def small_models(modalities, K, beta, estimator="unbiased", family="normal", **fields):
    """Return an IWAE and a DReG model with the same networks and values."""
    torch.manual_seed(1)
    shapes = {f"m{i}": (2,) for i in range(modalities)}
    dim = 2 if family == "laplace_with_softmax" else 1
    sizes = {"latent_dim": dim, "modalities_specific_dim": dim, "number_of_clusters": 2}
    encoders, decoders = networks(shapes, dim, dim)
    settings = {"K": K, "beta": beta, "prior_and_posterior_dist": family, **sizes, **fields}
    models = [
        CMVAE(
            make_config(shapes, loss=loss, dreg_estimator=estimator, **settings), encoders, decoders
        )
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
        (first, others), (second, same_others) = (
            one_gradient(model, batch, seed) for model in models
        )
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
    deviations = compare_gradients(
        models, repeated_samples(modalities, 100, False, scale=1.5), precision=0.015
    )
    assert deviations.abs().max() <= 4


@pytest.mark.parametrize("K", [1, 4])
def test_dreg_is_unbiased_with_sampled_targets(K):
    models = small_models(3, K, 2.5, cross_modal_targets=1)
    deviations = compare_gradients(models, repeated_samples(3, 200, missing=False), precision=0.01)
    assert len(deviations) >= 10
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
        torch.testing.assert_close(
            p.grad / len(batch.get("data", batch)["a"]), expected[name], rtol=1e-9, atol=1e-12
        )


@pytest.mark.parametrize(("loss", "estimator"), ESTIMATORS)
def test_samples_may_be_weighted_after_the_bound(loss, estimator):
    model = make_model(loss=loss, dreg_estimator=estimator, beta=2.5)
    batch = read_batch(model, incomplete())
    weights = torch.tensor([0.0, 1.0, 2.0, 0.0, -1.0, 0.5, 0.0, 1.0])
    experts = experts_of(model, batch)
    draws = draw_latents(
        experts, model.private_priors.values(), 3, torch.Generator().manual_seed(4)
    )

    def log_likelihood(z, drawn):
        return log_likelihoods(model, batch, z, drawn)

    arguments = (experts, draws, model.mixture, log_likelihood, 2.5)
    bound = (
        iwae_bound(*arguments)
        if loss == "iwae_looser"
        else dreg_bound(*arguments, estimator=estimator)
    )
    parameters = list(model.encoders.parameters())
    weighted = torch.autograd.grad((weights * bound.value).sum(), parameters, retain_graph=True)
    summed = [torch.zeros_like(p) for p in parameters]
    for weight, value in zip(weights, bound.value, strict=True):
        for total, g in zip(
            summed, torch.autograd.grad(value, parameters, retain_graph=True), strict=True
        ):
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


@pytest.mark.parametrize("targets", [None, 1])
@pytest.mark.parametrize("family", ["normal", "laplace_with_softmax"])
def test_compiled_draws_of_batches_of_several_sizes(targets, family):
    """The last batch of an epoch is smaller; the number of a modality's targets always differs."""
    torch.compiler.reset()
    model = make_model(prior_and_posterior_dist=family)
    compiled = torch.compile(draw_latents, backend="eager")
    for size in (8, 5, 3):
        experts = experts_of(model, read_batch(model, make_data(n=size)))
        torch.manual_seed(size)
        expected = draw_latents(experts, model.private_priors.values(), 2, None, targets)
        torch.manual_seed(size)
        got = compiled(experts, model.private_priors.values(), 2, None, targets)
        for one, other in zip(
            (expected.z, *expected.own, *expected.others),
            (got.z, *got.own, *got.others),
            strict=True,
        ):
            torch.testing.assert_close(other, one, rtol=1e-12, atol=1e-12)


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


# Sampled cross-modal targets
# --------------------------------------------------------------------------------------------------


def random_observed(modalities=5, samples=60):
    observed = torch.rand(modalities, samples) < 0.6
    observed[torch.arange(samples) % modalities, torch.arange(samples)] = True
    observed[:, 0] = True
    observed[:, 1] = torch.arange(modalities) == 1
    return observed


@pytest.mark.parametrize("number", [1, 2, 3, 4, 7])
def test_every_expert_has_so_many_of_the_other_observed_modalities(number):
    observed = random_observed()
    others = observed.sum(0) - 1
    for seed in range(20):
        targets = choose_targets(observed, number, torch.Generator().manual_seed(seed))
        assert targets.chosen.dtype == torch.bool
        assert targets.chosen.shape == (5, 5, 60)
        expected = others.clamp(max=number).expand(5, 60).where(observed, 0)
        assert torch.equal(targets.chosen.sum(0), expected)
        assert not targets.chosen.diagonal().any()
        assert not (targets.chosen & ~observed[:, None]).any()
        has_others = others > 0
        weight = (others / others.clamp(max=number))[has_others].expand(5, -1)
        torch.testing.assert_close(targets.weight[:, has_others], weight.float(), rtol=1e-6, atol=0)
        assert targets.weight.isfinite().all()
        for n in range(5):
            factors = targets.factors(n)
            assert (factors[n] == 1).all()
            rest = torch.arange(5) != n
            assert torch.equal(factors[rest], targets.weight[rest])


def test_targets_follow_the_generator_and_have_the_dtype_asked_for():
    observed, seeds = random_observed(), (1, 1, 2)
    drawn = [
        choose_targets(observed, 2, torch.Generator().manual_seed(seed), torch.float64)
        for seed in seeds
    ]
    assert drawn[0].weight.dtype == torch.float64
    assert torch.equal(drawn[0].chosen, drawn[1].chosen)
    assert not torch.equal(drawn[0].chosen, drawn[2].chosen)


@pytest.mark.parametrize(("modalities", "number"), [(3, 1), (5, 1), (5, 2), (6, 3)])
def test_targets_are_drawn_uniformly_and_each_expert_for_itself(modalities, number):
    n = 20_000
    observed = torch.ones(modalities, n, dtype=torch.bool)
    observed[-1] = modalities == 3
    present = observed[:, 0].nonzero().flatten().tolist()
    chosen = choose_targets(observed, number, torch.Generator().manual_seed(0)).chosen
    codes = (chosen * 2 ** torch.arange(modalities)[:, None, None]).sum(
        0
    )  # which set each expert has, (M, B)
    allowed = {
        m: [
            sum(2**n for n in group)
            for group in combinations([n for n in present if n != m], number)
        ]
        for m in present
    }
    for m, other in permutations(present, 2):
        share = 1 / (len(allowed[m]) * len(allowed[other]))
        error = math.sqrt(share * (1 - share) / n)
        for one, two in product(allowed[m], allowed[other]):
            got = ((codes[m] == one) & (codes[other] == two)).double().mean()
            assert abs(float(got) - share) < 4.8 * error
    assert not torch.equal(codes[0, 1:], codes[0, :-1])


@pytest.mark.parametrize("shapes", [SHAPES, FOUR])
@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("missing", [False, True])
def test_over_all_choices_the_cross_terms_average_to_those_of_all_targets(
    shapes, number, missing, monkeypatch
):
    model, M = make_model(shapes, uses_likelihood_rescaling=True), len(shapes)
    batch = read_batch(model, incomplete(shapes) if missing else make_data(shapes))
    experts = experts_of(model, batch)
    draws = draw_latents(experts, model.private_priors.values(), 2)

    def terms(drawn):
        return log_likelihoods(model, batch, drawn.z, drawn)

    everything, total, orders = terms(draws), 0.0, list(permutations(range(M)))
    for order in orders:
        # Every order of the modalities, by which targets are chosen, is as likely as any other.
        noise = torch.tensor(order)[:, None, None].expand(M, M, len(batch)) / M
        monkeypatch.setattr(torch, "rand", lambda *shape, noise=noise, **settings: noise.clone())
        targets = choose_targets(batch.observed, number, dtype=torch.float64)
        others = tuple(w[chosen] for w, chosen in zip(draws.others, targets.chosen, strict=True))
        got = terms(replace(draws, others=others, targets=targets))
        own = torch.eye(M, dtype=torch.bool)[..., None]
        assert torch.equal(
            got != 0, (targets.chosen | own & batch.observed)[..., None].expand_as(got)
        )
        torch.testing.assert_close(
            got[own.expand_as(got[..., 0])], everything[own.expand_as(got[..., 0])]
        )
        total = total + got / len(orders)
    assert (everything != 0).any(dim=(1, 2, 3)).all()
    torch.testing.assert_close(total, everything, rtol=1e-11, atol=1e-11)


def test_with_one_draw_the_loss_has_the_expectation_of_the_whole_one():
    """By averages of many batches, through forward."""
    shapes = dict.fromkeys("abcd", (2,))
    data = {m: x.repeat(250, 1) for m, x in make_data(shapes, n=2).items()}
    masks = {m: torch.arange(500) % 2 == 0 for m in "b"}  # the second sample lacks b
    results = {}
    for number in (1, 2, None):
        model = make_model(
            shapes, K=1, cross_modal_targets=number, uses_likelihood_rescaling=True, beta=2.5
        )
        rows = []
        torch.manual_seed(number or 9)
        with torch.no_grad():
            for _ in range(60):
                output = model({"data": data, "masks": masks})
                rows.append(
                    torch.stack(
                        [
                            output.loss,
                            *(output.metrics[f"cross_log_likelihood_{m}"] for m in shapes),
                        ]
                    )
                )
        rows = torch.stack(rows)
        results[number] = rows.mean(0), rows.std(0) / math.sqrt(len(rows))
    mean, error = results[None]
    for number in (1, 2):
        other, other_error = results[number]
        assert ((mean - other).abs() < 4 * (error.square() + other_error.square()).sqrt()).all()
        assert (other_error < 0.03 * mean.abs()).all()


@pytest.mark.parametrize("loss", ["dreg_looser", "iwae_looser"])
@pytest.mark.parametrize("make_batch", [make_data, incomplete])
@pytest.mark.parametrize("number", [2, 3, 10])
def test_as_many_targets_as_others_are_the_whole_objective(loss, make_batch, number):
    expected, grads = loss_and_gradients(make_model(loss=loss), make_batch())
    got, others = loss_and_gradients(
        make_model(loss=loss, cross_modal_targets=number), make_batch()
    )
    assert torch.equal(got.loss, expected.loss)
    assert list(grads) == list(others)
    assert all(torch.equal(others[name], grads[name]) for name in grads)


@pytest.mark.parametrize("loss", ["dreg_looser", "iwae_looser"])
@pytest.mark.parametrize("make_batch", [make_data, incomplete])
@pytest.mark.parametrize("number", [1, 2])
def test_metrics_add_up_to_the_loss_with_sampled_targets(loss, make_batch, number):
    fields = {"K": 1, "beta": 2.5, "uses_likelihood_rescaling": True, "cross_modal_targets": number}
    output = make_model(FOUR, loss=loss, **fields)(make_batch(FOUR))
    metrics = output.metrics
    total = sum(value for name, value in metrics.items() if "_log_likelihood_" in name)
    total = (
        total + metrics["log_p_z"] + metrics["log_p_w"] - metrics["log_q_z"] - metrics["log_q_w"]
    )
    torch.testing.assert_close(total, -output.loss.detach(), rtol=1e-12, atol=1e-12)


def decoded_rows(model, batch):
    """Return the rows that each decoder sees in one forward pass, and the number of its calls."""
    calls = {m: [] for m in model.modalities}
    hooks = [
        decoder.register_forward_hook(
            lambda module, inputs, output, m=m: calls[m].append(len(inputs[0]))
        )
        for m, decoder in model.decoders.items()
    ]
    model(batch)
    for hook in hooks:
        hook.remove()
    assert all(len(rows) <= 1 for rows in calls.values())
    return sum(sum(rows) for rows in calls.values())


@pytest.mark.parametrize("number", [1, 2, 3, 10, None])
@pytest.mark.parametrize("K", [1, 3])
def test_decoders_see_only_the_targets_in_training_and_all_in_evaluation(number, K):
    model = make_model(FOUR, cross_modal_targets=number, K=K)
    T = min(number or 3, 3)
    assert decoded_rows(model.train(), make_data(FOUR)) == 4 * (1 + T) * 8 * K
    assert decoded_rows(model.eval(), make_data(FOUR)) == 4 * 4 * 8 * K
    batch = incomplete(FOUR)
    seen = torch.stack(list(batch.masks.values())).sum(0)
    assert (
        decoded_rows(model.train(), batch) == int((seen * (1 + (seen - 1).clamp(max=T))).sum()) * K
    )
    assert decoded_rows(model.eval(), batch) == int((seen * seen).sum()) * K


@pytest.mark.parametrize("make_batch", [make_data, incomplete])
def test_evaluation_is_that_of_the_whole_objective(make_batch):
    whole, sampled = make_model().eval(), make_model(cross_modal_targets=1).eval()
    expected, got = (
        model(make_batch(), generator=torch.Generator().manual_seed(3))
        for model in (whole, sampled)
    )
    assert torch.equal(got.loss, expected.loss)
    assert all(torch.equal(got.metrics[name], value) for name, value in expected.metrics.items())
    training = sampled.train()(make_batch(), generator=torch.Generator().manual_seed(3))
    assert not torch.equal(training.loss, expected.loss)


@pytest.mark.parametrize("make_batch", [make_data, incomplete])
def test_sampled_targets_have_one_loss_and_finite_gradients_whatever_the_estimator(make_batch):
    results = []
    for loss, estimator in ESTIMATORS:
        model = make_model(
            FOUR, loss=loss, dreg_estimator=estimator, beta=2.5, cross_modal_targets=1
        )
        results.append(loss_and_gradients(model, make_batch(FOUR)))
    for output, grads in results:
        assert torch.equal(output.loss, results[0][0].loss)
        assert set(grads) == {name for name, _ in model.named_parameters()}
        for name, gradient in grads.items():
            assert gradient.isfinite().all()
            same = torch.allclose(gradient, results[0][1][name], rtol=1e-9, atol=1e-12)
            assert same != (name.startswith("encoders") and grads is not results[0][1]), name


def test_a_sample_alone_with_its_modality_has_no_targets():
    model = make_model(cross_modal_targets=1)
    masks = {m: torch.full((8,), m == "b") for m in SHAPES}
    output, grads = loss_and_gradients(model, {"data": make_data(), "masks": masks})
    assert output.loss.isfinite()
    assert all(gradient.isfinite().all() for gradient in grads.values())
    assert all(output.metrics[f"cross_log_likelihood_{m}"] == 0 for m in SHAPES)
    targets = choose_targets(torch.stack(list(masks.values())), 1)
    assert isinstance(targets, Targets)
    assert not targets.chosen.any()
