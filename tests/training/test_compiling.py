"""When a model is compiled for its training, and that it trains as it would otherwise."""

import shutil

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from cmvae import CMVAE, CMVAEConfig, ModelOutput, fit
from cmvae.training import compiling
from cmvae.training.compiling import PAYS_FROM, pays
from helpers import make_config

DATA = {"a": torch.randn(12, 3), "b": torch.randn(12, 2)}


class Unending(IterableDataset):
    """The samples again and again."""

    def __iter__(self):
        while True:
            yield from (ModelOutput(data={m: x[i] for m, x in DATA.items()}) for i in range(12))


QUIET = {
    "max_epochs": 2,
    "batch_size": 6,
    "seed": 0,
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


def trained(**arguments):
    torch.manual_seed(0)
    config = CMVAEConfig(
        n_modalities=2, input_dims={"a": (3,), "b": (2,)}, latent_dim=2, modalities_specific_dim=1
    )
    model = CMVAE(config)
    fit(model, DATA, **QUIET, **arguments)
    return model


@pytest.fixture
def calls(monkeypatch):
    """How often a model was compiled, by a backend that takes no time."""
    made = []

    def note(self, compile=nn.Module.compile):
        made.append(type(self))
        compile(self, backend="eager")

    monkeypatch.setattr(nn.Module, "compile", note)
    yield made
    torch.compiler.reset()


def test_a_compiled_training_is_the_same(calls):
    plain, fast = trained(), trained(compile=True)
    assert calls == [CMVAE]
    assert fast._compiled_call_impl is None
    for one, two in zip(plain.parameters(), fast.parameters(), strict=True):
        torch.testing.assert_close(two, one)


def test_a_long_training_is_compiled_without_being_told(calls, monkeypatch):
    trained(compile="auto")
    assert not calls
    monkeypatch.setattr(compiling, "PAYS_FROM", 4)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    trained(compile="auto")
    assert not calls
    monkeypatch.setattr(shutil, "which", lambda name: name if name == "g++" else None)
    trained(compile="auto")
    assert calls == [CMVAE]


@pytest.mark.parametrize(
    ("length", "epochs", "arguments", "expected"),
    [
        (PAYS_FROM, 1, {}, True),
        (PAYS_FROM - 1, 1, {}, False),
        (PAYS_FROM, 1, {"limit_train_batches": 10}, False),
        (10, PAYS_FROM // 20, {"limit_train_batches": 20}, False),
        (None, 100, {"limit_train_batches": PAYS_FROM // 100}, True),
        (None, 100, {"limit_train_batches": PAYS_FROM // 100 - 1}, False),
        (None, PAYS_FROM, {}, False),
        (50, PAYS_FROM // 50, {"limit_train_batches": 1.0}, True),
        (50, PAYS_FROM // 50, {"limit_train_batches": 0.98}, False),
        (PAYS_FROM, 1, {"max_steps": PAYS_FROM - 1}, False),
        (PAYS_FROM, 1, {"max_steps": PAYS_FROM}, True),
        (PAYS_FROM, 1, {"max_steps": -1}, True),
        (PAYS_FROM, 1, {"fast_dev_run": True}, False),
    ],
)
def test_steps_are_counted(monkeypatch, length, epochs, arguments, expected):
    monkeypatch.setattr(shutil, "which", lambda name: name)
    loader = DataLoader(Unending() if length is None else range(length), 1)
    assert pays(loader, epochs, arguments) is expected


def test_a_stream_without_a_length_is_counted_by_its_limit(calls, monkeypatch):
    monkeypatch.setattr(compiling, "PAYS_FROM", 4)
    monkeypatch.setattr(shutil, "which", lambda name: name)
    model = CMVAE(make_config({"a": (3,), "b": (2,)}))
    for limit in (1, 2):
        fit(model, Unending(), **QUIET, limit_train_batches=limit, compile="auto")
    assert calls == [CMVAE]


@pytest.mark.parametrize("value", ["always", None, 1])
def test_another_value_is_refused(value):
    with pytest.raises(ValueError, match="compile must be True, False or 'auto', got "):
        trained(compile=value)
