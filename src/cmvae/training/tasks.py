"""The callbacks of scikit-learn (1.9 and later), which hear of every epoch of a fit."""

from functools import wraps
from typing import Any

from lightning.pytorch import Callback, Trainer

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn before 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands for the class of that name, which takes callbacks."""

    def with_callbacks(method: Any) -> Any:
        """Return the method, called as deep as with callbacks: warnings count calls."""

        @wraps(method)
        def called(estimator: Any, *arguments: Any, **keywords: Any) -> Any:
            return method(estimator, *arguments, **keywords)

        return called


class EpochTasks(Callback):
    """Tells scikit-learn's callbacks of a fit that an epoch begins and ends.

    One that asks to stop ends the training, once the clusters have started.
    """

    def __init__(self, estimator: Any, context: Any) -> None:
        self.estimator, self.context = estimator, context
        self._task: Any = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Begin a task."""
        self._task = self.context.subcontext(task_name="epoch")
        self._task.call_on_fit_task_begin(estimator=self.estimator)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """End it."""
        stops = self._task.call_on_fit_task_end(estimator=self.estimator)
        if stops and not pl_module.warming:
            trainer.should_stop = True


def begin_tasks(estimator: Any, X: Any) -> Any:
    """Return the context of a fit that begins; None where scikit-learn has no callbacks."""
    if not hasattr(estimator, "_init_callback_context"):
        return None
    context = estimator._init_callback_context(max_subtasks=None)
    return context.call_on_fit_task_begin(estimator=estimator, X=X)
