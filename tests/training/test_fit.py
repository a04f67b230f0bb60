import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback
from torch.utils.data import DataLoader

import cmvae
from cmvae import (
    CMVAE,
    CMVAEConfig,
    IncompleteDataset,
    MultimodalBaseDataset,
    NonFiniteLossError,
    fit,
)
from cmvae.models.objectives import DIVERGENCE

QUIET = {
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "accelerator": "cpu",
}


@pytest.fixture(autouse=True)
def _quiet_and_alone(tmp_path, monkeypatch):
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    monkeypatch.chdir(tmp_path)


def data(n=60, seed=0):
    generator = torch.Generator().manual_seed(seed)
    group = torch.arange(n) % 3
    shift = torch.tensor([-3.0, 0.0, 3.0])[group]
    tables = {
        "a": torch.randn(n, 4, generator=generator) + shift[:, None],
        "b": torch.randn(n, 3, generator=generator) - shift[:, None],
    }
    masks = {"a": torch.arange(n) % 5 != 0, "b": torch.arange(n) % 5 != 1}
    return IncompleteDataset(tables, masks, labels=group)


def model(seed=0, **changes):
    torch.manual_seed(seed)
    fields = {
        "n_modalities": 2,
        "input_dims": {"a": 4, "b": 3},
        "latent_dim": 2,
        "modalities_specific_dim": 2,
        "number_of_clusters": 4,
        "prior_and_posterior_dist": "normal",
        "K": 2,
        "hidden_dims": (16,),
    }
    return CMVAE(CMVAEConfig(**{**fields, **changes}))


def weights(trained):
    return torch.cat([value.detach().flatten().double() for value in trained.state_dict().values()])


def test_training_lowers_the_loss_and_logs_every_term(tmp_path):
    trained, samples = model(), data()
    before = float(trained(samples, generator=torch.Generator().manual_seed(1)).loss)
    trainer = fit(
        trained,
        samples,
        samples,
        max_epochs=15,
        batch_size=20,
        seed=0,
        run_dir=tmp_path / "run",
        **QUIET,
    )
    after = float(trained(samples, generator=torch.Generator().manual_seed(1)).loss)
    assert after < before - 1
    names = {"loss", *trained(samples).metrics}
    assert {f"{stage}/{name}" for stage in ("train", "val") for name in names} <= set(
        trainer.callback_metrics
    )
    assert (tmp_path / "run" / "checkpoints" / "best.ckpt").exists()
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()
    assert next((tmp_path / "run" / "logs").rglob("metrics.csv")).read_text().count("\n") >= 15


def test_logged_terms_add_up_to_the_loss(tmp_path):
    trainer = fit(
        model(K=1), data(), max_epochs=1, batch_size=17, seed=0, run_dir=tmp_path / "run", **QUIET
    )
    logged = {
        name.removeprefix("train/"): float(value)
        for name, value in trainer.callback_metrics.items()
    }
    likelihood = sum(value for name, value in logged.items() if "_log_likelihood_" in name)
    total = (
        likelihood + logged["log_p_z"] + logged["log_p_w"] - logged["log_q_z"] - logged["log_q_w"]
    )
    assert total == pytest.approx(-logged["loss"], rel=1e-4)


@pytest.mark.parametrize("warmup", [0, 2])
def test_same_seed_same_weights_and_another_seed_others(tmp_path, warmup):
    runs = []
    for number, seed in enumerate([3, 3, 4]):
        trained = model()
        torch.rand(number + 1)
        fit(
            trained, data(), max_epochs=4, warmup_epochs=warmup, batch_size=20, seed=seed,
            run_dir=tmp_path / str(number), **QUIET,
        )  # fmt: skip
        runs.append(weights(trained))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


@pytest.mark.parametrize(
    ("warmup", "stop", "validation"), [(0, 3, False), (4, 3, False), (2, 3, True)]
)
def test_a_resumed_run_ends_where_the_whole_one_does(tmp_path, warmup, stop, validation):
    def run(trained, epochs, folder, **arguments):
        fit(
            trained, data(), data(seed=1) if validation else None, max_epochs=epochs, batch_size=20,
            warmup_epochs=warmup if epochs > warmup else 0, run_dir=tmp_path / folder, **arguments, **QUIET,
        )  # fmt: skip
        return trained

    class Stop(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            trainer.should_stop = trainer.current_epoch == stop - 1

    whole = run(model(), 6, "whole", seed=5)
    fit(
        model(), data(), data(seed=1) if validation else None, max_epochs=6, batch_size=20, warmup_epochs=warmup,
        run_dir=tmp_path / "part", seed=5, callbacks=[Stop()], **QUIET,
    )  # fmt: skip
    resumed = run(
        model(seed=9),
        6,
        "part",
        seed=5,
        resume_from=tmp_path / "part" / "checkpoints" / "last.ckpt",
    )
    assert torch.equal(weights(whole), weights(resumed))


def test_warm_up_has_one_cluster_and_then_starts_the_others(tmp_path):
    trained, counts, centers = model(covariance="full"), [], []

    class Watch(Callback):
        def on_train_batch_start(self, trainer, pl_module, *_):
            centers.append(pl_module.model.cluster_centers.detach().clone())

        def on_train_batch_end(self, trainer, pl_module, *_):
            counts.append((trainer.current_epoch, pl_module.model.n_clusters))

    fit(
        trained, data(), max_epochs=4, warmup_epochs=2, initial_clusters=3, callbacks=[Watch()], batch_size=60,
        seed=0, run_dir=tmp_path / "run", **QUIET,
    )  # fmt: skip
    assert counts == [(0, 1), (1, 1), (2, 3), (3, 3)]
    assert torch.equal(centers[0], centers[1])
    assert not torch.equal(centers[2], centers[3])
    assert all(parameter.requires_grad for parameter in trained.parameters())


def test_loaders_mappings_and_trainer_arguments_pass_through(tmp_path):
    samples = data()
    loader = DataLoader(samples, batch_size=10, shuffle=True)
    trainer = fit(
        model(), loader, max_epochs=1, run_dir=tmp_path / "a", limit_train_batches=2, **QUIET
    )
    assert trainer.global_step == 2
    complete = {"a": torch.randn(9, 4), "b": torch.randn(9, 3)}
    assert (
        fit(
            model(), complete, max_epochs=2, run_dir=tmp_path / "b", batch_size=4, **QUIET
        ).global_step
        == 6
    )
    with pytest.raises(TypeError, match="no_such_argument"):
        fit(model(), complete, max_epochs=1, no_such_argument=1)


def test_fast_batches_are_those_of_the_default_collation(tmp_path):
    samples = data()
    fast = cmvae.training.fit._loader("data", samples, 7, shuffle=False)
    for batch, reference in zip(fast, DataLoader(samples, batch_size=7), strict=True):
        assert list(batch) == list(reference)
        for part in ("data", "masks"):
            for name in batch[part]:
                assert torch.equal(batch[part][name], reference[part][name])


def test_a_loss_that_is_not_finite_stops_at_once_and_names_the_term(tmp_path):
    trained = model()

    class Poison(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, index):
            if trainer.current_epoch == 2 and index == 1:
                with torch.no_grad():
                    pl_module.model.decoders["b"].head.bias.fill_(float("nan"))

    with pytest.raises(
        NonFiniteLossError, match=r"epoch 2; .*self_log_likelihood_b.*last\.ckpt"
    ) as caught:
        fit(
            trained,
            data(),
            max_epochs=5,
            batch_size=20,
            callbacks=[Poison()],
            run_dir=tmp_path / "run",
            **QUIET,
        )
    assert "likelihood_a" not in str(caught.value)
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["epoch"] == 1
    assert all(bool(value.isfinite().all()) for value in saved["state_dict"].values())


def test_parameters_that_are_not_finite_never_reach_the_checkpoint(tmp_path):
    class Poison(Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            if trainer.current_epoch == 1 and trainer.is_last_batch:
                with torch.no_grad():
                    pl_module.model.decoders["a"].head.bias.fill_(float("inf"))

    with pytest.raises(NonFiniteLossError, match=r"decoders\.a\.head\.bias"):
        fit(
            model(),
            data(),
            max_epochs=5,
            batch_size=20,
            callbacks=[Poison()],
            run_dir=tmp_path / "run",
            **QUIET,
        )
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert all(bool(value.isfinite().all()) for value in saved["state_dict"].values())


def test_a_failure_in_the_first_epoch_leaves_the_start(tmp_path):
    samples = MultimodalBaseDataset({"a": torch.full((8, 4), 1e38), "b": torch.zeros(8, 3)})
    with pytest.raises(NonFiniteLossError, match="x_a"):
        fit(model(), samples, max_epochs=1, run_dir=tmp_path / "run", **QUIET)
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()


def test_interruption_is_raised_and_leaves_the_last_checkpoint(tmp_path):
    class Interrupt(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, index):
            if trainer.current_epoch == 1:
                signal.raise_signal(signal.SIGINT)
                time.sleep(0.01)

    # A shell's background jobs inherit that the signal is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    before = signal.getsignal(signal.SIGINT)
    assert threading.current_thread() is threading.main_thread()
    with pytest.raises(KeyboardInterrupt, match=r"last\.ckpt"):
        fit(
            model(),
            data(),
            max_epochs=5,
            batch_size=20,
            callbacks=[Interrupt()],
            run_dir=tmp_path / "run",
            **QUIET,
        )
    assert signal.getsignal(signal.SIGINT) == before
    assert (
        torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 0
    )


def test_results_are_never_overwritten_unasked(tmp_path):
    fit(model(), data(), max_epochs=1, run_dir=tmp_path / "run", **QUIET)
    content = (tmp_path / "run" / "checkpoints" / "last.ckpt").read_bytes()
    with pytest.raises(
        ValueError, match="holds the checkpoints of another run; pass overwrite=True"
    ):
        fit(model(), data(), max_epochs=1, run_dir=tmp_path / "run", **QUIET)
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").read_bytes() == content
    fit(model(), data(), max_epochs=2, run_dir=tmp_path / "run", overwrite=True, **QUIET)
    names = {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert names == {"best.ckpt", "last.ckpt"}


def test_without_a_folder_every_run_gets_its_own(tmp_path):
    for _ in range(2):
        fit(model(), data(), max_epochs=1, **QUIET)
    assert sorted(path.name for path in (tmp_path / "cmvae_runs").iterdir()) == [
        "version_0",
        "version_1",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_epochs": 0}, "max_epochs must be a positive integer, got 0"),
        (
            {"warmup_epochs": 5, "max_epochs": 5},
            "warmup_epochs must be an integer from 0 to max_epochs - 1, got 5",
        ),
        ({"batch_size": 0}, "batch_size must be a positive integer, got 0"),
        ({"learning_rate": -1.0}, "learning_rate must be a positive finite number, got -1.0"),
        ({"resume_from": "nowhere.ckpt"}, "no such file: nowhere.ckpt"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        fit(model(), data(), **{"max_epochs": 1, **arguments}, **QUIET)


def test_other_kinds_of_data_are_refused():
    with pytest.raises(TypeError, match="must be a dataset, a mapping or a DataLoader, got list"):
        fit(model(), [1, 2], max_epochs=1)


def test_an_ordinary_loop_trains_the_model():
    trained, samples = model(), data()
    optimizer = torch.optim.AdamW(trained.parameters(), lr=1e-2, weight_decay=0.1)
    losses = []
    for _ in range(30):
        for batch in DataLoader(samples, batch_size=20, shuffle=True):
            optimizer.zero_grad()
            trained(batch).loss.backward()
            optimizer.step()
        losses.append(float(trained(samples).loss))
    assert losses[-1] < losses[0] - 1


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_bytes(b""), "is no checkpoint, or damaged"),
        (lambda path: path.write_bytes(b"not a checkpoint"), "is no checkpoint, or damaged"),
        (lambda path: path.write_bytes(path.read_bytes()[:3000]), "is no checkpoint, or damaged"),
    ],
)
def test_damaged_checkpoints_are_refused_by_name(tmp_path, spoil, message):
    fit(model(), data(), max_epochs=1, run_dir=tmp_path / "run", **QUIET)
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    spoil(path)
    with pytest.raises(ValueError, match=rf"last\.ckpt {message}"):
        fit(model(), data(), max_epochs=2, run_dir=tmp_path / "run", resume_from=path, **QUIET)


@pytest.mark.parametrize(
    "change", [{"latent_dim": 3}, {"prior_and_posterior_dist": "normal_with_softplus"}]
)
def test_checkpoints_of_another_model_are_refused_and_change_nothing(tmp_path, change):
    fit(model(), data(), max_epochs=1, run_dir=tmp_path / "run", **QUIET)
    other = model(**change)
    before = weights(other)
    with pytest.raises(ValueError, match=f"is of another model: .*{next(iter(change))}"):
        fit(
            other,
            data(),
            max_epochs=2,
            resume_from=tmp_path / "run" / "checkpoints" / "last.ckpt",
            **QUIET,
        )
    assert torch.equal(before, weights(other))


def test_resuming_does_not_allow_to_overwrite_a_third_run(tmp_path):
    for name in ("first", "second"):
        fit(model(), data(), max_epochs=1, run_dir=tmp_path / name, **QUIET)
    with pytest.raises(ValueError, match="second holds the checkpoints of another run"):
        fit(
            model(), data(), max_epochs=2, run_dir=tmp_path / "second",
            resume_from=tmp_path / "first" / "checkpoints" / "last.ckpt", **QUIET,
        )  # fmt: skip


@pytest.mark.parametrize("argument", ["train_data", "val_data"])
def test_data_that_give_no_batch_are_refused(argument):
    none = DataLoader(data(10), batch_size=64, drop_last=True)
    arguments = {"train_data": data(), "val_data": None, argument: none}
    with pytest.raises(ValueError, match=f"{argument} gives no batch"):
        fit(model(), **arguments, max_epochs=1, **QUIET)
    arguments[argument] = data()[:0]
    with pytest.raises(ValueError, match=f"{argument} holds no samples"):
        fit(model(), **arguments, max_epochs=1, **QUIET)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"initial_clusters": 99},
            ValueError,
            "initial_clusters must be at most number_of_clusters = 4, got 99",
        ),
        (
            {"initial_clusters": "x"},
            TypeError,
            "initial_clusters must be a positive integer, got 'x'",
        ),
        ({"devices": 0}, ValueError, "the trainer refuses its arguments"),
        ({"default_root_dir": "x"}, TypeError, "default_root_dir is set by run_dir"),
        ({"run_dir": ""}, ValueError, "run_dir must be a folder, got ''"),
    ],
)
def test_more_bad_arguments_are_named_before_anything_happens(arguments, error, message):
    with pytest.raises(error, match=message):
        fit(model(), data(), **{**QUIET, "max_epochs": 3, "warmup_epochs": 1, **arguments})


def test_other_models_are_refused_and_compiled_ones_are_not(tmp_path):
    with pytest.raises(TypeError, match="model must be a CMVAE or DCMVAE, got Linear"):
        fit(torch.nn.Linear(2, 2), data(), max_epochs=1)
    compiled = torch.compile(model(), backend="eager")
    fit(compiled, data(), max_epochs=1, run_dir=tmp_path / "run", **QUIET)


def test_a_warm_up_that_fails_leaves_the_mixture_as_it_was(tmp_path, caplog):
    class Stop(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, index):
            assert not pl_module.model.mixture.centers.requires_grad
            raise RuntimeError("stop")

    trained = model()
    trained.mixture.logits.requires_grad_(False)
    with pytest.raises(RuntimeError, match="stop"):
        fit(
            trained,
            data(),
            max_epochs=3,
            warmup_epochs=2,
            callbacks=[Stop()],
            run_dir=tmp_path / "a",
            **QUIET,
        )
    assert trained.mixture.centers.requires_grad
    assert not trained.mixture.logits.requires_grad
    with caplog.at_level(logging.WARNING, logger="cmvae.training.fit"):
        fit(
            trained,
            data(),
            max_epochs=3,
            warmup_epochs=2,
            max_steps=1,
            run_dir=tmp_path / "b",
            **QUIET,
        )
    assert "training ended within the warm-up" in caplog.text


def test_clusters_start_on_the_training_data_by_the_seed_of_the_run(monkeypatch):
    calls = []
    monkeypatch.setattr(
        "cmvae.training.warmup.initialize_clusters",
        lambda *arguments, **keywords: calls.append((*arguments, keywords)),
    )
    trained, samples = model(), data()
    fit(trained, samples, max_epochs=2, warmup_epochs=1, initial_clusters=3, seed=7, logger=False,
        enable_checkpointing=False, **QUIET)  # fmt: skip
    assert calls == [(trained, samples, 3, {"method": "spectral", "seed": 7})]


@pytest.mark.parametrize(("epochs", "clusters"), [(1, 1), (2, 1), (3, 4)])
def test_a_run_that_ends_with_a_single_cluster_says_so(caplog, epochs, clusters):
    class Stop(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            trainer.should_stop = trainer.current_epoch == epochs - 1

    trained = model()
    fit(trained, data(), max_epochs=5, warmup_epochs=2, callbacks=[Stop()], logger=False,
        enable_checkpointing=False, **QUIET)  # fmt: skip
    assert trained.n_clusters == clusters
    assert all(parameter.requires_grad for parameter in trained.parameters())
    assert ("the model has a single cluster" in caplog.text) == (clusters == 1)


def test_a_broken_encoder_is_named_and_not_what_it_spoils(tmp_path):
    trained = model()
    with torch.no_grad():
        trained.encoders["b"].head.linear.bias.fill_(float("nan"))
    with pytest.raises(NonFiniteLossError, match=r"q\(z\|x_b\), q\(w\|x_b\); last good"):
        fit(trained, data(), max_epochs=1, run_dir=tmp_path / "run", **QUIET)


def test_batches_as_mappings_keep_their_masks(tmp_path):
    samples = data()
    batch = {"data": samples.data, "masks": samples.masks}
    first, second = model(), model()
    fit(first, samples, max_epochs=1, seed=0, run_dir=tmp_path / "a", **QUIET)
    fit(second, batch, max_epochs=1, seed=0, run_dir=tmp_path / "b", **QUIET)
    assert torch.equal(weights(first), weights(second))


# Other precisions, and compiled models
# -------------------------------------------------------------------------------


def fixed_loss(trained, samples):
    """Return the loss in eval mode, in float32, on draws that are the same whatever the model."""
    with torch.no_grad():
        return float(trained.eval()(samples, K=20, generator=torch.Generator().manual_seed(1)).loss)


@pytest.mark.parametrize(("covariance", "targets"), [("identity", None), ("full", 1)])
def test_mixed_precision_trains_as_float32_does_and_keeps_densities_in_float32(
    tmp_path, monkeypatch, covariance, targets
):
    dtypes, network_dtypes = {}, set()

    def recorded(name):
        original = getattr(cmvae.models.cmvae, name)

        def bound_of(experts, draws, mixture, *arguments, **settings):
            bound = original(experts, draws, mixture, *arguments, **settings)
            terms = {
                f"divergence {k}": v for k, v in zip(DIVERGENCE, bound.divergence, strict=True)
            }
            terms |= {
                name: getattr(bound, name)
                for name in ("value", "weights", "log_likelihood", "posteriors")
            }
            terms |= {
                "z": draws.z,
                "scale": experts.scale,
                "log p(z|c)": mixture.log_prob_clusters(draws.z),
            }
            terms |= {"log p(z|c) of bfloat16": mixture.log_prob_clusters(draws.z.bfloat16())}
            for term, value in terms.items():
                dtypes.setdefault(term, set()).add(value.dtype)
            return bound

        monkeypatch.setattr(cmvae.models.cmvae, name, bound_of)

    shapes = {"a": 4, "b": 3, "c": 2}
    samples = IncompleteDataset({**data().data, "c": torch.randn(60, 2)}, data().masks)
    losses = {}
    for precision in ("32-true", "bf16-mixed"):
        fields = {
            "n_modalities": 3,
            "input_dims": shapes,
            "covariance": covariance,
            "cross_modal_targets": targets,
        }
        trained = model(**fields)
        start = fixed_loss(trained, samples)
        if precision == "bf16-mixed":
            recorded("dreg_bound")
            for network in (*trained.encoders.values(), *trained.decoders.values()):
                layer = next(
                    part for part in network.modules() if isinstance(part, torch.nn.Linear)
                )
                layer.register_forward_hook(
                    lambda module, inputs, output: network_dtypes.add(output.dtype)
                )
        trainer = fit(
            trained, samples, max_epochs=8, batch_size=20, seed=0, learning_rate=5e-3, precision=precision,
            run_dir=tmp_path / precision, **QUIET,
        )  # fmt: skip
        assert torch.isfinite(trainer.callback_metrics["train/loss"])
        assert trainer.callback_metrics["train/loss"].dtype == torch.float32
        if precision == "bf16-mixed":
            assert network_dtypes == {torch.bfloat16}
        losses[precision] = fixed_loss(trained, samples)
        assert losses[precision] < start - 1
    assert {"value", "weights", "divergence log_q_z", "log p(z|c)"} <= set(dtypes)
    assert {term: found for term, found in dtypes.items() if found != {torch.float32}} == {}
    assert all(parameter.dtype == torch.float32 for parameter in trained.parameters())
    assert losses["bf16-mixed"] == pytest.approx(losses["32-true"], rel=0.03)


def test_a_model_compiled_in_place_trains_as_the_plain_one(tmp_path):
    logged, trained = [], []
    for name in ("plain", "compiled"):
        trained.append(model(K=1, hidden_dims=(4,)))
        if name == "compiled":
            torch.compiler.reset()
            trained[-1].compile(backend="eager")
        trainer = fit(
            trained[-1],
            data(),
            max_epochs=3,
            batch_size=60,
            seed=4,
            run_dir=tmp_path / name,
            **QUIET,
        )
        logged.append({key: float(value) for key, value in trainer.callback_metrics.items()})
    assert logged[0].keys() == logged[1].keys()
    assert logged[1] == pytest.approx(logged[0], rel=1e-5, abs=1e-5)
    torch.testing.assert_close(weights(trained[1]), weights(trained[0]), rtol=1e-4, atol=1e-5)


def test_two_devices_train_alike_though_most_batches_lack_a_modality(tmp_path):
    script = Path(__file__).parents[1] / "several_devices.py"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(
        [sys.executable, script, tmp_path / "run"],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    first, second = (
        torch.load(tmp_path / "run" / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)
    )
    assert first["steps"] == second["steps"] == 6
    # The started clusters too: each device fits them with a seed of its own, and those of the first
    # count.
    for name, value in first["state"].items():
        assert torch.equal(value, second["state"][name]), name
