"""How a run runs, beside what it learns: speed, tokens, memory and the gradient's norm."""

from __future__ import annotations

import resource
import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from genomamba.data.position import ends_step

GIB = 1 << 30


class RunMetrics(Callback):
    """Logs every ``trainer.log_every_n_steps`` steps, and leaves the training's bits alone:

    - ``run/tokens``, ``run/examples``: that all steps since the first have learnt from;
    - ``run/tokens_per_second``, ``run/examples_per_second``: of all ranks, since the last time,
      without validation;
    - ``run/peak_memory_gib``: what PyTorch has had allocated on a GPU, else the process's largest
      resident set; of rank zero;
    - ``run/gradient_norm``: of all parameters' gradients together, before clipping.

    The GPU is waited for at those steps only.
    """

    def __init__(self) -> None:
        self._since = self._paused_at = 0.0
        self._since_step = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._since, self._since_step = time.monotonic(), trainer.global_step

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        if _is_logged(trainer, trainer.global_step + 1):
            gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
            pl_module.log("run/gradient_norm", torch.nn.utils.get_total_norm(gradients))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        steps = trainer.global_step
        if not (ends_step(trainer, batch_idx) and _is_logged(trainer, steps)):
            return
        device = trainer.strategy.root_device
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        now = time.monotonic()
        seconds, before = max(now - self._since, 1e-9), self._since_step
        schedule = trainer.datamodule.schedule  # type: ignore[attr-defined]
        tokens, examples = schedule.first_token(steps), schedule.first_example(steps)
        values = {
            "run/tokens": tokens,
            "run/examples": examples,
            "run/tokens_per_second": (tokens - schedule.first_token(before)) / seconds,
            "run/examples_per_second": (examples - schedule.first_example(before)) / seconds,
            "run/peak_memory_gib": _peak_memory(device) / GIB,
        }
        for logger in trainer.loggers:  # `log` would make float32 of the counts
            logger.log_metrics(values, steps - 1)  # as Lightning numbers the step just made
        self._since, self._since_step = now, steps

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._paused_at = time.monotonic()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._since += time.monotonic() - self._paused_at


def _is_logged(trainer: Any, steps: int) -> bool:
    """Whether Lightning logs the metrics of the step after which ``steps`` have been made."""
    return steps % trainer.log_every_n_steps == 0


def _peak_memory(device: torch.device) -> int:
    """In bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts kibibytes
