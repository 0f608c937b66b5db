# pyright: reportArgumentType=false, reportCallIssue=false
"""The next-token loss on a GPU: launches. The formulas are those of `chunked`."""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor

from genomamba_kernels.next_token_loss.inputs import LossInputs
from genomamba_kernels.next_token_loss.triton_kernels import backward_kernel, forward_kernel

EACH = 8  # numbers of the hidden vectors that a thread holds
WARPS = 4  # or more for wide ones
PROGRAMS = 2048  # at most; and partial sums of the head's gradient


def _arguments(inputs: LossInputs) -> dict[str, Any]:
    """What both kernels take."""
    hidden, weight, targets, importance = inputs
    if importance is not None and importance.dtype == torch.bool:
        importance = importance.view(torch.uint8)
    width = triton.next_power_of_2(hidden.shape[2])
    warps = max(WARPS, width // (32 * EACH))
    rows = warps * 32 * EACH // width
    along = triton.cdiv(targets.shape[1], rows)
    return {
        "hidden_ptr": hidden.contiguous(),
        "weight_ptr": weight.contiguous(),
        "targets_ptr": targets.contiguous(),
        "importance_ptr": None if importance is None else importance.contiguous(),
        "blocks": len(hidden) * along,
        "along": along,
        "L": hidden.shape[1],
        "T": targets.shape[1],
        "D": hidden.shape[2],
        "V": len(weight),
        "W": width,
        "ROWS": rows,
        "num_warps": warps,
    }


def forward(inputs: LossInputs) -> tuple[Tensor, Tensor]:
    """Returns (total, loss); the arguments are the interface's."""
    hidden, targets, importance = inputs.hidden, inputs.targets, inputs.importance
    loss = hidden.new_empty(targets.shape, dtype=torch.float32)
    arguments = _arguments(inputs)
    programs = min(arguments["blocks"], PROGRAMS)
    if programs:
        with torch.cuda.device_of(hidden):  # Triton launches on the current device
            forward_kernel[(programs,)](loss_ptr=loss, **arguments)
    return (loss if importance is None else loss * importance).sum(), loss


def backward(inputs: LossInputs, grad_total: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the gradients of hidden and weight; grad_total is a scalar."""
    hidden, weight, targets = inputs.hidden, inputs.weight, inputs.targets
    grad_hidden = torch.empty_like(hidden, memory_format=torch.contiguous_format)
    grad_hidden[:, targets.shape[1] :] = 0
    arguments = _arguments(inputs)
    programs = min(arguments["blocks"], PROGRAMS)
    parts = hidden.new_empty(programs, *weight.shape, dtype=torch.float32)
    if programs:
        with torch.cuda.device_of(hidden):
            backward_kernel[(programs,)](
                grad_total_ptr=grad_total,
                grad_hidden_ptr=grad_hidden,
                parts_ptr=parts,
                **arguments,
            )
    return grad_hidden, parts.sum(0).to(weight.dtype)
