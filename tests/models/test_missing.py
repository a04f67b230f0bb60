"""What unobserved entries hold changes nothing, and a batch's other samples change nothing."""

import copy

import pytest
import torch

from cmvae import CMVAE, IncompleteDataset, ModelOutput
from cmvae.models.inference import experts_of, read_batch
from cmvae.models.objectives import Draws, draw_latents
from helpers import (
    SHAPES,
    assert_same,
    gradients,
    incomplete,
    loss_and_gradients,
    make_config,
    make_data,
    make_masks,
    make_model,
    networks,
)

pytestmark = pytest.mark.usefixtures("float64")
VALUES = [float("nan"), float("inf"), -float("inf"), 1e30, -0.0]


def poisoned(batch, value):
    """Return the batch with another value in unobserved entries."""
    data = {}
    for m, x in batch["data"].items():
        data[m] = x.clone()
        data[m][~batch["masks"][m]] = value
    return ModelOutput(data=data, masks=batch["masks"])


def everything(model, batch, train):
    """Return all that a model computes from a batch, and its state afterwards."""
    model = copy.deepcopy(model)
    model.train(train)
    output, grads = loss_and_gradients(model, batch)
    results = {"forward": output, "gradients": grads}
    results = {
        name: {k: v for k, v in part.items() if k != "metrics"} for name, part in results.items()
    }
    results["metrics"] = dict(output.metrics)
    results = {name: {k: v.detach() for k, v in part.items()} for name, part in results.items()}
    torch.manual_seed(2)
    with torch.no_grad():
        for name, arguments in {"drawn": {"N": 3}, "mean": {"return_mean": True}}.items():
            encoded = model.encode(batch, **arguments)
            results[name] = {"z": encoded.z, **encoded.modalities_z}
        results["predict"] = model.predict(batch, N=2)
    for rule in ("mean", "vote"):
        for sample in (False, True):
            clusters = model.predict_clusters(batch, rule=rule, sample=sample)
            results[f"{rule}, {sample}"] = {**clusters, "pc_zs": clusters.pc_zs}
    results["nll"] = {"each": model.compute_joint_nll(batch, K=7, reduction="none")}
    results["h"] = {"values": model.prune_clusters(batch, batch_size=3)}
    results["state"] = dict(model.state_dict())
    return results


def compare(model, batch, value, train):
    expected, got = (
        everything(model, batch, train),
        everything(model, poisoned(batch, value), train),
    )
    assert all(torch.isfinite(g).all() for g in got["gradients"].values())
    assert_same({k: dict(v) for k, v in expected.items()}, {k: dict(v) for k, v in got.items()})


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("loss", ["dreg_looser", "iwae_looser"])
@pytest.mark.parametrize("make_batch", [incomplete, lambda: IncompleteDataset(**incomplete())])
def test_plain_networks(value, loss, make_batch):
    model = make_model(loss=loss, beta=2.5)
    batch = make_batch()
    if isinstance(batch, IncompleteDataset):
        changed = IncompleteDataset(**poisoned(incomplete(), value))
        expected, got = everything(model, batch, True), everything(model, changed, True)
        assert_same({k: dict(v) for k, v in expected.items()}, {k: dict(v) for k, v in got.items()})
    else:
        compare(model, batch, value, train=True)


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("train", [True, False])
def test_networks_with_batch_normalisation_and_dropout(value, train):
    compare(make_model(noisy=True), incomplete(), value, train)


@pytest.mark.parametrize("family", ["normal", "normal_with_softplus"])
@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_other_latents(family, covariance):
    model = make_model(prior_and_posterior_dist=family, covariance=covariance)
    compare(model, incomplete(), float("nan"), train=True)


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("loss", ["dreg_looser", "iwae_looser"])
def test_sampled_cross_modal_targets(value, loss):
    shapes = {**SHAPES, "d": (5,)}
    compare(
        make_model(shapes, loss=loss, cross_modal_targets=1), incomplete(shapes), value, train=True
    )


INTEGERS = {"tokens": (5, 4), "bits": (6,), "pixels": (1, 8, 8)}


def integer_case():
    torch.manual_seed(3)
    dists = {"tokens": "categorical", "bits": "bernoulli", "pixels": "normal"}
    model = CMVAE(make_config(INTEGERS, decoders_dist=dists))
    data = {
        "tokens": torch.randint(4, (8, 5)),
        "bits": torch.randint(2, (8, 6), dtype=torch.uint8),
        "pixels": torch.randint(5, (8, 1, 8, 8), dtype=torch.int16),
    }
    return model, ModelOutput(data=data, masks=make_masks(INTEGERS))


@pytest.mark.parametrize("value", [0, 77, 127])
@pytest.mark.parametrize("train", [True, False])
def test_integer_modalities_and_built_in_networks(value, train):
    model, batch = integer_case()
    compare(model, poisoned(batch, 1), value, train)


def test_negative_class_indices_where_nothing_is_observed():
    model, batch = integer_case()
    changed = ModelOutput(data=dict(batch.data), masks=batch.masks)
    changed.data["tokens"] = batch.data["tokens"].clone()
    changed.data["tokens"][~batch.masks["tokens"]] = -(2**40)
    expected, got = everything(model, batch, True), everything(model, changed, True)
    assert_same({k: dict(v) for k, v in expected.items()}, {k: dict(v) for k, v in got.items()})


# What is absent
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("noisy", [True, False])
def test_absent_from_the_mapping_is_unobserved_for_all(train, noisy):
    model, data = make_model(noisy=noisy), make_data()
    data["b"].fill_(float("nan"))
    masks = {"b": torch.zeros(8, dtype=torch.bool)}
    without = {m: x for m, x in data.items() if m != "b"}
    expected = everything(model, without, train)
    for inputs in (ModelOutput(data=data, masks=masks), IncompleteDataset(data, masks)):
        got = everything(model, inputs, train)
        assert_same({k: dict(v) for k, v in expected.items()}, {k: dict(v) for k, v in got.items()})


@pytest.mark.parametrize("noisy", [True, False])
@pytest.mark.parametrize("loss", ["dreg_looser", "iwae_looser"])
@pytest.mark.parametrize("rows", [0, 1])
def test_batches_with_no_or_one_row_of_a_modality_train(noisy, loss, rows):
    model, data = make_model(noisy=noisy, loss=loss), make_data()
    mask = torch.arange(8) < rows
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for _ in range(5):
        optimiser.zero_grad()
        output = model(ModelOutput(data=data, masks={"b": mask}))
        output.loss.backward()
        optimiser.step()
        assert output.loss.isfinite()
        assert all(g.isfinite().all() for g in gradients(model).values())
    assert all(p.isfinite().all() for p in model.parameters())
    assert not torch.equal(model.encoders["a"].last.weight, before["encoders.a.last.weight"])
    if rows == 0:
        g = gradients(model)
        assert all(
            (x == 0).all() for name, x in g.items() if name.startswith(("encoders.b", "decoders.b"))
        )


@pytest.mark.parametrize("noisy", [True, False])
def test_batches_of_one_sample_train(noisy):
    model = make_model(noisy=noisy)
    output, grads = loss_and_gradients(model, make_data(n=1))
    assert output.loss.isfinite()
    assert all(g.isfinite().all() for g in grads.values())


def test_a_sample_with_some_modalities_missing_is_a_smaller_models_sample():
    model = make_model(noisy=False, prior_and_posterior_dist="normal", K=1)
    shapes = {m: SHAPES[m] for m in ("a", "c")}
    small = CMVAE(make_config(shapes, prior_and_posterior_dist="normal", K=1), *networks(shapes))
    copy_weights(model, small, {m: m for m in shapes})
    data = {m: make_data()[m] for m in shapes}
    assert_same(small.predict_clusters(data).clusters, model.predict_clusters(data).clusters)
    torch.testing.assert_close(small.prune_clusters(data), model.prune_clusters(data))


# The other samples of a batch
# --------------------------------------------------------------------------------------------------


def deterministic(model, batch):
    with torch.no_grad():
        encoded = model.encode(batch, return_mean=True)
        clusters = model.predict_clusters(batch)
        decoded = model.decode(encoded)
    assert not clusters.clusters.is_floating_point()
    results = {
        "z": encoded.z,
        "probabilities": clusters.probabilities,
        "clusters": clusters.clusters,
    }
    results |= {f"w {m}": w for m, w in encoded.modalities_z.items()}
    results |= {f"p {m}": p for m, p in clusters.pc_zs.items()}
    return results | {f"x {m}": x for m, x in decoded.items()}


@pytest.mark.parametrize("noisy", [True, False])
def test_in_eval_mode_a_sample_does_not_depend_on_its_batch(noisy):
    model = make_model(noisy=noisy).eval()
    data = IncompleteDataset(**poisoned(incomplete(n=12), float("nan")))
    whole = deterministic(model, data)
    for rows in ([5], [0, 11, 3], list(range(11, -1, -1))):
        for name, value in deterministic(model, data[rows]).items():
            torch.testing.assert_close(value, whole[name][rows], rtol=0, atol=1e-9, equal_nan=True)


# Names and order
# --------------------------------------------------------------------------------------------------


def copy_weights(source, target, names):
    """Copy all weights, modality names[m] of the target from m of the source."""
    for part in ("encoders", "decoders", "likelihoods", "private_priors"):
        for m, new in names.items():
            getattr(target, part)[new].load_state_dict(getattr(source, part)[m].state_dict())
    target.mixture.load_state_dict(source.mixture.state_dict())


def renamed(batch, names):
    return ModelOutput(
        {part: {new: values[m] for m, new in names.items()} for part, values in batch.items()}
    )


def twin(model, names):
    shapes = {new: SHAPES[m] for m, new in names.items()}
    other = make_model(shapes, noisy=True, seed=9, beta=2.5)
    copy_weights(model, other, names)
    return other


@pytest.mark.parametrize("train", [True, False])
def test_renaming_modalities_changes_only_names(train):
    names = {"a": "y", "b": "a", "c": "values"}
    model = make_model(noisy=True, beta=2.5)
    one = everything(model, incomplete(), train)
    other = everything(twin(model, names), renamed(incomplete(), names), train)
    for part in set(one) - {"gradients", "state"}:
        values = zip(one[part].values(), other[part].values(), strict=True)
        for first, second in values:
            if isinstance(first, dict):
                first, second = list(first.values()), list(second.values())
            if isinstance(first, torch.Tensor):
                first, second = [first], [second]
            for x, y in zip(first, second, strict=True):
                assert_same(x, y)


def test_reordering_modalities_changes_only_the_order(monkeypatch):
    order = {"c": "c", "a": "a", "b": "b"}
    model = make_model(noisy=True, beta=2.5).eval()
    other = twin(model, order).eval()
    batch = incomplete()
    drawn = []

    def keep(*arguments):
        drawn.append(draw_latents(*arguments))
        return drawn[0]

    monkeypatch.setattr("cmvae.models.inference.draw_latents", keep)
    expected, grads = loss_and_gradients(model, batch)
    # The order of noise is that of the modalities: give the other model the same draws, in its
    # order.
    places = [list(SHAPES).index(m) for m in order]

    def permuted(experts, priors, draws, *rest):
        noise = [(drawn[0].own[i] - old.private_loc[i]) / old.private_scale[i] for i in places]
        own = tuple(loc[:, None] + s[:, None] * e for loc, s, e in _styles(experts, noise))
        z_noise = ((drawn[0].z - old.loc[:, :, None]) / old.scale[:, :, None])[places]
        z = experts.loc[:, :, None] + experts.scale[:, :, None] * z_noise
        raw = [model.family.scale(model.private_priors[m].raw_scale) for m in order]
        base = [drawn[0].others[i][places] / r for i, r in zip(places, raw, strict=True)]
        others = tuple(b * p.family.scale(p.raw_scale) for b, p in zip(base, priors, strict=True))
        return Draws(z, own, others)

    def _styles(experts, noise):
        return [
            (loc, scale[:, :], e.detach())
            for loc, scale, e in zip(
                experts.private_loc,
                (s for s in experts.private_scale),
                (n for n in noise),
                strict=True,
            )
        ]

    with torch.no_grad():
        old = _unsqueezed(experts_of(model, read_batch(model, batch)))
        drawn[0] = Draws(
            drawn[0].z.detach(), tuple(w.detach() for w in drawn[0].own), drawn[0].others
        )
    drawn[0] = Draws(drawn[0].z, drawn[0].own, tuple(w.detach() for w in drawn[0].others))
    monkeypatch.setattr("cmvae.models.inference.draw_latents", permuted)
    got, other_grads = loss_and_gradients(other, renamed(batch, order))
    torch.testing.assert_close(got.loss, expected.loss, rtol=1e-11, atol=0)
    assert set(grads) == set(other_grads)
    for name, gradient in grads.items():
        torch.testing.assert_close(other_grads[name], gradient, rtol=1e-8, atol=1e-10)
    for name, value in expected.metrics.items():
        torch.testing.assert_close(got.metrics[name], value, rtol=1e-9, atol=1e-9)
    results = deterministic(other, renamed(batch, order))
    for name, value in deterministic(model, batch).items():
        torch.testing.assert_close(results[name], value, rtol=0, atol=1e-9, equal_nan=True)
    torch.testing.assert_close(
        other.prune_clusters(renamed(batch, order)), model.prune_clusters(batch)
    )


def _unsqueezed(experts):
    """Return the experts with an axis for the draws on the private latents."""
    return type(experts)(
        experts.family,
        experts.loc,
        experts.scale,
        tuple(loc[:, None] for loc in experts.private_loc),
        tuple(scale[:, None] for scale in experts.private_scale),
        experts.observed,
    )
