import math

import pytest
import torch

from cmvae import CMVAE
from cmvae.base.processes import together
from cmvae.models.alignment import resemblance
from cmvae.models.inference import experts_of, read_batch
from cmvae.models.information import information_loss
from forked import in_processes, join
from helpers import make_config


def model(seed=0, **changes):
    torch.manual_seed(seed)
    fields = {"latent_dim": 3, "modalities_specific_dim": 2, "hidden_dims": (16,)}
    fields |= {
        "decoders_dist": {"b": "bernoulli"},
        "prior_and_posterior_dist": "normal_with_softplus",
    }
    return CMVAE(make_config({"a": (6,), "b": (5,)}, **(fields | changes)))


def samples(n=30, seed=1):
    generator = torch.Generator().manual_seed(seed)
    ones = (torch.rand(n, 5, generator=generator) < 0.5).float()
    return {"a": torch.randn(n, 6, generator=generator), "b": ones}


def loss_of(net, data, seed=0):
    found = experts_of(net, read_batch(net, data))
    return information_loss(net, found, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("family", ["normal_with_softplus", "laplace_with_softmax"])
def test_the_loss_is_the_formula(family):
    net, data = model(prior_and_posterior_dist=family).double(), samples()
    data = {m: x.double() for m, x in data.items()}
    found = experts_of(net, read_batch(net, data))
    source = torch.Generator().manual_seed(0)
    z = found.sample(found.choose(1, source), source)[:, 0]
    factor = ((z - z.mean(0)) ** 2).mean() ** -0.5
    kind = torch.distributions.Normal if found.family.is_normal else torch.distributions.Laplace
    critic, terms = kind(torch.tensor(0.0).double(), 1.0), []
    for m in ("a", "b"):
        w = found.family.noise((30, 2), z, source)
        own = torch.rand(30, generator=source) < 0.5
        index = net.modalities.index(m)
        posterior = found.private_loc[index] + found.private_scale[index] * w
        w = torch.where(own[:, None], posterior, w)
        made = net.to_data({m: net.decoders[m](torch.cat([z, w], -1)).reconstruction})[m]
        seen = net.encoders[m](made).embedding
        for i in range(30):
            logs = [8 / 3 * critic.log_prob((seen[i] - other) * factor).sum() for other in z]
            terms.append(logs[i] - torch.stack(logs).logsumexp(0))
    assert float(loss_of(net, data).detach()) == pytest.approx(
        -float(torch.stack(terms).mean().detach()), rel=1e-6
    )


def test_decoders_alone_learn_by_it():
    net = model()
    loss_of(net, samples()).backward()
    for name, value in net.named_parameters():
        learns = name.startswith("decoders.")
        assert (value.grad is not None and bool(value.grad.abs().sum() > 0)) == learns, name
        assert value.requires_grad


def test_it_is_low_where_decoders_show_z_and_the_log_of_the_batch_where_they_do_not():
    net, data = model(), samples(100)
    shows = torch.optim.Adam(net.decoders.parameters(), 3e-3)
    begin = float(loss_of(net, data))
    for step in range(300):
        loss = loss_of(net, data, step)
        shows.zero_grad()
        loss.backward()
        shows.step()
    assert float(loss_of(net, data)) < begin - 0.5
    for decoder in net.decoders.values():
        for value in decoder.parameters():
            torch.nn.init.zeros_(value)
    assert float(loss_of(net, data)) > math.log(100) - 1e-4


@pytest.mark.parametrize(("shape", "through"), [((1, 8, 8), True), ((6,), False)])
def test_encoders_see_images_alone_through_noise(shape, through, monkeypatch):
    torch.manual_seed(0)
    net = CMVAE(make_config({"a": shape, "b": shape}, latent_dim=3, modalities_specific_dim=2))
    data = {m: torch.rand(30, *shape) for m in ("a", "b")}
    seen = float(loss_of(net, data))
    monkeypatch.setattr("cmvae.models.information.MOST_NOISE", 0.0)
    assert (float(loss_of(net, data)) != seen) == through


def test_what_is_missing_changes_nothing_and_a_frozen_encoder_stays_frozen():
    net, data = model(), samples()
    net.encoders["a"].requires_grad_(False)
    masks = {"a": torch.arange(30) % 2 == 0, "b": torch.ones(30, dtype=torch.bool)}
    losses = []
    for fill in (0.0, math.nan):
        data["a"][~masks["a"]] = fill
        losses.append(float(loss_of(net, {"data": data, "masks": masks})))
    assert losses[0] == losses[1]
    assert not any(value.requires_grad for value in net.encoders["a"].parameters())


def test_the_objective_adds_it_with_its_weight():
    net, data = model(), samples()
    plain, with_it = (
        net(data, information=weight, generator=torch.Generator().manual_seed(3))
        for weight in (None, 7.0)
    )
    added = float(with_it.metrics["information"])
    assert float(with_it.loss - plain.loss) == pytest.approx(added, rel=1e-3)
    assert "information" not in plain.metrics
    with pytest.raises(ValueError, match="information must be a positive"):
        net(data, information=0)


def test_beside_a_lasting_alignment_locations_learn_from_it_alone_and_scales_from_the_bound(
    monkeypatch,
):
    net, data, seen = model(), samples(), {}

    def watched(parts, read):
        seen["experts"] = found = experts_of(parts, read)
        for tensor in (found.loc, found.scale):
            tensor.retain_grad()
        return found

    monkeypatch.setattr("cmvae.models.cmvae.experts_of", watched)
    net(data, alignment=2.0, narrowed=False, information=3.0).loss.backward()
    loc, scale = seen["experts"].loc.grad, seen["experts"].scale.grad
    net.align(data).loss.backward()
    assert torch.allclose(loc, 2 * seen["experts"].loc.grad, atol=1e-6)
    assert bool(scale.abs().sum() > 0)


def test_views_are_what_the_alignment_sees():
    net, data, other = model(), samples(), samples(seed=5)
    source = torch.Generator().manual_seed(0)
    output = net(data, alignment=2.0, views=other, generator=source)
    assert float(output.metrics["alignment"]) == pytest.approx(2 * float(net.align(other).loss))


def test_processes_that_take_a_step_together_tell_their_z_from_those_of_all():
    net = model()
    for value in net.decoders.parameters():
        torch.nn.init.zeros_(value)  # all that they show is alike
    data = [samples(30, 1), samples(20, 2)]

    def loss_in(place):
        join()
        with together(2):
            return loss_of(net, data[place], place).item()

    found, z = in_processes(loss_in), []
    for place, own in enumerate(data):
        experts, source = experts_of(net, read_batch(net, own)), torch.Generator()
        source.manual_seed(place)
        z.append(experts.sample(experts.choose(1, source), source)[:, 0].detach())
    every = torch.cat(z)
    factor = ((every - every.mean(0)) ** 2).mean() ** -0.5
    means = net.to_data({m: torch.zeros(1, n) for m, n in (("a", 6), ("b", 5))})
    seen = [net.encoders[m](mean).embedding for m, mean in means.items()]
    logs = [
        resemblance(net.family, (own - every.mean(0)) * factor, (every - every.mean(0)) * factor)
        for own in seen
    ]
    log_shares = torch.stack(logs).log_softmax(-1).mean((0, 1)).detach().split([30, 20])
    assert found == pytest.approx([-float(own.mean()) for own in log_shares], rel=1e-4)
