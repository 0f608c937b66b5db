# pyright: reportArgumentType=false, reportCallIssue=false
"""The next-token loss on a GPU: launches. The formulas are those of `chunked`."""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor

from genomamba_kernels.next_token_loss.inputs import LossInputs
from genomamba_kernels.next_token_loss.triton_kernels import backward_kernel, forward_kernel

TILE = 2048  # elements of a program's positions
WARPS = 8
MOST_PARTS = 2048  # programs of the backward kernel, and partial sums of the head's gradient


def _arguments(inputs: LossInputs) -> dict[str, Any]:
    """What both kernels take."""
    hidden, weight, targets, importance = inputs
    if importance is not None and importance.dtype == torch.bool:
        importance = importance.view(torch.uint8)
    width = triton.next_power_of_2(hidden.shape[2])
    return {
        "hidden_ptr": hidden.contiguous(),
        "weight_ptr": weight.contiguous(),
        "targets_ptr": targets.contiguous(),
        "importance_ptr": None if importance is None else importance.contiguous(),
        "positions": targets.numel(),
        "L": hidden.shape[1],
        "T": targets.shape[1],
        "D": hidden.shape[2],
        "V": len(weight),
        "W": width,
        "ROWS": max(1, TILE // width),
        "num_warps": WARPS,
    }


def forward(inputs: LossInputs) -> tuple[Tensor, Tensor]:
    """Returns (total, loss); the arguments are the interface's."""
    hidden, targets, importance = inputs.hidden, inputs.targets, inputs.importance
    loss = hidden.new_empty(targets.shape, dtype=torch.float32)
    arguments = _arguments(inputs)
    blocks = triton.cdiv(targets.numel(), arguments["ROWS"])
    if blocks:
        with torch.cuda.device_of(hidden):  # Triton launches on the current device
            forward_kernel[(blocks,)](loss_ptr=loss, **arguments)
    return (loss if importance is None else loss * importance).sum(), loss


def backward(inputs: LossInputs, grad_total: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the gradients of hidden and weight; grad_total is a scalar."""
    hidden, weight, targets = inputs.hidden, inputs.weight, inputs.targets
    grad_hidden = torch.empty_like(hidden, memory_format=torch.contiguous_format)
    grad_hidden[:, targets.shape[1] :] = 0
    arguments = _arguments(inputs)
    blocks = triton.cdiv(targets.numel(), arguments["ROWS"])
    parts = hidden.new_empty(min(blocks, MOST_PARTS), *weight.shape, dtype=torch.float32)
    if blocks:
        with torch.cuda.device_of(hidden):
            backward_kernel[(len(parts),)](
                grad_total_ptr=grad_total,
                grad_hidden_ptr=grad_hidden,
                parts_ptr=parts,
                blocks=blocks,
                **arguments,
            )
    return grad_hidden, parts.sum(0).to(weight.dtype)
