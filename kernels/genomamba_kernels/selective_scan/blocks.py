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

    Measured on two cores of an EPYC and of a Xeon: a step of 2^16 elements keeps two threads busy,
    and 24 steps of it, or 6 MiB an array, let a block's three arrays stay in the L3 cache. Rows
    fill a step better than chunks, which cost a pass of their own. A chunk has at least N steps,
    for a state is saved for each: the saved states are never larger than one float32 activation.
    """
    batch, length, channels = u.shape
    step_size = 2**16 if u.device.type == "cpu" else 2**20
    rows = min(batch, max(1, step_size // (channels * states)))
    chunks = max(1, step_size // (rows * channels * states))
    steps = min(max(24, states), length)
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
    return x[span.rows, span.positions].view(-1, span.chunks, span.steps, *x.shape[2:])


class Work(NamedTuple):
    """A large array of a block."""

    whole: Tensor  # (R, C, K, G, N, P), contiguous
    steps: tuple[Tensor, ...]  # its K views (R, C, G * N * P)


class Workspace:
    """The large arrays of a block, allocated once, and their views, made once for every shape."""

    def __init__(self, count: int, tiling: Tiling, A: Tensor) -> None:
        # A: (G, N, P), for its shape, dtype and device.
        size = math.prod(tiling) * A.numel()
        self._buffers = [A.new_empty(size) for _ in range(count)]
        self._inner = A.shape
        self._arrays: dict[tuple[int, ...], list[Work]] = {}

    def arrays(self, span: Span) -> list[Work]:
        """Uninitialised arrays of the span's sizes."""
        shape = (span.rows.stop - span.rows.start, span.chunks, span.steps, *self._inner)
        if shape not in self._arrays:
            wholes = [buffer[: math.prod(shape)].view(shape) for buffer in self._buffers]
            self._arrays[shape] = [Work(whole, whole.flatten(3).unbind(2)) for whole in wholes]
        return self._arrays[shape]


def inner_inputs(inputs: ScanInputs) -> ScanInputs:
    """The inputs in the order of a block.

    u, delta and z become (B, L, G, P) in their own dtypes; A becomes (G, N, P), D and delta_bias
    (G, P), in the dtype of sums; B, C (B, L, G, N) and the rest stay.
    """
    dtype = accumulate_dtype(inputs.u)
    grouped = (inputs.B.shape[2], inputs.u.shape[2] // inputs.B.shape[2])

    def parameter(x: Tensor | None) -> Tensor | None:
        return None if x is None else x.to(dtype).view(grouped)

    return inputs._replace(
        u=inputs.u.unflatten(2, grouped),
        delta=inputs.delta.unflatten(2, grouped),
        z=None if inputs.z is None else inputs.z.unflatten(2, grouped),
        A=inputs.A.to(dtype).unflatten(0, grouped).mT.contiguous(),
        D=parameter(inputs.D),
        delta_bias=parameter(inputs.delta_bias),
    )


def inner_state(state: Tensor | None, batch: int, A: Tensor) -> Tensor:
    """A state (B, D, N), or zero, in the order of a block: (B, G * N * P), a copy."""
    groups, states, channels = A.shape
    inner = A.new_zeros(batch, groups, states, channels)
    if state is not None:
        inner.copy_(state.unflatten(1, (groups, channels)).mT)
    return inner.flatten(1)


def outer_state(state: Tensor, A: Tensor) -> Tensor:
    """A state (B, G * N * P) in the order of the interface: (B, D, N)."""
    return state.unflatten(1, A.shape).mT.flatten(1, 2).contiguous()


class Block(NamedTuple):
    """A block's inputs, ready for the recurrence. Some are views of the inputs: never in place."""

    u: Tensor  # (R, C, K, G, P)
    delta: Tensor  # (R, C, K, G, P), after the bias and before softplus
    q: Tensor  # (R, C, K, G, P), the step sizes
    B: Tensor  # (R, C, K, G, N)
    C: Tensor  # (R, C, K, G, N)
    restarts: Restarts | None


def load(inner: ScanInputs, span: Span) -> Block:
    """Reads a block of the inner inputs and computes its step sizes."""
    dtype = inner.A.dtype
    delta = take(inner.delta, span, dtype)
    if inner.delta_bias is not None:
        delta = delta + inner.delta_bias
    return Block(
        u=take(inner.u, span, dtype),
        delta=delta,
        q=F.softplus(delta) if inner.delta_softplus else delta,
        B=take(inner.B, span, dtype),
        C=take(inner.C, span, dtype),
        restarts=None if inner.starts is None else find_restarts(_place(inner.starts, span)),
    )
