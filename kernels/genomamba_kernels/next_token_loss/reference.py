"""The next-token loss as its formula, all logits at once: the definition of the other backends."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from genomamba_kernels.checks import accumulate_dtype
from genomamba_kernels.next_token_loss.inputs import LossInputs


def next_token_loss_reference(inputs: LossInputs) -> tuple[Tensor, Tensor]:
    """Returns (total, loss); the arguments are the interface's."""
    hidden, weight, targets, importance = inputs
    dtype = accumulate_dtype(hidden)
    logits = hidden[:, : targets.shape[1]].to(dtype) @ weight.to(dtype).T
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten().long(), reduction="none")
    loss = loss.view(targets.shape)
    weighted = loss if importance is None else loss * importance.to(dtype)
    return weighted.sum(), loss.detach()
