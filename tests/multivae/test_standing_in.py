"""The classes under MultiVae's names: its keywords, and a warning of the axis of draws."""

import warnings

import pytest
import torch

import cmvae
import made_multivae as made
from cmvae import CMVAEConfig, IncompleteDataset, MultimodalBaseDataset
from cmvae.multivae.standing_in import CMVAE

SHAPES = {"a": (5,), "b": (3, 8, 8)}


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = CMVAEConfig(
        n_modalities=2,
        input_dims=SHAPES,
        modalities_specific_dim=2,
        latent_dim=3,
        number_of_clusters=4,
    )
    return CMVAE(config).eval()


@pytest.fixture
def data():
    torch.manual_seed(1)
    return {m: torch.rand(6, *shape) for m, shape in SHAPES.items()}


def test_what_trainers_say_is_not_read(model, data):
    torch.manual_seed(0)
    wanted = model(data).loss
    torch.manual_seed(0)
    found = model(data, epoch=3, dataset_size=6, uses_ddp=False, batch_ratio=0.5).loss
    assert found == wanted
    with pytest.raises(TypeError, match="epochs"):
        model(data, epochs=3)


def test_likelihoods_take_multivae_s_size_of_batches(model, data, monkeypatch):
    sizes = []

    def note(self, inputs, K, **keywords):
        sizes.append((K, keywords.get("chunk_size")))
        return torch.zeros(())

    monkeypatch.setattr(cmvae.CMVAE, "compute_joint_nll", note)
    model.compute_joint_nll(data, K=10, batch_size_K=4)
    model.compute_joint_nll(data, 10, 5)
    model.compute_joint_nll(data)
    assert sizes == [(10, 4), (10, 5), (1000, None)]
    monkeypatch.undo()
    with pytest.raises(ValueError, match="chunk_size must be a positive integer"):
        model.compute_joint_nll(data, K=2, batch_size_K=0)


@pytest.mark.parametrize("member", ["predict", "encode"])
def test_one_draw_without_flatten_is_warned_of_where_it_is_called(model, data, member):
    with pytest.warns(UserWarning, match=r"\(samples, draws, \.\.\.\).*\[:, 0\]") as caught:
        getattr(model, member)(data)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        getattr(model, member)(data, flatten=True)
        getattr(model, member)(data, N=2)
        cmvae.models.inference.latent_means(model, data)  # this package knows its axes


def test_predictions_are_those_of_the_model(model, data):
    torch.manual_seed(0)
    wanted = cmvae.CMVAE.predict(model, data, "a", "b", 3)
    torch.manual_seed(0)
    found = model.predict(data, "a", "b", 3)
    assert found["b"].shape == (6, 3, *SHAPES["b"])
    assert torch.equal(found["b"], wanted["b"])
    assert not found["b"].requires_grad


def test_samples_of_which_nothing_is_observed_come_from_the_prior(model, data):
    masks = {"a": torch.tensor([True] * 4 + [False] * 2)}
    data["a"][4:] = torch.nan
    incomplete = IncompleteDataset(data, masks)
    with pytest.raises(ValueError, match=r"nothing of cond_mod \['a'\] is observed in 2 of 6"):
        model.predict(incomplete, "a", N=2)
    found = model.predict(incomplete, "a", N=2, ignore_incomplete=True)
    assert all(values.isfinite().all() for values in found.values())
    means = model.encode(
        incomplete, "a", N=1, return_mean=True, flatten=True, ignore_incomplete=True
    )
    own = model.encode({"a": data["a"][:4]}, "a", return_mean=True, flatten=True)
    assert torch.equal(means.z[:4], own.z)
    assert torch.equal(means.modalities_z["a"][:4], own.modalities_z["a"])
    prior = model.pc_params @ model.cluster_centers
    torch.testing.assert_close(means.z[4:], prior.expand(2, -1))
    assert not means.modalities_z["a"][4:].any()


def test_draws_from_the_prior_are_those_of_the_mixture(model, data):
    with torch.no_grad():
        model.mixture.logits.copy_(torch.tensor([9.0, -9, -9, -9]))
        model.cluster_centers = torch.full((4, 3), 50.0)
    nothing = {"data": data, "masks": {"a": torch.zeros(6, dtype=torch.bool)}}
    z = model.encode(nothing, "a", N=300, ignore_incomplete=True).z
    assert z.shape == (6, 300, 3)
    torch.testing.assert_close(z.mean((0, 1)), torch.full((3,), 50.0), rtol=0, atol=0.2)
    batches = model.encode(nothing, "a", N=2, ignore_incomplete=True, batch_size=4)
    assert batches.z.shape == (6, 2, 3)
    assert torch.unique(batches.z).numel() == batches.z.numel()


def test_models_are_saved_and_loaded_under_multivae_s_names(model, data, tmp_path):
    model.save(tmp_path / "ours")
    again = CMVAE.load_from_folder(tmp_path / "ours")
    wanted, found = (own.predict_clusters(data).probabilities for own in (model, again))
    assert torch.equal(wanted, found)
    assert type(again) is CMVAE
    old = CMVAE.load_from_folder(str(made.write(tmp_path / "old")))
    assert type(old) is CMVAE
    assert old.n_clusters == made.CLUSTERS


# Data sets as MultiVae's scripts make them


class ByHand(MultimodalBaseDataset):
    def __init__(self, n=6):
        self.data = {m: torch.rand(n, *shape).numpy() for m, shape in SHAPES.items()}
        self.labels = torch.arange(n)


class ByHandIncomplete(IncompleteDataset):
    def __init__(self, data, masks):
        self.data, self.masks = data, masks


class Own(MultimodalBaseDataset):
    def __init__(self):
        self.root = "somewhere"

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return cmvae.ModelOutput(data={m: torch.rand(shape) for m, shape in SHAPES.items()})


def test_data_sets_without_super_work(model):
    dataset = ByHand()
    assert repr(dataset) == "ByHand(a, b)"
    assert len(dataset) == 6
    assert dataset[1].labels == 1
    assert model.predict_clusters(dataset).clusters.shape == (6,)
    batch = next(iter(torch.utils.data.DataLoader(dataset, batch_size=4)))
    assert model(batch).loss.isfinite()
    part = torch.utils.data.Subset(dataset, [0, 2])
    assert model.predict_clusters(part).clusters.shape == (2,)
    cmvae.fit(model, dataset, max_epochs=1, warmup_epochs=0, batch_size=3)


def test_data_sets_without_data_have_a_repr(model):
    assert repr(Own()) == "Own(no data)"
    assert repr(Own.__new__(Own)) == "Own(no data)"
    assert model.predict_clusters(Own()).clusters.shape == (4,)


def test_masks_by_hand_are_read_as_those_that_are_checked(model, data):
    masks = {"a": torch.tensor([[True], [False]] * 3), "b": torch.ones(6, 1)}
    data["a"][1] = torch.nan
    found = model.predict_clusters(ByHandIncomplete(data, masks))
    wanted = model.predict_clusters(IncompleteDataset(data, {m: x[:, 0] for m, x in masks.items()}))
    assert torch.equal(found.probabilities, wanted.probabilities)
    assert repr(ByHandIncomplete(data, masks)) == "ByHandIncomplete(a, b)"


def test_what_is_made_by_hand_is_checked_when_it_is_read(model, data):
    data["a"][2] = torch.nan
    with pytest.raises(ValueError, match=r"'a': NaN or infinity in observed .* sample 2"):
        model.predict_clusters(ByHandIncomplete(data, {m: torch.ones(6) for m in SHAPES}))
    dataset = ByHand()
    dataset.data["a"] = dataset.data["a"][:3]
    with pytest.raises(ValueError, match="differ in their number of samples: 'a' has 3, 'b' has 6"):
        model.predict_clusters(dataset)


@pytest.mark.parametrize("flatten", [False, True])
def test_samples_from_the_prior_are_decoded_under_their_covariates(data, flatten):
    torch.manual_seed(0)
    fields = {"n_modalities": 2, "input_dims": SHAPES, "modalities_specific_dim": 2}
    model = CMVAE(CMVAEConfig(**fields, covariates={"batch": 3})).eval()
    masks, batch = {"b": [True] * 3 + [False] * 3}, torch.tensor([0.0, 1, 2, 2, 1, 0])
    samples = IncompleteDataset(data, masks, covariates={"batch": batch})
    options = {"ignore_incomplete": True, "flatten": flatten}
    known = model.encode(samples, "b", 2, **options).covariates["batch"]
    wanted = batch.repeat_interleave(2)
    assert torch.equal(known, wanted if flatten else wanted.reshape(6, 2))
    asked = model.encode(samples, "b", 2, **options, covariates={"batch": 1}).covariates["batch"]
    assert (asked == 1).all()


@pytest.mark.parametrize("learned", [True, False])
def test_priors_have_multivae_s_names_too(model, learned):
    model = CMVAE(model.model_config.replace(learn_modality_prior=learned))
    for m in SHAPES:
        assert model.r_logvars_priors[m].shape == (1, 2)
        assert model.r_logvars_priors[m].requires_grad == learned
        assert torch.equal(model.r_logvars_priors[m][0], model.private_priors[m].raw_scale)
    centers = model.mean_clusters
    assert [own.shape for own in centers] == [(1, 3)] * 4
    assert torch.equal(torch.cat(centers), model.cluster_centers)
