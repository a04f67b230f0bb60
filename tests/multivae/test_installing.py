"""MultiVae's import paths: what they mean, and when they are refused."""

import importlib.util
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import cmvae
from cmvae import install_as_multivae
from cmvae.multivae.names import WAYS
from real_multivae import real_is_installed, real_multivae

NAMES = json.loads((Path(__file__).parent / "names.json").read_text())

SCRIPT = """
import cmvae
cmvae.install_as_multivae()
cmvae.install_as_multivae()

import multivae.models, multivae.data.datasets.base
from multivae.models import CMVAE, CMVAEConfig
from multivae.models.base import BaseDecoder, BaseEncoder, ModelOutput
from multivae.data.datasets import DatasetOutput, IncompleteDataset, MultimodalBaseDataset
import torch

assert issubclass(CMVAE, cmvae.CMVAE) and CMVAEConfig is cmvae.CMVAEConfig

class Encoder(BaseEncoder):
    def __init__(self):
        super().__init__()
        self.latent_dim = 3
        self.layer = torch.nn.Linear(4, 10)

    def forward(self, x):
        z, s, w, t = self.layer(x).split([3, 3, 2, 2], -1)
        return ModelOutput(embedding=z, log_covariance=s, style_embedding=w, style_log_covariance=t)

class Decoder(BaseDecoder):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(5, 4)

    def forward(self, z):
        return ModelOutput(reconstruction=self.layer(z))

config = CMVAEConfig(n_modalities=2, latent_dim=3, modalities_specific_dim=2, number_of_clusters=4)
model = CMVAE(config, {m: Encoder() for m in "ab"}, {m: Decoder() for m in "ab"})
data = {m: torch.randn(6, 4) for m in "ab"}
dataset = IncompleteDataset(data, {"a": torch.tensor([True] * 5 + [False])})
assert isinstance(dataset, MultimodalBaseDataset) and isinstance(dataset[0], DatasetOutput)
model(dataset).loss.backward()
assert model.predict_clusters(dataset).clusters.shape == (6,)
print("ran")
"""


@pytest.fixture
def clean():
    """Take modules named multivae out, and put back what there was."""
    if real_is_installed():
        pytest.skip("the real MultiVae is installed")
    names = [name for name in sys.modules if name.partition(".")[0] == "multivae"]
    before = {name: sys.modules.pop(name) for name in names}
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "multivae"]:
        del sys.modules[name]
    sys.modules.update(before)


def run(script, *folders):
    path = os.pathsep.join([*map(str, folders), str(Path(cmvae.__file__).parents[1])])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        timeout=1800,
    )


def make_package(folder):
    (folder / "multivae").mkdir()
    (folder / "multivae" / "__init__.py").write_text("real = True\n")
    return folder


@pytest.mark.skipif(real_is_installed(), reason="the real MultiVae is installed")
def test_a_script_for_multivae_runs():
    done = run(SCRIPT)
    assert (done.returncode, done.stdout) == (0, "ran\n"), done.stderr


def test_the_real_library_is_not_hidden(tmp_path):
    script = (
        "import cmvae, sys\n"
        "try:\n    cmvae.install_as_multivae()\nexcept ImportError as error:\n    print(error)\n"
        "assert 'multivae' not in sys.modules\nimport multivae\nprint(multivae.real)\n"
    )
    done = run(script, make_package(tmp_path))
    assert done.returncode == 0, done.stderr
    message, real = done.stdout.splitlines()
    assert f"the library multivae is installed ({tmp_path / 'multivae' / '__init__.py'})" in message
    assert "Import from cmvae instead, or uninstall multivae" in message
    assert real == "True"


def test_an_imported_real_library_is_not_hidden(clean, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(make_package(tmp_path))
    import multivae  # type: ignore[import-not-found]

    monkeypatch.undo()  # imported, though it could no longer be found
    with pytest.raises(ImportError, match="multivae is installed"):
        install_as_multivae()
    assert sys.modules["multivae"] is multivae


def test_a_folder_that_is_no_package_is_no_obstacle(clean, tmp_path, monkeypatch):
    (tmp_path / "multivae").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    import multivae

    assert multivae.__file__ is None  # imported as a folder of modules, of which it has none
    install_as_multivae()
    from multivae.models.cmvae import CMVAE

    assert issubclass(CMVAE, cmvae.CMVAE)


def test_a_second_call_keeps_the_modules(clean):
    install_as_multivae()
    first = sys.modules["multivae"]
    install_as_multivae()
    assert sys.modules["multivae"] is first


@pytest.mark.parametrize(
    ("line", "way"),
    [
        ("import multivae.trainers", r"cmvae\.fit\(model, data\)"),
        ("from multivae import trainers", r"cmvae\.fit\(model, data\)"),
        ("from multivae.trainers import BaseTrainer", r"cmvae\.fit\(model, data\)"),
        ("from multivae.trainers.base.callbacks import WandbCallback", r"cmvae\.fit"),
        ("from multivae.models import JMVAE", "CMVAE alone"),
        ("from multivae.models.jmvae import JMVAE", "CMVAE alone"),
        ("import multivae.models; multivae.models.JMVAE", "CMVAE alone"),
        ("from multivae.models import AutoModel", "from_pretrained.*multivae.convert"),
        ("from multivae.models.nn.default_architectures import Decoder_AE_MLP", "networks="),
        ("from multivae.metrics import CoherenceEvaluator", "conditional_coherence"),
        ("from multivae.samplers import GaussianMixtureSampler", "generate_from_prior"),
        ("from multivae.data.datasets import MMNISTDataset", "read_polymnist"),
        ("from multivae.data.datasets.mmnist import MMNISTDataset", "read_polymnist"),
        ("from multivae.data.datasets.base import Other", "MultimodalBaseDataset"),
        ("import multivae.of_a_later_version", "CMVAE and its settings"),
    ],
)
def test_what_is_not_there_is_refused_with_the_way_here(clean, line, way):
    install_as_multivae()
    with pytest.raises(ImportError, match=rf"^cmvae has no multivae\..*{way}.*docs/multivae\.md"):
        exec(line)


def test_modules_are_looked_into_without_an_error(clean):
    install_as_multivae()
    module = sys.modules["multivae.models"]
    assert not hasattr(module, "__file__")
    assert not hasattr(module, "_private")
    assert importlib.util.find_spec("multivae.models.base").name == "multivae.models.base"
    assert inspect.getmodule(module.CMVAE).__name__.startswith("cmvae.")


def answer(line):
    """Return what is said upon a line that imports something; nothing where that works."""
    try:
        exec(line)
    except ImportError as error:
        return str(error)
    return ""


def test_every_name_of_multivae_is_ours_or_refused_with_a_way(clean):
    install_as_multivae()
    for module, names in NAMES.items():
        lines = [f"import {module}", *(f"from {module} import {name}" for name in names)]
        for said in filter(None, map(answer, lines)):
            assert said.startswith("cmvae has no multivae."), said
            assert WAYS["multivae"] not in said, said


def test_the_names_are_those_of_multivae():
    real_multivae()
    for module, names in NAMES.items():
        found = importlib.import_module(module)
        assert not [name for name in names if not hasattr(found, name)], module


def test_without_the_stand_in_its_names_fail_as_usual(clean):
    install_as_multivae()
    for name in [name for name in sys.modules if name.partition(".")[0] == "multivae"]:
        del sys.modules[name]
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'multivae"):
        import multivae.trainers  # noqa: F401


def test_every_name_is_this_packages(clean):
    install_as_multivae()
    modules = {
        name: module for name, module in sys.modules.items() if name.partition(".")[0] == "multivae"
    }
    assert {
        "multivae.data",
        "multivae.data.datasets.base",
        "multivae.models.nn.base_architectures",
    } <= set(modules)
    for name, module in modules.items():
        for exported in module.__all__:
            assert getattr(module, exported).__module__.startswith("cmvae."), (name, exported)


def test_the_differences_are_listed():
    for word in (
        "(samples, draws",
        "(samples, clusters)",
        "mean over the batch",
        "gradient of dreg_looser",
    ):
        assert word in install_as_multivae.__doc__
