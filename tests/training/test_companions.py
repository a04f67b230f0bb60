import warnings

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch.utils.data import DataLoader, Subset

from cmvae import CMVAE, CMVAEConfig, IncompleteDataset, MultimodalBaseDataset
from cmvae.models import inference
from cmvae.models.alignment import alignment_loss
from cmvae.models.inference import experts_of, read_batch
from cmvae.training.companions import Companion, companions_of
from cmvae.training.module import CMVAEModule
from cmvae.training.start import ALIGNMENT_WEIGHT, Start
from helpers import make_model, networks
from training.cases import data, model, train

QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
}


class Watch(Callback):
    """Keeps the module, and what of its companions moves in each epoch."""

    def on_train_epoch_start(self, trainer, module):
        self.module = module
        self.before = [p.detach().clone() for p in module.companions.parameters()]
        self.warming = [*getattr(self, "warming", []), module.warming]

    def on_train_epoch_end(self, trainer, module):
        now = list(module.companions.parameters())
        moved = any(not torch.equal(b, a) for b, a in zip(self.before, now, strict=True))
        self.moved = [*getattr(self, "moved", []), moved]


def linear_networks(companion):
    """Tell whether encoders have no hidden layer."""
    return companion.model.model_config.hidden_dims == ()


def test_vectors_have_aligned_and_linear_companions():
    made = companions_of(model())
    assert [linear_networks(one) for one in made] == [False, True, True]
    assert [one.alignment for one in made] == [ALIGNMENT_WEIGHT, 0.0, ALIGNMENT_WEIGHT]
    for one in made:
        config = one.model.model_config
        assert (config.number_of_clusters, config.covariance) == (1, "identity")
        assert not any(p.requires_grad for p in one.model.mixture.parameters())
        z = torch.randn(5, 2)
        expected = torch.distributions.Normal(0, 1).log_prob(z).sum(-1)
        torch.testing.assert_close(one.model.mixture.log_prob(z), expected)


def test_a_single_modality_has_nothing_to_align():
    made = companions_of(model(n_modalities=1, input_dims={"a": 4}))
    assert [linear_networks(one) for one in made] == [False, True]
    assert not any(one.alignment for one in made)


def test_neither_images_nor_custom_networks_have_companions():
    shapes = {"a": (4,), "b": (3, 8, 8)}
    settings = {"n_modalities": 2, "latent_dim": 2, "modalities_specific_dim": 2}
    images = CMVAEConfig(input_dims=shapes, **settings)
    own, decoders = networks(shapes, 2)
    assert len(companions_of(CMVAE(images, own, decoders))) == 0
    assert len(companions_of(make_model({"a": (4,), "b": (3,)}))) == 0


def test_a_companion_learns_by_the_objective_and_by_the_alignment():
    samples, net = data(20), model(number_of_clusters=1)
    losses = {}
    for weight in (0.0, 2.0):
        torch.manual_seed(3)
        losses[weight] = Companion(net, weight)(samples.batch(range(20)))
    torch.manual_seed(3)
    objective = net(samples.batch(range(20))).loss
    aligned = alignment_loss(experts_of(net, read_batch(net, samples.batch(range(20)))))
    torch.testing.assert_close(losses[0.0], objective)
    torch.testing.assert_close(losses[2.0], objective + 2 * aligned)


def test_a_batch_is_encoded_once_for_all_that_is_learned_from_it(monkeypatch):
    calls = []

    class Counted(Watch):
        def on_train_batch_start(self, trainer, module, batch, index):
            calls.append(0)

    def counting(*arguments, own=inference.encode_observed):
        if torch.is_grad_enabled():
            calls[-1] += 1
        return own(*arguments)

    monkeypatch.setattr(inference, "encode_observed", counting)
    watch = Counted()
    plan = {"max_epochs": 2, "warmup_epochs": 1, "initial_clusters": 3, "seed": 0}
    train(model(), data(), callbacks=[watch], **plan)
    assert watch.module.memberships is not None
    modalities, steps = len(model().modalities), len(calls) // 2
    assert calls == [4 * modalities] * steps + [modalities] * steps


def test_companions_learn_in_the_warm_up_alone():
    watch = Watch()
    plan = {"max_epochs": 4, "warmup_epochs": 2, "initial_clusters": 3, "seed": 0}
    train(model(), data(), callbacks=[watch], **plan)
    assert len(watch.module.companions) == 3
    assert watch.moved == [True, True, False, False]
    assert watch.warming[-1] is False


@pytest.mark.parametrize("method", ["spectral", "shared", "gmm"])
def test_other_starts_have_no_companions_and_keep_nothing(method):
    watch, start = Watch(), Start(warmup_epochs=1, initial_clusters=3, method=method, seed=0)
    train(model(), data(), callbacks=[watch], max_epochs=2, start=start)
    assert len(watch.module.companions) == 0
    assert watch.module.memberships is None


def test_a_companion_whose_loss_is_not_finite_is_left_out(monkeypatch):
    def broken(own):
        made = companions_of(own)
        with torch.no_grad():
            next(made[0].model.encoders["a"].parameters()).fill_(torch.nan)
        return made

    monkeypatch.setattr("cmvae.training.fit.companions_of", broken)
    watch, trained = Watch(), model()
    plan = {"max_epochs": 3, "warmup_epochs": 2, "initial_clusters": 3, "seed": 0}
    # Clipping takes the gradients of all together.
    train(trained, data(), callbacks=[watch], gradient_clip_val=1.0, **plan)
    assert trained.n_clusters == 3
    assert all(p.isfinite().all() for p in trained.parameters())
    others = list(watch.module.companions)[1:]
    assert all(p.isfinite().all() for one in others for p in one.parameters())


def test_latents_of_companions_take_part_in_the_start(monkeypatch):
    seen = []

    def find(known, *arguments):
        seen.append(known)
        return original(known, *arguments)

    original = __import__("cmvae.clusters.groups", fromlist=["x"]).find_groups
    monkeypatch.setattr("cmvae.training.initialization.find_groups", find)
    plan = {"max_epochs": 2, "warmup_epochs": 1, "initial_clusters": 3, "seed": 0}
    train(model(), data(), **plan)
    (known,) = seen
    assert [means.shape for means in known.latents] == [(60, 2)] * 4
    assert not any(np.array_equal(known.latents[0], other) for other in known.latents[1:])
    assert known.views is not None


def test_a_model_of_double_precision_has_companions_too():
    trained = model().double()
    plan = {"max_epochs": 2, "warmup_epochs": 1, "initial_clusters": 3, "seed": 0}
    watch = Watch()
    train(trained, data(), callbacks=[watch], **plan)
    assert {p.dtype for p in trained.parameters()} == {torch.float64}
    assert watch.moved == [True, False]
    assert trained.n_clusters == 3


def test_batches_without_two_modalities_leave_companions_finite():
    samples = data(40)
    masks = {"a": torch.arange(40) % 2 == 0, "b": torch.arange(40) % 2 == 1}
    apart = IncompleteDataset(samples.data, masks)
    watch, trained = Watch(), model()
    plan = {"max_epochs": 2, "warmup_epochs": 1, "initial_clusters": 2, "seed": 0}
    train(trained, apart, callbacks=[watch], batch_size=5, **plan)
    assert all(p.isfinite().all() for p in watch.module.parameters())


# Keeping what the clusters started from
# --------------------------------------------------------------------------------------------------


def overlapping(n=150, seed=0):
    """Two tables of three groups that touch."""
    generator = torch.Generator().manual_seed(seed)
    group = torch.arange(n) % 3
    tables = {
        name: 2.2 * torch.eye(3, size)[group] + torch.randn(n, size, generator=generator)
        for name, size in (("a", 4), ("b", 3))
    }
    return MultimodalBaseDataset(tables, group)


@pytest.mark.parametrize("keep", [True, False])
def test_training_keeps_the_groups_it_started_from_where_it_shall(keep):
    samples, trained = overlapping(), model(number_of_clusters=3)
    start = Start(warmup_epochs=15, initial_clusters=3, keep=keep, fresh_optimizer=True, seed=0)
    trainer = train(trained, samples, max_epochs=35, start=start, learning_rate=3e-3, seed=0)
    (begin,) = (c for c in trainer.callbacks if type(c).__name__ == "StartCallback")
    found = trained.predict_clusters(samples).clusters.numpy()
    same = (found == begin.groups.labels).mean()
    assert same > 0.95 if keep else same < 0.93


def test_the_term_is_the_cross_entropy_with_memberships_of_the_batch_s_rows():
    net, samples = model(number_of_clusters=3), data(12)
    module = CMVAEModule(net)
    module.trainer = Trainer(**QUIET)
    rows = [7, 2, 9, 4]
    batch = samples.batch(rows)
    losses = {}
    wanted = torch.rand(12, 3, generator=torch.Generator().manual_seed(0))
    wanted[2] = 0  # nothing is wanted of it
    for name, memberships, own in (
        ("none", None, {"rows": torch.tensor(rows)}),
        ("kept", wanted, {"rows": torch.tensor(rows)}),
    ):
        module.memberships = memberships
        torch.manual_seed(1)
        losses[name] = module.training_step(type(batch)({**batch, **own}), 0)
    means = experts_of(net, read_batch(net, batch)).mean
    log_p = net.mixture.log_joint(means).log_softmax(-1)
    expected = -(wanted[rows] * log_p).sum(-1).mean()
    torch.testing.assert_close(losses["kept"] - losses["none"], 10 * expected)


@pytest.mark.parametrize("plain", [False, True])
def test_batches_that_do_not_say_their_rows_are_told_of_once(plain):
    net, samples = model(number_of_clusters=3), data(12)
    module = CMVAEModule(net)
    module.trainer = Trainer(**QUIET)
    batch = samples.batch([7, 2, 9, 4])
    losses = []
    for memberships in (None, torch.rand(12, 3), torch.rand(12, 3)):
        module.memberships = memberships
        torch.manual_seed(1)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            losses.append(module.training_step(batch["data"] if plain else batch, 0))
        losses[-1] = (
            losses[-1].item(),
            ["pass the dataset itself" in str(w.message) for w in told],
        )
    (loss, _), *_ = losses
    assert losses == [(loss, []), (loss, [True]), (loss, [])]


def test_a_user_s_own_loader_is_told_of_and_a_dataset_is_not(recwarn):
    samples = overlapping()
    start = Start(warmup_epochs=1, initial_clusters=3, seed=0)
    for given, times in ((Subset(samples, range(100)), 0), (DataLoader(samples, 20), 1)):
        recwarn.clear()
        train(model(number_of_clusters=3), given, max_epochs=3, start=start)
        assert sum("do not say which samples" in str(one.message) for one in recwarn) == times


def test_pruned_clusters_and_memberships_of_them_leave_the_loss_finite():
    net, samples = model(number_of_clusters=3), data(6)
    net.mixture.keep(torch.tensor([True, True, False]))
    module = CMVAEModule(net)
    module.trainer = Trainer(**QUIET)
    module.memberships = torch.eye(3)[[0, 1, 2, 0, 1, 1]]
    batch = samples.batch(range(6))
    loss = module.training_step(type(batch)({**batch, "rows": torch.arange(6)}), 0)
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)


def test_large_batches_are_contrasted_in_parts(monkeypatch):
    own = companions_of(model())[0].eval()
    batch = data(10).batch(range(10))
    torch.manual_seed(0)
    plain = own.model(batch).loss
    monkeypatch.setattr("cmvae.training.companions.MOST_CONTRASTED", 5)
    torch.manual_seed(0)
    found = own(batch) - plain
    experts = experts_of(own.model, read_batch(own.model, batch))
    halves = [alignment_loss(experts.select(torch.arange(5) + first)) for first in (0, 5)]
    torch.testing.assert_close(found, ALIGNMENT_WEIGHT * torch.stack(halves).mean())
    assert not torch.isclose(found, ALIGNMENT_WEIGHT * alignment_loss(experts))
