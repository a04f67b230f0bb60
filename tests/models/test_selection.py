import math

import pytest
import torch
from torch import distributions, nn
from torch.nn import functional

from cmvae import CMVAE, IncompleteDataset, ModelOutput
from cmvae.models import selection
from cmvae.models.assignment import assign, average_posteriors
from cmvae.models.selection import LOST_SHARE, ActiveMixture, select_clusters
from helpers import (
    Decoder,
    assert_same_snapshot,
    incomplete,
    make_config,
    make_data,
    make_masks,
    make_model,
    networks,
    snapshot,
)

pytestmark = pytest.mark.usefixtures("float64")


# The definition, word for word
# --------------------------------------------------------------------------------------------------


def penalised_entropy(log_joint, observed, beta, latent_dim):
    """Return the criterion of log π_c + log p(z_m|c), (M, n, |A|), π renormalised on A."""
    evidence = log_joint.logsumexp(-1)
    entropy = torch.special.entr(log_joint.softmax(-1)).sum(-1)
    values = beta * entropy / math.log(log_joint.shape[-1]) - evidence / latent_dim
    return selection.average(values, observed)


def slow_h_values(model, batch, rule):
    """Encode every sample anew at every step; return h_values and the set that each size had."""
    active, C = model.active_clusters.clone(), len(model.active_clusters)
    h_values, sets = [math.inf] * (C + 1), {}
    base = distributions.Normal if model.family.is_normal else distributions.Laplace
    names = model.modalities
    n = len(batch["data"][names[0]])
    while active.sum() >= 2:
        members = active.nonzero().flatten().tolist()
        log_pi = model.mixture.logits[members].log_softmax(0)
        values, mass, summed = [], [0] * len(members), torch.zeros(len(members))
        for i in range(n):
            terms, posteriors = [], []
            for m in names:
                if not batch["masks"][m][i]:
                    continue
                z = model.encoders[m](batch["data"][m][i : i + 1]).embedding[0]
                joint = torch.stack(
                    [
                        p + base(model.cluster_centers[c], 1.0).log_prob(z).sum()
                        for p, c in zip(log_pi, members, strict=True)
                    ]
                )
                evidence = torch.log(joint.exp().sum())
                p = (joint - evidence).exp()
                entropy = -sum(q * q.log() for q in p if q > 0)
                terms.append(
                    model.model_config.beta * entropy / math.log(len(members))
                    - evidence / model.latent_dim
                )
                posteriors.append(p)
            values.append(sum(terms) / len(terms))
            average = torch.stack(posteriors).mean(0)
            if rule == "vote":
                votes = torch.zeros(len(members))
                for p in posteriors:
                    votes[p.argmax()] += 1
                chosen = (votes == votes.max()) * (1 + average)
            else:
                chosen = average
            mass[int(chosen.argmax())] += 1
            summed += average
        h_values[len(members)] = float(sum(values) / n)
        sets[len(members)] = active.clone()
        lightest = min(range(len(members)), key=lambda j: (mass[j], float(summed[j])))
        active[members[lightest]] = False
    return h_values, sets


@pytest.mark.parametrize("family", ["laplace_with_softmax", "normal"])
@pytest.mark.parametrize("rule", ["mean", "vote"])
@pytest.mark.parametrize(("seed", "beta"), [(0, 1.0), (1, 2.5), (2, 0.3)])
@torch.no_grad()
def test_one_pass_gives_the_same_as_encoding_anew(family, rule, seed, beta):
    model = make_model(seed=seed, number_of_clusters=7, beta=beta, prior_and_posterior_dist=family)
    model.cluster_centers = 2 * torch.randn(7, 3)
    batch = incomplete(n=15, seed=seed)
    expected, sets = slow_h_values(model, batch, rule)
    got = model.prune_clusters(batch, batch_size=4, rule=rule)
    assert isinstance(got, list)
    assert all(type(h) is float for h in got)
    assert got == pytest.approx(expected, rel=1e-10)
    best = min(sets, key=lambda size: expected[size])
    assert torch.equal(model.active_clusters, sets[best])
    assert model.n_clusters == best
    assert type(model.n_clusters) is int


def test_every_sample_is_encoded_once():
    model, batch = make_model(number_of_clusters=9), incomplete(n=15)
    calls = []
    for m, encoder in model.encoders.items():
        encoder.register_forward_pre_hook(
            lambda module, inputs, m=m: calls.append((m, len(inputs[0])))
        )
    model.prune_clusters(batch, batch_size=4)
    for m in model.modalities:
        sizes = [size for name, size in calls if name == m]
        assert sum(sizes) == int(batch.masks[m].sum())
        assert max(sizes) <= 4


def test_batch_size_does_not_matter():
    results = [
        make_model().prune_clusters(incomplete(n=15), batch_size=size) for size in (1, 4, 128)
    ]
    assert results[0] == pytest.approx(results[1], rel=1e-12)
    assert results[0] == pytest.approx(results[2], rel=1e-12)
    one, other = (
        make_model().prune_clusters(
            incomplete(), batch_size=size, sample=True, generator=torch.Generator()
        )
        for size in (8, 10**12)
    )
    assert one == other


# Known mixtures
# --------------------------------------------------------------------------------------------------

SIZES = torch.tensor([1.0, 2.0, 4.0, 7.0, 10.0])


class Copying(nn.Module):
    """An expert set by hand: its mean is the input."""

    def forward(self, x):
        zeros = torch.zeros_like(x)
        return {
            "embedding": x,
            "log_covariance": zeros,
            "style_embedding": x,
            "style_log_covariance": zeros,
        }


def known_mixture(seed, unused, unused_weight, dim=5, distance=4.5, n=600):
    """Return a model, the first five of whose thirty clusters are those of the data, and the data.

    The centres in use are about ``distance`` apart, of which the narrowest pairs overlap. The
    others lie where training leaves clusters that no sample needs: beside one in use ('beside'), at
    a sample ('sample'), or anywhere in the cloud of the data ('cloud'), together with a small
    weight.
    """
    torch.manual_seed(seed)
    gaps = torch.zeros(1)
    while gaps.min() < 0.8 * distance:
        centers = 1.1 * distance / math.sqrt(2 * dim) * torch.randn(5, dim)
        gaps = torch.pdist(centers)
    weights = SIZES / SIZES.sum()
    z = centers[torch.multinomial(weights, n, replacement=True)] + torch.randn(n, dim)
    others = {
        "beside": lambda: (
            centers[torch.multinomial(weights, 25, replacement=True)] + 0.3 * torch.randn(25, dim)
        ),
        "sample": lambda: z[torch.randint(n, (25,))],
        "cloud": lambda: z.mean(0) + z.std(0) * torch.randn(25, dim),
    }[unused]()
    rest = torch.rand(25)
    shapes = {"a": (dim,), "b": (dim,)}
    settings = {"latent_dim": dim, "modalities_specific_dim": dim, "number_of_clusters": 30}
    config = make_config(shapes, prior_and_posterior_dist="normal", **settings)
    decoders = {m: Decoder(shape, dim, dim) for m, shape in shapes.items()}
    model = CMVAE(config, {m: Copying() for m in shapes}, decoders)
    model.mixture.set_components(
        torch.cat([weights * (1 - unused_weight), rest / rest.sum() * unused_weight]),
        torch.cat([centers, others]),
    )
    return model, IncompleteDataset(
        {m: z + 0.3 * torch.randn(n, dim) for m in shapes}, make_masks(shapes, n, seed)
    )


@pytest.mark.parametrize("unused", ["beside", "sample", "cloud"])
@pytest.mark.parametrize("rule", ["mean", "vote"])
def test_finds_the_five_clusters_in_use_among_thirty(unused, rule):
    right = 0
    for seed in range(10):
        model, data = known_mixture(seed, unused, unused_weight=0.2)
        h_values = model.prune_clusters(data, rule=rule)
        assert len(h_values) == 31
        assert [math.isinf(h) for h in h_values] == [True] * 2 + [False] * 29
        right += model.n_clusters == 5 and bool(model.active_clusters[:5].all())
    assert right >= 9


# After it
# --------------------------------------------------------------------------------------------------


def test_a_second_call_starts_from_the_active_set():
    model, data = known_mixture(0, "beside", unused_weight=0.2)
    model.prune_clusters(data)
    first = model.active_clusters.clone()
    h_values = model.prune_clusters(data)
    assert [size for size, h in enumerate(h_values) if math.isfinite(h)] == [2, 3, 4, 5]
    assert (model.active_clusters <= first).all()
    assert len(h_values) == 31


@pytest.mark.parametrize("clusters", [1, 2, 5])
@pytest.mark.parametrize("keep", [1, None])
def test_few_clusters(clusters, keep):
    model = make_model(number_of_clusters=clusters)
    if keep:
        model.mixture.keep(torch.arange(clusters) < keep)
    before = snapshot(model)
    h_values = model.prune_clusters(incomplete())
    evaluated = [size for size, h in enumerate(h_values) if math.isfinite(h)]
    assert len(h_values) == clusters + 1
    assert evaluated == ([] if keep else list(range(2, clusters + 1)))
    if not evaluated:
        assert_same_snapshot(before, snapshot(model))
    assert model.predict_clusters(incomplete()).probabilities.isfinite().all()


def pruned_model(**settings):
    model = make_model(number_of_clusters=8, **settings)
    active = torch.tensor([False, True, False, True, True, False, False, False])
    model.mixture.keep(active)
    return model, active


@pytest.mark.parametrize("optimiser", [torch.optim.AdamW, torch.optim.SGD])
@pytest.mark.parametrize("covariance", ["identity", "full"])
def test_a_pruned_model_trains_saves_loads_and_predicts(optimiser, covariance, tmp_path):
    model, active = pruned_model(covariance=covariance, prior_and_posterior_dist="normal")
    steps = optimiser(model.parameters(), lr=0.01, weight_decay=0.1)
    for _ in range(3):
        steps.zero_grad()
        model(incomplete()).loss.backward()
        steps.step()
    assert all(p.isfinite().all() for p in model.parameters())
    assert torch.equal(model.pc_params > 0, active)
    assert float(model.pc_params.detach().sum()) == pytest.approx(1)
    assert torch.equal(model._pc_params.isneginf(), ~active)
    model.save_pretrained(tmp_path)
    loaded = CMVAE.from_pretrained(
        tmp_path, **dict(zip(("encoders", "decoders"), networks(), strict=True))
    )
    assert torch.equal(loaded.active_clusters, active)
    expected, got = (m.predict_clusters(incomplete()) for m in (model, loaded))
    assert torch.equal(expected.clusters, got.clusters)
    assert torch.equal(expected.probabilities, got.probabilities)


def test_no_pruned_cluster_is_assigned_or_generated():
    model, active = pruned_model()
    data = make_data(n=500)
    for rule in ("mean", "vote"):
        for sample in (False, True):
            output = model.predict_clusters(data, rule=rule, sample=sample)
            assert active[output.clusters].all()
            assert (output.probabilities[:, ~active] == 0).all()
            assert all((p[:, ~active] == 0).all() for p in output.pc_zs.values())
    drawn = model.generate_from_prior(5000).clusters
    assert set(drawn.tolist()) == set(active.nonzero().flatten().tolist())
    shares = torch.bincount(drawn, minlength=8) / 5000
    torch.testing.assert_close(shares, model.pc_params.detach(), rtol=0, atol=0.03)


def test_the_logits_are_those_of_the_best_set_renormalised():
    model, data = known_mixture(1, "beside", unused_weight=0.2)
    before = model.pc_params.detach().clone()
    model.prune_clusters(data)
    kept = before * model.active_clusters
    torch.testing.assert_close(model.pc_params, kept / kept.sum())


@pytest.mark.parametrize("rule", ["mean", "vote"])
def test_pruning_changes_only_the_mixture(rule):
    model = make_model(noisy=True)
    model.train()
    model.encoders["a"].before[2].eval()
    before = snapshot(model)
    model.prune_clusters(incomplete(), rule=rule, sample=True)
    after = snapshot(model)
    for part in (before["state"], after["state"]):
        part.pop("mixture.active")
        part.pop("mixture.logits")
    assert_same_snapshot(before, after)


# Hard cases
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e3, 1e8, 1e150])
def test_saturated_posteriors_give_finite_values(scale):
    model, data = (
        make_model(number_of_clusters=6, prior_and_posterior_dist="normal"),
        make_data(n=12),
    )
    with torch.no_grad():
        model.cluster_centers = scale * torch.randn(6, 3)
    h_values = model.prune_clusters(data)
    assert all(math.isfinite(h) for h in h_values[2:])


def test_a_cluster_of_vanishing_weight():
    log_densities = torch.randn(2, 10, 4)
    logits = torch.tensor([0.0, 0.0, 0.0, -1e300])
    everything = torch.ones(2, 10, dtype=torch.bool)
    found = select_clusters(
        log_densities, everything, logits, torch.ones(4, dtype=torch.bool), beta=1.0, latent_dim=2
    )
    assert all(math.isfinite(h) for h in found.h_values[2:])


def test_penalised_entropy_of_known_posteriors():
    """Two samples by hand: one sure, one undecided between two of three clusters."""
    log_joint = torch.tensor([[[-1.0, -math.inf, -math.inf], [-2.0, -2.0, -math.inf]]])
    seen = torch.ones(1, 2, dtype=torch.bool)
    evidence = (-1.0 + (-2.0 + math.log(2))) / 2
    expected = 2.5 * (math.log(2) / math.log(3)) / 2 - evidence / 4
    assert penalised_entropy(log_joint, seen, 2.5, 4) == pytest.approx(expected, rel=1e-12)


def test_of_equal_masses_the_least_summed_probability_goes():
    # Clusters 1 and 2 get no sample; 1 has more probability.
    joint = torch.tensor([[0.5, 0.3, 0.2], [0.6, 0.3, 0.1]]).log()[None]
    seen, logits = torch.ones(1, 2, dtype=torch.bool), torch.zeros(3)
    active = torch.ones(3, dtype=torch.bool)
    found = select_clusters(
        joint - joint.logsumexp(-1, keepdim=True), seen, logits, active, beta=1.0, latent_dim=1
    )
    pair = joint[..., :2] - math.log(2)
    assert found.h_values[2] == pytest.approx(penalised_entropy(pair, seen, 1.0, 1))


def test_one_draw_of_each_expert_is_made_once_and_follows_the_generator():
    results = []
    for seed in (1, 1, 2):
        model = make_model()
        results.append(
            model.prune_clusters(
                incomplete(), sample=True, generator=torch.Generator().manual_seed(seed)
            )
        )
    assert results[0] == results[1] != results[2]
    assert results[0] != make_model().prune_clusters(incomplete())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"rule": "median"}, ValueError, r"rule.*'mean'.*'median'"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"batch_size": -1}, ValueError, "batch_size.*-1"),
        ({"batch_size": 1.5}, TypeError, r"batch_size.*1\.5"),
        ({"batch_size": True}, TypeError, "batch_size.*True"),
        ({"batch_size": None}, TypeError, "batch_size.*None"),
        ({"size": 4}, TypeError, "size"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        make_model().prune_clusters(incomplete(), **arguments)


def test_samples_with_nothing_observed_are_named():
    batch = incomplete()
    batch = ModelOutput(
        data=batch.data, masks={m: mask & (torch.arange(8) != 6) for m, mask in batch.masks.items()}
    )
    with pytest.raises(ValueError, match="sample 6"):
        make_model().prune_clusters(batch, batch_size=2)


def test_joint_rule_gives_clusters_their_mass_at_its_own_points():
    torch.manual_seed(0)
    densities, seen = torch.randn(2, 30, 3), torch.ones(2, 30, dtype=torch.bool)
    deciding = torch.randn(1, 30, 3)
    densities[..., 0] -= 9  # by the modalities' own points the first cluster is the lightest
    deciding[..., 2] -= 9  # by the joint posterior's it is the last
    expected = penalised_entropy(densities[..., :2] + torch.zeros(2).log_softmax(-1), seen, 1.0, 4)
    found = select_clusters(
        densities, seen, torch.zeros(3), torch.ones(3, dtype=torch.bool), beta=1.0, latent_dim=4,
        rule="joint", deciding=(deciding, seen[:1]),
    )  # fmt: skip
    assert found.h_values[2] == pytest.approx(expected)


# Clusters leave one by one
# --------------------------------------------------------------------------------------------------


def densities_of(case, modalities=2, n=40, clusters=12):
    """Return log p(z_m|c), (M, n, C), of a hard case; the last cluster leaves first."""
    plain = torch.randn(modalities, n, clusters)
    if case == "plain":
        return 3 * plain
    if case == "saturated":
        return 3000 * plain
    if case == "ties":
        return plain.round()
    if case == "all equal":
        return torch.full_like(plain, -7.0)
    if case == "far and equal":
        return plain.round() - 5e4
    if case == "staircase":
        # Whoever leaves first holds all but e^-4 to e^-900 of a point's mass, and so on with those
        # after it.
        steps = torch.linspace(4, 900, n)[:, None] * torch.arange(clusters)
        return steps + 0.1 * plain
    if case == "all but a share":
        # What remains when the last one leaves is about the share at which points are summed again.
        others = (
            plain.log_softmax(-1) + math.log(LOST_SHARE) + torch.linspace(-0.1, 0.1, n)[:, None]
        )
        others[..., -1] = 0.0
        return others
    raise AssertionError(case)


CASES = ["plain", "saturated", "ties", "all equal", "far and equal", "staircase", "all but a share"]


@pytest.fixture
def by_point(monkeypatch):
    """Have criteria of every point, (M, n), instead of their average; zero where unobserved."""
    monkeypatch.setattr(
        "cmvae.models.selection.average", lambda values, observed: values.masked_fill(~observed, 0)
    )


@pytest.mark.usefixtures("by_point")
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("order", ["last first", 1, 2, 3])
@pytest.mark.parametrize("missing", [False, True])
def test_a_mixture_that_clusters_leave_is_one_computed_from_scratch(case, order, missing):
    torch.manual_seed(5)
    densities, logits = densities_of(case), torch.zeros(12) if "equal" in case else torch.randn(12)
    observed = torch.ones(2, 40, dtype=torch.bool)
    if missing:
        observed[0, ::3] = observed[1, 1::3] = False
        densities[~observed] = math.nan
    current = torch.ones(12, dtype=torch.bool)
    current[4] = False
    mixture = ActiveMixture(densities, observed, logits, current)
    leaving = current.nonzero().flatten()
    if order == "last first":
        leaving = leaving.flip(0)
    else:
        leaving = leaving[torch.randperm(11, generator=torch.Generator().manual_seed(order))]
    before = densities.clone(), logits.clone()
    for cluster in leaving.tolist():
        joint = densities.masked_fill(~observed.unsqueeze(-1), 0)[..., current] + logits[
            current
        ].log_softmax(-1)
        if current.sum() >= 2:
            entropy = mixture.penalised_entropy(1.0, math.inf)
            assert (entropy >= 0).all()
            torch.testing.assert_close(
                entropy, penalised_entropy(joint, observed, 1.0, math.inf), rtol=0, atol=1e-9
            )
            got, expected = (
                mixture.penalised_entropy(2.5, 4),
                penalised_entropy(joint, observed, 2.5, 4),
            )
            torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-9)
        posteriors = mixture.posteriors()
        assert (posteriors[..., ~current] == 0).all()
        torch.testing.assert_close(
            posteriors[..., current], joint.softmax(-1), rtol=1e-9, atol=1e-12
        )
        if current.sum() > 1:
            current[cluster] = False
            mixture.remove(cluster)
    assert current.sum() == 1
    for one, other in zip(before, (densities, logits), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("rule", ["mean", "vote"])
def test_hard_cases_have_the_criteria_of_the_definition(case, rule):
    torch.manual_seed(6)
    densities, logits = densities_of(case), torch.randn(12)
    observed = torch.rand(2, 40) < 0.7
    observed[0] |= ~observed.any(0)
    densities[~observed] = math.nan
    every = torch.ones(12, dtype=torch.bool)
    found = select_clusters(densities, observed, logits, every, beta=1.5, latent_dim=4, rule=rule)
    current = every.clone()
    for size in range(12, 1, -1):
        joint = densities.masked_fill(~observed.unsqueeze(-1), 0)[..., current] + logits[
            current
        ].log_softmax(-1)
        expected = penalised_entropy(joint, observed, 1.5, 4)
        assert found.h_values[size] == pytest.approx(expected, rel=1e-11, abs=1e-9)
        if found.h_values[size] == min(found.h_values):
            assert torch.equal(found.active, current)
        posteriors = joint.softmax(-1).masked_fill(~observed.unsqueeze(-1), 0)
        average = posteriors.sum(0) / observed.sum(0).unsqueeze(-1)
        votes = (functional.one_hot(posteriors.argmax(-1), size) * observed.unsqueeze(-1)).sum(0)
        chosen = (
            average if rule == "mean" else (votes == votes.amax(-1, keepdim=True)) * (1 + average)
        )
        mass = torch.bincount(chosen.argmax(-1), minlength=size)
        lightest = min(range(size), key=lambda c: (int(mass[c]), float(average.sum(0)[c])))
        current[current.nonzero()[lightest]] = False


@pytest.mark.parametrize("rule", ["mean", "vote"])
def test_ties_between_saturated_posteriors_are_broken_as_in_predicting(rule):
    """Modalities that are certain of different clusters tie; the lowest index gets the mass."""
    for seed in range(20):
        torch.manual_seed(seed)
        densities = -1e4 * torch.rand(3, 30, 12)
        observed = torch.rand(3, 30) < 0.6
        observed[0] |= ~observed.any(0)
        settings = {"beta": 1.0, "latent_dim": 4, "rule": rule}
        logits, active = torch.randn(12), torch.ones(12, dtype=torch.bool)
        found = select_clusters(densities, observed, logits, active, **settings)
        for size in range(12, 2, -1):
            log_weights = logits.masked_fill(~active, -math.inf).log_softmax(-1)
            joint = densities + log_weights
            expected = penalised_entropy(joint[..., active], observed, 1.0, 4)
            assert found.h_values[size] == pytest.approx(expected, rel=1e-9)
            posteriors = joint.softmax(-1)
            counts = torch.bincount(assign(rule, posteriors, observed)[0], minlength=12)
            sums = average_posteriors(posteriors, observed).sum(0)
            fewest = active & (counts == counts[active].min())
            active = active.clone()
            active[sums.masked_fill(~fewest, math.inf).argmin()] = False
