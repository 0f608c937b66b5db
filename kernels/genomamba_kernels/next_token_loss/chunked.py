"""The next-token loss chunk by chunk along the length, in plain tensor operations.

With p the softmax of a position's logits, e the unit vector of its target and c its importance
times the gradient at the total:

    dhidden = c (p - e) W,    dW = sum over positions of c (p - e)ᵀ h
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from genomamba_kernels.checks import accumulate_dtype
from genomamba_kernels.next_token_loss.inputs import LossInputs

POSITIONS = 2**16  # of a chunk, over all rows


def _chunks(inputs: LossInputs) -> Iterator[slice]:
    batch, length = inputs.targets.shape
    step = max(1, POSITIONS // batch)
    return (slice(start, min(start + step, length)) for start in range(0, length, step))


def forward(inputs: LossInputs) -> tuple[Tensor, Tensor]:
    """Returns (total, loss); the arguments are the interface's."""
    hidden, weight, targets, importance = inputs
    dtype = accumulate_dtype(hidden)
    transposed = weight.to(dtype).T
    loss = hidden.new_empty(targets.shape, dtype=dtype)
    total = hidden.new_zeros((), dtype=dtype)
    for at in _chunks(inputs):
        logits = hidden[:, at].to(dtype) @ transposed
        target = targets[:, at].long()
        of_chunk = F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none")
        of_chunk = of_chunk.view(target.shape)
        loss[:, at] = of_chunk
        total += (of_chunk if importance is None else of_chunk * importance[:, at].to(dtype)).sum()
    return total, loss


def backward(inputs: LossInputs, grad_total: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the gradients of hidden and weight; grad_total is a scalar."""
    hidden, weight, targets, importance = inputs
    dtype = accumulate_dtype(hidden)
    wide = weight.to(dtype)
    grad_hidden = torch.empty_like(hidden, memory_format=torch.contiguous_format)
    grad_hidden[:, targets.shape[1] :] = 0
    grad_weight = torch.zeros_like(wide)
    for at in _chunks(inputs):
        of_chunk = hidden[:, at].to(dtype)
        grad = torch.softmax(of_chunk @ wide.T, dim=-1)
        grad.scatter_add_(2, targets[:, at, None].long(), grad.new_full((), -1).expand_as(grad))
        scale = grad_total if importance is None else grad_total * importance[:, at, None].to(dtype)
        grad *= scale
        grad_hidden[:, at] = (grad @ wide).to(hidden.dtype)
        grad_weight += grad.flatten(0, 1).T @ of_chunk.flatten(0, 1)
    return grad_hidden, grad_weight.to(weight.dtype)
