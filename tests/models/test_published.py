import pytest

from cmvae import CMVAE, CMVAEConfig

POLYMNIST = {
    "n_modalities": 5,
    "input_dims": {f"m{i}": (3, 28, 28) for i in range(5)},
    "latent_dim": 32,
    "modalities_specific_dim": 32,
    "number_of_clusters": 40,
    "beta": 2.5,
    "K": 1,
    "loss": "iwae_looser",
    "decoders_dist": {f"m{i}": "laplace" for i in range(5)},
    "decoder_dist_params": {f"m{i}": {"scale": 0.75} for i in range(5)},
    "networks": "resnet",
}
CUBICC = {
    "n_modalities": 2,
    "input_dims": {"image": (3, 64, 64), "caption": (32, 1590)},
    "latent_dim": 64,
    "modalities_specific_dim": 32,
    "number_of_clusters": 35,
    "loss": "dreg_looser",
    "dreg_estimator": "published",
    "prior_and_posterior_dist": "normal_with_softplus",
    "decoders_dist": {"image": "laplace", "caption": "categorical"},
    "decoder_dist_params": {"image": {"scale": 0.01}},
    "uses_likelihood_rescaling": True,
    "rescale_factors": {"image": 32 / (3 * 64 * 64), "caption": 5.0},
    "networks": {"image": "resnet"},
}


@pytest.mark.parametrize(("name", "fields"), [("polymnist", POLYMNIST), ("cubicc", CUBICC)])
def test_the_settings_are_those_of_the_paper(name, fields):
    assert CMVAEConfig.paper(name) == CMVAEConfig(**fields)


def test_what_depends_on_shapes_follows_them_and_fields_are_changed():
    small = {"image": (3, 8, 8), "caption": (5, 9)}
    config = CMVAEConfig.paper("cubicc", input_dims=small, beta=5.0)
    assert config.rescale_factors == {"image": 5 / 192, "caption": 5.0}
    assert config.beta == 5.0
    three = CMVAEConfig.paper("polymnist", input_dims={f"m{i}": (3, 28, 28) for i in range(3)})
    assert (three.n_modalities, set(three.decoders_dist)) == (3, {"m0", "m1", "m2"})
    CMVAE(three.replace(networks="conv"))


@pytest.mark.parametrize(
    ("name", "changes", "match"),
    [
        ("mnist", {}, "the paper's data are 'polymnist', 'cubicc', got 'mnist'"),
        (3, {}, "the paper's data are"),
        ("cubicc", {"input_dims": {"a": (3, 8, 8)}}, "those of 'image', 'caption'"),
        ("polymnist", {"input_dims": 5}, "input_dims must be modality to shape, got 5"),
        ("polymnist", {"latent": 5}, "unknown arguments"),
    ],
)
def test_others_are_refused(name, changes, match):
    with pytest.raises(ValueError, match=match):
        CMVAEConfig.paper(name, **changes)
