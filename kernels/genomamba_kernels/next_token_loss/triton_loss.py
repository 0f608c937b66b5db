# pyright: reportArgumentType=false, reportCallIssue=false
"""The next-token loss on a GPU: launches. The formulas are those of `chunked`."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from genomamba_kernels.launching import Launch, remember
from genomamba_kernels.next_token_loss.inputs import LossInputs
from genomamba_kernels.next_token_loss.triton_kernels import backward_kernel, forward_kernel

EACH = 8  # numbers of the hidden vectors that a thread holds
WARPS = 4  # or more for wide ones
PROGRAMS = 2048  # at most; and partial sums of the head's gradient


class Launches(NamedTuple):
    """Of hidden vectors, targets and a head of some shapes."""

    programs: int
    forward: Launch
    backward: Launch


_launches: dict[Any, Launches] = {}


def _plan(batch: int, length: int, targets: int, channels: int, tokens: int, most: int) -> Launches:
    width = triton.next_power_of_2(channels)
    warps = max(WARPS, width // (32 * EACH))
    rows = warps * 32 * EACH // width
    along = triton.cdiv(targets, rows)
    sizes = {
        "blocks": batch * along,
        "along": along,
        "L": length,
        "T": targets,
        "D": channels,
        "V": tokens,
        "W": width,
        "ROWS": rows,
    }
    options = {"num_warps": warps}
    return Launches(
        min(batch * along, most),
        Launch(forward_kernel, options, **sizes),
        Launch(backward_kernel, options, **sizes),
    )


def _launches_of(inputs: LossInputs) -> Launches:
    shape = (*inputs.hidden.shape[:2], inputs.targets.shape[1], inputs.hidden.shape[2])
    key = (*shape, len(inputs.weight), PROGRAMS)
    return remember(_launches, key, lambda: _plan(*key))


def _tensors(inputs: LossInputs) -> dict[str, Tensor | None]:
    """What both kernels take."""
    hidden, weight, targets, importance = inputs
    if importance is not None and importance.dtype == torch.bool:
        importance = importance.view(torch.uint8)
    return {
        "hidden_ptr": hidden.contiguous(),
        "weight_ptr": weight.contiguous(),
        "targets_ptr": targets.contiguous(),
        "importance_ptr": None if importance is None else importance.contiguous(),
    }


def forward(inputs: LossInputs) -> tuple[Tensor, Tensor]:
    """Returns (total, loss); the arguments are the interface's."""
    hidden, targets, importance = inputs.hidden, inputs.targets, inputs.importance
    loss = hidden.new_empty(targets.shape, dtype=torch.float32)
    launches = _launches_of(inputs)
    if launches.programs:
        with torch.cuda.device_of(hidden):  # Triton launches on the current device
            launches.forward(launches.programs, loss_ptr=loss, **_tensors(inputs))
    return (loss if importance is None else loss * importance).sum(), loss


def backward(inputs: LossInputs, grad_total: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the gradients of hidden and weight; grad_total is a scalar."""
    hidden, weight, targets = inputs.hidden, inputs.weight, inputs.targets
    grad_hidden = torch.empty_like(hidden, memory_format=torch.contiguous_format)
    if targets.shape[1] < hidden.shape[1]:
        grad_hidden[:, targets.shape[1] :] = 0
    launches = _launches_of(inputs)
    parts = hidden.new_empty((launches.programs, *weight.shape), dtype=torch.float32)
    if launches.programs:
        with torch.cuda.device_of(hidden):
            launches.backward(
                launches.programs,
                grad_total_ptr=grad_total,
                grad_hidden_ptr=grad_hidden,
                parts_ptr=parts,
                **_tensors(inputs),
            )
    return grad_hidden, parts.sum(0).to(weight.dtype)
