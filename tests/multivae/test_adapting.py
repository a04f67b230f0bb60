"""Our model in MultiVae's own trainers, evaluators and samplers."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import cmvae
import made_multivae as made
from cmvae.multivae import adapt
from pages import read_blocks
from real_multivae import real_is_installed, real_multivae

SHAPES = {"a": (3, 8, 8), "b": (3, 8, 8)}
N, CLASSES = 24, 3


@pytest.fixture
def real():
    return real_multivae()


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = cmvae.CMVAEConfig(
        n_modalities=2,
        latent_dim=4,
        input_dims=SHAPES,
        modalities_specific_dim={"a": 2, "b": 3},
        number_of_clusters=5,
        K=2,
        hidden_dims=16,
        networks="mlp",
        covariance="diagonal",
    )
    return cmvae.CMVAE(config)


@pytest.fixture
def images():
    """Return images of three brightnesses, by which they are labelled."""
    torch.manual_seed(1)
    labels = torch.arange(N) % CLASSES
    noise = {m: 0.1 * torch.rand(N, *shape) for m, shape in SHAPES.items()}
    return {m: x + 0.3 * labels[:, None, None, None] for m, x in noise.items()}, labels


def complete(images):
    from multivae.data.datasets import MultimodalBaseDataset

    return MultimodalBaseDataset(*images)


def incomplete(images):
    from multivae.data.datasets import IncompleteDataset

    data, labels = images
    masks = {m: torch.ones(N, dtype=torch.bool) for m in data}
    masks["a"][:5] = False
    data["a"][:5] = torch.nan
    return IncompleteDataset(data, masks, labels)


def test_it_is_one_of_their_models(real, model):
    adapted = adapt(model)
    assert isinstance(adapted, real.BaseMultiVAE)
    assert list(adapted.encoders.keys()) == list(SHAPES)
    assert adapted.style_dims == {"a": 2, "b": 3}
    own, theirs = (dict(part.named_parameters()) for part in (model, adapted))
    assert {f"own.{name}" for name in own} == set(theirs)
    assert all(theirs[f"own.{name}"] is own[name] for name in own)
    assert adapted.model_config.to_dict()["number_of_clusters"] == 5


def test_axes_are_theirs(real, model, images):
    adapted, data = adapt(model.eval()), complete(images)
    one, several = adapted.encode(data), adapted.encode(data, N=4)
    assert (one.z.shape, several.z.shape) == ((N, 4), (4, N, 4))
    assert several.modalities_z["b"].shape == (4, N, 3)
    for flatten, lead in ((True, (2 * N,)), (False, (2, N))):
        assert adapted.predict(data, "a", N=2, flatten=flatten).b.shape == (*lead, *SHAPES["b"])
    mean = adapted.encode(data, "a", N=3, return_mean=True, flatten=True).z
    assert torch.equal(mean[:N], mean[N : 2 * N])  # samples fastest
    own = model.encode({"a": images[0]["a"]}, return_mean=True).z[:, 0]
    assert torch.equal(mean[:N], own)
    found = adapted.predict_clusters(data)
    wanted = model.predict_clusters(images[0])
    assert torch.equal(found.clusters, wanted.clusters)
    assert torch.equal(found.pc_zs["a"], wanted.pc_zs["a"].T)
    assert adapted.generate_from_prior(7).z.shape == (7, 4)


def test_the_loss_is_the_sum(real, model, images):
    adapted, data = adapt(model), complete(images)
    torch.manual_seed(0)
    wanted = model(images[0])
    torch.manual_seed(0)
    found = adapted(data, epoch=1, dataset_size=N, uses_ddp=False, batch_ratio=0.1)
    assert found.loss == found.loss_sum == wanted.loss_sum
    assert set(found.metrics) == set(wanted.metrics)


@pytest.mark.parametrize("make", [complete, incomplete])
def test_their_trainer_trains_it(real, model, images, make, tmp_path):
    from multivae.trainers import BaseTrainer, BaseTrainerConfig

    config = BaseTrainerConfig(
        output_dir=str(tmp_path),
        num_epochs=4,
        per_device_train_batch_size=8,
        per_device_eval_batch_size=8,
        learning_rate=1e-2,
        steps_predict=2,
        steps_saving=2,
    )
    data, adapted = make(images), adapt(model)
    before = model.cluster_centers.clone()
    with torch.no_grad():
        first = float(adapted(data).loss)
    trainer = BaseTrainer(adapted, data, eval_dataset=data, training_config=config)
    trainer.train()
    assert not torch.equal(model.cluster_centers, before)
    with torch.no_grad():
        assert float(adapted(data).loss) < first
    assert (Path(trainer.training_dir) / "recon_from_a.png").is_file()
    saved = cmvae.CMVAE.from_pretrained(Path(trainer.training_dir) / "final_model")
    assert saved.predict_clusters(images[0]).clusters.shape == (N,) if make is complete else True
    checkpoint = str(Path(trainer.training_dir) / "checkpoint_epoch_2")
    config.num_epochs = 3
    resumed = BaseTrainer(adapt(model), data, None, config, checkpoint=checkpoint)
    assert type(resumed.model) is type(adapted)
    stored = cmvae.CMVAE.from_pretrained(checkpoint)
    assert torch.equal(resumed.model.own.cluster_centers, stored.cluster_centers)
    resumed.train()


class Brightness(nn.Module):
    """A classifier: logits of the labels, by how bright an image is."""

    def forward(self, x):
        levels = torch.tensor([0.05, 0.35, 0.65])
        return -(x.flatten(1).mean(1, keepdim=True) - levels).abs()


def test_their_evaluators_judge_it(real, model, images, tmp_path):
    from multivae import metrics

    data, adapted = complete(images), adapt(model.eval())
    config = metrics.CoherenceEvaluatorConfig(batch_size=8, num_classes=CLASSES)
    config.nb_samples_for_joint, config.nb_samples_for_cross = 20, 3
    judges = {m: Brightness() for m in SHAPES}
    found = metrics.CoherenceEvaluator(adapted, judges, data, str(tmp_path), config).eval()
    assert 0 <= found.mean_coherence_1 <= 1
    assert 0 <= found.joint_coherence_prior <= 1
    config = metrics.LikelihoodsEvaluatorConfig(batch_size=8, num_samples=20, batch_size_k=10)
    likelihood = metrics.LikelihoodsEvaluator(adapted, data, eval_config=config).eval()
    torch.manual_seed(0)
    own = model.compute_joint_nll(images[0], K=20) / N
    torch.testing.assert_close(likelihood.joint_likelihood, own, rtol=0.05, atol=0)
    errors = metrics.Reconstruction(adapted, data).eval()
    assert len(errors) == 3
    config = metrics.ClusteringConfig(n_clusters=CLASSES, use_mean=True)
    config.number_of_runs = 1
    accuracy = metrics.Clustering(adapted, data, data, eval_config=config).eval()
    assert accuracy.cluster_accuracy > 0.9  # what brightness tells, any encoder does
    config = metrics.VisualizationConfig(n_samples=3, n_data_cond=4)
    shown = metrics.Visualization(adapted, data, str(tmp_path), config)
    assert shown.unconditional_samples(device="cpu").size == (3 * 8, 2 * 8)
    assert shown.conditional_samples_subset(["a"]).size == (4 * 8, (1 + 2 * 3) * 8)


def test_draws_are_in_the_order_of_their_labels(real, model, images):
    """A model that copies what it is given is never judged wrong."""
    from multivae import metrics

    class Copying(type(adapt(model))):
        def predict(self, inputs, cond_mod="all", gen_mod="all", N=1, flatten=False, **others):
            found = super().predict(inputs, cond_mod, gen_mod, N, False, **others)
            there = inputs["data"][cond_mod[0]]
            return type(found)(**{m: (x * 0 + there).flatten(0, 1) for m, x in found.items()})

    copying = Copying(model.eval())
    config = metrics.CoherenceEvaluatorConfig(batch_size=8, num_classes=CLASSES)
    config.nb_samples_for_cross = 2
    judges = {m: Brightness() for m in SHAPES}
    found = metrics.CoherenceEvaluator(copying, judges, complete(images), eval_config=config)
    found.cross_coherences()
    assert found.metrics["mean_coherence_1"] == 1


def test_conditional_likelihoods_are_those_of_its_decoders(real, model, images):
    adapted, data = adapt(model.eval()), complete(images)
    found = adapted.compute_cond_nll(data, ["a"], ["b"], k_iwae=5)
    latents = model.encode({"a": images[0]["a"]}, N=200)
    recon = model.decode(latents)["b"]
    target = images[0]["b"][:, None].expand_as(recon)
    log_prob = model.likelihoods["b"].log_prob(recon, target).flatten(2).sum(-1)
    wanted = -(log_prob.logsumexp(1) - torch.tensor(200.0).log()).mean()
    torch.testing.assert_close(found["b"], wanted, rtol=0.05, atol=0)


@pytest.mark.parametrize("name", ["GaussianMixture", "MAF", "IAF"])
def test_their_samplers_fit_it(real, model, images, name, tmp_path):
    from pythae.trainers import BaseTrainerConfig

    from multivae import samplers

    data, adapted = complete(images), adapt(model.eval())
    config = getattr(samplers, f"{name}SamplerConfig")()
    sampler = getattr(samplers, f"{name}Sampler")(adapted, config)
    if name == "GaussianMixture":
        sampler.n_components = 2
        sampler.fit(data)
    else:
        how = BaseTrainerConfig(output_dir=str(tmp_path), num_epochs=1)
        sampler.fit(data, training_config=how)
    drawn = sampler.sample(6)
    assert drawn.z.shape == (6, 4)
    assert adapted.decode(drawn)["b"].shape == (6, *SHAPES["b"])


def test_a_converted_model_is_scored_there_as_their_own(real, tmp_path):
    from multivae.data.datasets import MultimodalBaseDataset

    folder = made.write(tmp_path)
    theirs, ours = real.AutoModel.load_from_folder(str(folder)), cmvae.multivae.convert(folder)
    data, adapted = MultimodalBaseDataset(made.data(8)), adapt(ours)
    for given in ("a", "b"):
        wanted = theirs.encode(data, given, return_mean=True)
        found = adapted.encode(data, given, return_mean=True)
        torch.testing.assert_close(found.z, wanted.z, rtol=0, atol=1e-6)
        own, other = adapted.decode(found), theirs.decode(wanted)
        assert set(own.keys()) == set(other.keys())
        for m in own:
            torch.testing.assert_close(own[m], other[m], rtol=0, atol=1e-6)


def test_the_script_on_the_page_runs(real, tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "multivae.md").read_text(encoding="utf-8")
    (block,) = [block for block in read_blocks(page) if block.title == "there.py"]
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(block.code, names)
    assert names["nll"].joint_likelihood > 0
    again = cmvae.CMVAE.from_pretrained(tmp_path / "model")
    assert torch.equal(again.cluster_centers, names["model"].cluster_centers)


def test_other_models_are_refused():
    with pytest.raises(TypeError, match="model must be a CMVAE, got Linear"):
        adapt(nn.Linear(1, 1))
    fields = {"n_modalities": 1, "input_dims": {"a": 3}, "modalities_specific_dim": 2}
    with pytest.raises(ValueError, match=r"have no covariates, and this model has \['batch'\]"):
        adapt(cmvae.CMVAE(cmvae.CMVAEConfig(**fields, covariates={"batch": 2})))


@pytest.fixture
def without(monkeypatch):
    """Leave MultiVae out, as if it were not installed."""
    if real_is_installed():
        pytest.skip("the real MultiVae is installed")
    for name in [name for name in sys.modules if name.partition(".")[0] == "multivae"]:
        monkeypatch.delitem(sys.modules, name)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "multivae"]:
        del sys.modules[name]


def test_without_the_real_library_it_is_said_what_is_needed(without, model):
    needed = "adapt needs the library multivae itself: pip install multivae"
    with pytest.raises(ImportError, match=needed):
        adapt(model)
    cmvae.install_as_multivae()
    with pytest.raises(ImportError, match=f"{needed}, without cmvae.install_as_multivae"):
        adapt(model)
