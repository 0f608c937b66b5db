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
    Work,
    Workspace,
    inner_inputs,
    inner_state,
    load,
    outer_state,
    put,
    row_groups,
    spans,
    take,
)
from genomamba_kernels.selective_scan.inputs import ScanInputs
from genomamba_kernels.selective_scan.recurrence import (
    entering_states,
    scan_forward_,
    zero_at_restarts_,
)

# exp(q A) is taken as exp2(q A log2 e): PyTorch's exp2 takes half the time of its exp on the CPU.
LOG2_E = math.log2(math.e)


class ForwardResult(NamedTuple):
    """The scan's results, and the states from which backward starts its recomputation."""

    y: Tensor  # (B, L, D)
    final_state: Tensor  # (B, D, N)
    borders: Tensor  # (B, chunks of the length, G * N * P), the h that enters each chunk


def chunked_forward(
    inputs: ScanInputs, initial_state: Tensor | None, tiling: Tiling
) -> ForwardResult:
    """Runs the scan; the arguments are the interface's."""
    inner = inner_inputs(inputs)
    A, rates = inner.A, inner.A * LOG2_E
    batch, length = inner.u.shape[:2]
    state = inner_state(initial_state, batch, A)
    y = A.new_empty(inner.u.shape, dtype=inner.u.dtype)
    borders = A.new_empty(batch, spans(slice(0), length, tiling)[-1].saved.stop, A.numel())
    workspace = Workspace(2, tiling, A)

    for rows in row_groups(batch, tiling):
        for span in spans(rows, length, tiling):
            block = load(inner, span)
            e, h = workspace.arrays(span)
            decays_and_inputs(block, rates, e, h)

            entering = state[rows].unsqueeze(1)
            if span.chunks > 1:
                decay = chunk_decay(block, rates)
                entering = entering_states(e.steps, h.steps, decay, state[rows], block.restarts)
            borders[rows, span.saved] = entering
            scan_forward_(e.steps, h.steps, entering, block.restarts)
            state[rows] = h.steps[-1][:, -1]

            out = outputs_before_gate(block, h.whole, inner.D)
            if inner.z is not None:
                out *= F.silu(take(inner.z, span, A.dtype))
            put(out, span, y)
    return ForwardResult(y.view(inputs.u.shape), outer_state(state, A), borders)


def decays_and_inputs(block: Block, rates: Tensor, e: Work, b: Work) -> None:
    """Writes e = exp(q A) and b = q u B; rates (G, N, P) is A log2(e)."""
    torch.mul(block.q.unsqueeze(-2), rates, out=e.whole)
    torch.exp2(e.whole, out=e.whole)
    zero_at_restarts_(e.steps, block.restarts)
    torch.mul((block.q * block.u).unsqueeze(-2), block.B.unsqueeze(-1), out=b.whole)


def chunk_decay(block: Block, rates: Tensor) -> Tensor:
    """(R, C, G * N * P): the product of the decays over each chunk."""
    return (block.q.sum(2).unsqueeze(-2) * rates).exp2_().flatten(2)


def outputs_before_gate(block: Block, h: Tensor, D: Tensor | None) -> Tensor:
    """(R, C, K, G, P): sum_n C h + D u."""
    y = sum_over_states(block.C, h)
    return y if D is None else y.addcmul_(D, block.u)


def sum_over_states(weights: Tensor, x: Tensor) -> Tensor:
    """sum_n weights (..., N) x (..., N, P) -> (..., P)."""
    sums = torch.bmm(weights.flatten(0, -2).unsqueeze(1), x.flatten(0, -3))
    return sums.view(*x.shape[:-2], x.shape[-1])
