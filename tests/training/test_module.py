import warnings

import pytest
import torch
from lightning.pytorch import Callback, Trainer

import cmvae.models.inference
from cmvae import IncompleteDataset, MultimodalBaseDataset, NonFiniteLossError, fit
from cmvae.models.objectives import DIVERGENCE
from cmvae.training.module import CMVAEModule
from training.cases import QUIET, data, model, train, weights


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


def test_a_broken_encoder_is_named_and_not_what_it_spoils(tmp_path):
    trained = model()
    with torch.no_grad():
        trained.encoders["b"].head.linear.bias.fill_(float("nan"))
    with pytest.raises(NonFiniteLossError, match=r"q\(z\|x_b\), q\(w\|x_b\); last good"):
        fit(trained, data(), max_epochs=1, run_dir=tmp_path / "run", **QUIET)


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
        original = getattr(cmvae.models.inference, name)

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

        monkeypatch.setattr(cmvae.models.inference, name, bound_of)

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
            trained, samples, max_epochs=8, batch_size=20, seed=0, learning_rate=5e-3,
            precision=precision, run_dir=tmp_path / precision, **QUIET,
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


@pytest.mark.parametrize("seen", [True, False])
def test_encoders_that_do_not_see_missing_cells_are_warned_of(tmp_path, seen):
    whole = data()
    cells = {"a": torch.ones_like(whole.data["a"], dtype=torch.bool)}
    cells["a"][3, 0] = False
    gaps = IncompleteDataset(whole.data, {}, cells=cells)
    trained = model(missing_cells=["a"] if seen else [])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(trained, gaps, max_epochs=1, seed=0, run_dir=tmp_path / "run", **QUIET)
    told = [str(own.message) for own in caught if "missing cells" in str(own.message)]
    assert len(told) == (0 if seen else 1)
    assert seen or "CMVAEConfig(missing_cells=['a'])" in told[0]


def fused(module):
    return [group["fused"] for group in module.make_optimizer().param_groups]


def test_the_optimiser_of_a_cpu_is_fused_where_weights_are_dense():
    module = CMVAEModule(model())
    assert set(fused(module)) == {True}
    layer = next(own for own in module.modules() if isinstance(own, torch.nn.Linear))
    layer.weight = torch.nn.Parameter(
        torch.randn(layer.out_features, 2 * layer.in_features)[:, ::2]
    )
    assert set(fused(module)) == {None}


def test_mixed_precision_clips_gradients_on_a_cpu():
    options = {"precision": "bf16-mixed", "gradient_clip_val": 1.0, "max_epochs": 1}
    trained = model()
    before = weights(trained)
    train(trained, data(), **options)
    assert not torch.equal(before, weights(trained))


@pytest.mark.parametrize("own", [None, torch.optim.SGD])
def test_a_training_of_another_device_goes_on_as_this_one_can(own):
    module = CMVAEModule(model(), optimizer=own and (lambda p: own(p, lr=0.1)))
    module.trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    checkpoint = {"state_dict": {}, "optimizer_states": [{"param_groups": [{"fused": False}]}]}
    module.on_load_checkpoint(checkpoint)
    (group,) = checkpoint["optimizer_states"][0]["param_groups"]
    assert group["fused"] is (own is None)
