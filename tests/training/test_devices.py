import os

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback

from cmvae import CMVAEClusterer
from cmvae.base.processes import by_first
from cmvae.runs.config import RunConfig
from cmvae.training import callbacks, loaders
from cmvae.training.clustering import train
from cmvae.training.devices import Devices
from cmvae.training.processes import meet
from cmvae.training.recipe import Recipe
from forked import by_srun, by_torchrun, in_processes
from training.cases import data, model


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


def test_the_devices_of_a_machine_are_counted(monkeypatch):
    assert Devices(devices="auto").resolve().devices == 1
    assert Devices(device="cpu", devices=2).resolve().processes == 2
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    found = Devices(devices="auto").resolve()
    assert (found.devices, found.kind, found.share_of(130)) == (4, "cuda", 33)
    with pytest.raises(ValueError, match=r"at most 4: this machine has 4 CUDA devices, got 5"):
        Devices(devices=5).resolve()
    assert Devices(device="cpu", devices="auto").resolve().devices == 1


def test_old_cards_do_not_calculate_in_bfloat16(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    with pytest.raises(ValueError, match="must be 32-true or 16-mixed on this device, Tesla T4"):
        Devices(precision="bf16-mixed").resolve()
    assert Devices(precision="16-mixed").resolve().precision == "16-mixed"


def test_other_machines_need_processes_that_somebody_started(monkeypatch):
    with pytest.raises(ValueError, match="num_nodes must be 1 where no process was started"):
        Devices(device="cpu", num_nodes=2).resolve()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="WORLD_SIZE is 2, but RANK is not set, so that nothing"):
        Devices(device="cpu", devices=2).resolve()
    monkeypatch.setenv("RANK", "0")
    assert Devices(device="cpu", num_nodes=2).resolve().trainer_arguments() == {
        "accelerator": "cpu",
        "devices": 1,
        "num_nodes": 2,
        "strategy": "ddp",
        "precision": "32-true",
    }


def test_a_config_keeps_where_it_was_trained():
    where = Devices(device="cpu", devices=2, precision="bf16-mixed")
    config = RunConfig.make({"modalities": {"a": "a.csv"}, **where.fields()})
    assert RunConfig.make({**config.to_plain()}).where == where


@pytest.mark.parametrize("argv", [[""], ["-c"], []])
def test_no_script_no_processes(monkeypatch, argv):
    monkeypatch.setattr("sys.argv", argv)
    with pytest.raises(ValueError, match=r"devices = 2: each device has a process that starts the"):
        meet(Devices(device="cpu", devices=2))


@pytest.mark.parametrize("by", [by_torchrun, by_srun])
def test_processes_meet_however_they_were_started(by):
    def met(place):
        where = Devices(device="cpu", devices=2).resolve()
        meet(where)
        meet(where)  # again, which is nothing
        with pytest.raises(ValueError, match="must be 2 in all, as many processes have met"):
            meet(where.replace(devices=3))
        return by_first(2, lambda: place), torch.distributed.get_rank()

    assert in_processes(met, by=by) == [(0, 0), (0, 1)]


class Numbers(Callback):
    """Keeps in which numbers the networks calculate."""

    def on_train_start(self, trainer, pl_module):
        encoder = pl_module.model.encoders["a"]
        encoder.register_forward_hook(lambda *found: self.see(found[2].embedding.dtype))
        self.seen = []

    def see(self, dtype):
        self.seen.append((dtype, torch.is_autocast_enabled("cpu")))


def test_mixed_precision_is_of_the_networks_alone(monkeypatch):
    """The start of the clusters, the weights and the loss are as in single precision."""
    starts, begin = [], callbacks.initialize_clusters

    def watched(*arguments, **keywords):
        found = begin(*arguments, **keywords)
        starts.append((torch.is_autocast_enabled("cpu"), found.known.latents[0].dtype.type))
        return found

    monkeypatch.setattr(callbacks, "initialize_clusters", watched)
    labels, losses = [], []
    for precision in ("32-true", "bf16-mixed"):
        own, samples, seen = model(number_of_clusters=3), data(), Numbers()
        recipe = Recipe(n_clusters=3, max_epochs=8)
        where = Devices(device="cpu", precision=precision)
        quiet = {"enable_progress_bar": False}
        train(own, samples, recipe, 0, where=where, callbacks=[seen], **quiet)
        assert {value.dtype for value in own.parameters()} == {torch.float32}
        assert (torch.bfloat16, True) in seen.seen or precision == "32-true"
        labels.append(own.predict_clusters(samples).clusters)
        losses.append(own(samples, generator=torch.Generator().manual_seed(0)).loss.item())
    assert all(not autocast and dtype is np.float64 for autocast, dtype in starts)
    same = (labels[0][:, None] == labels[0]) == (labels[1][:, None] == labels[1])
    assert same.double().mean() > 0.98
    assert losses[1] == pytest.approx(losses[0], abs=0.3)


def fitted(place):
    orders = []

    class Watched(torch.utils.data.DistributedSampler):
        def __init__(self, *arguments, **keywords):
            super().__init__(*arguments, **keywords)
            orders.append(self.seed)

    loaders.DistributedSampler = Watched
    np.random.seed(7 + place)  # noqa: NPY002  another in each process, and in the next fit
    tables = {m: x.numpy() for m, x in data(60).data.items()}
    settings = {"device": "cpu", "devices": 2, "max_epochs": 3}
    found = CMVAEClusterer(3, **settings).fit(tables)
    weights = [value.tolist() for value in found.model_.state_dict().values()]
    again = CMVAEClusterer(3, random_state=place, **settings).fit(tables)
    return found.labels_.tolist(), weights, again.labels_.tolist(), orders


def test_an_estimator_is_fitted_alike_in_all_processes_and_again():
    first, second = in_processes(fitted)
    assert first == second
    assert len(set(first[0])) == 3
    assert len(set(first[3])) == 2  # the order of samples, of which all take parts
