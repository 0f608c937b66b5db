"""How the chunked scan cuts its work: which rows and positions share a block, and in what order.

The scan is sequential over the length, but a chain of tiny operations would leave every processor
idle. So a chunk of consecutive positions is cut into equal lanes, which advance together, one step
at a time, as one long vector (over rows, lanes, groups, states and channels):

    position in chunk = lane * steps + step        array of a block: (steps, R, lanes, G, ..., P)

Channels are innermost, so that sums over the states run over whole vectors.

Letters: B batch, L length, D channels, N states, G groups, P = D / G channels a group, R rows.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from genomamba_kernels.checks import accumulate_dtype
from genomamba_kernels.selective_scan.inputs import ScanInputs
from genomamba_kernels.selective_scan.recurrence import Restarts, find_restarts


class Tiling(NamedTuple):
    """Sizes of a block. Results depend on them by rounding only."""

    rows: int
    lanes: int
    steps: int


def choose_tiling(u: Tensor, states: int) -> Tiling:
    """Gives one step enough elements to pay for its launch, and a block few enough for the cache.

    Measured on two cores of an EPYC with 1 MiB of L2 each: below 2^16 elements a step PyTorch's
    fixed cost shows (and only from 2^15 on does it use a second thread); above 2^20 elements, or
    4 MiB, a block's arrays, of which backward has four, fall out of the L3 cache.
    """
    batch, length, channels = u.shape
    step_size, block_size = (2**16, 2**20) if u.device.type == "cpu" else (2**20, 2**25)
    rows = min(batch, max(1, step_size // (channels * states)))
    lanes = max(1, step_size // (rows * channels * states))
    steps = min(block_size // step_size, length)
    return Tiling(rows, min(lanes, length // steps), steps)


class Span(NamedTuple):
    """Where a block lies: `lanes * steps` consecutive positions of some rows."""

    rows: slice
    positions: slice
    lanes: int
    steps: int


def row_groups(batch: int, tiling: Tiling) -> list[slice]:
    """The rows that are worked on at a time."""
    return [slice(row, min(row + tiling.rows, batch)) for row in range(0, batch, tiling.rows)]


def spans(rows: slice, length: int, tiling: Tiling) -> list[Span]:
    """The blocks of some rows, in order. None is padded; the last two may be smaller."""
    found, start = [], 0
    while start < length:
        steps = min(tiling.steps, length - start)
        lanes = min(tiling.lanes, (length - start) // steps)
        stop = start + lanes * steps
        found.append(Span(rows, slice(start, stop), lanes, steps))
        start = stop
    return found


def take(x: Tensor, span: Span, dtype: torch.dtype) -> Tensor:
    """Reads a block of x (B, L, ...): (steps, R, lanes, ...), contiguous."""
    lanes = x[span.rows, span.positions].unflatten(1, (span.lanes, span.steps))
    return lanes.movedim(2, 0).to(dtype).contiguous()


def put(block: Tensor, span: Span, out: Tensor) -> None:
    """The inverse of `take`: writes (steps, R, lanes, ...) to its place in out (B, L, ...)."""
    out[span.rows, span.positions] = block.movedim(0, 2).flatten(1, 2).to(out.dtype)


class Workspace:
    """The large arrays of a block, allocated once."""

    def __init__(self, count: int, tiling: Tiling, A: Tensor) -> None:
        # A: (G, N, P), for its shape, dtype and device.
        size = tiling.steps * tiling.rows * tiling.lanes * A.numel()
        self._buffers = [A.new_empty(size) for _ in range(count)]
        self._inner = A.shape

    def arrays(self, span: Span) -> list[Tensor]:
        """Uninitialised contiguous arrays (steps, R, lanes, G, N, P) of the span's sizes."""
        shape = (span.steps, span.rows.stop - span.rows.start, span.lanes, *self._inner)
        return [buffer[: math.prod(shape)].view(shape) for buffer in self._buffers]


def inner_A(inputs: ScanInputs) -> Tensor:
    """A (D, N) in the order of a block: (G, N, P)."""
    A = inputs.A.to(accumulate_dtype(inputs.u))
    return A.unflatten(0, (inputs.B.shape[2], -1)).mT.contiguous()


def inner_state(state: Tensor | None, batch: int, A: Tensor) -> Tensor:
    """A state (B, D, N), or zero, in the order of a block: (B, G, N, P), a copy."""
    groups, states, channels = A.shape
    if state is None:
        return A.new_zeros(batch, groups, states, channels)
    inner = A.new_empty(batch, groups, states, channels)
    return inner.copy_(state.unflatten(1, (groups, channels)).mT)


def outer_state(state: Tensor) -> Tensor:
    """A state (B, G, N, P) in the order of the interface: (B, D, N)."""
    return state.mT.flatten(1, 2).contiguous()


class Block(NamedTuple):
    """A block's inputs, ready for the recurrence."""

    u: Tensor  # (steps, R, lanes, G, P)
    q: Tensor  # (steps, R, lanes, G, P), the step sizes after bias and softplus
    B: Tensor  # (steps, R, lanes, G, N)
    C: Tensor  # (steps, R, lanes, G, N)
    restarts: Restarts | None


def load(inputs: ScanInputs, span: Span) -> Block:
    """Reads a block of the inputs and computes its step sizes."""
    dtype = accumulate_dtype(inputs.u)
    groups = inputs.B.shape[2]
    q = take(inputs.delta, span, dtype)
    if inputs.delta_bias is not None:
        q = q + inputs.delta_bias.to(dtype)
    if inputs.delta_softplus:
        q = F.softplus(q)
    return Block(
        u=take(inputs.u, span, dtype).unflatten(-1, (groups, -1)),
        q=q.unflatten(-1, (groups, -1)),
        B=take(inputs.B, span, dtype),
        C=take(inputs.C, span, dtype),
        restarts=None
        if inputs.starts is None
        else find_restarts(take(inputs.starts, span, torch.bool)),
    )
