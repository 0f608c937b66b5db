"""Random numbers of a step as a function of (seed, step, part, rank), not of what came before."""

from __future__ import annotations

import os
import random
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class StepSeed(Callback):
    """Seeds Python's, NumPy's and PyTorch's generators before each batch of training.

    A resumed run so draws what the run would have drawn, without generators in the checkpoint, and
    whatever else draws: loader processes, validation, other callbacks. The seed is the run's
    (``seed_everything``).
    """

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        part = batch_idx % trainer.accumulate_grad_batches
        run_seed = int(os.environ.get("PL_GLOBAL_SEED", "0"))
        sequence = np.random.SeedSequence(
            (run_seed, trainer.global_step, part, trainer.global_rank)
        )
        seed = int(sequence.generate_state(1)[0])
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002, libraries draw from it
        seed_torch(seed, trainer.strategy.root_device)


def seed_torch(seed: int, device: torch.device) -> None:
    """`torch.manual_seed` for a process that draws on the CPU and a kind of device.

    That looks at every kind there may be, which takes the host most of a millisecond.
    """
    if device.type not in ("cpu", "cuda"):
        torch.manual_seed(seed)
        return
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        for generator in torch.cuda.default_generators:
            generator.manual_seed(seed)
