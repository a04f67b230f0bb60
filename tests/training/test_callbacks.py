import signal
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback

from cmvae import CMVAE, CMVAEConfig, MultimodalBaseDataset
from cmvae.clusters.evidence import NumberEvidence
from cmvae.metrics import clustering_accuracy
from cmvae.training.callbacks import CosineDecay, StartCallback
from cmvae.training.initialization import initialize_clusters
from cmvae.training.module import NonFiniteLossError
from cmvae.training.start import ALIGNMENT_WEIGHT, Start
from training.cases import StopAfter, data, model, train, weights


class Watch(Callback):
    """Notes epoch, active clusters and centres before and after every step."""

    def __init__(self):
        self.before, self.counts = [], []

    def on_train_batch_start(self, trainer, module, *_):
        self.before.append(module.model.cluster_centers.detach().clone())

    def on_train_batch_end(self, trainer, module, *_):
        self.counts.append((trainer.current_epoch, module.model.n_clusters))


def test_warm_up_has_one_cluster_and_then_starts_the_others():
    trained, watch = model(covariance="full"), Watch()
    plan = {"max_epochs": 4, "warmup_epochs": 2, "initial_clusters": 3}
    train(trained, data(), **plan, callbacks=[watch], batch_size=60, seed=0)
    assert watch.counts == [(0, 1), (1, 1), (2, 3), (3, 3)]
    assert torch.equal(watch.before[0], watch.before[1])
    assert not torch.equal(watch.before[2], watch.before[3])
    assert all(parameter.requires_grad for parameter in trained.parameters())


def test_without_a_warm_up_the_clusters_of_a_plan_start_at_once():
    watch, samples = Watch(), data()
    start = Start(initial_clusters=3, seed=0)
    train(model(), samples, start=start, max_epochs=2, callbacks=[watch], batch_size=60)
    assert watch.counts == [(0, 3), (1, 3)]


def test_clusters_start_on_the_training_data_as_the_plan_says(monkeypatch):
    calls = []
    monkeypatch.setattr(
        "cmvae.training.callbacks.initialize_clusters",
        lambda *arguments, **keywords: calls.append((*arguments, keywords)),
    )
    trained, samples = model(), data()
    train(trained, samples, max_epochs=2, warmup_epochs=1, initial_clusters=3, seed=7)
    train(trained, samples, max_epochs=4, alignment_epochs=(1, 1), seed=8)
    start = Start(warmup_epochs=1, method="gmm", seed=9, batch_size=3, initial_clusters="auto")
    train(trained, samples, max_epochs=2, start=start)
    wanted = [
        {"n_clusters": 3, "method": "consensus", "seed": 7, "batch_size": 512},
        {"n_clusters": None, "method": "shared", "seed": 8, "batch_size": 512},
        {"n_clusters": None, "method": "shared", "seed": 8, "batch_size": 512},
        {"n_clusters": "auto", "method": "gmm", "seed": 9, "batch_size": 3},
    ]
    companions = [len(keywords.pop("companions")) for *_, keywords in calls]
    assert companions == [3, 0, 0, 0]
    assert calls == [(trained, samples, keywords) for keywords in wanted]


# Freezing
# --------------------------------------------------------------------------------------------------


class Fail(Callback):
    """Raises in one hook, in the first epoch."""

    def __init__(self, hook, error):
        def raise_it(trainer, module, *_):
            assert not module.model.mixture.centers.requires_grad
            raise error

        setattr(self, hook, raise_it)


class FailTwice(Fail):
    def on_exception(self, *_):
        raise OSError("no room to note the failure")


FAILURES = {
    "an error in a step": (Fail("on_train_batch_start", RuntimeError("stop")), RuntimeError),
    "an interrupt": (Fail("on_train_batch_end", KeyboardInterrupt()), KeyboardInterrupt),
    "an exit": (Fail("on_train_epoch_end", SystemExit(3)), SystemExit),
    "an error of the one who hears of it": (
        FailTwice("on_train_batch_start", RuntimeError("stop")),
        OSError,
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_warm_up_that_fails_leaves_the_mixture_as_it_was(name):
    callback, error = FAILURES[name]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    trained = model()
    trained.mixture.logits.requires_grad_(False)
    with pytest.raises(error):
        train(trained, data(), max_epochs=3, warmup_epochs=2, callbacks=[callback])
    assert trained.mixture.centers.requires_grad
    assert not trained.mixture.logits.requires_grad


def test_clusters_that_cannot_start_leave_nothing_frozen():
    alike = MultimodalBaseDataset({"a": torch.ones(9, 4), "b": torch.ones(9, 3)})
    trained = model()
    with pytest.raises(ValueError, match="4 clusters cannot start from 1 different sample"):
        train(trained, alike, max_epochs=3, warmup_epochs=2)
    assert all(parameter.requires_grad for parameter in trained.parameters())


@pytest.mark.parametrize(("epochs", "clusters"), [(1, 1), (2, 1), (3, 4)])
def test_a_run_that_ends_with_a_single_cluster_says_so(caplog, epochs, clusters):
    trained = model()
    train(trained, data(), max_epochs=5, warmup_epochs=2, callbacks=[StopAfter(epochs)])
    assert trained.n_clusters == clusters
    assert all(parameter.requires_grad for parameter in trained.parameters())
    assert ("the model has a single cluster" in caplog.text) == (clusters == 1)


# Ending the warm-up early
# --------------------------------------------------------------------------------------------------


def give(monkeypatch, losses):
    """Let these be the losses of the epochs; return a callback to train with."""
    figures = {"train/loss": torch.zeros(())}
    monkeypatch.setattr(
        "lightning.pytorch.Trainer.callback_metrics", property(lambda self: dict(figures))
    )

    class Given(Callback):
        def on_train_batch_end(self, trainer, module, *_):
            figures["train/loss"] = torch.tensor(float(losses[trainer.current_epoch]))

    return Given()


@pytest.mark.parametrize(
    ("losses", "started"),
    [
        ([5, 4, 3, 2, 1], 5),
        ([5, 4, 4, 4, 4], 4),
        ([5, 6, 5, 3, 1], 3),
        ([5, 4.9995, 4.9991, 4, 3], 3),  # less than 0.001 below the best
        ([5, 4.9995, 4.9989, 4.9985, 3], 5),  # 0.0011 below the best, though not below the last
    ],
)
def test_patience_ends_a_warm_up_and_leaves_what_follows_as_long(monkeypatch, losses, started):
    watch, given = Watch(), give(monkeypatch, losses + [0] * 3)
    start = Start(warmup_epochs=5, patience=2, initial_clusters=3, seed=0)
    arguments = {"max_epochs": 8, "batch_size": 60, "callbacks": [watch, given]}
    trainer = train(model(), data(), start=start, **arguments)
    assert [epoch for epoch, count in watch.counts if count == 1] == list(range(started))
    assert trainer.current_epoch == started + 3


# Alignment
# --------------------------------------------------------------------------------------------------


def shares_the_group_alone(n=600, groups=3, seed=0):
    """Two modalities whose samples share the group, and nothing else: each has much of its own."""
    generator = torch.Generator().manual_seed(seed)
    group = torch.arange(n) % groups
    tables = {}
    for name, size in (("a", 6), ("b", 5)):
        centres = torch.randn(groups, size, generator=generator)
        own = torch.randn(n, 2, generator=generator)
        own = own @ (4 * torch.randn(2, size, generator=generator))
        tables[name] = 1.5 * centres[group] + own + 0.3 * torch.randn(n, size, generator=generator)
    return MultimodalBaseDataset(tables, group)


def aligned_model(**changes):
    fields = {
        "input_dims": {"a": 6, "b": 5},
        "latent_dim": 4,
        "modalities_specific_dim": 3,
        "number_of_clusters": 6,
        "prior_and_posterior_dist": "laplace_with_softmax",
        "K": 1,
        "beta": 2.5,
        "hidden_dims": (32,),
        "loss": "iwae_looser",
    }
    return model(**{**fields, **changes})


class Steps(Callback):
    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, module, *_):
        self.seen.append((trainer.current_epoch, module.encoders_alone, dict(module.options)))


def test_alignment_finds_groups_that_training_from_scratch_does_not():
    samples, scores = shares_the_group_alone(), []
    # Beside the model itself, companions that align would find them too.
    alone = Start(warmup_epochs=15, method="spectral", seed=0)
    for plan in ({"alignment_epochs": (15, 2)}, {"start": alone}):
        trained = aligned_model(number_of_clusters=3)
        train(trained, samples, max_epochs=21, batch_size=50, learning_rate=3e-3, seed=0, **plan)
        found = trained.predict_clusters(samples).clusters
        scores.append(clustering_accuracy(samples.labels, found))
    assert scores[0] > 0.95
    assert scores[1] < 0.7


def test_the_objective_becomes_the_models_own_step_by_step():
    steps, trained = Steps(), aligned_model()
    start = Start(alignment_epochs=(2, 3), lasting=False, information=None)
    plan = {"max_epochs": 9, "start": start, "batch_size": 30}
    trainer = train(trained, shares_the_group_alone(60), "run", callbacks=[steps], **plan)
    held = {"beta": 1.0, "alignment": ALIGNMENT_WEIGHT, "narrowed": True}
    assert [epoch for epoch, alone, _ in steps.seen if alone] == [0, 0, 1, 1]
    assert [options for epoch, _, options in steps.seen if 2 <= epoch < 5] == [held] * 6
    rising = [options for epoch, _, options in steps.seen if 5 <= epoch < 8]
    assert [set(options) for options in rising] == [{"beta"}] * 6
    assert [options["beta"] for options in rising] == pytest.approx(
        [1 + 1.5 * k / 6 for k in range(6)]
    )
    assert [options for epoch, _, options in steps.seen if epoch == 8] == [{}] * 2
    assert all(parameter.requires_grad for parameter in trained.parameters())
    # The losses of other objectives are smaller, and do not count.
    best = torch.load(trainer.checkpoint_callback.best_model_path, weights_only=True)
    assert best["epoch"] == 8


class Rates(Callback):
    """Keeps the learning rates of every step."""

    def __init__(self):
        self.seen = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.seen.append([group["lr"] for group in optimizer.param_groups])


def fallen(n, kept=0):
    """The rates of n steps, of a largest rate of 0.01 which the first of them keep."""
    falling = np.maximum(0, np.arange(n) - kept) / (n - kept)
    return 0.01 * (0.05 + 0.95 * 0.5 * (1 + np.cos(np.pi * falling)))


@pytest.mark.parametrize(("share", "kept"), [(1.0, 0), (0.25, 9)])
def test_a_learning_rate_falls_along_half_a_cosine(share, kept):
    rates, learned = Rates(), model(decoder_dist_params={"a": {"scale": "learned"}})
    callbacks = [CosineDecay(share), rates]
    train(learned, data(), max_epochs=4, learning_rate=0.01, callbacks=callbacks)
    first, second = np.array(rates.seen).T
    np.testing.assert_allclose(first, fallen(12, kept))
    assert kept == 0 or first[kept] == 0.01 > first[kept + 1]
    np.testing.assert_allclose(second, 10 * first)


@pytest.mark.parametrize("share", [0, -0.5, 1.5, float("nan")])
def test_it_falls_along_a_share_of_the_steps(share):
    with pytest.raises(ValueError, match="share must be above 0, and at most 1"):
        CosineDecay(share)


@pytest.mark.parametrize(("share", "kept"), [(1, 0), (3 / 7, 8)])
def test_it_stands_still_while_an_alignment_goes_on_for_longer(monkeypatch, share, kept):
    monkeypatch.setattr(StartCallback, "_number", lambda own, _: min(len(own.losses), 4))
    rates, start = Rates(), Start(alignment_epochs=(4, 1), longest_alignment=9, initial_clusters=3)
    arguments = {"max_epochs": 7, "start": start, "batch_size": 30, "learning_rate": 0.01}
    callbacks = [rates, CosineDecay(share)]
    trainer = train(aligned_model(), shares_the_group_alone(60), callbacks=callbacks, **arguments)
    late = trainer.current_epoch - 7
    assert late > 0
    held = np.insert(fallen(14, kept), 8, [fallen(14, kept)[8]] * 2 * late)
    np.testing.assert_allclose(np.array(rates.seen)[:, 0], held)


def test_it_stands_still_from_the_epoch_planned_though_passes_are_shorter_than_they_said():
    begin = StartCallback(Start(alignment_epochs=(4, 1), longest_alignment=9), None)
    begin.ended = 8
    group = {"lr": 0.01}
    trainer = SimpleNamespace(
        callbacks=[begin],
        max_epochs=11,
        num_training_batches=100,
        estimated_stepping_batches=1100,
        optimizers=[SimpleNamespace(param_groups=[group])],
    )
    rates = []
    for epoch in range(11):  # of 60 steps, not 100
        trainer.current_epoch, trainer.global_step = epoch, 60 * epoch
        CosineDecay().on_train_batch_start(trainer, None, None, 0)
        rates.append(group["lr"])
    np.testing.assert_allclose(rates, np.insert(fallen(7), 4, [fallen(7)[4]] * 4))


@pytest.mark.parametrize("views", [True, False])
def test_every_step_of_an_alignment_sees_other_views_where_the_plan_says_so(monkeypatch, views):
    shapes = []
    place = "cmvae.training.module.other_views"
    monkeypatch.setattr(place, lambda batch, known: shapes.append(known) or batch)
    start = Start(alignment_epochs=(1, 1), views=views)
    plan = {"max_epochs": 4, "start": start, "batch_size": 30}
    train(aligned_model(), shares_the_group_alone(60), **plan)
    assert shapes == [{"a": (6,), "b": (5,)}] * 8 * views


@pytest.mark.parametrize("views", [True, False])
def test_samples_that_are_held_out_are_never_aligned_and_count_the_groups(monkeypatch, views):
    aligned, counted = [], []
    align = CMVAE.align

    def watched(own, batch):
        aligned.append(batch["rows"].tolist())
        return align(own, batch)

    def start_clusters(own, samples, n_clusters, **options):
        counted.append(options["counted"])
        return initialize_clusters(own, samples, n_clusters, **options)

    monkeypatch.setattr(CMVAE, "align", watched)
    monkeypatch.setattr("cmvae.training.callbacks.initialize_clusters", start_clusters)
    forward = CMVAE.forward

    def forwarded(own, batch, **options):
        aligned.append(options["views"]["rows"].tolist())
        assert len(batch["rows"]) == 30
        return forward(own, batch, **options)

    monkeypatch.setattr(CMVAE, "forward", forwarded)
    start = Start(alignment_epochs=(2, 1), views=views, held_out=0.2, seed=3)
    train(aligned_model(), shares_the_group_alone(60), max_epochs=5, start=start, batch_size=30)
    seen = {row for rows in aligned for row in rows}
    assert (len(aligned), len(seen)) == (10, 48)
    for rows in counted:
        assert sorted({*range(60)} - seen) == rows.tolist()
    assert len(counted) == 2


def counting(monkeypatch, numbers, given, different=60):
    """Let clusters start with these numbers where ``given`` is asked; return what is asked for.

    Of the latents that they start from so many are different.
    """
    wanted, left = [], iter(numbers)

    def start_clusters(own, samples, n_clusters, **options):
        wanted.append(n_clusters)
        counted = n_clusters == given
        number = next(left) if counted else n_clusters
        groups = initialize_clusters(own, samples, number, **options)
        latents = groups.known.latents[0].copy()
        latents[different:] = latents[0]
        evidence = NumberEvidence((), (), number, None, 0.0, 0.0) if counted else None
        return replace(groups, known=replace(groups.known, latents=(latents,)), evidence=evidence)

    monkeypatch.setattr("cmvae.training.callbacks.initialize_clusters", start_clusters)
    return wanted


@pytest.mark.parametrize("held_out", [0.0, 0.2])
@pytest.mark.parametrize(("given", "last"), [("auto", 3), (None, 2)])
def test_the_second_start_counts_no_fewer_clusters_than_the_first(
    monkeypatch, held_out, given, last
):
    wanted = counting(monkeypatch, [3, 2], given)
    plan = {"alignment_epochs": (1, 1), "initial_clusters": given, "held_out": held_out}
    trained = aligned_model()
    train(trained, shares_the_group_alone(60), max_epochs=4, start=Start(**plan, seed=0))
    assert wanted == [given, given] + [3] * (given == "auto")
    assert trained.n_clusters == last


def test_the_second_start_has_no_more_clusters_than_different_samples(monkeypatch):
    wanted = counting(monkeypatch, [5, 2], "auto", different=4)
    plan = Start(alignment_epochs=(1, 1), initial_clusters="auto", seed=0)
    train(aligned_model(), shares_the_group_alone(60), max_epochs=4, start=plan)
    assert wanted == ["auto", "auto", 4]


def test_what_spoke_for_the_number_at_first_stays_with_it(monkeypatch):
    counting(monkeypatch, [3, 2], "auto")
    plan = Start(alignment_epochs=(1, 1), initial_clusters="auto", seed=0)
    trainer = train(aligned_model(), shares_the_group_alone(60), max_epochs=4, start=plan)
    begin = next(own for own in trainer.callbacks if isinstance(own, StartCallback))
    assert begin.groups.evidence.chosen == 3


class Phases(Callback):
    def __init__(self):
        self.seen, self.planned = [], []

    def on_train_epoch_end(self, trainer, module):
        self.seen.append(module.phase[0])
        self.planned.append(trainer.max_epochs)


@pytest.mark.parametrize(
    ("numbers", "aligned", "looks"),
    [
        ([2, 2, 2], 4, [2, 3, 4]),
        ([2, 2, 3, 3, 3], 6, [2, 3, 4, 5, 6]),
        ([1, 1, 1, 3, 3, 4, 4], 9, [2, 3, 4, 5, 6, 7, 8]),
        ([1] * 7, 9, [2, 3, 4, 5, 6, 7, 8]),
        ([3, 4, 2], 4, [2, 3, 4]),
    ],
)
def test_an_alignment_goes_on_while_more_groups_are_found(monkeypatch, numbers, aligned, looks):
    looked, begin, phases, left = [], [], Phases(), iter(numbers)

    def number(self, module):
        begin.append(self)
        looked.append(len(self.losses))
        return next(left)

    monkeypatch.setattr(StartCallback, "_number", number)
    start = Start(alignment_epochs=(4, 1), longest_alignment=9, initial_clusters=3, seed=0)
    arguments = {"max_epochs": 7, "start": start, "batch_size": 60}
    train(aligned_model(), shares_the_group_alone(60), callbacks=[phases], **arguments)
    assert looked == looks
    assert begin[0].before == aligned
    assert "".join(phases.seen) == "a" * (aligned + 2) + "c"
    assert (phases.planned[0], phases.planned[-1]) == (7, aligned + 3)


def test_a_longer_alignment_ends_at_a_bad_loss_or_a_trial_as_any_other(monkeypatch):
    class Break(Callback):
        def on_train_batch_end(self, trainer, module, *_):
            if trainer.current_epoch == 1:
                next(module.model.encoders.parameters()).data.fill_(torch.nan)

    start = Start(alignment_epochs=(2, 1), longest_alignment=6, initial_clusters=3, seed=0)
    samples, arguments = shares_the_group_alone(60), {"max_epochs": 5, "start": start}
    with pytest.raises(NonFiniteLossError):
        train(aligned_model(), samples, callbacks=[Break()], batch_size=60, **arguments)
    trial = train(aligned_model(), samples, fast_dev_run=True, **arguments)
    assert trial.global_step == 1


def test_it_is_told_of_a_longer_alignment_too_whether_its_loss_still_fell(monkeypatch):
    monkeypatch.setattr(StartCallback, "_number", lambda *_: 1)
    start = Start(alignment_epochs=(10, 1), longest_alignment=15, initial_clusters=3, seed=0)
    for losses, falls in ((range(40, 0, -1), True), ([9] * 12 + [5] * 9, False)):
        arguments = {"max_epochs": 13, "batch_size": 600, "callbacks": [give(monkeypatch, losses)]}
        trainer = train(aligned_model(), shares_the_group_alone(), start=start, **arguments)
        begin = next(own for own in trainer.callbacks if isinstance(own, StartCallback))
        assert (begin.before, begin.still_falling) == (15, falls)


def test_groups_are_counted_without_a_trace():
    trained, counts = aligned_model(), []

    class Look(Callback):
        def on_train_epoch_end(self, trainer, module):
            begin = next(own for own in trainer.callbacks if isinstance(own, StartCallback))
            if trainer.current_epoch in (0, 14):
                before = {n: value.clone() for n, value in module.model.state_dict().items()}
                drawn = torch.get_rng_state()
                counts.append(begin._number(module))
                assert torch.equal(drawn, torch.get_rng_state())
                for name, value in module.model.state_dict().items():
                    assert torch.equal(value, before[name])

    start = Start(alignment_epochs=(15, 1), initial_clusters=2, seed=0)
    arguments = {"max_epochs": 18, "learning_rate": 3e-3, "batch_size": 50, "seed": 0}
    train(trained, shares_the_group_alone(), start=start, callbacks=[Look()], **arguments)
    assert counts == [1, 3]  # though two are wanted
    assert trained.n_clusters == 2


@pytest.mark.parametrize("stop", [1, 4, 7, 8, 10])
def test_a_resumed_run_aligns_as_long_as_the_whole_one(monkeypatch, stop):
    samples = shares_the_group_alone(60)
    monkeypatch.setattr(StartCallback, "_number", lambda own, _: min(len(own.losses), 6))
    start = Start(alignment_epochs=(2, 1), longest_alignment=9, initial_clusters=3, seed=0)
    arguments = {"max_epochs": 5, "start": start, "seed": 1, "schedule": "cosine"}
    whole, part, resumed = aligned_model(), aligned_model(), aligned_model(seed=5)
    trainer = train(whole, samples, "whole", **arguments)
    assert trainer.current_epoch == 11  # eight of the encoders alone
    train(part, samples, "part", callbacks=[StopAfter(stop)], **arguments)
    train(resumed, samples, "part", resume_from="part/checkpoints/last.ckpt", **arguments)
    assert torch.equal(weights(whole), weights(resumed))


@pytest.mark.parametrize("plan", [{"warmup_epochs": 10}, {"alignment_epochs": (10, 1)}])
@pytest.mark.parametrize(("losses", "falls"), [(range(20, 0, -1), True), ([9] + [5] * 19, False)])
def test_it_is_known_whether_the_loss_still_fell_when_clusters_started(
    monkeypatch, plan, losses, falls
):
    start = Start(**plan, initial_clusters=3, seed=0)
    arguments = {"max_epochs": 14, "batch_size": 600, "callbacks": [give(monkeypatch, losses)]}
    trainer = train(aligned_model(), shares_the_group_alone(), start=start, **arguments)
    begin = next(own for own in trainer.callbacks if isinstance(own, StartCallback))
    assert begin.still_falling == falls


@pytest.mark.parametrize(
    ("plan", "losses", "best"),
    [
        ({"alignment_epochs": (1, 1)}, [1, 1, 1, 5], 3),
        ({"warmup_epochs": 2}, [1, 1, 5, 4], 3),
        ({"warmup_epochs": 2}, [1, 1, 4, 5], 2),
        ({}, [1, 2, 5, 4], 0),
    ],
)
def test_losses_of_another_objective_are_forgotten(monkeypatch, plan, losses, best):
    given = give(monkeypatch, losses)
    trainer = train(model(), data(), "run", max_epochs=4, callbacks=[given], **plan)
    saved = torch.load(trainer.checkpoint_callback.best_model_path, weights_only=True)
    assert saved["epoch"] == best


@pytest.mark.parametrize(
    ("plan", "epoch"), [({"warmup_epochs": 1}, 1), ({"alignment_epochs": (1, 1)}, 3)]
)
def test_clusters_do_not_start_again_where_a_run_goes_on_within_their_first_epoch(
    monkeypatch, plan, epoch
):
    class Save(Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, index):
            if (trainer.current_epoch, index) == (epoch, 0):
                trainer.save_checkpoint("within.ckpt")

    arguments = {"max_epochs": epoch + 2, "seed": 0, **plan}
    train(model(), data(), callbacks=[Save()], **arguments)
    monkeypatch.setattr("cmvae.training.callbacks.initialize_clusters", lambda *a, **k: 1 / 0)
    resumed, watch = model(), Watch()
    train(resumed, data(), resume_from="within.ckpt", callbacks=[watch], **arguments)
    assert {count for _, count in watch.counts} == {4}
    assert not torch.equal(watch.before[0], watch.before[-1])


@pytest.mark.parametrize("plan", [{"alignment_epochs": (2, 2)}, {"warmup_epochs": 3}])
@pytest.mark.parametrize("stop", [1, 2, 3, 5])
@pytest.mark.parametrize("of_before", [False, True])
def test_a_resumed_run_ends_where_the_whole_one_does(monkeypatch, plan, stop, of_before):
    samples, arguments = shares_the_group_alone(60), {"seed": 1, "max_epochs": 7, **plan}
    whole, part, resumed = aligned_model(), aligned_model(), aligned_model(seed=5)
    with monkeypatch.context() as before:
        if of_before:  # cmvae 0.1.0 had neither companions nor memberships to keep
            before.setattr("cmvae.training.fit.companions_of", lambda _: torch.nn.ModuleList())
            before.setattr("cmvae.clusters.groups.Groups.memberships_of", lambda *_: None)
        train(whole, samples, "whole", **arguments)
        train(part, samples, "part", callbacks=[StopAfter(stop)], **arguments)
    if of_before:  # its checkpoints know of no plan
        saved = torch.load("part/checkpoints/last.ckpt", weights_only=True)
        del saved["callbacks"]["StartCallback"]
        torch.save(saved, "part/checkpoints/last.ckpt")
    with monkeypatch.context() as after:
        if of_before:  # of what ended such a warm-up this version would keep the groups
            after.setattr("cmvae.clusters.groups.Groups.memberships_of", lambda *_: None)
        train(resumed, samples, "part", resume_from="part/checkpoints/last.ckpt", **arguments)
    assert torch.equal(weights(whole), weights(resumed))


def test_a_single_modality_has_nothing_to_align_with():
    net = CMVAE(CMVAEConfig(n_modalities=1, input_dims={"a": 6}, modalities_specific_dim=3))
    samples = {"a": shares_the_group_alone(60).data["a"]}
    message = r"alignment_epochs align modalities with each other, .* has only \('a',\)"
    with pytest.raises(ValueError, match=message):
        train(net, samples, max_epochs=9, alignment_epochs=(1, 1))
