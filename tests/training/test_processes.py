import re
from functools import partial

import pytest
import torch
from lightning.pytorch import Callback, Trainer

import cmvae.training.initialization
from cmvae import CMVAE, CMVAEConfig, IncompleteDataset, MultimodalBaseDataset, fit
from cmvae.base.processes import launched
from cmvae.data.loading import batch_loader
from cmvae.training.module import CMVAEModule
from cmvae.training.start import Start
from forked import by_torchrun, by_torchrun_on_machines, in_processes
from made_files import given, refused
from training.cases import QUIET, StopAfter, data, model

FIELDS = {
    "latent_dim": 2,
    "modalities_specific_dim": 2,
    "number_of_clusters": 2,
    "hidden_dims": (4,),
    "K": 1,
}
TWO = {"devices": 2, "logger": False, **QUIET}


def small_model(seed=0):
    torch.manual_seed(seed)
    return CMVAE(CMVAEConfig(n_modalities=2, input_dims={"a": 4, "b": 3}, **FIELDS))


def small_data(n=16):
    generator = torch.Generator().manual_seed(1)
    shapes = {"a": 4, "b": 3}
    return {m: torch.randn(n, size, generator=generator) for m, size in shapes.items()}


class Rows(Callback):
    """Keeps which samples come in each epoch, and a draw in the first."""

    def __init__(self):
        self.train, self.val = [], []

    def on_train_epoch_start(self, trainer, pl_module):
        self.train.append([])
        self.draw = torch.rand(()).item() if len(self.train) == 1 else self.draw

    def on_train_batch_start(self, trainer, pl_module, batch, index):
        self.train[-1] += batch["rows"].tolist()

    def on_validation_batch_start(self, trainer, pl_module, batch, index, dataloader_idx=0):
        self.val += batch["rows"].tolist()


def numbers(module):
    """Return the parameters and buffers of a module as lists, which pipes take."""
    return {name: value.tolist() for name, value in module.state_dict().items()}


def trained_together(place, folder):
    own, seen = small_model(), Rows()
    samples, held = MultimodalBaseDataset(small_data()), MultimodalBaseDataset(small_data(5))
    arguments = {"max_epochs": 2, "batch_size": 4, "callbacks": [seen], "seed": 3}
    trainer = fit(own, samples, held, run_dir=folder, **arguments, **TWO)
    loss = float(trainer.callback_metrics["val/loss"])
    with torch.no_grad():
        parts = [own.eval()(held[rows]) for rows in ([0, 2, 4], [1, 3])]
    return numbers(own), seen.train, seen.val, seen.draw, loss, len(parts)


def test_processes_share_the_samples_and_end_alike(tmp_path):
    first, second = in_processes(trained_together, tmp_path / "run")
    assert first[0] == second[0]
    for one, other in zip(first[1], second[1], strict=True):
        assert sorted(one + other) == list(range(16))
    assert first[1][0] != first[1][1]  # shuffled anew
    assert (first[2][:3], second[2][:2]) == ([0, 2, 4], [1, 3])  # five, and none twice
    assert first[3] != second[3]
    assert first[4] == second[4]


def test_the_losses_of_an_epoch_are_means_over_the_samples_of_all():
    class Means(Callback):
        def on_validation_epoch_end(self, trainer, pl_module):
            sums = pl_module._sums["val"]["loss"]
            self.own = float(sums[0]), sums[1]

    def losses(place):
        seen, held = Means(), MultimodalBaseDataset(small_data(5))
        own = {"max_epochs": 1, "batch_size": 2, "callbacks": [seen], "seed": 3}
        files = {"enable_checkpointing": False, "run_dir": "nowhere"}
        trainer = fit(small_model(), small_data(), held, **own, **files, **TWO)
        return seen.own, float(trainer.callback_metrics["val/loss"])

    (first, mean), (second, other) = in_processes(losses)
    assert (first[1], second[1]) == (3, 2)
    assert mean == other == pytest.approx((first[0] + second[0]) / 5, rel=1e-6)


def aligned(place, devices=2):
    """Three steps of an alignment, which draws nothing, over all samples but those held out."""
    own = small_model()
    plan = Start(alignment_epochs=(3, 1), held_out=0.2, views=False)
    files = {"enable_checkpointing": False, "max_epochs": 6, "callbacks": [StopAfter(3)]}
    many = {**TWO, "devices": devices, "batch_size": 16 // devices}
    many["optimizer"] = partial(torch.optim.SGD, lr=0.1)  # Adam does not mind the scale of a loss
    fit(own, small_data(), start=plan, seed=3, run_dir="nowhere", **files, **many)
    return numbers(own)


def test_two_processes_take_the_steps_of_one():
    first, second = in_processes(aligned)
    assert first == second
    for name, value in aligned(0, devices=1).items():
        torch.testing.assert_close(torch.tensor(first[name]), torch.tensor(value), msg=name)


def predicted(place):
    own, samples = small_model(), MultimodalBaseDataset(small_data(7))
    trainer = Trainer(enable_checkpointing=False, **TWO)
    parts = trainer.predict(CMVAEModule(own), batch_loader(samples, 2))
    whole = own.predict_clusters(samples)
    for part in parts:
        torch.testing.assert_close(part["probabilities"], whole.probabilities[part["rows"]])
        assert torch.equal(part["clusters"], whole.clusters[part["rows"]])
    return [row for part in parts for row in part["rows"].tolist()]


def test_a_prediction_is_shared_out_and_knows_which_samples_it_is_of():
    first, second = in_processes(predicted)
    assert sorted(first + second) == list(range(7))
    assert len(first) - len(second) == 1


def started_apart(place, folder, where):
    # Each process would draw four samples of its own, and start other clusters from them.
    cmvae.training.initialization.MAX_SAMPLES = 4
    lacking = IncompleteDataset(small_data(8), {"b": torch.arange(8) == 0})
    own, many = small_model(), {**TWO, **where, "run_dir": folder}
    torch.manual_seed(place)
    trainer = fit(own, lacking, max_epochs=3, warmup_epochs=1, batch_size=2, **many)
    return trainer.global_step, numbers(own)


@pytest.mark.parametrize(
    ("by", "where"),
    [(by_torchrun, {"devices": 2}), (by_torchrun_on_machines, {"devices": 1, "num_nodes": 2})],
)
def test_clusters_start_alike_though_most_batches_lack_a_modality(tmp_path, by, where):
    first, second = in_processes(started_apart, tmp_path / "run", where, by=by)
    assert first[0] == 6
    assert first == second


def resumed(place, folder):
    states = []
    for epochs, last in ((4, None), (2, None), (4, "cut")):
        own = small_model()
        name = folder / ("cut" if epochs == 2 or last else "whole")
        again = last and name / "checkpoints" / "last.ckpt"
        arguments = {"max_epochs": epochs, "batch_size": 4, "seed": 3, "resume_from": again}
        fit(own, small_data(), run_dir=name, **arguments, **TWO)
        states.append(numbers(own))
    return states


def test_a_resumed_training_is_the_whole_one_and_goes_on_in_another_number(tmp_path):
    first, second = in_processes(resumed, tmp_path)
    assert first == second
    assert first[0] == first[2] != first[1]
    last = tmp_path / "cut" / "checkpoints" / "last.ckpt"
    own = small_model()
    run = {"run_dir": tmp_path / "cut", "resume_from": last, "logger": False, **QUIET}
    assert fit(own, small_data(), max_epochs=5, batch_size=8, **run).current_epoch == 5


def apart(place, folder):
    fit(small_model(), small_data(), max_epochs=1, run_dir=folder, **QUIET)


def test_processes_that_would_train_apart_are_refused(tmp_path):
    for kind, line in in_processes(apart, tmp_path / "run"):
        assert kind == "ValueError"
        assert line.startswith("WORLD_SIZE is 2: this is one of several processes, ")
        assert "pass devices (how many of them are on a machine) and num_nodes" in line
    assert not (tmp_path / "run").exists()


class Spoil(Callback):
    """Makes the values of a modality NaN, or huge, in the second epoch of the second process."""

    def __init__(self, case):
        self.value = torch.nan if case.startswith("nan") else 1e30
        self.place = "val" if "validation" in case else "train"

    def on_train_batch_start(self, trainer, pl_module, batch, index):
        self.spoil(trainer, batch, "train")

    def on_validation_batch_start(self, trainer, pl_module, batch, index, dataloader_idx=0):
        self.spoil(trainer, batch, "val")

    def spoil(self, trainer, batch, place):
        if (self.place, trainer.global_rank, trainer.current_epoch) == (place, 1, 1):
            batch["data"]["b"] = batch["data"]["b"] * self.value


LOSS = (
    r"process 1 of 2: the loss is (inf|nan) in "
    r"epoch 1; terms that are not finite: .*_b.*; last good checkpoint: .*last\.ckpt"
)
VALUES = r"(process 1 of 2: )?modality 'b'.*of samples 0, 1, 2, 3; .*"
FAULTS = {
    "huge": ("NonFiniteLossError", LOSS, {}),
    "huge in validation": ("NonFiniteLossError", LOSS, {}),
    "nan": ("ValueError", VALUES, {}),
    "nan in validation": ("ValueError", VALUES, {}),
    # The other process waits for its locations, to tell them from its own.
    "nan in an alignment": ("ValueError", VALUES, {"alignment_epochs": (2, 1), "max_epochs": 9}),
}


def spoiled(place, folder, case):
    samples = MultimodalBaseDataset(small_data())
    held = samples if "validation" in case else None
    arguments = {"max_epochs": 3, "batch_size": 4, "callbacks": [Spoil(case)], **FAULTS[case][2]}
    fit(small_model(), samples, held, run_dir=folder, **arguments, **TWO)


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_of_one_process_is_that_of_all(tmp_path, case):
    error, words, _ = FAULTS[case]
    for kind, line in in_processes(spoiled, tmp_path / "run", case):
        assert (kind, bool(re.fullmatch(words, line))) == (error, True), line
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()


@pytest.mark.parametrize(
    ("name", "count", "said"),
    [
        ("WORLD_SIZE", "2", "WORLD_SIZE is 2"),
        ("OMPI_COMM_WORLD_SIZE", "4", "OMPI_COMM_WORLD_SIZE is 4"),
        ("SLURM_STEP_NUM_TASKS", "8", "SLURM_STEP_NUM_TASKS is 8"),
        ("WORLD_SIZE", "1", ""),
        ("WORLD_SIZE", "", ""),
        ("WORLD_SIZE", "many", ""),
    ],
)
def test_several_processes_are_known_by_their_variable(monkeypatch, tmp_path, name, count, said):
    monkeypatch.setenv(name, count)
    found, number, place = launched()
    assert (f"{found} is {number}" if found else "", place) == (said, 0)
    folders = {"run_dir": tmp_path / "run", "max_epochs": 1, "logger": False, **QUIET}
    if said:
        with pytest.raises(ValueError, match=f"{said}: this is one of several"):
            fit(model(), data(), **folders)
        assert not (tmp_path / "run").exists()
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(tmp_path)
            line = refused(said, "fit", *given(a=tmp_path / "a.csv"), "--out", tmp_path / "run")
        assert "start it once, without torchrun" in line
        assert not any(tmp_path.iterdir())
        # What leaves no files may be done in each.
        fit(model(), data(), enable_checkpointing=False, **folders)
    else:
        fit(model(), data(), **folders)
