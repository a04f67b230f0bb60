from dataclasses import replace
from unittest import mock

import pytest
import torch

from cmvae.runs.config import RunConfig
from cmvae.runs.fitting import change_clusters, fit_run, may_change_clusters
from cmvae.runs.folder import (
    CONFIG,
    REPLACED,
    load_model,
    may_write_run,
    partial_folder,
    read_record,
    read_run,
    save_run,
)
from cmvae.runs.run import prepare
from cmvae.training.checkpoints import can_resume
from cmvae.training.module import CMVAEModule
from made_files import contents, names

STEP = "cmvae.training.module.CMVAEModule.train_output"


def stopping(epoch, error):
    """Raise an error at the end of an epoch."""
    own = CMVAEModule.on_train_epoch_end

    def stop(module):
        own(module)
        if module.current_epoch == epoch:
            raise error

    return mock.patch.object(CMVAEModule, "on_train_epoch_end", stop)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError("full"), FloatingPointError("nan")])
def test_a_training_that_fails_can_be_resumed_to_the_same_end(
    run, folder, prepared, tmp_path, error
):
    target = tmp_path / "run"
    with stopping(3, error), pytest.raises(type(error)):
        fit_run(target, prepared)
    assert [path.name for path in tmp_path.iterdir()] == ["run.partial"]
    fit_run(target, prepared, resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert contents(target) == contents(folder)


def test_a_failure_before_there_is_a_checkpoint_leaves_nothing(prepared, tmp_path):
    failed = mock.patch("cmvae.training.clustering.fit", side_effect=ValueError("no"))
    with failed, pytest.raises(ValueError, match="no"):
        fit_run(tmp_path / "run", prepared)
    assert names(tmp_path) == []


def test_what_another_has_written_meanwhile_is_not_replaced(run, prepared, tmp_path):
    target = tmp_path / "run"
    may_write_run(target, overwrite=False, resume=False)
    save_run(target, run, overwrite=False)  # another process, between the question and the lock
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="run holds the results of a run; pass overwrite=True"):
        fit_run(target, prepared)
    assert contents(tmp_path) == before


def test_a_change_drops_no_other_training(run, prepared, tmp_path):
    target = tmp_path / "run"
    save_run(target, run, overwrite=False)
    with stopping(3, KeyboardInterrupt()), pytest.raises(KeyboardInterrupt):
        fit_run(target, prepared, overwrite=True)
    with pytest.raises(ValueError, match=r"run\.partial holds an interrupted run, which is to"):
        may_change_clusters(target)
    assert can_resume(tmp_path / "run.partial" / "training")


def test_other_clusters_keep_what_the_networks_have_learned(run, prepared, tmp_path):
    save_run(tmp_path / "run", run, overwrite=False)
    found = read_run(tmp_path / "run")
    starts = []
    with mock.patch.object(
        CMVAEModule,
        "on_train_start",
        lambda module: starts.append(
            {name: value.clone() for name, value in module.model.state_dict().items()}
        ),
    ):
        changed = change_clusters(tmp_path / "run", found, prepared.rows, 5)
    for name, value in run.model.state_dict().items():
        if not name.startswith("mixture."):
            assert torch.equal(starts[0][name], value), name
    again = read_run(tmp_path / "run")
    assert again.n_clusters == changed.n_clusters == again.config.recipe.n_clusters == 5
    assert again.log["phase"].tolist() == [*run.log["phase"], "clusters"]
    assert again.evidence is None
    assert len(again.latents) == len(run.latents) > 1
    assert read_record(tmp_path / "run").preprocessing == run.preprocessing


def test_a_change_is_of_the_run_that_is_there(run, prepared, tmp_path):
    save_run(tmp_path / "run", run, overwrite=False)
    found = read_run(tmp_path / "run")
    save_run(tmp_path / "run", replace(run, metrics={**run.metrics, "loss": 7.0}), overwrite=True)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="run was replaced by another run while it was read"):
        change_clusters(tmp_path / "run", found, prepared.rows, 4)
    assert contents(tmp_path) == before


def test_a_change_that_fails_leaves_the_run(run, prepared, tmp_path):
    save_run(tmp_path / "run", run, overwrite=False)
    before, record = contents(tmp_path / "run"), read_record(tmp_path / "run")
    found = load_model(tmp_path / "run", record)
    with pytest.raises(ValueError, match="n_clusters = 61 clusters cannot be found"):
        change_clusters(tmp_path / "run", found, prepared.rows, 61)
    with mock.patch(STEP, side_effect=OSError("full")), pytest.raises(OSError, match="full"):
        change_clusters(tmp_path / "run", found, prepared.rows, 4)
    assert contents(tmp_path / "run") == before


def test_a_change_that_is_broken_off_goes_on_from_the_run(run, prepared, tmp_path):
    def broken_off_change(target, resume):
        """Change the clusters of a run, and break that off before there is a checkpoint."""
        save_run(target, run, overwrite=False)
        with (
            mock.patch("cmvae.training.clustering.fit", side_effect=KeyboardInterrupt),
            mock.patch("cmvae.runs.fitting.rmtree"),  # as after a kill
            pytest.raises(KeyboardInterrupt),
        ):
            change_clusters(target, read_run(target), prepared.rows, 4)
        if resume:
            config = RunConfig.read(partial_folder(target) / CONFIG)
            again = prepare(config, run.preprocessing, prepared.rows)
            fit_run(target, again, resume=True)
        else:
            change_clusters(target, read_run(target), prepared.rows, 4)

    broken_off_change(tmp_path / "resumed" / "run", resume=True)
    broken_off_change(tmp_path / "again" / "run", resume=False)
    assert contents(tmp_path / "resumed") == contents(tmp_path / "again")
    assert len(read_run(tmp_path / "resumed" / "run").log) > len(run.log)


# Several processes, and names that belong to others
# ------------------------------------------------------------------------------------------


def test_a_run_that_came_while_files_were_read_is_not_replaced(run, prepared, tmp_path):
    target = tmp_path / "run"
    may_write_run(target, overwrite=False, resume=False)
    save_run(target, run, overwrite=False)  # by another process
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="run holds the results of a run; pass overwrite=True"):
        fit_run(target, prepared)
    assert contents(tmp_path) == before


def test_clusters_of_a_run_that_was_replaced_are_not_changed(run, prepared, tmp_path):
    save_run(tmp_path / "run", run, overwrite=False)
    found = read_run(tmp_path / "run")
    other = replace(run, log=run.log.assign(loss=0.0))
    save_run(tmp_path / "run", other, overwrite=True)  # by another process
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=REPLACED):
        change_clusters(tmp_path / "run", found, prepared.rows, 4)
    assert contents(tmp_path) == before


def test_a_change_does_not_drop_a_training_that_was_interrupted(run, prepared, tmp_path):
    target = tmp_path / "run"
    save_run(target, run, overwrite=False)
    with stopping(3, KeyboardInterrupt()), pytest.raises(KeyboardInterrupt):
        fit_run(target, prepared, overwrite=True)
    before = contents(tmp_path)
    with pytest.raises(
        ValueError, match=r"run\.partial holds an interrupted run, which is to replace"
    ):
        change_clusters(target, read_run(target), prepared.rows, 4)
    assert contents(tmp_path) == before
