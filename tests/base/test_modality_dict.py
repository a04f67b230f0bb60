import pytest
import torch
from torch import nn

from cmvae import CMVAE
from cmvae.base.modality_dict import ModalityDict

NAMES = [
    "a",
    "img.raw",
    "values",
    "keys",
    "forward",
    "training",
    "_modules",
    "_names",
    "a b",
    "é",
    "%61",
    "x/y",
    "0",
]


def make(names):
    return ModalityDict({name: nn.Linear(1, i + 1) for i, name in enumerate(names)})


def test_any_name_in_order():
    modules = make(NAMES)
    assert list(modules) == modules.keys() == NAMES
    assert len(modules) == len(NAMES)
    for i, name in enumerate(NAMES):
        assert name in modules
        assert modules[name].out_features == i + 1
    assert [m.out_features for m in modules.values()] == list(range(1, len(NAMES) + 1))
    assert [(name, m) for name, m in modules.items()] == [(name, modules[name]) for name in NAMES]
    assert "b" not in modules


def test_modules_are_registered_once_each():
    modules = make(NAMES)
    assert len(list(modules.children())) == len(NAMES)
    assert len(modules.state_dict()) == 2 * len(NAMES)
    assert len(list(modules.parameters())) == 2 * len(NAMES)
    modules.eval()
    assert not any(m.training for m in modules.modules())


def test_plain_names_are_their_own_keys():
    assert set(make(["a", "pix_2"]).state_dict()) == {
        "a.weight",
        "a.bias",
        "pix_2.weight",
        "pix_2.bias",
    }


def test_names_that_differ_do_not_meet():
    for one, other in [("a.b", "a%2Eb"), ("values", "%76alues"), ("%", "%25"), ("a", "%61")]:
        modules = make([one, other])
        assert len(list(modules.children())) == 2, (one, other)
        assert modules[one] is not modules[other]


def test_state_goes_from_one_to_another():
    first, second = make(NAMES), make(NAMES)
    second.load_state_dict(first.state_dict())
    for name in NAMES:
        assert torch.equal(first[name].weight, second[name].weight)


def test_unknown_name():
    with pytest.raises(KeyError, match="b"):
        make(["a"])["b"]


@pytest.mark.parametrize("name", NAMES)
def test_a_model_takes_the_name(name, config, tmp_path):
    model = CMVAE(config(input_dims={name: (3,), "other": (4,)}, latent_dim=2))
    data = {name: torch.randn(4, 3), "other": torch.randn(4, 4)}
    model(data).loss.backward()
    assert list(model.encode(data).modalities_z) == [name, "other"]
    model.save_pretrained(tmp_path)
    loaded = CMVAE.from_pretrained(tmp_path)
    assert torch.equal(
        loaded.predict_clusters(data).probabilities, model.predict_clusters(data).probabilities
    )
