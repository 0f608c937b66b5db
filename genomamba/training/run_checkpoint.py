"""When a run's checkpoints are written: only at the end of an optimiser step."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from genomamba.data.position import ends_step


class RunCheckpoint(ModelCheckpoint):
    """Lightning's, except that

    - a time interval that ends among the parts of an accumulated step waits for the step's end;
    - ``last.ckpt`` holds the last step also where no interval ends with it.
    """

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if ends_step(trainer, batch_idx):
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._last_global_step_saved != trainer.global_step:
            self.save_last_now(trainer)

    def save_last_now(self, trainer: Trainer) -> None:
        """Write ``last.ckpt``, on all ranks together."""
        if self.save_last:
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))
