"""Training through Lightning, and the batches that it reads."""

import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.accelerators import AcceleratorRegistry
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import nn
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from cmvae.base.allocator import freed_memory_kept
from cmvae.base.arguments import positive_int
from cmvae.base.files import sole_writer
from cmvae.base.forks import at_fork
from cmvae.base.processes import agreed
from cmvae.base.quiet import quiet_training
from cmvae.base.refused_writes import naming
from cmvae.base.words import quoted, shown
from cmvae.models.cmvae import CMVAE
from cmvae.training.callbacks import CosineDecay, StartCallback
from cmvae.training.checkpoints import LOGS, check_checkpoint, drop_training, training_folder
from cmvae.training.companions import companions_of
from cmvae.training.compiling import Compile, check_compile, compiled, pays
from cmvae.training.initialization import check_number
from cmvae.training.loaders import make_loader, own_part
from cmvae.training.module import CMVAEModule, ModelModule, checkpoint_of
from cmvae.training.processes import refuse_to_train_apart
from cmvae.training.progress import TrainingProgress
from cmvae.training.saving import CheckpointFiles, EpochCheckpoints
from cmvae.training.start import Start
from cmvae.training.stopping import Patience, hold_out
from cmvae.training.streams import check_end, is_stream, passes_of, samples_of

# The global generators, log levels and warnings belong to the process, not to a thread.
ONE_AT_A_TIME = threading.RLock()
# A thread that holds it does not come along into a process that is forked off.
at_fork(ONE_AT_A_TIME._at_fork_reinit)  # type: ignore[attr-defined]


def fit(
    model: Any,
    train_data: Any,
    val_data: Any = None,
    *,
    validation: float | None = None,
    patience: int | None = None,
    schedule: Literal["cosine"] | Callable[[torch.optim.Optimizer], LRScheduler] | None = None,
    max_epochs: int = 100,
    warmup_epochs: int = 0,
    alignment_epochs: tuple[int, int] | None = None,
    initial_clusters: int | Literal["auto"] | None = None,
    start: Start | None = None,
    start_options: Mapping[str, Any] | None = None,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] | None = None,
    seed: int | None = None,
    run_dir: str | Path | None = None,
    resume_from: str | Path | None = None,
    overwrite: bool = False,
    callbacks: Iterable[Callback] | None = None,
    compile: Compile = False,
    **trainer_arguments: Any,
) -> Trainer:
    """Train a CMVAE, or the diffusion decoders of a D-CMVAE; threads do so one after the other.

    In a terminal or a notebook a bar shows how far it is, elsewhere a line every half minute
    (``enable_progress_bar=False``: nothing).
    After every epoch the run folder gets ``checkpoints/last.ckpt``, whose forerunner stays beside
    it as ``before-last.ckpt``, the terms of the loss as CSV in
    ``logs`` and, when the loss (of validation, where there are data for it) is the lowest since the
    clusters started and β has its value, ``checkpoints/best.ckpt``. The model holds the
    last weights. A D-CMVAE's scale of the data is estimated on ``train_data``.

    Args:
        model: The model; its networks are set to training mode, those of a frozen CMVAE excepted.
        train_data: A dataset, {modality: tensor}, or a ``DataLoader``. Of a stream
            (``IterableDataset``) samples are drawn in a pass before the first epoch, from which
            clusters start (:mod:`cmvae.data.reservoirs`); each pass begins anew. Of one without a
            length ``limit_train_batches`` says how many steps an epoch has.
        val_data: Likewise; evaluated after every epoch.
        validation: Instead, the share of ``train_data`` that is held out for it, drawn by the seed;
            not of a ``DataLoader`` or a stream.
        patience: End early, once the loss (of validation, where there are data for it) has not been
            lower for so many epochs with all clusters and β at its value. The model holds the last
            weights; those of the lowest loss are in ``checkpoints/best.ckpt``.
        schedule: How the learning rate falls: ``'cosine'``, along half a cosine to a twentieth, or
            optimiser → scheduler of ``torch.optim.lr_scheduler``, stepped after every epoch, with
            the loss where it asks for one. ``learning_rate`` is then logged.
        max_epochs: Epochs in all, a resumed run's first ones included; those by which a ``start``
            lengthens its alignment come on top.
        warmup_epochs: So many of them with a single cluster, after which the clusters start
            (:func:`initialize_clusters`); 0 trains them from where they are. Not for a D-CMVAE.
        alignment_epochs: (a, r) instead, for modalities that share little but the cluster: a epochs
            of the encoders alone, after which the clusters start; r in which decoders learn to read
            them, and as many in which β rises.
        initial_clusters: How many clusters start then: a number, ``'auto'``, or None for all.
        start: Instead of these three, the whole plan: :class:`cmvae.training.start.Start`.
        start_options: For :func:`initialize_clusters`, ``measured`` and ``latents``.
        batch_size: Samples per step, of each process where there are several; where the data are no
            ``DataLoader``.
        learning_rate: Step size of Adam, for a CMVAE with amsgrad; of learned scales of likelihoods
            10 times that, so that they follow the residuals.
        optimizer: Parameters → optimiser, instead of it; all parameters alike.
        seed: Of PyTorch, NumPy and Python: same seed, model and machine, same weights.
        run_dir: Where files go; by default the first free ``cmvae_runs/version_N``.
        resume_from: A checkpoint of an earlier ``fit``, whose training goes on. Lightning reads it
            with ``weights_only=True``: nothing but tensors and plain values is unpickled.
        overwrite: Allow a ``run_dir`` that holds the checkpoints of another run.
        callbacks: Lightning callbacks beside those of this function.
        compile: Whether the model is compiled for the training (``torch.compile``), which takes a
            minute on a CPU; ``'auto'``: where that is earned back, from 10,000 steps on, if there
            is a compiler of C++. A model that is compiled already stays so.
        **trainer_arguments: Anything that ``lightning.pytorch.Trainer`` takes.

    Returns:
        The Lightning trainer: its ``checkpoint_callback`` names the checkpoints
        (``best_model_path``, ``last_model_path``), ``callback_metrics`` has the last figures.

    Raises:
        ValueError: For an argument out of its range, or a ``run_dir`` that holds results.
        TypeError: For an argument of a wrong type, or one that the trainer does not know.
        NonFiniteLossError: When the loss or a parameter stops being finite.
        KeyboardInterrupt: After an interruption; the last checkpoint stands.
    """
    bare = getattr(model, "_orig_mod", model)  # it may be compiled
    make = CMVAEModule if isinstance(bare, CMVAE) else getattr(bare, "training_module", None)
    if make is None:
        raise TypeError(f"model must be a CMVAE or DCMVAE, got {type(bare).__name__}")
    given = _checked(seed, optimizer, callbacks)
    check_compile(compile)
    module: ModelModule = make(model, learning_rate, optimizer)
    if validation is not None:
        if val_data is not None:
            raise ValueError(
                "validation holds out samples, and val_data are some: give one of both"
            )
        train_data, val_data = hold_out(train_data, validation, seed)
    module.judged_by = "train/loss" if val_data is None else "val/loss"
    given = [*_ending(module, patience, schedule), *given]
    positive_int("max_epochs", max_epochs)
    settings = {
        "warmup_epochs": warmup_epochs,
        "alignment_epochs": alignment_epochs,
        "initial_clusters": initial_clusters,
    }
    plan = _plan(bare, start, settings, seed, max_epochs)
    train_loader, val_loader = make_loader("train_data", train_data, batch_size, shuffle=True), None
    check_end("train_data", train_loader, trainer_arguments)
    if val_data is not None:
        val_loader = make_loader("val_data", val_data, batch_size, shuffle=False)
        check_end("val_data", val_loader, trainer_arguments)
    data = train_data.dataset if isinstance(train_data, DataLoader) else train_data
    if is_stream(data) and (plan or module.looks_at_data):
        data = samples_of(train_loader, trainer_arguments, seed)
        # Its batches do not say which samples they hold.
        plan = plan and plan.replace(keep=False, held_out=0.0)
    module.prepare(data)
    with ONE_AT_A_TIME, quiet_training():
        folder = training_folder(run_dir, overwrite, resume_from)
        if seed is not None:
            seed_everything(seed, verbose=False)
        model.train()
        begin = [StartCallback(plan, data, **(start_options or {}))] if plan else []
        if plan and plan.takes_companions and isinstance(module, CMVAEModule):
            module.companions = companions_of(bare)
        own: list[Callback] = [*passes_of(train_loader, val_loader), *begin]
        if trainer_arguments.get("enable_checkpointing", True):
            own.append(EpochCheckpoints(folder, module.judged_by))
        bars = any(isinstance(callback, ProgressBar) for callback in given)
        if trainer_arguments.get("enable_progress_bar", True) and not bars:
            own.append(TrainingProgress())
        trainer_arguments["callbacks"] = [*own, *given]
        most = max_epochs + (plan.spare if plan else 0)  # the callback says when it ends sooner
        trainer = _trainer(folder, max_epochs=most, **trainer_arguments)
        if resume_from is not None:
            checkpoint = Path(resume_from)
            agreed(_number_met(trainer), lambda: check_checkpoint(checkpoint, bare))
        if trainer.world_size > 1:
            module.seed_of_draws = int(torch.randint(2**62, ()))
            order = (plan and plan.seed) if seed is None else seed
            if not isinstance(train_data, DataLoader):
                train_loader = own_part(trainer, train_loader, order or 0)
            if val_loader is not None and not isinstance(val_data, DataLoader):
                val_loader = own_part(trainer, val_loader)
        is_long = compile == "auto" and pays(train_loader, max_epochs, trainer_arguments)
        is_compiled = bare is model and (compile is True or is_long)
        try:
            with (
                _sole_training(trainer, folder),
                _interruptible(trainer),
                naming(folder),
                compiled(bare, is_compiled),
                freed_memory_kept(),
            ):
                # Another may have been there since it was looked at.
                training_folder(folder, overwrite, resume_from)
                if resume_from is None and trainer.is_global_zero:
                    drop_training(folder)
                trainer.fit(
                    module, train_loader, val_loader, ckpt_path=resume_from, weights_only=True
                )
        finally:
            for callback in begin:
                callback.thaw()
    return trainer


def _checked(seed: Any, optimizer: Any, callbacks: Any) -> list[Callback]:
    """Refuse arguments that Lightning would stumble over; return the callbacks."""
    is_number = isinstance(seed, Integral) and not isinstance(seed, bool)
    if seed is not None and not (is_number and 0 <= seed < 2**32):
        raise ValueError(f"seed must be an integer from 0 to 2**32 - 1, got {shown(seed)}")
    if optimizer is not None and not callable(optimizer):
        raise TypeError(
            f"optimizer must be callable, parameters → optimiser, got {shown(optimizer)}"
        )
    found = list(callbacks) if isinstance(callbacks, Iterable) else callbacks or []
    if not isinstance(found, list) or not all(isinstance(own, Callback) for own in found):
        raise TypeError(f"callbacks must be Lightning callbacks, got {shown(callbacks)}")
    return found


def _ending(module: ModelModule, patience: Any, schedule: Any) -> list[Callback]:
    """Return what ends a training early, and what lets its learning rate fall, checked."""
    found: list[Callback] = []
    if patience is not None:
        found.append(Patience(module.judged_by, positive_int("patience", patience)))
    if schedule is None:
        return found
    module.logs_rate = True
    if isinstance(schedule, str) and schedule == "cosine":
        return [*found, CosineDecay()]
    allowed = "schedule must be 'cosine', or callable: optimiser → scheduler of its learning rate"
    if not callable(schedule):
        raise TypeError(f"{allowed}; got {shown(schedule)}")
    made = schedule(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=module.learning_rate))
    if not isinstance(made, LRScheduler):
        raise TypeError(f"{allowed} (torch.optim.lr_scheduler); it returned {shown(made)}")
    module.schedule = schedule
    return found


def _plan(
    model: Any, start: Start | None, settings: Mapping[str, Any], seed: Any, max_epochs: int
) -> Start | None:
    """Return how training starts, None where it just does, or refuse what the model cannot do."""
    given = [name for name, value in settings.items() if value not in (None, 0)]
    if start is not None and given:
        raise ValueError(f"start is the whole plan: leave {', '.join(given)}, or put them into it")
    if not isinstance(model, CMVAE):
        if start is not None or given:
            names = " and ".join(given or ["start"])
            raise ValueError(f"{names}: the clusters of a {type(model).__name__} are frozen")
        return None
    plan = start or Start(**settings, seed=seed)
    check_number(model, plan.initial_clusters, "initial_clusters")
    if plan.alignment_epochs and len(model.modalities) < 2:
        what = "alignment_epochs align modalities with each other"
        raise ValueError(f"{what}, the model has only {model.modalities}")
    least = plan.before_objective + 1
    if max_epochs < least:
        name = "alignment_epochs" if plan.alignment_epochs else "warmup_epochs"
        what = f"{name} = {getattr(plan, name)}"
        raise ValueError(f"{what} need max_epochs of at least {least}, got {max_epochs}")
    return plan if start is not None or plan.before_clusters else None


def _trainer(folder: Path, **arguments: Any) -> Trainer:
    if "default_root_dir" in arguments:
        raise TypeError("default_root_dir is set by run_dir: pass that")
    usual = {"num_sanity_val_steps": 0, "log_every_n_steps": 1, "enable_model_summary": False}
    arguments = {**usual, **arguments}
    arguments.setdefault("logger", CSVLogger(folder, name=LOGS))
    _check_accelerator(arguments.get("accelerator", "auto"))
    try:
        trainer = Trainer(default_root_dir=folder, **arguments)
    except (MisconfigurationException, ValueError) as error:
        raise ValueError(f"the trainer refuses its arguments: {error}") from error
    refuse_to_train_apart(trainer, folder)
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = CheckpointFiles()
    if isinstance(trainer.strategy, DDPStrategy):
        # The networks of a modality that a batch lacks have no gradients there.
        trainer.strategy._ddp_kwargs.setdefault("find_unused_parameters", True)
    return trainer


def _number_met(trainer: Trainer) -> int:
    """Return how many processes of a training there are that can tell each other something yet."""
    distributed = torch.distributed
    is_met = distributed.is_available() and distributed.is_initialized()
    return int(trainer.world_size) if is_met else 1


def _check_accelerator(name: Any) -> None:
    """Refuse a device that this machine does not have."""
    if not isinstance(name, str) or name == "auto":
        return
    known = [own for own in AcceleratorRegistry.available_accelerators() if own != "tpu"]
    usable = [own for own in known if AcceleratorRegistry[own]["accelerator"].is_available()]
    if name not in usable and not (name == "gpu" and {"cuda", "mps"} & set(usable)):
        raise ValueError(
            f"device must be auto, or one that this machine has: {quoted(usable)}; "
            f"got {shown(name)}"
        )


@contextmanager
def _sole_training(trainer: Trainer, folder: Path) -> Iterator[None]:
    """Keep other processes from training into a folder, where this one writes there."""
    if not trainer.is_global_zero or not (trainer.checkpoint_callbacks or trainer.loggers):
        yield
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with sole_writer(folder, "run_dir"):
        yield


@contextmanager
def _interruptible(trainer: Trainer) -> Iterator[None]:
    """Turn the exit that Lightning makes of a ``KeyboardInterrupt`` back into that one."""
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if in_main else None
    try:
        yield
    except SystemExit as error:
        stop = error.__context__
        if not isinstance(stop, KeyboardInterrupt):
            raise
        stop.args = (f"training interrupted; last checkpoint: {checkpoint_of(trainer)}",)
        raise stop from None
    finally:
        if in_main:
            signal.signal(signal.SIGINT, handler)
