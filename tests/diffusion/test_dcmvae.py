"""D-CMVAE: what is the CMVAE's own, refinement, conditions, training, saving, bad input."""

import json
import logging
import math

import pytest
import torch
from lightning.pytorch import Callback
from safetensors.torch import load_file
from torch.distributions import Laplace
from torch.utils.data import DataLoader, IterableDataset

from cmvae import (
    CMVAE,
    DCMVAE,
    CMVAEConfig,
    DiffusionConfig,
    IncompleteDataset,
    NonFiniteLossError,
    fit,
)
from cmvae.diffusion.conditions import draw_conditions
from cmvae.diffusion.training import DCMVAEModule
from cmvae.models.inference import read_batch
from helpers import (
    SHAPES,
    assert_same,
    assert_same_snapshot,
    incomplete,
    make_data,
    make_model,
    snapshot,
)

TINY = DiffusionConfig(
    channels=(8, 8), layers_per_block=1, attention=False, hidden_dim=16, n_blocks=1
)
QUIET = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}


@pytest.fixture(autouse=True)
def _quiet_and_alone(tmp_path, monkeypatch):
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    monkeypatch.chdir(tmp_path)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def refined(decoders=None, **fields):
    """Return a small model with decoders of ``a`` and ``b``, their scales known."""
    model = make_model(**fields)
    torch.manual_seed(1)
    whole = DCMVAE(model, decoders or {"a": TINY, "b": TINY.model_copy(update={"form": 2})})
    whole.estimate_scaling({m: x.sigmoid() for m, x in make_data(n=20).items()})
    return whole


def weights(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def dataset(n=40, seed=0):
    """Return vectors of three groups, each modality missing in a fifth of the samples."""
    shift = torch.tensor([-3.0, 0.0, 3.0])[torch.arange(n) % 3][:, None]
    tables = {
        m: 0.3 * x.flatten(1) + shift for m, x in make_data({"a": (3,), "b": (4,)}, n, seed).items()
    }
    return IncompleteDataset(tables, {"a": torch.arange(n) % 5 != 0, "b": torch.arange(n) % 5 != 1})


def built_in(decoders=TINY):
    torch.manual_seed(0)
    config = CMVAEConfig(
        n_modalities=2, input_dims={"a": 3, "b": 4}, modalities_specific_dim=2,
        number_of_clusters=4,
        latent_dim=3, prior_and_posterior_dist="normal", hidden_dims=(8,),
    )  # fmt: skip
    return DCMVAE(CMVAE(config), decoders)


# What is the CMVAE's own
# --------------------------------------------------------------------------------------------------


def test_members_of_the_cmvae_are_its_own_to_the_bit():
    model, samples = make_model(), incomplete()
    whole = DCMVAE(model, {"a": TINY})
    before = snapshot(whole)
    for call in (
        lambda m: m.encode(samples, N=2, generator=generator()),
        lambda m: m.predict_clusters(samples, rule="vote"),
        lambda m: m.compute_joint_nll(samples, K=5, generator=generator()),
        lambda m: m.generate_from_prior(5, cluster=1, generator=generator()),
        lambda m: {"all": (m.n_clusters, m.latent_dim, m.modalities, m.model_config)},
        lambda m: {
            "pi": m.pc_params,
            "active": m.active_clusters,
            "centers": m.cluster_centers.detach(),
        },
    ):
        assert_same(call(whole), call(model))
    embedding = model.encode(samples, generator=generator())
    assert_same(whole.decode(embedding, refine=False), model.decode(embedding))
    assert_same(
        whole.predict(samples, N=2, gen_mod="b", refine=False, generator=generator()),
        model.predict(samples, N=2, gen_mod="b", generator=generator()),
    )
    assert_same_snapshot(before, snapshot(whole))
    original = weights(model)
    assert whole.prune_clusters(samples) == make_model().prune_clusters(samples)
    assert whole.n_clusters <= model.n_clusters == 4
    assert_same(weights(model), original)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_members_keep_signature_and_docstring():
    assert DCMVAE.encode.__doc__ == CMVAE.encode.__doc__
    with pytest.raises(TypeError, match="foo"):
        refined().encode(make_data(), foo=1)
    with pytest.raises(TypeError, match="foo"):
        refined().predict(make_data(), "a", "a", foo=1)


# Refinement
# --------------------------------------------------------------------------------------------------


def test_what_is_refined_is_what_the_cmvae_gives_with_the_same_seed():
    whole, samples = refined(), incomplete()
    given = {}
    for m, decoder in whole.decoders.items():
        decoder.sample = lambda x, sampler, *_, m=m: given.setdefault(m, x) * 0 + sampler.steps
    own = whole.predict(samples, "all", ["a", "b"], N=2, refine=False, seed=5)
    found = whole.predict(samples, "all", ["a", "b"], N=2, seed=5, steps=7)
    for m in ("a", "b"):
        assert torch.equal(given[m].reshape(own[m].shape), own[m])
        assert found[m].shape == own[m].shape
        assert bool((found[m] == 7).all())


def test_of_several_candidates_the_one_is_kept_whose_posterior_makes_z_likeliest():
    whole, samples = refined(), make_data(n=6)
    latents = whole.encode(samples, "a", generator=generator())
    drawn = [torch.rand(6, *SHAPES["b"], generator=generator(seed)) for seed in range(3)]
    fits = []
    for x in drawn:
        own = whole.cmvae.encoders["b"](x)
        scale = own.log_covariance.softmax(-1) * whole.latent_dim + 1e-6
        fits.append(Laplace(own.embedding, scale).log_prob(latents.z[:, 0]).sum(-1))
    best = torch.stack(fits).argmax(0)
    assert len(best.unique()) > 1
    rest = iter(drawn)
    whole.decoders["b"].sample = lambda *_: next(rest)
    found = whole.decode(latents, "b", candidates=3, batch_size=4).b
    assert torch.equal(found[:, 0], torch.stack(drawn)[best, torch.arange(6)])
    with pytest.raises(ValueError, match="candidates must be"):
        whole.predict(samples, "a", "b", candidates=0)


def test_latents_from_the_prior_and_from_a_cluster_are_refined_in_any_shape():
    whole = refined()
    latents = whole.generate_from_prior(6, cluster=2, generator=generator())
    found = whole.decode(latents, ["a", "b"], seed=1, steps=3)
    assert {m: tuple(x.shape) for m, x in found.items()} == {"a": (6, 3), "b": (6, 4)}
    assert_same(found, whole.decode(latents, ["a", "b"], seed=1, steps=3, batch_size=6))
    folded = {
        "z": latents.z.reshape(3, 2, -1),
        "modalities_z": {"a": latents.modalities_z["a"].reshape(3, 2, -1)},
    }
    alone = whole.decode(latents, "a", seed=1, steps=3)["a"]
    torch.testing.assert_close(whole.decode(folded, "a", seed=1, steps=3)["a"].flatten(0, 1), alone)
    assert torch.equal(alone, found["a"])
    assert whole.predict(incomplete(), gen_mod="a", N=3, flatten=True, steps=1)["a"].shape == (
        24,
        3,
    )


def test_names_choose_what_is_refined():
    whole, samples = refined(), incomplete()
    own = whole.predict(samples, refine=False, seed=0)
    found = whole.predict(samples, refine="a", seed=0, steps=2)
    assert torch.equal(found["b"], own["b"])
    assert torch.equal(found["c"], own["c"])
    assert not torch.equal(found["a"], own["a"])
    with pytest.raises(
        ValueError,
        match=r"refine is asked of \['c'\], which have no diffusion decoder; .*\['a', 'b'\]",
    ):
        whole.predict(samples)
    with pytest.raises(ValueError, match=r"refine is asked of \['c'\]"):
        whole.decode(whole.encode(samples), refine=["a", "c"])
    with pytest.raises(
        ValueError, match=r"refine names \['b'\], which are not generated; generated are \['a'\]"
    ):
        whole.predict(samples, gen_mod="a", refine="b")
    with pytest.raises(TypeError, match="a seed or a generator, not both"):
        whole.predict(samples, gen_mod="a", seed=1, generator=generator())
    for seed, error in ((-1, ValueError), (1.5, TypeError), (True, TypeError)):
        with pytest.raises(error, match=r"seed must be an integer from 0 to 2\*\*63 - 1, got"):
            whole.predict(samples, gen_mod="a", seed=seed)


def test_logits_become_means_before_they_condition():
    whole = refined(
        {"a": DiffusionConfig(hidden_dim=4, n_blocks=1, scaling="unit")},
        decoders_dist={"a": "bernoulli"},
    )
    given = []
    whole.decoders["a"].sample = lambda x, *_: given.append(x) or x
    latents = whole.generate_from_prior(4)
    logits = whole.decode(latents, "a", refine=False)["a"]
    whole.decode(latents, "a")
    assert torch.equal(given[0].reshape(logits.shape), logits.sigmoid())


def test_decoders_are_given_the_z_that_their_reconstruction_is_of():
    whole, samples = refined({"a": TINY.model_copy(update={"latents": True})}), incomplete()
    given, seen = {}, {}
    own = whole.decoders["a"]
    own.sample = lambda x, sampler, generator, z: given.update(x=x, z=z) or x
    latents = whole.encode(samples, N=2, generator=generator())
    whole.decode(latents, "a")
    assert torch.equal(given["z"].reshape(latents.z.shape), latents.z)
    linear = torch.cat([given["z"], latents.modalities_z["a"].flatten(0, 1)], -1)
    expected = whole.cmvae.decoders["a"](linear).reconstruction
    torch.testing.assert_close(given["x"], expected.reshape(given["x"].shape))
    own.loss = lambda x, x_hat, generator, z: seen.update(x=x, z=z) or x.sum(1)
    whole(samples, generator=generator())
    batch = read_batch(whole.cmvae, samples)
    found = draw_conditions(whole.cmvae, batch, ["a"], generator())
    assert torch.equal(seen["z"], found.z[found.rows["a"]])
    assert torch.equal(seen["x"], samples["data"]["a"][samples["masks"]["a"]])


def test_a_decoder_learns_from_z_what_the_reconstruction_does_not_show(tmp_path):
    whole = built_in({"a": TINY.model_copy(update={"latents": True, "prediction": "v"})})
    plain = built_in({"a": TINY.model_copy(update={"prediction": "v"})})
    losses = []
    for model in (whole, plain):
        with torch.no_grad():
            for parameter in model.cmvae.decoders["a"].parameters():
                parameter.zero_()
        options = {"max_epochs": 60, "batch_size": 20, "learning_rate": 1e-2, "seed": 0, **QUIET}
        fit(model, {"a": dataset().data["a"]}, run_dir=tmp_path / str(len(losses)), **options)
        model.eval()
        found = model({"a": dataset().data["a"]}, generator=generator())
        losses.append(float(found.loss))
    assert losses[0] < 0.9 * losses[1], losses


# Conditions
# --------------------------------------------------------------------------------------------------


def test_conditions_come_from_what_is_observed_with_equal_frequency():
    model = make_model()
    patterns = [(1, 1, 1), (1, 1, 0), (0, 1, 1), (0, 0, 1)]
    observed = torch.tensor(patterns).repeat_interleave(3000, 0).bool()
    data = {m: torch.zeros(len(observed), *shape) for m, shape in SHAPES.items()}
    batch = read_batch(model, {"data": data, "masks": dict(zip(SHAPES, observed.T, strict=True))})
    found = draw_conditions(model, batch, ["a", "c"], generator())
    shares = torch.stack(
        [torch.bincount(part, minlength=3) / 3000 for part in found.source.split(3000)]
    )
    expected = torch.tensor(patterns) / torch.tensor(patterns).sum(1, keepdim=True)
    torch.testing.assert_close(shares, expected, rtol=0, atol=0.03)
    assert bool(((shares == 0) == (expected == 0)).all())
    for m, index in (("a", 0), ("c", 2)):
        assert torch.equal(found.rows[m], observed[:, index].nonzero().squeeze(1))
        assert found.reconstructions[m].shape == (len(found.rows[m]), *SHAPES[m])


@pytest.mark.parametrize("option", ["joint_prior", "single_prior"])
def test_private_latents_are_the_samples_own_in_self_and_the_priors_in_cross_reconstruction(option):
    model = make_model(prior_and_posterior_dist="normal", reconstruction_option=option)
    with torch.no_grad():
        last = model.encoders["a"].last
        last.weight.zero_()
        last.bias.copy_(
            torch.tensor([0.0] * 6 + [40.0, -40.0] + [-20.0] * 2)
        )  # w_a = (40, −40), its scale near 0
        layer = model.decoders["a"].layers[0]
        layer.weight.zero_()
        layer.bias.zero_()
        layer.weight[0, 3] = layer.weight[1, 4] = 1.0  # the first two outputs are w
        model.private_priors["a"].raw_scale.fill_(2 * math.log(3.0))
    n = 4000
    batch = read_batch(model, {m: torch.zeros(n, *shape) for m, shape in SHAPES.items()})
    found = draw_conditions(model, batch, ["a"], generator())
    own, w = found.source == 0, found.reconstructions["a"][:, :2]
    torch.testing.assert_close(w[own].mean(0), torch.tensor([40.0, -40.0]), rtol=0, atol=0.01)
    scale = 3.0 if option == "single_prior" else 1.0
    assert float(w[~own].mean()) == pytest.approx(0, abs=0.1 * scale)
    assert float(w[~own].std()) == pytest.approx(scale, rel=0.05)


def test_conditions_of_bernoulli_modalities_are_probabilities():
    model = make_model(decoders_dist={"b": "bernoulli"})
    batch = read_batch(model, {m: x.sigmoid() for m, x in make_data(n=500).items()})
    found = draw_conditions(model, batch, ["a", "b"], generator()).reconstructions
    assert 0 < float(found["b"].min()) < float(found["b"].max()) < 1
    assert float(found["a"].min()) < 0


def test_what_is_not_observed_changes_neither_loss_nor_gradients():
    whole, samples = refined().train(), incomplete()
    results = []
    for filler in (0.0, math.nan):
        for m, x in samples["data"].items():
            x[~samples["masks"][m]] = filler
        whole.zero_grad()
        output = whole(samples, generator=generator())
        output.loss.backward()
        results.append(
            (output.loss.detach(), [p.grad.clone() for p in whole.denoiser_parameters()])
        )
    assert torch.equal(results[0][0], results[1][0])
    assert torch.isfinite(results[0][0])
    assert all(torch.equal(a, b) for a, b in zip(results[0][1], results[1][1], strict=True))
    assert float(output.loss) == pytest.approx(
        sum(float(value) for value in output.metrics.values()), rel=1e-6
    )


def test_a_batch_without_the_refined_modality_gives_no_loss_and_no_gradient():
    whole = refined().train()
    output = whole({"c": make_data()["c"]})
    output.loss.backward()
    assert float(output.loss) == 0
    assert output.metrics == {}
    assert all(not p.grad.any() for p in whole.denoiser_parameters())


# Training
# --------------------------------------------------------------------------------------------------


def test_training_lowers_the_loss_and_moves_the_denoisers_alone(tmp_path):
    whole, samples = built_in(), dataset()
    frozen, start = weights(whole.cmvae), weights(whole.decoders)
    trainer = fit(
        whole, samples, samples, max_epochs=40, batch_size=20, learning_rate=3e-3, seed=0,
        run_dir=tmp_path / "run",
        **QUIET,
    )  # fmt: skip
    optimised = {id(p) for group in trainer.optimizers[0].param_groups for p in group["params"]}
    assert optimised == {id(p) for p in whole.denoiser_parameters()}
    assert_same(weights(whole.cmvae), frozen)
    assert not any(module.training for module in whole.cmvae.modules())
    moved = {
        name
        for name, value in weights(whole.decoders).items()
        if not torch.equal(value, start[name])
    }
    assert all(
        name in moved for name in start if "denoiser.first" in name or "averaged.first" in name
    )
    figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert {
        f"{stage}/{name}"
        for stage in ("train", "val")
        for name in ("loss", "denoising_a", "denoising_b")
    } <= set(figures)
    assert figures["val/loss"] < 1.6  # of 2, that of predicting no noise
    lines = next((tmp_path / "run" / "logs").rglob("metrics.csv")).read_text().splitlines()
    assert len(lines) > 40


def test_a_compiled_model_is_trained_by_the_module_that_the_bare_one_names(tmp_path):
    whole, plain = built_in(), built_in()
    compiled = torch.compile(whole, backend="eager")
    module = whole.training_module(compiled, 0.5, torch.optim.SGD)
    assert isinstance(module, DCMVAEModule)
    assert module.model is compiled
    assert module.learning_rate == 0.5
    arguments = {"max_epochs": 1, "batch_size": 20, "seed": 0}
    fit(compiled, dataset(), run_dir=tmp_path / "compiled", **arguments, **QUIET)
    fit(plain, dataset(), run_dir=tmp_path / "plain", **arguments, **QUIET)
    for name, value in weights(plain).items():
        torch.testing.assert_close(whole.state_dict()[name], value, rtol=1e-5, atol=1e-6)


def test_the_scale_of_the_data_is_that_of_the_training_data(tmp_path):
    whole, samples = built_in(), dataset()
    fit(whole, samples, max_epochs=1, run_dir=tmp_path / "run", **QUIET)
    seen = samples.data["a"][samples.masks["a"]]
    torch.testing.assert_close(whole.decoders["a"].scaling.shift, seen.mean(0))
    torch.testing.assert_close(whole.decoders["a"].scaling.scale, seen.std(0, correction=0))


def test_the_average_follows_the_weights_by_the_stated_rule(tmp_path):
    whole = built_in({"a": TINY.model_copy(update={"ema_decay": 0.4})})
    history = []

    class Watch(Callback):
        def on_before_zero_grad(self, trainer, pl_module, optimizer):
            history.append(whole.decoders["a"].denoiser.first.weight.detach().clone())

    fit(
        whole,
        dataset(),
        max_epochs=3,
        batch_size=20,
        run_dir=tmp_path / "run",
        callbacks=[Watch()],
        **QUIET,
    )
    history = [*history[1:], whole.decoders["a"].denoiser.first.weight.detach()]
    assert len(history) == 6
    average = history[0]
    for step, weight in enumerate(history[1:], 1):
        decay = min(0.4, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * weight
    torch.testing.assert_close(whole.decoders["a"].averaged.first.weight, average)


def test_a_resumed_run_ends_where_the_whole_one_does(tmp_path):
    class Stop(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            trainer.should_stop = trainer.current_epoch == 1

    def run(model, folder, **arguments):
        fit(model, dataset(), dataset(seed=1), max_epochs=4, batch_size=20, seed=5,
            run_dir=tmp_path / folder,
            **arguments, **QUIET)  # fmt: skip
        return weights(model)

    whole = run(built_in(), "whole")
    run(built_in(), "part", callbacks=[Stop()])
    last = tmp_path / "part" / "checkpoints" / "last.ckpt"
    assert_same(run(built_in(), "part", resume_from=last), whole)
    other = built_in(TINY.model_copy(update={"prediction": "v"}))
    with pytest.raises(
        ValueError, match=r"of another model: \['diffusion of a', 'diffusion of b'\] differ"
    ):
        fit(other, dataset(), max_epochs=4, resume_from=last, run_dir=tmp_path / "x", **QUIET)
    with pytest.raises(ValueError, match="of another model"):
        fit(
            built_in().cmvae,
            dataset(),
            max_epochs=4,
            resume_from=last,
            run_dir=tmp_path / "x",
            **QUIET,
        )


def test_mixed_precision_trains_and_keeps_the_weights_in_float32(tmp_path):
    whole = built_in()
    trainer = fit(
        whole, dataset(), max_epochs=2, precision="bf16-mixed", run_dir=tmp_path / "run", **QUIET
    )
    assert trainer.callback_metrics["train/loss"].dtype == torch.float32
    assert torch.isfinite(trainer.callback_metrics["train/loss"])
    assert {value.dtype for value in whole.state_dict().values()} == {torch.float32, torch.bool}


def test_a_loss_that_is_not_finite_names_the_modality(tmp_path):
    whole = built_in()
    with torch.no_grad():
        whole.decoders["b"].denoiser.first.bias.fill_(math.nan)
    with pytest.raises(
        NonFiniteLossError, match=r"not finite: denoising_b; last good checkpoint: .*last\.ckpt"
    ):
        fit(whole, dataset(), max_epochs=1, run_dir=tmp_path / "run", **QUIET)


def test_clusters_cannot_be_started_in_a_frozen_model(tmp_path):
    for arguments in ({"warmup_epochs": 1}, {"initial_clusters": 3}):
        with pytest.raises(ValueError, match="clusters of a DCMVAE are frozen"):
            fit(built_in(), dataset(), max_epochs=2, run_dir=tmp_path / "run", **arguments, **QUIET)


def test_one_image_that_is_memorised_comes_back(tmp_path):
    torch.manual_seed(0)
    image = torch.zeros(1, 1, 6, 6)
    image[..., 1:3, 2:5] = 1
    config = CMVAEConfig(
        n_modalities=1, input_dims={"x": (1, 6, 6)}, modalities_specific_dim=2, hidden_dims=(4,)
    )
    small = DiffusionConfig(
        channels=(16, 16), layers_per_block=1, attention=False, prediction="v", ema_decay=0.9
    )
    whole = DCMVAE(CMVAE(config), small)
    samples = {"x": image.expand(32, -1, -1, -1).clone()}
    fit(whole, samples, max_epochs=150, batch_size=32, learning_rate=5e-3, seed=0,
        run_dir=tmp_path / "run",
        enable_checkpointing=False, logger=False, **QUIET)  # fmt: skip
    for name in ("ddpm", "ddim", "dpm++"):
        found = whole.predict({"x": image}, N=2, sampler=name, steps=20, seed=1)["x"]
        assert float((found - image).abs().mean()) < 0.05
    own = whole.predict({"x": image}, refine=False)["x"]
    assert float((own - image).abs().mean()) > 0.1


# Saving
# --------------------------------------------------------------------------------------------------


def test_a_saved_model_samples_the_same_and_is_a_cmvae_too(tmp_path):
    whole = built_in({"b": TINY.model_copy(update={"form": 2})})
    fit(whole, dataset(), max_epochs=2, run_dir=tmp_path / "run", **QUIET)
    whole.save_pretrained(tmp_path / "saved")
    assert sorted(p.name for p in (tmp_path / "saved").iterdir()) == [
        "config.json", "diffusion.json", "diffusion.safetensors", "model.safetensors",
    ]  # fmt: skip
    assert not [
        name
        for name in load_file(tmp_path / "saved" / "diffusion.safetensors")
        if "denoiser" in name
    ]
    loaded, samples = DCMVAE.from_pretrained(tmp_path / "saved"), dataset()
    assert loaded.diffusion_configs == whole.diffusion_configs
    arguments = {"gen_mod": "b", "seed": 3, "steps": 4}
    assert_same(loaded.predict(samples, **arguments), whole.predict(samples, **arguments))
    assert_same(weights(loaded.decoders["b"].denoiser), weights(whole.decoders["b"].averaged))
    assert not loaded.training
    plain = CMVAE.from_pretrained(tmp_path / "saved")
    assert_same(weights(plain), weights(whole.cmvae))
    whole.cmvae.save_pretrained(tmp_path / "plain")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "saved" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    with pytest.raises(ValueError, match=r"plain/diffusion\.json: no such file"):
        DCMVAE.from_pretrained(tmp_path / "plain")
    fit(loaded, samples, max_epochs=1, run_dir=tmp_path / "on", **QUIET)


def test_precision_and_custom_networks_survive_saving(tmp_path):
    whole = refined().double()
    whole.save_pretrained(tmp_path / "saved")
    fresh = make_model(seed=9)
    loaded = DCMVAE.from_pretrained(
        tmp_path / "saved",
        encoders=dict(fresh.encoders.items()),
        decoders=dict(fresh.decoders.items()),
    )
    samples = {m: x.double() for m, x in make_data().items()}
    found = loaded.predict(samples, gen_mod="a", seed=0, steps=2)["a"]
    assert found.dtype == torch.float64
    assert torch.equal(found, whole.predict(samples, gen_mod="a", seed=0, steps=2)["a"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_decoders_keep_their_precision_whatever_the_model_s(tmp_path, dtype):
    samples = dataset()
    part = built_in()
    part.cmvae.to(dtype)
    for whole, found in ((part, torch.float32), (built_in().to(dtype), dtype)):
        fit(whole, samples, max_epochs=1, run_dir=tmp_path / str(found), **QUIET)
        for refined in whole.predict(samples, seed=0, steps=2).values():
            assert refined.dtype == found
            assert refined.isfinite().all()


def test_decoders_are_made_where_the_model_is():
    model = make_model().to("meta")
    assert {value.device.type for value in DCMVAE(model, {"a": TINY}).state_dict().values()} == {
        "meta"
    }


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("diffusion.json", b"{", "diffusion.json: "),
        ("diffusion.json", b"[1]", "diffusion.json: "),
        ("diffusion.json", b'{"a": {"foo": 1}}', "diffusion.json: .*unknown"),
        ("diffusion.json", b"{}", "diffusion.json: decoders is empty"),
        (
            "diffusion.json",
            b'{"z": {}}',
            r"diffusion.json: decoders has unknown modalities \['z'\]",
        ),
        (
            "diffusion.json",
            b'{"a": {"hidden_dim": 17}, "b": {}}',
            "diffusion.json: the model is not that of the weights: .*diffusion.safetensors",
        ),
        ("diffusion.safetensors", b"junk", "file of weights .*diffusion.safetensors is damaged"),
        ("diffusion.safetensors", None, "diffusion.safetensors: no such file"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content, message):
    whole = built_in()
    whole.estimate_scaling(dataset())
    whole.save_pretrained(tmp_path)
    (tmp_path / name).unlink() if content is None else (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        DCMVAE.from_pretrained(tmp_path)


def test_a_failure_leaves_the_old_files_whole_and_bad_weights_are_refused(tmp_path, monkeypatch):
    whole = built_in()
    whole.estimate_scaling(dataset())
    whole.save_pretrained(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with torch.no_grad():
        whole.decoders["a"].averaged.first.bias.fill_(math.nan)
    monkeypatch.setattr(type(whole.cmvae), "save_pretrained", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        whole.save_pretrained(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    monkeypatch.undo()
    whole.save_pretrained(tmp_path)
    with pytest.raises(
        ValueError,
        match=r"diffusion\.safetensors: NaN or infinity in \['a\.averaged\.first\.bias'\]",
    ):
        DCMVAE.from_pretrained(tmp_path)
    assert json.loads((tmp_path / "diffusion.json").read_text())["a"]["hidden_dim"] == 16


# Bad input
# --------------------------------------------------------------------------------------------------


def test_models_and_settings_that_do_not_fit_are_refused():
    model = make_model()
    words = make_model({"a": (3,), "word": (5, 7)}, decoders_dist={"word": "categorical"})
    for arguments, kind, message in (
        (
            (words,),
            ValueError,
            "modality 'word' holds categories or counts: a diffusion decoder needs cont",
        ),
        ((words, {"word": TINY}), ValueError, "modality 'word' holds categories or counts"),
        ((torch.nn.Linear(2, 2),), TypeError, "cmvae must be a CMVAE, got Linear"),
        ((model, {"x": TINY}), KeyError, r"decoders has unknown modalities \['x'\]"),
        ((model, {"a": {}}), TypeError, "decoders must be a DiffusionConfig or"),
        ((model, ["a"]), TypeError, "decoders must be a DiffusionConfig or"),
        ((model, {}), ValueError, "decoders is empty"),
    ):
        with pytest.raises(kind, match=message):
            DCMVAE(*arguments)
    assert list(DCMVAE(words, {"a": TINY}).decoders) == ["a"]
    assert list(DCMVAE(model, TINY).decoders) == list(SHAPES)


def test_images_outside_the_unit_interval_are_refused_before_training(tmp_path):
    config = CMVAEConfig(
        n_modalities=1, input_dims={"x": (1, 5, 7)}, modalities_specific_dim=2, hidden_dims=(4,)
    )
    whole = DCMVAE(CMVAE(config), TINY)
    with pytest.raises(ValueError, match=r"modality 'x': scaling 'unit' is for values in \[0, 1\]"):
        fit(
            whole,
            {"x": 255 * torch.rand(6, 1, 5, 7)},
            max_epochs=1,
            run_dir=tmp_path / "run",
            **QUIET,
        )
    fit(whole, {"x": torch.rand(6, 1, 5, 7)}, max_epochs=1, run_dir=tmp_path / "run", **QUIET)
    assert whole.predict({"x": torch.rand(2, 1, 5, 7)}, steps=2)["x"].shape == (2, 1, 1, 5, 7)


@pytest.mark.parametrize("are_known", [True, False])
def test_of_a_stream_the_scales_are_those_of_samples_drawn_before(tmp_path, are_known):
    class Stream(IterableDataset):
        passes = 0

        def __iter__(self):
            self.passes += 1
            return (dataset()[i] for i in range(20))

    whole, stream, reference = built_in(), Stream(), built_in()
    reference.estimate_scaling(dataset()[:20])
    if are_known:
        whole.estimate_scaling(dataset()[:20])
    options = {"max_epochs": 1, "limit_train_batches": 2, "run_dir": tmp_path / "run", **QUIET}
    trainer = fit(whole, DataLoader(stream, batch_size=10), **options)
    assert (trainer.global_step, stream.passes) == (2, 1 if are_known else 2)
    for (name, own), (_, other) in zip(
        whole.named_decoders(), reference.named_decoders(), strict=True
    ):
        for one, two in zip(own.scaling.buffers(), other.scaling.buffers(), strict=True):
            torch.testing.assert_close(one, two, msg=name)


def test_missing_cells_of_what_is_refined_are_refused_by_name():
    model, data = refined({"a": TINY}), make_data(n=4)
    cells = {m: torch.ones_like(data[m], dtype=torch.bool) for m in ("a", "b")}
    cells["a"][1, 2] = cells["b"][0, 1] = False
    dataset = IncompleteDataset(data, {}, cells=cells)
    for member in (model, model.estimate_scaling):
        with pytest.raises(ValueError, match="modality 'a' has missing cells: a diffusion decoder"):
            member(dataset)
    model(IncompleteDataset(data, {}, cells={"b": cells["b"]}))
    assert bool(model.impute(dataset)["a"].isfinite().all())
