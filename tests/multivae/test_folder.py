"""Folders of MultiVae: what is read, and what is refused by its name."""

import json
import pickle

import pytest
import torch

import made_multivae as made
from cmvae.multivae import convert
from cmvae.multivae.folder import read_folder


class Trap:
    """Unpickled, it would leave a trace."""

    def __init__(self, trace):
        self.trace = str(trace)

    def __reduce__(self):
        return open, (self.trace, "w")


@pytest.mark.parametrize("name", ["MMVAEPlusConfig", "JMVAEConfig", "MoPoEConfig"])
def test_folders_of_other_models_are_refused_by_their_names(tmp_path, name):
    folder = made.write(tmp_path, made.settings(name=name))
    model = name.removesuffix("Config")
    with pytest.raises(ValueError, match=f"this is a {model} of MultiVae; only its CMVAE"):
        convert(folder)


def test_tensors_alone_are_read(tmp_path):
    folder = made.write(tmp_path / "old")
    torch.save({"model_state_dict": {"a": Trap(tmp_path / "ran")}}, folder / "model.pt")
    with pytest.raises(ValueError, match="holds more than tensors"):
        read_folder(folder)
    (folder / "model.pt").write_bytes(pickle.dumps(Trap(tmp_path / "ran")))
    with pytest.raises(ValueError, match="holds more than tensors"):
        read_folder(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04", None])
def test_damaged_weights_are_refused(tmp_path, content):
    path = made.write(tmp_path) / "model.pt"
    path.write_bytes(path.read_bytes()[:-2000] if content is None else content)
    with pytest.raises(ValueError, match=r"model\.pt: the file is damaged"):
        read_folder(tmp_path)


@pytest.mark.parametrize("content", [[1], {"state": {}}, {"model_state_dict": {"a": 1}}])
def test_other_contents_are_refused(tmp_path, content):
    made.write(tmp_path)
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"model\.pt: .*(expected 'model_state_dict'|no tensors)"):
        read_folder(tmp_path)


def test_folders_that_lack_something_say_where_it_may_be(tmp_path):
    made.write(tmp_path / "final_model")
    with pytest.raises(ValueError, match=r"the trained model is in .*final_model"):
        read_folder(tmp_path)
    (tmp_path / "final_model" / "model.pt").unlink()
    with pytest.raises(ValueError, match=r"model\.pt: no such file; .*has model_config\.json and"):
        read_folder(tmp_path / "final_model")
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "model.safetensors").touch()
    with pytest.raises(ValueError, match="a model of cmvae already"):
        read_folder(tmp_path / "ours")
    with pytest.raises(ValueError, match="no such file"):
        read_folder(tmp_path / "nowhere")


@pytest.mark.parametrize("content", ["{", "[]", '{"n_modalities": 2}'])
def test_settings_that_are_none_are_refused(tmp_path, content):
    made.write(tmp_path)
    (tmp_path / "model_config.json").write_text(content)
    with pytest.raises(ValueError, match=r"model_config\.json: (not JSON|this is no settings)"):
        read_folder(tmp_path)


def test_settings_and_weights_are_read(tmp_path):
    fields, state = read_folder(made.write(tmp_path))
    assert json.loads((tmp_path / "model_config.json").read_text()) == fields
    assert state.keys() == made.weights().keys()
