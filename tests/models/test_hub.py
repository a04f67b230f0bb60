import sys

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError

from cmvae import CMVAE, DCMVAE, CMVAEConfig, DiffusionConfig
from cmvae.models.pretrained import model_folder


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def model():
    return CMVAE(
        CMVAEConfig(
            n_modalities=1, input_dims={"a": 4}, modalities_specific_dim=2, hidden_dims=(8,)
        )
    )


@pytest.fixture
def fetched(tmp_path, monkeypatch):
    """Stand in for the Hub: calls are noted, and answered with a folder."""
    calls = []

    def snapshot_download(repo_id, **arguments):
        calls.append((repo_id, arguments))
        return str(tmp_path / "cache")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return calls


def test_an_id_is_fetched_and_loaded(tmp_path, fetched):
    saved = model()
    saved.save_pretrained(tmp_path / "cache")
    loaded = CMVAE.from_pretrained("lab/digits", revision="v2")
    assert fetched == [
        ("lab/digits", {"revision": "v2", "allow_patterns": ["*.json", "*.safetensors"]})
    ]
    for name, value in saved.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name])


def test_decoders_come_along_and_the_model_is_fetched_once(tmp_path, fetched):
    refined = DCMVAE(model(), DiffusionConfig(hidden_dim=8))
    refined.save_pretrained(tmp_path / "cache")
    assert set(DCMVAE.from_pretrained("lab/digits").decoders) == {"a"}
    assert len(fetched) == 1


@pytest.mark.parametrize("name", ["./lab/digits", "/lab/digits", "digits", "a/b/c", "lab/digits/"])
def test_what_is_no_id_is_a_path(name, fetched):
    with pytest.raises(ValueError, match="no such file"):
        CMVAE.from_pretrained(name)
    assert not fetched


def test_a_folder_goes_before_an_id(tmp_path, fetched):
    model().save_pretrained(tmp_path / "lab" / "digits")
    CMVAE.from_pretrained("lab/digits")
    assert not fetched
    with pytest.raises(
        ValueError,
        match="revision is for models of the Hugging Face Hub, but 'lab/digits' is a path",
    ):
        CMVAE.from_pretrained("lab/digits", revision="v2")


def test_what_the_hub_does_not_have_is_one_line(monkeypatch):
    def snapshot_download(repo_id, **_):
        raise LocalEntryNotFoundError("cannot find it,\nand cannot connect")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(
        ValueError, match=r"lab/digits: no such folder, and .* of this id: .*it, and cannot connect"
    ):
        model_folder("lab/digits")


def test_without_huggingface_hub_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(
        ImportError, match=r"lab/digits: no such folder; .* pip install 'cmvae\[hub\]'"
    ):
        model_folder("lab/digits")
