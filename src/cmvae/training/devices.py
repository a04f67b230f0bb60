"""Where a training runs: on which devices, how many, and in which numbers."""

import os
from typing import Any, Literal

from cmvae.base.processes import COUNTS, launched
from cmvae.base.settings import PositiveInt, Settings
from cmvae.base.words import counted, quoted, shown
from cmvae.training.start import IntegerOrAuto

Strategy = Literal["auto", "ddp"]
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
NAMES = {"cpu": "core", "cuda": "CUDA device", "mps": "MPS device"}


class Devices(Settings):
    """The devices that a model is trained on, a process for each.

    Each process takes an equal part of every step's samples, and draws by itself.

    Args:
        device: Lightning's ``accelerator``.
        devices: How many of them on each machine; ``'auto'``: all CUDA devices, else one.
        num_nodes: How many machines.
        strategy: ``'ddp'``, which ``'auto'`` is for several processes.
        precision: Of what networks calculate with: ``'bf16-mixed'`` and ``'16-mixed'`` keep the
            weights, mixture, likelihoods and the start of the clusters in single precision.

    Example:
        >>> Devices(device="cpu").processes
        1
    """

    device: str = "auto"
    devices: IntegerOrAuto = 1
    num_nodes: PositiveInt = 1
    strategy: Strategy = "auto"
    precision: Precision = "32-true"

    @property
    def kind(self) -> str:
        """The accelerator, ``'auto'`` and ``'gpu'`` resolved as Lightning does."""
        if self.device not in ("auto", "gpu"):
            return self.device
        import torch

        if torch.backends.mps.is_available():
            return "mps"
        return "cuda" if torch.cuda.is_available() or self.device == "gpu" else "cpu"

    @property
    def processes(self) -> int:
        """How many processes train; the devices must be resolved."""
        return int(self.devices) * self.num_nodes

    def resolve(self) -> "Devices":
        """Return them with their number, if they can train here.

        Raises:
            ValueError: For devices that this machine does not have, a precision that they do not
                have, or processes that were started in another number.
        """
        if self == Devices():  # found without PyTorch, whose import takes a second
            self.check_processes()
            return self
        if self.kind in NAMES and self.kind not in (usable := self._usable()):
            raise ValueError(
                f"device must be auto, or one that this machine has: {quoted(usable)}; "
                f"got {shown(self.device)}"
            )
        there = self._there()
        every = there if self.kind == "cuda" and there else 1
        number = every if self.devices == "auto" else int(self.devices)
        found = self.replace(devices=number)
        if self.kind == "mps" and found.processes > 1:
            raise ValueError(
                f"devices must be 1 on MPS, and num_nodes too, got {number} and {self.num_nodes}: "
                "its processes cannot tell each other anything; the device cpu can have several"
            )
        if there is not None and number > there:
            own = counted(there, NAMES[self.kind])
            raise ValueError(
                f"devices must be at most {there}: this machine has {own}, got {number}"
            )
        found.check_precision()
        found.check_processes()
        return found

    def _usable(self) -> list[str]:
        if self.kind == "cpu":
            return ["cpu"]
        import torch

        there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        return ["cpu", *(name for name, is_there in there.items() if is_there)]

    def _there(self) -> int | None:
        """Return how many devices the machine has; None where this is not known."""
        if self.kind == "cuda":
            import torch

            return torch.cuda.device_count()
        return {"cpu": os.cpu_count() or 1, "mps": 1}.get(self.kind)

    def check_precision(self) -> None:
        """Refuse numbers that the device does not calculate with."""
        if self.precision == "16-mixed" and self.kind == "cpu":
            raise ValueError(
                "precision must be 32-true or bf16-mixed on the device cpu, got '16-mixed'"
            )
        if self.precision != "bf16-mixed" or self.kind != "cuda":
            return
        import torch

        if not torch.cuda.is_bf16_supported(including_emulation=False):
            name = torch.cuda.get_device_name()
            raise ValueError(
                f"precision must be 32-true or 16-mixed on this device, {name}, got 'bf16-mixed'"
            )

    def check_processes(self) -> None:
        """Refuse a number of processes other than were started; of one, whoever starts it may."""
        name, count, _ = launched()
        if self.processes > 1 and name and count != self.processes:
            raise ValueError(
                f"devices must be {count} in all, as {name} is {count}, got {self.devices} on "
                f"{counted(self.num_nodes, 'machine')}"
            )
        if self.processes > 1 and name and not {COUNTS[name], "LOCAL_RANK"} & set(os.environ):
            raise ValueError(
                f"{name} is {count}, but {COUNTS[name]} is not set, so that nothing says which of "
                f"them this is: start them by torchrun or srun, or unset {name}"
            )
        if self.num_nodes > 1 and not name:
            raise ValueError(
                "num_nodes must be 1 where no process was started on the others, by torchrun or "
                f"srun, got {self.num_nodes}; no WORLD_SIZE or the like is set"
            )

    def trainer_arguments(self) -> dict[str, Any]:
        """Return the arguments of Lightning's trainer."""
        return {
            "accelerator": self.device,
            "devices": self.devices,
            "num_nodes": self.num_nodes,
            "strategy": "ddp" if self.processes > 1 else self.strategy,
            "precision": self.precision,
        }

    def share_of(self, batch_size: int) -> int:
        """Return how many of a step's samples each process takes."""
        return -(-batch_size // self.processes)
