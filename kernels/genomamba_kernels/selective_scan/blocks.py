"""How the chunked scan cuts its work.

A scan is sequential over the length, and one step of one row is far too little work for an array
operation. So a row is cut into chunks of K consecutive positions, and many chunks advance together,
one step at a time. A block holds R rows times C neighbouring chunks; its arrays are views of

    (R, C, K, G, N, P)        R rows, C chunks, K steps, G groups, N states, P = D / G channels

with channels innermost, so that sums over the states run over whole vectors. Blocks of the same
rows follow one another along the length. B batch, L length, D channels.
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
    chunks: int
    steps: int


def choose_tiling(u: Tensor, states: int) -> Tiling:
    """Gives one step enough elements to pay for its launch, and a block few enough for the cache.

    Measured on two cores of an EPYC: below 2^16 elements a step PyTorch's fixed cost shows (and
    from 2^15 on it uses a second thread); above 2^20 elements, or 4 MiB, a block's three arrays
    begin to fall out of the L3 cache. A chunk has at least N steps, because a state is saved for
    each: the saved states are then never larger than one float32 activation.
    """
    batch, length, channels = u.shape
    step_size = 2**16 if u.device.type == "cpu" else 2**20
    rows = min(batch, max(1, step_size // (channels * states)))
    steps = min(max(16, states), length)
    chunks = max(1, step_size // (rows * channels * states))
    return Tiling(rows, min(chunks, length // steps), steps)


class Span(NamedTuple):
    """Where a block lies: `chunks * steps` consecutive positions of some rows."""

    rows: slice
    positions: slice
    chunks: int
    steps: int
    saved: slice  # its chunks among all chunks of the length


def row_groups(batch: int, tiling: Tiling) -> list[slice]:
    """The rows that are worked on at a time."""
    return [slice(row, min(row + tiling.rows, batch)) for row in range(0, batch, tiling.rows)]


def spans(rows: slice, length: int, tiling: Tiling) -> list[Span]:
    """The blocks of some rows, in order. None is padded; the last two may be smaller."""
    found, start, chunk = [], 0, 0
    while start < length:
        steps = min(tiling.steps, length - start)
        chunks = min(tiling.chunks, (length - start) // steps)
        stop = start + chunks * steps
        found.append(Span(rows, slice(start, stop), chunks, steps, slice(chunk, chunk + chunks)))
        start, chunk = stop, chunk + chunks
    return found


def take(x: Tensor, span: Span, dtype: torch.dtype) -> Tensor:
    """The block of x (B, L, ...): (R, C, K, ...); a view of x if it has the dtype already."""
    return _place(x, span).to(dtype)


def put(block: Tensor, span: Span, out: Tensor) -> None:
    """Writes a block (R, C, K, ...) to its place in out (B, L, ...)."""
    _place(out, span).copy_(block)


def _place(x: Tensor, span: Span) -> Tensor:
    return x[span.rows, span.positions].unflatten(1, (span.chunks, span.steps))


class Workspace:
    """The large arrays of a block, allocated once."""

    def __init__(self, count: int, tiling: Tiling, A: Tensor) -> None:
        # A: (G, N, P), for its shape, dtype and device.
        size = math.prod(tiling) * A.numel()
        self._buffers = [A.new_empty(size) for _ in range(count)]
        self._inner = A.shape

    def arrays(self, span: Span) -> list[Tensor]:
        """Uninitialised contiguous arrays (R, C, K, G, N, P) of the span's sizes."""
        rows = span.rows.stop - span.rows.start
        shape = (rows, span.chunks, span.steps, *self._inner)
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
    """A block's inputs, ready for the recurrence. Some are views of the inputs: never in place."""

    u: Tensor  # (R, C, K, G, P)
    delta: Tensor  # (R, C, K, G, P), after the bias and before softplus
    q: Tensor  # (R, C, K, G, P), the step sizes
    B: Tensor  # (R, C, K, G, N)
    C: Tensor  # (R, C, K, G, N)
    restarts: Restarts | None


def load(inputs: ScanInputs, span: Span) -> Block:
    """Reads a block of the inputs and computes its step sizes."""
    groups = inputs.B.shape[2]
    dtype = accumulate_dtype(inputs.u)
    delta = take(inputs.delta, span, dtype)
    if inputs.delta_bias is not None:
        delta = delta + inputs.delta_bias.to(dtype)
    delta = delta.unflatten(-1, (groups, -1))
    starts = None if inputs.starts is None else _place(inputs.starts, span)
    return Block(
        u=take(inputs.u, span, dtype).unflatten(-1, (groups, -1)),
        delta=delta,
        q=F.softplus(delta) if inputs.delta_softplus else delta,
        B=take(inputs.B, span, dtype),
        C=take(inputs.C, span, dtype),
        restarts=None if starts is None else find_restarts(starts),
    )
