"""The batches that a training reads, and each of several processes' part of them."""

from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset

from cmvae.base.arguments import positive_int
from cmvae.base.words import counted
from cmvae.data.loading import as_dataset, batch_loader


def make_loader(argument: str, data: Any, batch_size: int, shuffle: bool) -> DataLoader[Any]:
    """Return a loader of the batches of a dataset or mapping; a ``DataLoader`` is one already.

    Data of another kind, or that give no batch, are refused by the name of the argument.
    """
    if not isinstance(data, DataLoader):
        data = as_dataset(data, argument, with_length=False)
        data = batch_loader(data, positive_int("batch_size", batch_size), shuffle=shuffle)
    if hasattr(data.dataset, "__len__") and len(data) == 0:
        why = "it holds no samples, or fewer than a whole batch is dropped"
        raise ValueError(f"{argument} gives no batch: {why}")
    return data


def own_part(trainer: Trainer, loader: DataLoader[Any], seed: int | None = None) -> DataLoader[Any]:
    """Return a loader of the samples that this one of several processes takes.

    With a seed they are shuffled, and some come twice in an epoch, so that all processes have the
    same number of batches; without one each sample comes once.
    """
    data, number = loader.dataset, trainer.world_size
    # Processes that are forked off later know their places only then: Lightning shares out.
    is_late = getattr(trainer.strategy, "_start_method", "popen") != "popen"
    if is_late or isinstance(data, IterableDataset):
        return loader
    own: dict[str, Any] = {"num_replicas": number, "rank": trainer.global_rank}
    if seed is not None:
        sampler: DistributedSampler[Any] = DistributedSampler(data, seed=seed, **own)
    elif len(data) < number:  # type: ignore[arg-type]
        few = counted(len(data), "sample")  # type: ignore[arg-type]
        raise ValueError(f"val_data holds {few}, for {number} processes: give one to each at least")
    else:
        sampler = UnrepeatedDistributedSampler(data, shuffle=False, **own)
    return DataLoader(data, loader.batch_size, sampler=sampler, collate_fn=loader.collate_fn)
