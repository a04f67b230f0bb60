import pytest

from cmvae.files.modality import ModalityFile
from cmvae.runs.config import RunConfig
from cmvae.runs.fitting import fit_run
from cmvae.runs.reading import read_files
from cmvae.runs.run import prepare
from cmvae.training.recipe import Recipe
from made_files import write_files


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="session")
def config(files):
    places = {"a": "a.csv", "b": "b.parquet"}
    paths = {name: ModalityFile(path=str(files / place)) for name, place in places.items()}
    recipe = Recipe(n_clusters=3, max_epochs=6, latent_dim=4, private_dim=2, hidden_dims=(16,))
    return RunConfig(modalities=paths, device="cpu", recipe=recipe)


@pytest.fixture(scope="session")
def prepared(config):
    return prepare(config, *read_files(config.modalities))


@pytest.fixture(scope="session")
def run(prepared, files):
    """A run that is in the folder ``run`` beside its files; neither is to be changed."""
    return fit_run(files / "run", prepared)


@pytest.fixture
def folder(run, files):
    """The folder of the run, not to be changed."""
    return files / "run"
