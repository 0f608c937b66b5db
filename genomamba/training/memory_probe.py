"""Whether the longest windows of a length warmup will fit, asked before the first step."""

from __future__ import annotations

import resource
import sys
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng

from genomamba_data_prep.errors import InputError

GIB = 1 << 30


class MemoryProbe(Callback):
    """Runs the longest stage's batch forward and backward before training, and says what it took.

    Nothing else changes: random numbers, gradients, buffers (running statistics), metrics and the
    optimiser are as before. On a GPU the peak is PyTorch's, of this rank; on a CPU it is that of
    the process's whole life.

    Raises:
        InputError: the batch does not fit into the GPU's memory.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        batch = data.largest_batch()
        size, length = batch.codes.shape
        shape = f"{size} window(s) of {length:,} bases a rank and part"
        device = trainer.strategy.root_device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        buffers = [(buffer, buffer.clone()) for buffer in pl_module.buffers()]
        try:
            with isolate_rng():
                _forward_backward(trainer, pl_module, trainer.strategy.batch_to_device(batch))
        except torch.cuda.OutOfMemoryError as error:
            raise InputError(
                f"the longest stage, {shape}, does not fit into the GPU's memory",
                fix="Raise trainer.accumulate_grad_batches, or use a smaller model or batch_size",
            ) from error
        finally:
            pl_module.zero_grad(set_to_none=True)
            for buffer, before in buffers:
                buffer.copy_(before)
        _say(trainer, f"memory probe, {shape}: {_peak(device)}")


def _forward_backward(trainer: Trainer, module: LightningModule, batch: Any) -> None:
    module.log = lambda *_, **__: None  # type: ignore[method-assign]  # not a step of the training
    try:
        with trainer.precision_plugin.train_step_context():
            loss = module.training_step(batch, 0)
        assert isinstance(loss, torch.Tensor)
        loss.backward()
    finally:
        del module.log


def _peak(device: torch.device) -> str:
    if device.type == "cuda":
        used = torch.cuda.max_memory_allocated(device)
        total = torch.cuda.get_device_properties(device).total_memory
        return f"peak {used / GIB:.2f} GiB of the GPU's {total / GIB:.2f} GiB"
    return f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20):.2f} GiB"


def _say(trainer: Trainer, text: str) -> None:
    if trainer.is_global_zero:
        print(text, file=sys.stderr, flush=True)
