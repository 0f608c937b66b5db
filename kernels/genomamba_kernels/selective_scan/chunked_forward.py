"""Selective scan, forward: block after block along the length. Letters as in blocks.py."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from genomamba_kernels.selective_scan.blocks import (
    Block,
    Tiling,
    Workspace,
    inner_A,
    inner_state,
    load,
    outer_state,
    put,
    row_groups,
    spans,
    take,
)
from genomamba_kernels.selective_scan.inputs import ScanInputs
from genomamba_kernels.selective_scan.recurrence import scan_forward

# exp(q A) is taken as exp2(q A log2 e): PyTorch's exp2 takes half the time of its exp on the CPU.
LOG2_E = math.log2(math.e)


class ForwardResult(NamedTuple):
    """The scan's results, and the states from which backward starts its recomputation."""

    y: Tensor  # (B, L, D)
    final_state: Tensor  # (B, D, N)
    borders: Tensor  # (blocks along the length, B, G, N, P), h before each block


def chunked_forward(
    inputs: ScanInputs, initial_state: Tensor | None, tiling: Tiling
) -> ForwardResult:
    """Runs the scan; the arguments are the interface's."""
    batch, length, _ = inputs.u.shape
    A = inner_A(inputs)
    state = inner_state(initial_state, batch, A)
    y = torch.empty_like(inputs.u, memory_format=torch.contiguous_format)
    borders = A.new_empty(len(spans(slice(0, 1), length, tiling)), *state.shape)
    workspace = Workspace(2, tiling, A)

    for rows in row_groups(batch, tiling):
        for index, span in enumerate(spans(rows, length, tiling)):
            borders[index, rows] = state[rows]
            block = load(inputs, span)
            e, h = workspace.arrays(span)
            fill_states(block, A, state[rows], e, h)
            state[rows] = h[-1, :, -1]
            out = outputs_before_gate(block, h, inputs.D)
            if inputs.z is not None:
                out *= F.silu(take(inputs.z, span, out.dtype))
            put(out, span, y)
    return ForwardResult(y, outer_state(state), borders)


def fill_states(block: Block, A: Tensor, state: Tensor, e: Tensor, h: Tensor) -> Tensor:
    """Computes a block's decays e and states h, both (steps, R, lanes, G, N, P).

    Args:
        A: (G, N, P).
        state: (R, G, N, P), h before the block.

    Returns:
        (R, lanes, G * N * P), h before each lane's first step.
    """
    torch.mul(block.q.unsqueeze(-2), A * LOG2_E, out=e)
    torch.exp2(e, out=e)
    torch.mul((block.q * block.u).unsqueeze(-2), block.B.unsqueeze(-1), out=h)
    return scan_forward(
        e.flatten(3), h.flatten(3), lane_decay(block, A), state.flatten(1), block.restarts
    )


def lane_decay(block: Block, A: Tensor) -> Tensor | None:
    """(R, lanes, G * N * P), the product of the decays over each lane; None for a single lane."""
    if block.q.shape[2] == 1:
        return None
    return torch.exp2(block.q.sum(0).unsqueeze(-2) * (A * LOG2_E)).flatten(2)


def outputs_before_gate(block: Block, h: Tensor, D: Tensor | None) -> Tensor:
    """(steps, R, lanes, D): sum_n C h + D u."""
    y = sum_over_states(block.C, h).flatten(-2)
    return y if D is None else y.addcmul_(D.to(y.dtype), block.u.flatten(-2))


def sum_over_states(weights: Tensor, x: Tensor) -> Tensor:
    """sum_n weights (..., N) x (..., N, P) -> (..., P)."""
    return torch.bmm(weights.flatten(0, -2).unsqueeze(1), x.flatten(0, -3)).view(
        *x.shape[:-2], x.shape[-1]
    )
