import json

import numpy as np
import pytest
import torch

from cmvae import CMVAE, CMVAEConfig

REQUIRED = {"n_modalities": 2, "modalities_specific_dim": 3}
DEFAULTS = {
    "latent_dim": 10,
    "input_dims": None,
    "uses_likelihood_rescaling": False,
    "rescale_factors": None,
    "decoders_dist": None,
    "decoder_dist_params": None,
    "custom_architectures": [],
    "K": 10,
    "prior_and_posterior_dist": "laplace_with_softmax",
    "learn_modality_prior": True,
    "beta": 1.0,
    "reconstruction_option": "joint_prior",
    "loss": "dreg_looser",
    "cross_modal_targets": None,
    "number_of_clusters": 10,
    "dreg_estimator": "unbiased",
    "covariance": "identity",
    "hidden_dims": (256, 256),
    "networks": None,
    "missing_cells": [],
    "residual_factors": 0,
    "private_scale": 1.0,
    "covariates": {},
    "forgetting": None,
}
EVERYTHING = {
    "n_modalities": 2,
    "latent_dim": 4,
    "input_dims": {"a": (3,), "b": (1, 8, 8)},
    "uses_likelihood_rescaling": True,
    "rescale_factors": {"a": 2.0, "b": 0.5},
    "decoders_dist": {"a": "laplace", "b": "bernoulli"},
    "decoder_dist_params": {"a": {"scale": 0.75}},
    "K": 3,
    "prior_and_posterior_dist": "normal",
    "learn_modality_prior": False,
    "beta": 2.5,
    "modalities_specific_dim": {"a": 2, "b": 5},
    "reconstruction_option": "single_prior",
    "loss": "iwae_looser",
    "cross_modal_targets": 2,
    "dreg_estimator": "published",
    "number_of_clusters": 7,
    "covariance": "full",
    "hidden_dims": (32,),
    "networks": {"b": "resnet"},
    "missing_cells": ["a"],
    "residual_factors": 3,
    "private_scale": 0.5,
}


def log_density(reconstruction, target):
    return -(reconstruction - target).square()


def test_a_linear_model_has_no_hidden_layers():
    config = CMVAEConfig(**REQUIRED, input_dims={"a": 3, "b": 2}, hidden_dims=())
    assert CMVAEConfig.from_json(config.to_json()).hidden_dims == ()
    decoder = CMVAE(config).decoders["a"]
    z = torch.randn(2, 13)
    first, second, both = (decoder(x).reconstruction for x in (z[:1], z[1:], z.sum(0, True)))
    torch.testing.assert_close(both - first, second - decoder(0 * z[:1]).reconstruction)


def test_names_and_defaults_are_all_there():
    config = CMVAEConfig(**REQUIRED)
    assert set(CMVAEConfig.model_fields) == {*REQUIRED, *DEFAULTS}
    for name, value in {**REQUIRED, **DEFAULTS}.items():
        got = getattr(config, name)
        assert got == value, name
        assert type(got) is type(value), name


def test_the_default_list_is_fresh():
    first, second = CMVAEConfig(**REQUIRED), CMVAEConfig(**REQUIRED)
    first.custom_architectures.append("encoders")
    assert second.custom_architectures == []


@pytest.mark.parametrize("missing", REQUIRED)
def test_required_fields_are_named_when_missing(missing):
    with pytest.raises(ValueError, match=missing):
        CMVAEConfig(**{name: value for name, value in REQUIRED.items() if name != missing})


def test_every_value_is_kept():
    config = CMVAEConfig(**EVERYTHING)
    for name, value in EVERYTHING.items():
        assert getattr(config, name) == value, name


def test_keywords_only():
    with pytest.raises(TypeError):
        CMVAEConfig(2, 3)


def test_unknown_keywords_are_named():
    with pytest.raises(TypeError, match=r"latent_dims.*latent_dim"):
        CMVAEConfig(**REQUIRED, latent_dims=3)


@pytest.mark.parametrize("field", ["latent_dim", "beta", "n_modalities", "unknown"])
def test_frozen(field):
    config = CMVAEConfig(**REQUIRED)
    with pytest.raises(ValueError, match=field):
        setattr(config, field, 3)


def test_frozen_settings_say_replace():
    config = CMVAEConfig(**REQUIRED)
    with pytest.raises(
        ValueError, match=r"CMVAEConfig is frozen, beta .* settings\.replace\(beta="
    ):
        config.beta = 2.0
    assert config.beta == 1.0
    with pytest.raises(ValueError, match=r"no field latent_dims; it has .*'latent_dim'"):
        config.latent_dims = 3


def test_is_not_changed_by_a_model(config):
    settings = config()
    before = settings.to_json()
    model = CMVAE(settings)
    assert model.model_config is not settings
    assert settings.to_json() == before


INTEGERS = [
    "n_modalities",
    "latent_dim",
    "K",
    "modalities_specific_dim",
    "cross_modal_targets",
    "number_of_clusters",
]
FLAGS = ["uses_likelihood_rescaling", "learn_modality_prior"]
CHOICES = {
    "prior_and_posterior_dist": ["laplace_with_softmax", "normal_with_softplus", "normal"],
    "reconstruction_option": ["joint_prior", "single_prior", "aggregate"],
    "loss": ["dreg_looser", "iwae_looser"],
    "dreg_estimator": ["unbiased", "published"],
    "covariance": ["identity", "diagonal", "full"],
}


@pytest.mark.parametrize("field", INTEGERS)
@pytest.mark.parametrize("value", [0, -1, 1.5, 2.0, True, "3", np.float64(3), np.bool_(True), None])
def test_integers_are_refused_by_name_with_what_was_got(field, value):
    if field == "cross_modal_targets" and value is None:
        assert CMVAEConfig(**REQUIRED, cross_modal_targets=None).cross_modal_targets is None
        return
    with pytest.raises(ValueError, match=field) as error:
        CMVAEConfig(**{**REQUIRED, field: value})
    assert repr(value) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("field", INTEGERS)
@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8])
def test_numpy_integers_become_integers(field, kind):
    got = getattr(CMVAEConfig(**{**REQUIRED, field: kind(2)}), field)
    assert got == 2
    assert type(got) is int


@pytest.mark.parametrize("field", FLAGS)
@pytest.mark.parametrize("value", [1, 0, "yes", None])
def test_flags_are_booleans(field, value):
    with pytest.raises(ValueError, match=rf"{field}.*True or False"):
        CMVAEConfig(**{**REQUIRED, field: value})


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), True, "1", None])
def test_beta_must_be_positive_and_finite(value):
    with pytest.raises(ValueError, match="beta"):
        CMVAEConfig(**REQUIRED, beta=value)


@pytest.mark.parametrize("value", [2, np.float32(0.5), np.int64(3)])
def test_beta_takes_any_real_number(value):
    got = CMVAEConfig(**REQUIRED, beta=value).beta
    assert got == float(value)
    assert type(got) is float


@pytest.mark.parametrize(("field", "allowed"), CHOICES.items())
def test_choices_say_what_is_allowed(field, allowed):
    for value in allowed:
        others = {"prior_and_posterior_dist": "normal"} if field == "covariance" else {}
        assert getattr(CMVAEConfig(**REQUIRED, **others, **{field: value}), field) == value
    with pytest.raises(ValueError, match=field) as error:
        CMVAEConfig(**REQUIRED, **{field: "other"})
    assert all(repr(value) in str(error.value) for value in [*allowed, "other"])


DIMS = {"a": (3,), "b": (4,)}
BAD = [
    ({"input_dims": {"a": (3,)}}, r"n_modalities is 2.*input_dims"),
    ({"input_dims": {"a": (3,), "b": ()}}, r"input_dims\.b"),
    ({"input_dims": {"a": (3,), "b": (0,)}}, r"input_dims\.b"),
    ({"input_dims": {"a": (3,), "b": (True,)}}, r"input_dims\.b"),
    ({"input_dims": {"a": (3,), "b": (2.0, 2)}}, r"input_dims\.b"),
    ({"input_dims": {"a": (3,), "": (4,)}}, "input_dims"),
    ({"input_dims": [3, 4]}, "input_dims"),
    ({"rescale_factors": {"a": 1.0, "b": 2.0}}, "uses_likelihood_rescaling is False"),
    (
        {"rescale_factors": {"a": 1.0, "b": 0}, "uses_likelihood_rescaling": True},
        r"rescale_factors\.b",
    ),
    ({"rescale_factors": {"a": 1.0}, "uses_likelihood_rescaling": True}, "rescale_factors"),
    (
        {
            "rescale_factors": {"a": 1.0, "x": 1.0},
            "uses_likelihood_rescaling": True,
            "input_dims": DIMS,
        },
        r"'x'.*'b'",
    ),
    ({"modalities_specific_dim": {"a": 2}}, "modalities_specific_dim"),
    ({"modalities_specific_dim": {"a": 2, "b": 0}}, r"modalities_specific_dim.*b"),
    (
        {"modalities_specific_dim": {"a": 2, "x": 1}, "input_dims": DIMS},
        r"modalities_specific_dim.*'x'.*'b'",
    ),
    (
        {"decoders_dist": {"a": "gaussian"}},
        r"'a'.*'gaussian'.*'normal', 'laplace', 'bernoulli', 'categorical'",
    ),
    ({"decoders_dist": {"a": 3}}, r"decoders_dist\.a"),
    ({"decoders_dist": {"x": "normal"}, "input_dims": DIMS}, r"decoders_dist.*'x'.*'a', 'b'"),
    (
        {"decoders_dist": {"a": "normal", "b": "normal", "c": "normal"}},
        "decoders_dist.*n_modalities is 2",
    ),
    ({"decoder_dist_params": {"a": {"sigma": 1}}}, r"'a'.*sigma.*'scale'"),
    ({"decoder_dist_params": {"a": {"scale": -1}}}, r"'a'.*scale.*-1"),
    (
        {"decoder_dist_params": {"a": {"scale": 1}}, "decoders_dist": {"a": "bernoulli"}},
        r"'a'.*scale.*none",
    ),
    (
        {"decoder_dist_params": {"x": {"scale": 1.0}}, "input_dims": DIMS},
        r"decoder_dist_params.*'x'.*'a', 'b'",
    ),
    ({"custom_architectures": ["encoder"]}, "custom_architectures"),
    ({"networks": "resnett"}, r"networks: .*'resnett'.*'mlp', .*'resnet'"),
    ({"networks": {"a": "conv", "b": "konv"}}, r"networks: .*'konv'.*'conv'"),
    ({"networks": {"x": "conv"}, "input_dims": DIMS}, r"networks.*'x'.*'a', 'b'"),
    ({"networks": {"a": 3}}, r"networks must be None.*modality to such a name"),
    ({"networks": {"a": None}}, r"networks must be None.*modality to such a name"),
    ({"networks": ["conv", "conv"]}, r"networks must be None.*modality to such a name"),
    ({"networks": {3: "conv", "b": "conv"}}, "networks"),
    ({"covariance": "full"}, r"'full'.*laplace_with_softmax.*'diagonal'"),
]


@pytest.mark.parametrize(("fields", "message"), BAD)
def test_combinations_that_cannot_be(fields, message):
    with pytest.raises(ValueError, match=message) as error:
        CMVAEConfig(**{**REQUIRED, **fields})
    assert "\n" not in str(error.value)


def test_an_integer_is_a_shape_of_one_axis():
    config = CMVAEConfig(**REQUIRED, input_dims={"a": 3, "b": np.int64(4)})
    assert config.input_dims == {"a": (3,), "b": (4,)}


@pytest.mark.parametrize("fields", [REQUIRED, EVERYTHING])
def test_json_both_ways(fields):
    config = CMVAEConfig(**fields)
    text = config.to_json()
    assert CMVAEConfig.from_json(text) == config
    assert CMVAEConfig.from_json(text).to_json() == text
    assert set(json.loads(text)) == set(CMVAEConfig.model_fields)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[1]", "mapping, got"),
        ('{"n_modalities": 2, "modalities_specific_dim": 3, "betta": 1}', "betta"),
        ('{"n_modalities": 2, "modalities_specific_dim": 3, "beta": -1}', "beta"),
        ('{"n_modalities": 2, "modalities_specific_dim": 3, "beta": NaN}', "beta"),
        ('{"n_modalities": 2}', "modalities_specific_dim"),
    ],
)
def test_bad_json_is_a_value_error(text, message):
    with pytest.raises(ValueError, match=message):
        CMVAEConfig.from_json(text)


def test_callables_are_named_in_json_and_must_come_again():
    config = CMVAEConfig(**REQUIRED, decoders_dist={"a": log_density, "b": "laplace"})
    assert config.decoders_dist["a"] is log_density
    assert not config.likelihood_is_missing("a")
    again = CMVAEConfig.from_json(config.to_json())
    assert "log_density" in json.loads(config.to_json())["decoders_dist"]["a"]
    assert again.likelihood_is_missing("a")
    assert not again.likelihood_is_missing("b")
    with pytest.raises(ValueError, match=r"decoders_dist\['a'\]"):
        CMVAE(again.replace(input_dims=DIMS))
    back = again.replace(decoders_dist={**again.decoders_dist, "a": log_density})
    assert back == config


def test_a_module_may_be_a_likelihood():
    module = torch.nn.MSELoss(reduction="none")
    config = CMVAEConfig(**REQUIRED, decoders_dist={"a": module})
    assert config.decoders_dist["a"] is module
    assert CMVAEConfig.from_json(config.to_json()).likelihood_is_missing("a")


def test_networks_by_modality_or_for_all():
    assert CMVAEConfig(**REQUIRED).network_of("a") is None
    assert CMVAEConfig(**REQUIRED, networks="mlp").network_of("a") == "mlp"
    some = CMVAEConfig(**REQUIRED, networks={"a": "resnet"})
    assert (some.network_of("a"), some.network_of("b")) == ("resnet", None)


def test_replace_validates_and_leaves_the_original():
    config = CMVAEConfig(**REQUIRED)
    assert config.replace(latent_dim=4).latent_dim == 4
    assert config.latent_dim == 10
    with pytest.raises(ValueError, match="latent_dim"):
        config.replace(latent_dim=0)
    with pytest.raises(TypeError, match="latent"):
        config.replace(latent=0)
