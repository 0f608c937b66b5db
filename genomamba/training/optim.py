"""AdamW's parameter groups and the learning rate over time: linear warmup, then a cosine."""

from __future__ import annotations

import math
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def is_decayed(name: str, parameter: nn.Parameter) -> bool:
    """Whether weight decay applies: to matrices and filters, but not to A_log.

    Norms, biases and D are vectors. Decaying A_log would pull every state towards A = -1.
    """
    return parameter.ndim >= 2 and not name.endswith("A_log")


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """All parameters of ``module`` that learn, in two groups: with weight decay and without."""
    decayed, exempt = [], []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            (decayed if is_decayed(name, parameter) else exempt).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": exempt, "weight_decay": 0.0},
    ]


def warmup_cosine_factor(step: int, warmup: int, total: int, floor: float) -> float:
    """The learning rate's factor before optimiser step ``step``, counted from 0.

    Rises linearly to 1 over the first ``warmup`` steps, the first of which is not zero, then falls
    as half a cosine to ``floor`` at ``total`` and stays there.
    """
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * progress))


def warmup_cosine(optimizer: Optimizer, warmup: int, total: int, floor: float) -> LambdaLR:
    """A scheduler that is stepped once an optimiser step.

    Args:
        warmup: steps of linear increase.
        total: steps until the floor is reached.
        floor: final learning rate as a fraction of the highest.
    """
    return LambdaLR(optimizer, lambda step: warmup_cosine_factor(step, warmup, total, floor))
