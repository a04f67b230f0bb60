"""What a training shows: one bar in a terminal or a notebook, elsewhere a line now and then."""

import shutil
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from tqdm.std import tqdm as TextBar

PAUSE = 0.2  # seconds between two looks at a bar
WIDTH, HEIGHT = 80, 24
SILENCE = 30.0  # seconds between two lines, where there is no terminal
FORMAT = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"


class TrainingProgress(ProgressBar):
    """One bar for a whole training: epoch, phase, loss, and what else is logged for progress bars.

    Where nobody looks on, as in a pipe or a batch job, there is a line at the end of an epoch
    instead, at most every 30 seconds: what is done sooner is silent.
    """

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._bar: Any = None
        self._done = 0  # steps that the bar does not show yet
        self._before = 0  # steps done when it began, or when a line was last written
        self._began = self._shown = 0.0

    def disable(self) -> None:
        """Show nothing, as in others of several processes."""
        self._enabled = False

    def enable(self) -> None:
        """Show it."""
        self._enabled = True

    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """Return what is shown: the loss, and what was logged for progress bars."""
        loss = getattr(pl_module, "last_loss", None)
        own: dict[str, Any] = {} if loss is None else {"loss": float(loss)}
        return {**own, **trainer.progress_bar_metrics}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin."""
        self._began = self._shown = time.monotonic()
        self._before, self._done = trainer.global_step, 0
        if self._enabled and _is_watched():
            options: dict[str, Any] = {"bar_format": FORMAT, "mininterval": 0, "desc": "training"}
            options |= {"file": sys.stderr}
            with self._whatever_happens():
                self._bar = _make_bar(total=_steps(trainer), initial=self._before, **options)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the epoch, of those that there are by now."""
        if self._bar is not None:
            self._bar.total = _steps(trainer)
            self._bar.set_description_str(_epoch(trainer, pl_module), refresh=False)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Show a step, unless one has been shown just now: reading the loss waits for a device."""
        if self._bar is not None:
            self._done += 1
            if time.monotonic() - self._shown > PAUSE:
                self._draw(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write a line, where there is no bar and has been none for long."""
        if not self._enabled or self._bar is not None:
            return
        now, done, steps = time.monotonic(), trainer.global_step, _steps(trainer)
        if now - self._shown > SILENCE:
            # Steps of one phase of training may take several times as long as those of another.
            each = (now - self._shown) / max(1, done - self._before)
            spent, self._shown, self._before = now - self._began, now, done
            left = f", about {_clock(each * (steps - done))} left" if steps else ""
            words = f"{_epoch(trainer, pl_module)}: {self._words(trainer, pl_module)}"
            with self._whatever_happens():
                TextBar.write(f"{words}, {_clock(spent)} so far{left}", file=sys.stderr)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Leave the bar as it stands."""
        self._close()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the last step, and leave the bar."""
        if self._bar is not None:
            self._draw(trainer, pl_module)
        self._close()

    def _draw(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._shown, done, self._done = time.monotonic(), self._done, 0
        with self._whatever_happens():
            self._bar.set_postfix_str(self._words(trainer, pl_module), refresh=False)
            self._bar.update(done)

    def _words(self, trainer: Trainer, pl_module: LightningModule) -> str:
        found = self.get_metrics(trainer, pl_module).items()
        return ", ".join(
            f"{name} {own:#.4g}" if isinstance(own, float) else f"{name} {own}"
            for name, own in found
        )

    def _close(self) -> None:
        if self._bar is not None:
            with self._whatever_happens():
                self._bar.close()
        self._bar = None

    @contextmanager
    def _whatever_happens(self) -> Iterator[None]:
        """Train on where what is shown can be shown no longer, as once a terminal is gone."""
        try:
            yield
        except OSError:
            self._enabled, self._bar = False, None


def _is_watched() -> bool:
    """Tell whether someone looks on: in a terminal, or in a notebook."""
    return "ipykernel.zmqshell" in sys.modules or (sys.stderr is not None and sys.stderr.isatty())


def _make_bar(**options: Any) -> TextBar:
    """Return a bar for where this runs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a notebook without widgets
        from tqdm.auto import tqdm

    if tqdm.__module__ != "tqdm.notebook":
        # Some terminals do not tell their size, which tqdm takes for none.
        known = shutil.get_terminal_size((0, 0)).columns > 0
        options |= {"dynamic_ncols": True} if known else {"ncols": WIDTH, "nrows": HEIGHT}
    # Without tqdm's own thread, which watches for bars that are seldom updated.
    return type("Bar", (tqdm,), {"monitor_interval": 0})(**options)


def _steps(trainer: Trainer) -> int | None:
    """Return the steps of the whole training, where their number is known."""
    epochs, batches = trainer.max_epochs, trainer.num_training_batches
    if epochs is None or epochs < 0 or batches == float("inf"):
        return trainer.max_steps if trainer.max_steps > 0 else None
    steps = -(-int(batches) // trainer.accumulate_grad_batches) * epochs
    return min(steps, trainer.max_steps) if trainer.max_steps > 0 else steps


def _epoch(trainer: Trainer, pl_module: LightningModule) -> str:
    of = f" of {trainer.max_epochs}" if (trainer.max_epochs or -1) > 0 else ""
    phase = getattr(pl_module, "phase", "")
    return f"epoch {trainer.current_epoch + 1}{of}" + (f", {phase}" if phase else "")


def _clock(seconds: float) -> str:
    return str(TextBar.format_interval(seconds))
