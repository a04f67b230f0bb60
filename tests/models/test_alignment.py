import math
from dataclasses import replace

import pytest
import torch

from cmvae import CMVAE, CMVAEConfig, IncompleteDataset, MultimodalBaseDataset
from cmvae.base.processes import together
from cmvae.models.alignment import alignment_loss
from cmvae.models.families import FAMILIES
from cmvae.models.inference import experts_of
from cmvae.models.posterior import Experts
from forked import in_processes, join

QUIET = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def experts(family="laplace_with_softmax", observed=None, modalities=3, batch=7, dim=4, seed=0):
    torch.manual_seed(seed)
    loc = (3 * torch.randn(modalities, batch, dim, dtype=torch.double)).requires_grad_()
    scale = torch.rand(modalities, batch, dim, dtype=torch.double) + 0.5
    style = (torch.zeros(batch, 2),) * modalities
    if observed is None:
        observed = torch.ones(modalities, batch, dtype=torch.bool)
    return Experts(FAMILIES[family], loc, scale, style, style, observed)


def plain(found, sharpness):
    """The formula of the docstring, modality by modality and sample by sample."""
    kind = torch.distributions.Normal if found.family.is_normal else torch.distributions.Laplace
    standard, power = kind(torch.tensor(0.0).double(), 1.0), sharpness / found.loc.shape[-1]
    standardised, offsets = {}, []
    for m, (loc, mask) in enumerate(zip(found.loc, found.observed, strict=True)):
        seen = loc[mask]
        centred = loc - seen.mean(0)
        standardised[m] = centred / (centred[mask].square().mean() + 1e-8).sqrt()
        offsets += [
            (loc[i] - standardised[m][i].detach()).square().mean() for i in mask.nonzero().flatten()
        ]
    terms = []
    for m, n in [(m, n) for m in standardised for n in standardised if m != n]:
        candidates = found.observed[n].nonzero().flatten().tolist()
        for i in (found.observed[m] & found.observed[n]).nonzero().flatten().tolist():
            logs = {
                j: power * standard.log_prob(standardised[m][i] - standardised[n][j]).sum()
                for j in candidates
            }
            terms.append(logs[i] - torch.stack(list(logs.values())).logsumexp(0))
    return torch.stack(offsets).mean() - torch.stack(terms).mean()


@pytest.mark.parametrize("family", list(FAMILIES))
@pytest.mark.parametrize("sharpness", [1.0, 8.0])
@pytest.mark.parametrize("incomplete", [False, True])
def test_the_loss_is_the_formula_and_so_is_its_gradient(family, sharpness, incomplete):
    observed = (
        torch.rand(3, 7, generator=torch.Generator().manual_seed(3)) < 0.6 if incomplete else None
    )
    if incomplete:
        observed[0] |= ~observed.any(0)
    found = experts(family, observed)
    fast, slow = alignment_loss(found, sharpness), plain(found, sharpness)
    assert torch.allclose(fast, slow, rtol=1e-10)
    (own,), (expected,) = torch.autograd.grad(fast, found.loc), torch.autograd.grad(slow, found.loc)
    assert torch.allclose(own, expected, atol=1e-10)


def test_it_falls_with_alignment_to_zero_and_is_the_log_of_the_batch_where_locations_say_nothing():
    found = experts(batch=200, dim=40)
    with torch.no_grad():
        same = torch.randn(1, 200, 40, dtype=torch.double)
        found.loc[:] = same - same.mean(1, keepdim=True)
        found.loc[:] /= found.loc[0].square().mean().sqrt()
        assert alignment_loss(found, 64.0).item() == pytest.approx(0, abs=1e-4)
        found.loc[1] *= -1
        assert alignment_loss(found, 64.0) > 5
        found.loc[:] = 1.0  # standardised: all at zero, one away from themselves
        assert alignment_loss(found).item() == pytest.approx(math.log(200) + 1)


def test_the_contrast_does_not_depend_on_the_scale_of_the_locations():
    found = experts()
    with torch.no_grad():
        found.loc[:] -= found.loc.mean(1, keepdim=True)
        found.loc[:] /= found.loc.square().mean((1, 2), keepdim=True).sqrt()
        at_scale = alignment_loss(found)
        found.loc[:] *= 1e-2
        assert (alignment_loss(found) - at_scale).item() == pytest.approx(0.99**2, abs=1e-3)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_what_no_pair_shows_gives_no_contrast_and_gradients_without_nan(family):
    lonely = torch.eye(
        3, 7, dtype=torch.bool
    )  # no sample has two modalities, no modality two samples
    without = torch.ones(3, 7, dtype=torch.bool)
    without[1] = False
    for observed in (lonely, without):
        found = experts(family, observed)
        with torch.no_grad():
            found.loc[2] = found.loc[0]  # distances of zero
        loss = alignment_loss(found)
        gradient = torch.autograd.grad(loss, found.loc)[0]
        assert loss.isfinite()
        assert gradient.isfinite().all()
        assert gradient[~observed].eq(0).all()
    found = experts(family, lonely)
    assert alignment_loss(found).item() == pytest.approx(found.loc[lonely].square().mean().item())


# In the model
# --------------------------------------------------------------------------------------------------


def shares_the_group_alone(n=600, groups=3, seed=0):
    """Two modalities whose samples share the group, and nothing else: each has much of its own."""
    generator = torch.Generator().manual_seed(seed)
    group = torch.arange(n) % groups
    data = {}
    for name, size in (("a", 6), ("b", 5)):
        centres = torch.randn(groups, size, generator=generator)
        own = torch.randn(n, 2, generator=generator) @ (
            4 * torch.randn(2, size, generator=generator)
        )
        data[name] = 1.5 * centres[group] + own + 0.3 * torch.randn(n, size, generator=generator)
    return MultimodalBaseDataset(data, group)


def model(seed=0, **changes):
    torch.manual_seed(seed)
    fields = {
        "n_modalities": 2,
        "input_dims": {"a": 6, "b": 5},
        "latent_dim": 4,
        "modalities_specific_dim": 3,
    }
    fields |= {
        "number_of_clusters": 6,
        "K": 1,
        "beta": 2.5,
        "hidden_dims": (32,),
        "loss": "iwae_looser",
    }
    return CMVAE(CMVAEConfig(**{**fields, **changes}))


@pytest.mark.parametrize("loss", ["iwae_looser", "dreg_looser"])
def test_with_an_alignment_z_learns_from_it_alone(loss, monkeypatch):
    net, batch = model(loss=loss), shares_the_group_alone(20).batch(range(20))
    seen = {}

    def watched(parts, read):
        seen["experts"] = found = experts_of(parts, read)
        for tensor in (found.loc, found.scale):
            tensor.retain_grad()
        return found

    monkeypatch.setattr("cmvae.models.cmvae.experts_of", watched)
    output = net(batch, alignment=7.0)
    output.loss.backward()
    gradient = seen["experts"].loc.grad
    assert seen["experts"].scale.grad is None
    aligned = net.align(batch)
    aligned.loss.backward()
    assert torch.allclose(gradient, 7 * seen["experts"].loc.grad, atol=1e-6)
    assert output.metrics["alignment"].item() == pytest.approx(7 * aligned.loss.item(), rel=1e-5)
    decoder = next(iter(net.decoders["a"].parameters()))
    assert decoder.grad.abs().sum() > 0
    assert net.mixture.centers.grad.abs().sum() > 0


def test_the_value_is_the_bound_of_narrowed_draws_plus_the_alignment():
    net, batch = model().double(), shares_the_group_alone(20).batch(range(20))
    terms = net(batch, alignment=5.0, beta=1.5, generator=torch.Generator().manual_seed(0))
    parts = [v for k, v in terms.metrics.items() if "likelihood" in k or k.startswith("log_p")]
    bound = torch.stack(parts).sum() - terms.metrics["log_q_z"] - terms.metrics["log_q_w"]
    assert terms.loss.item() == pytest.approx(float(terms.metrics["alignment"] - bound), rel=1e-6)
    assert terms.loss_sum.item() == pytest.approx(20 * terms.loss.item(), rel=1e-6)
    narrow = terms.metrics["log_q_z"]
    assert (
        narrow
        > net(batch, beta=1.5, generator=torch.Generator().manual_seed(0)).metrics["log_q_z"] + 4
    )


def test_contents_of_missing_modalities_change_nothing():
    whole = shares_the_group_alone(30)
    masks = {"a": torch.arange(30) % 3 != 0, "b": torch.arange(30) % 3 != 1}
    results = []
    for fill in (0.0, math.nan, 1e30):
        data = {m: values.clone() for m, values in whole.data.items()}
        for m, mask in masks.items():
            data[m][~mask] = fill
        net = model()
        batch = IncompleteDataset(data, masks).batch(range(30))
        loss = (
            net(batch, alignment=3.0, generator=torch.Generator().manual_seed(0)).loss
            + net.align(batch).loss
        )
        loss.backward()
        gradients = [p.grad for p in net.parameters() if p.grad is not None]
        results.append(torch.cat([loss.detach()[None], *(g.flatten() for g in gradients)]))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@pytest.mark.parametrize("value", [0, -1.0, math.nan, "1", True])
def test_a_weight_that_is_no_positive_number_is_refused(value):
    with pytest.raises((ValueError, TypeError), match="alignment must be a positive"):
        model()(shares_the_group_alone(9), alignment=value)


def of_one_process(place):
    """The loss and gradients of a process that has the first four samples, or the other three."""
    join()
    observed = torch.rand(3, 7, generator=torch.Generator().manual_seed(3)) < 0.6
    whole, rows = experts(observed=observed), slice(0, 4) if place == 0 else slice(4, 7)
    parts = {"loc": whole.loc.detach()[:, rows].requires_grad_(), "observed": observed[:, rows]}
    own = replace(whole, **parts)
    with together(2):
        loss = alignment_loss(own)
    loss.backward()
    return loss.item(), own.loc.grad.tolist()


def test_processes_that_take_a_step_together_learn_from_the_batch_of_all():
    observed = torch.rand(3, 7, generator=torch.Generator().manual_seed(3)) < 0.6
    whole = experts(observed=observed)
    loss = alignment_loss(whole)
    loss.backward()
    found = in_processes(of_one_process)
    assert [value for value, _ in found] == pytest.approx([loss.item()] * 2)
    # The mean over processes of gradients, each of which knows its own samples alone.
    gradients = torch.cat([torch.tensor(own).double() for _, own in found], 1) / 2
    torch.testing.assert_close(gradients, whole.loc.grad)
