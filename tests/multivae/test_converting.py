"""Models of MultiVae's folders: the same numbers here and there, and what is refused."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import cmvae
import made_multivae as made
from cmvae.multivae import convert, export
from cmvae.networks import ResNetDecoder, ResNetEncoder
from real_multivae import real_multivae

REAL = json.loads((Path(__file__).parent / "real_numbers.json").read_text())


def assert_same(found, wanted, tolerance=5e-6):  # of numbers from another machine
    assert set(found) == set(wanted)
    for name, values in wanted.items():
        wanted_values = torch.tensor(values)
        size = max(1.0, float(wanted_values.abs().max()))
        torch.testing.assert_close(
            torch.tensor(found[name]) / size,
            wanted_values / size,
            rtol=0,
            atol=tolerance,
            msg=lambda said, name=name: f"{name}: {said}",
        )


@pytest.mark.parametrize("kind", made.KINDS)
def test_a_converted_model_gives_the_numbers_that_multivae_gave(tmp_path, kind):
    model = convert(made.write_kind(tmp_path / "old", kind))
    assert not model.training
    assert model.n_clusters == made.CLUSTERS - len(made.pruned(kind))
    assert_same(made.numbers(model, made.pruned(kind)), REAL[kind])


@pytest.mark.parametrize("kind", made.KINDS)
def test_what_multivae_gives_is_what_was_recorded_and_what_ours_gives(tmp_path, kind):
    real = real_multivae()
    theirs = real.AutoModel.load_from_folder(str(made.write_kind(tmp_path / "old", kind)))
    found = made.real_numbers(theirs, made.pruned(kind))
    assert_same(found, REAL[kind])
    ours = convert(tmp_path / "old")
    assert_same(made.numbers(ours, made.pruned(kind)), found, tolerance=1e-6)


@pytest.mark.parametrize("kind", made.KINDS)
def test_a_converted_model_is_saved_and_loaded_as_any_other(tmp_path, kind):
    model = convert(made.write_kind(tmp_path / "old", kind))
    model.save_pretrained(tmp_path / "new")
    again = cmvae.CMVAE.from_pretrained(tmp_path / "new")
    assert_same(made.numbers(again, made.pruned(kind)), REAL[kind])


@pytest.mark.parametrize("kind", made.KINDS)
def test_the_way_back_leads_to_what_was_there(tmp_path, kind):
    old = made.write_kind(tmp_path / "old", kind)
    export(convert(old), tmp_path / "back")
    before, after = (
        torch.load(folder / "model.pt", weights_only=True)["model_state_dict"]
        for folder in (old, tmp_path / "back")
    )
    assert set(before) == set(after)
    for name, values in before.items():
        torch.testing.assert_close(after[name], values, rtol=0, atol=1e-6)
    fields = json.loads((tmp_path / "back" / "model_config.json").read_text())
    assert fields == json.loads((old / "model_config.json").read_text())


@pytest.mark.parametrize("kind", made.KINDS)
def test_multivae_loads_what_was_exported(tmp_path, kind):
    real = real_multivae()
    export(convert(made.write_kind(tmp_path / "old", kind)), tmp_path / "back")
    for loaded in (real.AutoModel, real.CMVAE):
        theirs = loaded.load_from_folder(str(tmp_path / "back"))
        assert_same(made.real_numbers(theirs, made.pruned(kind)), REAL[kind])


def test_multivae_saves_as_the_folders_made_here(tmp_path):
    real = real_multivae()
    fields = made.settings()
    config = real.CMVAEConfig(**{name: own for name, own in fields.items() if name != "name"})
    real.CMVAE(config).save(str(tmp_path))
    state = torch.load(tmp_path / "model.pt", weights_only=True)["model_state_dict"]
    wanted = made.weights()
    assert {name: own.shape for name, own in state.items()} == {
        name: own.shape for name, own in wanted.items()
    }
    assert set(json.loads((tmp_path / "model_config.json").read_text())) == set(fields)


def test_a_converted_model_learns_on(tmp_path):
    model = convert(made.write_kind(tmp_path / "old", "pruned"))
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    torch.manual_seed(0)
    losses = []
    for _ in range(20):
        loss = model(made.data(16)).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert model.n_clusters == made.CLUSTERS - len(made.PRUNED)


def test_settings_that_multivae_keeps_and_does_not_read_are_left_out(tmp_path):
    fields = made.settings(
        uses_likelihood_rescaling=False,
        rescale_factors={"a": 2.0, "b": 3.0},
        decoder_dist_params={"b": {"scale": 9.0}, "a": {"scale": 0.75, "other": 1}},
    )
    config = convert(made.write(tmp_path, fields)).model_config
    assert config.rescale_factors is None
    assert config.decoder_dist_params == {"a": {"scale": 0.75}}


# The residual networks of MultiVae's example on PolyMNIST, by the names of their parameters.


class _Trunk(nn.Module):
    """Layers under the names of MultiVae's example."""

    def __init__(self, layers):
        super().__init__()
        for name, layer in layers.items():
            *path, last = name.split(".")
            own = self
            for step in path:
                if not hasattr(own, step):
                    own.add_module(step, nn.Module())
                own = getattr(own, step)
            own.add_module(last, layer)


def conv(n_in, n_out, size=3, bias=True):
    return nn.Conv2d(n_in, n_out, size, padding=size // 2, bias=bias)


def blocks(name, widths):
    layers = {}
    for i, (n_in, n_out) in enumerate(widths):
        hidden = min(n_in, n_out)
        layers[f"{name}.{2 * i}.conv_0"] = conv(n_in, hidden)
        layers[f"{name}.{2 * i}.conv_1"] = conv(hidden, n_out)
        if n_in != n_out:
            layers[f"{name}.{2 * i}.conv_s"] = conv(n_in, n_out, 1, bias=False)
    return layers


def residual_networks():
    widths = [(64, 64), (64, 128)]
    encoder = {}
    for letter, dim in (("w", made.PRIVATE), ("u", made.LATENT)):
        encoder[f"conv_img_{letter}"] = conv(3, 64)
        encoder |= blocks(f"resnet_{letter}", widths)
        encoder |= {f"fc_{kind}_{letter}": nn.Linear(128 * 16, dim) for kind in ("mu", "lv")}
    decoder = {"fc": nn.Linear(made.LATENT + made.PRIVATE, 128 * 16)}
    decoder |= {**blocks("resnet", [(128, 64), (64, 64)]), "conv_img": conv(64, 3)}
    return _Trunk(encoder), _Trunk(decoder)


def residual_folder(folder):
    torch.manual_seed(0)
    state = made.priors()
    for m in made.SHAPES:
        for part, network in zip(("encoders", "decoders"), residual_networks(), strict=True):
            state |= {f"{part}.{m}.{name}": own for name, own in network.state_dict().items()}
    shapes = {m: [3, 8, 8] for m in made.SHAPES}
    fields = made.settings(
        input_dims=shapes,
        decoders_dist=None,
        decoder_dist_params={},
        custom_architectures=["encoders", "decoders"],
    )
    for part in ("encoders", "decoders"):
        folder.mkdir(exist_ok=True)
        (folder / f"{part}.pkl").write_bytes(b"\x80\x04never loaded")
    return made.write(folder, fields, state), state


def branch(x, state, name):
    out = nn.functional.leaky_relu(x, 0.2)
    out = nn.functional.conv2d(
        out, state[f"{name}.conv_0.weight"], state[f"{name}.conv_0.bias"], padding=1
    )
    out = nn.functional.leaky_relu(out, 0.2)
    out = nn.functional.conv2d(
        out, state[f"{name}.conv_1.weight"], state[f"{name}.conv_1.bias"], padding=1
    )
    shortcut = state.get(f"{name}.conv_s.weight")
    return (x if shortcut is None else nn.functional.conv2d(x, shortcut)) + 0.1 * out


def test_the_networks_of_the_example_on_polymnist_are_recognised(tmp_path):
    folder, state = residual_folder(tmp_path / "old")
    model = convert(folder)
    assert isinstance(model.encoders["a"], ResNetEncoder)
    assert isinstance(model.decoders["b"], ResNetDecoder)
    own = {n.removeprefix("encoders.a."): x for n, x in state.items() if n.startswith("encoders.a")}
    images = torch.rand(2, 3, 8, 8)
    x = nn.functional.conv2d(images, own["conv_img_u.weight"], own["conv_img_u.bias"], padding=1)
    x = nn.functional.avg_pool2d(branch(x, own, "resnet_u.0"), 3, stride=2, padding=1)
    x = branch(x, own, "resnet_u.2").flatten(1)
    found = model.encode({"a": images}, return_mean=True, flatten=True).z
    wanted = nn.functional.linear(x, own["fc_mu_u.weight"], own["fc_mu_u.bias"])
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_the_way_back_of_other_networks_has_their_weights(tmp_path):
    folder, state = residual_folder(tmp_path / "old")
    export(convert(folder), tmp_path / "back")
    after = torch.load(tmp_path / "back" / "model.pt", weights_only=True)["model_state_dict"]
    assert set(after) == set(state)
    assert all(torch.equal(after[name], own) for name, own in state.items())
    fields = json.loads((tmp_path / "back" / "model_config.json").read_text())
    assert fields["custom_architectures"] == ["encoders", "decoders"]


class Encoder(cmvae.BaseMultilatentEncoder):
    def __init__(self, n_features):
        super().__init__()
        self.layer = nn.Linear(n_features, 2 * (made.LATENT + made.PRIVATE))

    def forward(self, x):
        sizes = [made.LATENT, made.LATENT, made.PRIVATE, made.PRIVATE]
        z, s, w, t = self.layer(x.flatten(1)).split(sizes, -1)
        return cmvae.ModelOutput(
            embedding=z, log_covariance=s, style_embedding=w, style_log_covariance=t
        )


def custom_folder(folder):
    torch.manual_seed(1)
    networks = {m: Encoder(torch.Size(shape).numel()) for m, shape in made.SHAPES.items()}
    state = {n: own for n, own in made.weights().items() if not n.startswith("encoders")}
    for m, network in networks.items():
        state |= {f"encoders.{m}.{name}": own for name, own in network.state_dict().items()}
    return made.write(folder, made.settings(custom_architectures=["encoders"]), state), networks


def test_networks_of_one_s_own_are_passed_and_get_their_weights(tmp_path):
    folder, trained = custom_folder(tmp_path / "old")
    new = {m: Encoder(network.layer.in_features) for m, network in trained.items()}
    model = convert(folder, encoders=new)
    x = made.data()["a"]
    assert model.encoders["a"] is new["a"]
    z = model.encode({"a": x}, return_mean=True, flatten=True).z
    torch.testing.assert_close(z, trained["a"](x).embedding)
    model.save_pretrained(tmp_path / "new")
    again = cmvae.CMVAE.from_pretrained(tmp_path / "new", encoders=new)
    assert again.model_config.custom_architectures == ["encoders"]


def test_multivae_s_own_networks_may_be_passed(tmp_path):
    real = real_multivae()
    from multivae.data.datasets import MultimodalBaseDataset
    from multivae.models.base import BaseAEConfig
    from multivae.models.nn.mmnist import DecoderConvMMNIST, EncoderConvMMNIST_multilatents

    def networks():
        shape, z, w = (3, 28, 28), 4, 3
        encode, decode = BaseAEConfig(shape, z, w), BaseAEConfig(shape, z + w)
        return {
            "encoders": {m: EncoderConvMMNIST_multilatents(encode) for m in "ab"},
            "decoders": {m: DecoderConvMMNIST(decode) for m in "ab"},
        }

    torch.manual_seed(0)
    shapes = dict.fromkeys("ab", (3, 28, 28))
    config = real.CMVAEConfig(2, latent_dim=4, modalities_specific_dim=3, input_dims=shapes)
    theirs = real.CMVAE(config, **networks()).eval()
    theirs.save(str(tmp_path))
    model, data = convert(tmp_path, **networks()), {m: torch.rand(4, 3, 28, 28) for m in "ab"}
    wanted = theirs.encode(MultimodalBaseDataset(data), "a", return_mean=True)
    found = model.encode(data, "a", return_mean=True, flatten=True)
    torch.testing.assert_close(found.z, wanted.z, rtol=0, atol=1e-6)
    with torch.no_grad():
        own = model.decode({"z": wanted.z, "modalities_z": wanted.modalities_z})
    torch.testing.assert_close(own["b"], theirs.decode(wanted)["b"], rtol=0, atol=1e-6)


def test_pickled_networks_are_never_loaded_and_it_is_said_how_to_pass_them(tmp_path):
    folder, _ = custom_folder(tmp_path / "old")
    trap = f"cos\nsystem\n(S'touch {tmp_path / 'ran'}'\ntR.".encode()
    (folder / "encoders.pkl").write_bytes(trap)
    with pytest.raises(ValueError, match="encoders of modality 'a'") as error:
        convert(folder)
    assert "pass encoders={modality: network}" in str(error.value)
    assert "layer.weight" in str(error.value)
    assert "never loaded" in str(error.value)
    assert not (tmp_path / "ran").exists()


def test_networks_that_do_not_fit_are_refused(tmp_path):
    folder, _ = custom_folder(tmp_path / "old")
    wrong = {"a": Encoder(7), "b": Encoder(6)}
    with pytest.raises(ValueError, match=r"encoders\['a'\].*layer.weight is \(14, 7\), \(14, 5\)"):
        convert(folder, encoders=wrong)
    with pytest.raises(TypeError, match="encoders must be a mapping"):
        convert(folder, encoders=Encoder(5))


def without(name):
    return {key: own for key, own in made.weights().items() if key != name}


def changed(name, value):
    return {**made.weights(), name: value}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (without("_pc_params"), "_pc_params is missing"),
        (without("r_logvars_priors.b"), "tensors that a CMVAE of MultiVae has not"),
        (without("encoders.a.embedding.bias"), "encoders of modality 'a'"),
        (changed("extra", torch.zeros(1)), "has not: extra"),
        (changed("_pc_params", torch.zeros(4)), r"_pc_params has the shape \(4,\), \(6,\) by"),
        (changed("_pc_params", torch.full((6,), -torch.inf)), "_pc_params .*no active cluster"),
        (changed("_pc_params", torch.full((6,), torch.nan)), "_pc_params holds NaN"),
        (changed("mean_clusters.2", torch.full((1, 4), torch.inf)), "mean_clusters.2 holds NaN"),
        (changed("w_mean_prior", torch.ones(1, 3)), "w_mean_prior.*must be 0"),
        (changed("w_logvar_prior", torch.arange(3.0)[None]), "w_logvar_prior must give the same"),
        (
            changed("decoders.a.layers.0.0.bias", torch.full((512,), torch.nan)),
            r"decoders\['a'\]: NaN",
        ),
    ],
)
def test_weights_that_are_not_those_of_the_settings_are_refused(tmp_path, state, message):
    folder = made.write(tmp_path, state=state)
    with pytest.raises(ValueError, match=message) as error:
        convert(folder)
    assert str(error.value).startswith(str(folder / "model.pt"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"beta": 0}, "beta must be a positive number"),
        ({"new_setting": 1}, "unknown settings .*new_setting"),
        ({"modalities_specific_dim": None}, "modalities_specific_dim"),
        ({"decoders_dist": {"a": "cauchy", "b": "normal"}}, "cauchy"),
    ],
)
def test_settings_that_are_not_ours_are_refused(tmp_path, changes, message):
    folder = made.write(tmp_path, made.settings(**changes))
    with pytest.raises(ValueError, match=message) as error:
        convert(folder)
    assert str(error.value).startswith(str(folder / "model_config.json"))


def test_settings_of_no_possible_size_are_refused(tmp_path):
    folder = made.write(tmp_path, made.settings(input_dims={"a": [10**18], "b": [2, 3]}))
    with pytest.raises(ValueError, match=r"no model can be so large|are none that are known here"):
        convert(folder)


def small(**settings):
    given = {"n_modalities": 1, "input_dims": {"a": 3}, "modalities_specific_dim": 2}
    return cmvae.CMVAE(cmvae.CMVAEConfig(**given | settings))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"reconstruction_option": "aggregate"}, "no counterpart of reconstruction_option"),
        ({"missing_cells": ["a"]}, "no counterpart of missing_cells"),
        ({"covariates": {"batch": 2}}, "no counterpart of covariates"),
        ({"decoders_dist": {"a": "poisson"}}, r"decoders_dist\['a'\] = 'poisson'"),
        ({"covariance": "full", "prior_and_posterior_dist": "normal"}, "covariance 'full'"),
    ],
)
def test_what_multivae_has_not_is_not_exported(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        export(small(**settings), tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_exports_are_written_into_folders_of_their_own(tmp_path):
    model = small()
    export(model, tmp_path / "back")
    with pytest.raises(ValueError, match="overwrite=True"):
        export(model, tmp_path / "back")
    export(model, tmp_path / "back", overwrite=True)
    (tmp_path / "back" / "encoders.pkl").touch()
    with pytest.raises(ValueError, match=r"holds something else than .* without pickles"):
        export(model, tmp_path / "back", overwrite=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("kept")
    with pytest.raises(ValueError, match="holds something else"):
        export(model, tmp_path / "mine", overwrite=True)
    with pytest.raises(TypeError, match="model must be a CMVAE"):
        export(nn.Linear(1, 1), tmp_path / "other")


@pytest.mark.parametrize("family", ["normal", "normal_with_softplus"])
def test_learned_scales_of_clusters_come_back(tmp_path, family):
    torch.manual_seed(0)
    how = {"networks": "mlp_sigmoid", "hidden_dims": 512, "covariance": "diagonal"}
    model = small(prior_and_posterior_dist=family, **how).eval()
    with torch.no_grad():
        model.mixture.log_scales.normal_(0, 0.5)
    export(model, tmp_path)
    again = convert(tmp_path)
    torch.testing.assert_close(again.mixture.log_scales, model.mixture.log_scales)
    assert again.model_config.private_scale == 1
    z = torch.randn(5, model.latent_dim)
    torch.testing.assert_close(again.mixture.log_prob(z), model.mixture.log_prob(z))


def test_a_learned_scale_is_exported_as_it_is(tmp_path):
    model = small(decoder_dist_params={"a": {"scale": "learned"}})
    with torch.no_grad():
        model.likelihoods["a"].log_scale.fill_(-1.0)
    export(model, tmp_path)
    fields = json.loads((tmp_path / "model_config.json").read_text())
    assert fields["decoder_dist_params"]["a"]["scale"] == pytest.approx(0.36788, abs=1e-4)
