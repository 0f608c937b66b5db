"""Progress of training where no terminal shows a bar: a line now and then on stderr."""

from __future__ import annotations

import sys
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

SECONDS_BETWEEN_LINES = 10.0


class LogLines(Callback):
    """Prints step, loss, learning rate and speed every ten seconds, and every validation result."""

    def __init__(self) -> None:
        self._last_time = 0.0
        self._last_step = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._last_time = time.monotonic()
        self._last_step = trainer.global_step
        if trainer.global_step:
            _say(trainer, f"resumed at step {trainer.global_step}")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        now, step = time.monotonic(), trainer.global_step
        if now - self._last_time < SECONDS_BETWEEN_LINES and step != trainer.max_steps:
            return
        rate = (step - self._last_step) / max(now - self._last_time, 1e-9)
        self._last_time, self._last_step = now, step
        learning_rate = trainer.optimizers[0].param_groups[0]["lr"]
        _say(
            trainer,
            f"step {step}/{trainer.max_steps}  {_values(trainer, 'train')}  "
            f"lr {learning_rate:.2e}  {rate:.2f} steps/s",
        )

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking and (values := _values(trainer, "valid")):
            _say(trainer, f"step {trainer.global_step}  {values}")


class NothingLeft(Callback):
    """Says why no step was trained: a finished run that is continued would end without a word."""

    def __init__(self) -> None:
        self._began = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._began = True

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._began and trainer.global_step >= trainer.max_steps:
            _say(
                trainer,
                f"nothing to train: the checkpoint is at step {trainer.global_step} and "
                f"trainer.max_steps is {trainer.max_steps}",
            )


def _values(trainer: Trainer, stage: str) -> str:
    """A stage's metrics, such as ``train/loss 1.23``; those by class are in the run's files."""
    return "  ".join(
        f"{name} {float(value):.4f}"
        for name, value in trainer.callback_metrics.items()
        if name.startswith(f"{stage}/") and name.count("/") == 1 and "learning_rate" not in name
    )


def _say(trainer: Trainer, text: str) -> None:
    if trainer.is_global_zero:
        print(text, file=sys.stderr, flush=True)
