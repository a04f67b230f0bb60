import json
import os
import pickle
import resource
import subprocess
import sys
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file

from cmvae import CMVAE, CMVAEConfig
from cmvae.base.files import atomic_write
from helpers import SHAPES, assert_same, incomplete, make_config, make_model, networks, randomise

pytestmark = pytest.mark.usefixtures("float64")
FILES = ("config.json", "model.safetensors")


def squares(reconstruction, target):
    return -(reconstruction - target).square()


class Weighted(torch.nn.Module):
    """A likelihood with a parameter."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def forward(self, reconstruction, target):
        return -self.weight * (reconstruction - target).square()


def built_in(**settings):
    torch.manual_seed(0)
    return randomise(CMVAE(make_config(**settings)), 0.05)


def outputs(model):
    """Return what a model computes, in eval mode."""
    model.eval()
    batch = incomplete()
    results = {}
    torch.manual_seed(5)
    with torch.no_grad():
        results["loss"] = model(batch).loss
        results["z"] = model.encode(batch, N=2).z
        results |= model.predict(batch)
        results["generated"] = model.generate_from_prior(9).z
    results["clusters"] = model.predict_clusters(batch).probabilities
    results["nll"] = model.compute_joint_nll(batch, K=5)
    return {name: value.detach() for name, value in results.items()}


def prune(model):
    model.mixture.keep(torch.tensor([True, False, True, True]))


@pytest.mark.parametrize("pruned", [False, True])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {
            "prior_and_posterior_dist": "normal",
            "covariance": "full",
            "reconstruction_option": "single_prior",
        },
        {
            "covariance": "diagonal",
            "learn_modality_prior": False,
            "decoder_dist_params": {"a": {"scale": "learned"}},
        },
        {
            "uses_likelihood_rescaling": True,
            "beta": 2.5,
            "decoders_dist": {"a": "laplace"},
            "loss": "iwae_looser",
        },
    ],
)
def test_built_in_networks_are_rebuilt(pruned, settings, tmp_path):
    model = built_in(**settings)
    if pruned:
        prune(model)
    model.save_pretrained(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(FILES)
    loaded = CMVAE.from_pretrained(tmp_path)
    assert not any(module.training for module in loaded.modules())
    assert loaded.model_config == model.model_config
    assert_same(dict(model.state_dict()), dict(loaded.state_dict()))
    assert_same(outputs(model), outputs(loaded))
    assert all(p.requires_grad for p in loaded.parameters())


@pytest.mark.parametrize("pruned", [False, True])
@pytest.mark.parametrize("noisy", [False, True])
def test_custom_networks_are_passed_again(pruned, noisy, tmp_path):
    model = make_model(noisy=noisy)
    if pruned:
        prune(model)
    model.save_pretrained(tmp_path)
    torch.manual_seed(99)
    encoders, decoders = networks(noisy=noisy)
    loaded = CMVAE.from_pretrained(tmp_path, encoders=encoders, decoders=decoders)
    assert_same(outputs(model), outputs(loaded))
    assert loaded.encoders["a"] is encoders["a"]


def test_only_encoders_are_custom(tmp_path):
    torch.manual_seed(0)
    model = CMVAE(make_config(), encoders=networks()[0])
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"config\.json.*encoders="):
        CMVAE.from_pretrained(tmp_path)
    assert_same(outputs(model), outputs(CMVAE.from_pretrained(tmp_path, encoders=networks()[0])))


def test_one_decoder_is_custom_and_the_rest_is_built(tmp_path):
    torch.manual_seed(0)
    own = {"a": networks()[1]["a"]}
    model = randomise(CMVAE(make_config(), decoders=own))
    assert model.decoders["a"] is own["a"]
    assert type(model.decoders["b"]) is type(built_in().decoders["b"])
    assert model.model_config.custom_architectures == ["decoders.a"]
    model.save_pretrained(tmp_path)
    again = {"a": networks()[1]["a"]}
    assert_same(outputs(model), outputs(CMVAE.from_pretrained(tmp_path, decoders=again)))
    for given in ({}, {"decoders": networks()[1]}, {"decoders": {"b": networks()[1]["b"]}}):
        with pytest.raises(
            ValueError, match=r"custom decoders of \['a'\]: pass decoders= of these"
        ):
            CMVAE.from_pretrained(tmp_path, **given)


def test_networks_of_some_modalities_need_shapes_and_names_that_are_there():
    encoders, decoders = networks()
    with pytest.raises(ValueError, match=r"decoders has modalities \['x'\], but input_dims has"):
        CMVAE(make_config(), decoders={"x": decoders["a"]})
    alone = make_config().replace(input_dims=None)
    with pytest.raises(ValueError, match="encoders has modalities"):
        CMVAE(alone, {"a": encoders["a"]}, decoders)
    whole = CMVAE(make_config(), encoders, decoders).model_config
    with pytest.raises(ValueError, match=r"custom_architectures names \['decoders'\]"):
        CMVAE(whole, encoders, {"a": decoders["a"]})


def test_the_error_says_what_to_pass(tmp_path):
    make_model().save_pretrained(tmp_path)
    encoders, decoders = networks()
    with pytest.raises(
        ValueError, match=r"config\.json: this model has custom encoders: pass encoders= again"
    ):
        CMVAE.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="custom decoders: pass decoders= again"):
        CMVAE.from_pretrained(tmp_path, encoders=encoders)
    built_in().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="built-in encoders: do not pass encoders="):
        CMVAE.from_pretrained(tmp_path, encoders=encoders, decoders=decoders)


@pytest.mark.parametrize("make", [lambda: squares, Weighted])
def test_callable_likelihoods_are_passed_again(make, tmp_path):
    model = randomise(built_in(decoders_dist={"a": make(), "b": "laplace"}), 0.01)
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"config\.json.*\['a'\].*decoders_dist="):
        CMVAE.from_pretrained(tmp_path)
    loaded = CMVAE.from_pretrained(tmp_path, decoders_dist={"a": make()})
    assert loaded.model_config.decoders_dist["b"] == "laplace"
    assert_same(outputs(model), outputs(loaded))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dtype_is_kept(dtype, tmp_path):
    model = built_in().to(dtype)
    model.save_pretrained(tmp_path)
    torch.set_default_dtype(torch.float32)
    loaded = CMVAE.from_pretrained(tmp_path)
    assert {p.dtype for p in loaded.parameters()} == {dtype}
    assert_same(dict(model.state_dict()), dict(loaded.state_dict()))


def test_shared_weights(tmp_path):
    encoders, decoders = networks({"a": (3,), "b": (3,)})
    encoders["b"] = encoders["a"]
    model = CMVAE(make_config({"a": (3,), "b": (3,)}), encoders, decoders)
    model.save_pretrained(tmp_path)
    again, others = networks({"a": (3,), "b": (3,)})
    again["b"] = again["a"]
    loaded = CMVAE.from_pretrained(tmp_path, encoders=again, decoders=others)
    assert_same(dict(model.state_dict()), dict(loaded.state_dict()))


# Damage
# --------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path):
    built_in().save_pretrained(tmp_path)
    return tmp_path


def refused(folder, file, message=None):
    """Check that loading fails with one line that names the file, and return it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=message) as error:
            CMVAE.from_pretrained(folder)
    assert str(folder / file) in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_truncated_files(saved, file, share):
    content = (saved / file).read_bytes()
    (saved / file).write_bytes(content[: int(share * len(content))])
    refused(saved, file)


@pytest.mark.parametrize("file", FILES)
def test_missing_files(saved, file):
    (saved / file).unlink()
    refused(saved, file, "no such file")


def test_missing_folder(tmp_path):
    refused(tmp_path / "none", "config.json", "no such file")


def edit(folder, **changes):
    fields = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**fields, **changes}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"betta": 1.0}, "unknown.*betta"),
        ({"beta": -1.0}, "beta.*-1"),
        ({"loss": "elbo"}, "loss.*'elbo'"),
        ({"n_modalities": 2}, "n_modalities"),
        ({"custom_architectures": ["networks"]}, "custom_architectures"),
        ({"input_dims": None}, "input_dims"),
    ],
)
def test_settings_that_cannot_be(saved, changes, message):
    edit(saved, **changes)
    refused(saved, "config.json", message)


@pytest.mark.parametrize("content", [b"[]", b"null", b"{}", b"\xff\xfe\x00", b'{"n_modalities": 3'])
def test_config_of_another_kind(saved, content):
    (saved / "config.json").write_bytes(content)
    refused(saved, "config.json")


@pytest.mark.parametrize(
    "changes",
    [
        {"latent_dim": 4},
        {"number_of_clusters": 5},
        {"covariance": "diagonal"},
        {"modalities_specific_dim": 3},
    ],
)
def test_weights_of_another_model(saved, changes):
    edit(saved, **changes)
    refused(saved, "model.safetensors")


@pytest.mark.parametrize(
    "changes",
    [
        {"latent_dim": 2**28},
        {"number_of_clusters": 2**34},
        {"hidden_dims": [2**20, 2**20]},
        {"input_dims": {"a": [2**30], "b": [3], "c": [2, 8, 8]}},
    ],
)
def test_sizes_that_no_machine_has_are_refused_before_anything_is_built(saved, changes):
    edit(saved, **changes)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(saved, "config.json", "the model is not that of the weights")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 300_000


@pytest.mark.parametrize("name", ["mixture.centers", "mixture.active", "encoders.a.head.weight"])
@pytest.mark.parametrize("damage", ["missing", "shape", "renamed"])
def test_tensors_that_do_not_fit(saved, name, damage):
    path = saved / "model.safetensors"
    tensors = load_file(path)
    name = next(key for key in tensors if key.startswith(name.rsplit(".head", 1)[0]))
    tensor = tensors.pop(name)
    if damage == "shape":
        tensors[name] = torch.cat([tensor, tensor])
    elif damage == "renamed":
        tensors[name + "x"] = tensor
    save_file(tensors, path)
    refused(saved, "model.safetensors", name)


class Exploding:
    """Unpickling it leaves a mark."""

    marks: list[int] = []  # noqa: RUF012

    def __reduce__(self):
        return (Exploding.marks.append, (1,))


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("write", [pickle.dumps, None])
def test_nothing_is_unpickled(saved, file, write):
    if write:
        (saved / file).write_bytes(write(Exploding()))
    else:
        torch.save({"mixture.centers": Exploding()}, saved / file)
    refused(saved, file)
    assert Exploding.marks == []


def test_nothing_is_pickled(tmp_path, monkeypatch):
    def fail(*arguments, **keywords):
        raise AssertionError("pickled")

    for module, name in (
        (torch, "save"),
        (torch, "load"),
        (pickle, "dumps"),
        (pickle, "loads"),
        (pickle, "load"),
    ):
        monkeypatch.setattr(module, name, fail)
    built_in().save_pretrained(tmp_path)
    CMVAE.from_pretrained(tmp_path)
    json.loads((tmp_path / "config.json").read_text())
    load_file(tmp_path / "model.safetensors")


# Writing
# --------------------------------------------------------------------------------------------------


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("old")

    def write():
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["notes.txt"]
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["notes.txt"]


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_files_have_ordinary_permissions(tmp_path, umask):
    before = os.umask(umask)
    try:
        with atomic_write(tmp_path / "file") as temporary:
            temporary.write_text("x")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_failed_save_leaves_the_old_model(saved, monkeypatch):
    expected = outputs(CMVAE.from_pretrained(saved))

    def fail(*arguments, **keywords):
        raise OSError("disk full")

    monkeypatch.setattr("cmvae.models.pretrained.save_model", fail)
    other = built_in(latent_dim=5)
    with pytest.raises(OSError, match="disk full"):
        other.save_pretrained(saved)
    monkeypatch.undo()
    assert sorted(os.listdir(saved)) == sorted(FILES)
    assert_same(outputs(CMVAE.from_pretrained(saved)), expected)


def test_a_save_that_fails_at_its_second_file_leaves_the_old_model(saved, monkeypatch):
    expected = outputs(CMVAE.from_pretrained(saved))

    def fail(self):
        raise OSError("disk full")

    other = built_in(latent_dim=5)
    monkeypatch.setattr(CMVAEConfig, "to_json", fail)
    with pytest.raises(OSError, match="disk full"):
        other.save_pretrained(saved)
    monkeypatch.undo()
    assert_same(outputs(CMVAE.from_pretrained(saved)), expected)


def test_folders_are_made_and_files_in_their_place_are_refused(tmp_path):
    built_in().save_pretrained(tmp_path / "some" / "where")
    assert (tmp_path / "some" / "where" / "config.json").is_file()
    (tmp_path / "taken").write_text("x")
    with pytest.raises(ValueError, match="taken"):
        built_in().save_pretrained(tmp_path / "taken")


def test_saving_changes_nothing(tmp_path):
    model = make_model(noisy=True).train()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    model.save_pretrained(str(tmp_path))
    assert_same(state, dict(model.state_dict()))
    assert all(module.training for module in model.modules())
    assert list(SHAPES) == list(model.modalities)


def test_unknown_arguments(saved):
    with pytest.raises(TypeError, match="encoder"):
        CMVAE.from_pretrained(saved, encoder={})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda tensors: tensors["mixture.centers"].fill_(float("nan")),
            r"NaN or infinity in \['mixture.centers'\]",
        ),
        (lambda tensors: tensors["mixture.active"].fill_(False), "have an active cluster"),
        (
            lambda tensors: tensors.update({"mixture.active": tensors["mixture.active"].float()}),
            "",
        ),
        (
            lambda tensors: tensors.update({"mixture.logits": tensors["mixture.logits"].half()}),
            "holds numbers of several precisions: F16, F64",
        ),
        (
            lambda tensors: tensors.update({"mixture.logits": tensors["mixture.logits"].long()}),
            "",
        ),
        (
            lambda tensors: tensors.update({"mixture.logits": tensors["mixture.logits"].cfloat()}),
            "",
        ),
        (lambda tensors: tensors.clear(), ""),
        (
            lambda tensors: tensors.update({"mixture.centers": tensors["mixture.centers"].int()}),
            "",
        ),
    ],
)
def test_weights_that_make_no_model_are_refused(saved, change, message):
    from safetensors.torch import load_file, save_file

    path = saved / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    with pytest.raises(ValueError, match=rf"model\.safetensors.*{message}"):
        CMVAE.from_pretrained(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_dims": [8] * 50_000}, "hidden_dims has 50000 entries"),
        ({"latent_dim": 10**12}, "not that of the weights"),
        ({"modalities_specific_dim": 10**18}, "no model can be so large"),
        ({"input_dims": {"a": [10**12], "b": [4]}}, "an axis in input_dims has 1000000000000"),
        ({"loss": "x" * 10**5}, "loss must be"),
        ({f"field{number}": 1 for number in range(10**4)}, "'field4'.* and 9995 more"),
        ({"decoder_dist_params": {"a": {"scale": [[0.5] * 10**5]}}}, "scale"),
        ({"decoders_dist": {"a": "x" * 10**5}}, "likelihood of modality 'a'"),
    ],
)
def test_settings_of_no_model_are_refused_in_few_words_and_little_memory(saved, change, message):
    path = saved / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=rf"config\.json: .*{message}") as found:
        CMVAE.from_pretrained(saved)
    assert len(str(found.value)) < 1200
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 200_000


def test_stored_likelihoods_are_not_replaced_at_load(saved):
    modality = next(iter(SHAPES))
    with pytest.raises(ValueError, match="whose likelihoods are stored"):
        CMVAE.from_pretrained(saved, decoders_dist={modality: "laplace"})


MEASURE = """
import resource, sys
from cmvae import CMVAE, CMVAEConfig

settings = {"n_modalities": 1, "modalities_specific_dim": 2, "latent_dim": 2}
CMVAE(CMVAEConfig(input_dims={"a": 4}, **settings))  # what is imported late is by now
if sys.argv[1] == "save":
    wide = {"input_dims": {"a": 3000}, "hidden_dims": (4000,)}
    CMVAE(CMVAEConfig(**wide, **settings)).save_pretrained(sys.argv[2])
else:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    CMVAE.from_pretrained(sys.argv[2])
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_large_model_takes_twice_its_file_to_load(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    for what in ("save", "load"):
        command = [sys.executable, "-c", MEASURE, what, tmp_path / "model"]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    size = (tmp_path / "model" / "model.safetensors").stat().st_size
    kilobytes = 1 if sys.platform == "darwin" else 1024
    assert size > 90e6
    assert int(ran.stdout) * kilobytes < 2.3 * size


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_number_that_is_not_finite_is_found_in_any_precision(tmp_path, config, dtype, value):
    model = CMVAE(config()).to(dtype)
    model.save_pretrained(tmp_path / "good")
    assert CMVAE.from_pretrained(tmp_path / "good").cluster_centers.dtype == dtype
    with torch.no_grad():
        next(iter(model.encoders.parameters())).view(-1)[-1] = value
    model.save_pretrained(tmp_path / "bad")
    with pytest.raises(ValueError, match=r"model\.safetensors: NaN or infinity in \['encoders\."):
        CMVAE.from_pretrained(tmp_path / "bad")
