# pyright: reportArgumentType=false, reportCallIssue=false
"""A, B and C in the order the scan's kernels read them, and dB and dC back from theirs.

    interface   (B, L, G, N)                    any floating dtype, any strides
    kernels     (B, G, padded L / T, N, T)      float32: a tile together, time innermost

The padding, of the length to a multiple of K and of an odd N to an even one, is zero: a state that
stays zero, and steps that leave the state alone.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from genomamba_kernels.launching import Launch, remember
from genomamba_kernels.selective_scan.inputs import ScanInputs
from genomamba_kernels.selective_scan.triton_plan import Plan, ceil_div
from genomamba_kernels.triton_math import LOG2_E

STEPS = 64  # a program's; the padded length is a multiple
ALIGNMENT = 128  # numbers: 512 bytes


def rooms(spare: int, *sizes: int) -> tuple[int, ...]:
    """The sizes of float32 tensors that share an allocation, so that each begins where one would,
    with room for `spare` numbers behind each, which reading ahead may touch."""
    return tuple(ceil_div(size + spare, ALIGNMENT) * ALIGNMENT for size in sizes)


@triton.jit
def _tile(
    x_ptr,  # (B, L, G, N)
    out_ptr,  # (B, G, padded L / T, even N, T)
    row_stride,
    step_stride,
    group_stride,
    state_stride,
    L,
    padded_L,
    G,
    N,
    row,
    group,
    t,
    n,
    EVEN_N: tl.constexpr,
    T: tl.constexpr,
):
    x_ptr += row * row_stride + group * group_stride
    x = tl.load(
        x_ptr + t.to(tl.int64) * step_stride + n * state_stride,
        mask=(t < L) & (n < N),
        other=0.0,
    )
    out_ptr += (row * G + group) * EVEN_N * padded_L
    at = (t // T * EVEN_N + n).to(tl.int64) * T + t % T
    tl.store(out_ptr + at, x.to(tl.float32), mask=n < EVEN_N)


@triton.jit(do_not_specialize=["B_row", "C_row", "L", "padded_L"])
def _share_kernel(
    A_ptr,  # (D, N)
    B_ptr,  # (B, L, G, N)
    C_ptr,  # (B, L, G, N)
    a_ptr,  # (even N, D), out: A log2(e)
    tiled_B_ptr,  # (B, G, padded L / T, even N, T), out
    tiled_C_ptr,  # (B, G, padded L / T, even N, T), out
    A_channel,
    A_state,
    B_row,
    B_step,
    B_group,
    B_state,
    C_row,
    C_step,
    C_group,
    C_state,
    L,
    padded_L,
    G,
    N,
    D: tl.constexpr,
    EVEN_N: tl.constexpr,
    T: tl.constexpr,
    STEPS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    pid = tl.program_id(0)
    n = tl.arange(0, WIDTH)[None, :]
    blocks_A: tl.constexpr = (D + STEPS - 1) // STEPS
    if pid < blocks_A:
        d = pid * STEPS + tl.arange(0, STEPS)[:, None]
        inside = (d < D) & (n < N)
        A = tl.load(A_ptr + d * A_channel + n * A_state, mask=inside, other=0.0)
        tl.store(a_ptr + n * D + d, A.to(tl.float32) * LOG2_E, mask=(d < D) & (n < EVEN_N))
    else:
        pid -= blocks_A
        blocks = padded_L // STEPS
        row = (pid // (blocks * G)).to(tl.int64)
        group = pid // blocks % G
        t = pid % blocks * STEPS + tl.arange(0, STEPS)[:, None]
        _tile(
            B_ptr, tiled_B_ptr, B_row, B_step, B_group, B_state, L, padded_L, G, N,
            row, group, t, n, EVEN_N, T,
        )  # fmt: skip
        _tile(
            C_ptr, tiled_C_ptr, C_row, C_step, C_group, C_state, L, padded_L, G, N,
            row, group, t, n, EVEN_N, T,
        )  # fmt: skip


class Shared(NamedTuple):
    """What all channels or all positions share, in the order in which the kernels read it."""

    a: Tensor  # (even N, D) float32, A log2(e)
    B: Tensor  # (B, G, padded L / T, even N, T) float32
    C: Tensor  # (B, G, padded L / T, even N, T) float32
    starts: Tensor | None  # (B, padded L / T) int32


def start_words(starts: Tensor | None, padded: int, tile: int) -> Tensor | None:
    """(B, L) bool to (B, padded L / T) int32: bit i is step i of the tile."""
    if starts is None:
        return None
    starts = F.pad(starts, (0, padded - starts.shape[1])).unflatten(1, (-1, tile))
    bits = torch.arange(tile, device=starts.device, dtype=torch.int32)
    return (starts.int() << bits).sum(-1, dtype=torch.int32)


class Sharing(NamedTuple):
    """How A, B and C of some shapes and strides are put in the kernels' order."""

    launch: Launch
    programs: int
    numbers: int  # of all three
    places: list[tuple[tuple[int, ...], tuple[int, ...], int]]  # shape, strides and where each is


_sharing: dict[Any, Sharing] = {}


def _strides(name: str, x: Tensor, *axes: str) -> dict[str, int]:
    return {f"{name}_{axis}": x.stride(i) for i, axis in enumerate(axes)}


def _plan_sharing(A: Tensor, B: Tensor, C: Tensor, tile: int) -> Sharing:
    batch, length, groups, states = B.shape
    channels = A.shape[0]
    padded = ceil_div(length, STEPS) * STEPS
    even = states + states % 2
    launch = Launch(
        _share_kernel,
        {},
        **_strides("A", A, "channel", "state"),
        **_strides("B", B, "row", "step", "group", "state"),
        **_strides("C", C, "row", "step", "group", "state"),
        L=length,
        padded_L=padded,
        G=groups,
        N=states,
        D=channels,
        EVEN_N=even,
        T=tile,
        STEPS=STEPS,
        WIDTH=triton.next_power_of_2(even),
    )
    shapes = (even, channels), *[(batch, groups, padded // tile, even, tile)] * 2
    sizes = rooms(max(tile, channels), *map(math.prod, shapes))
    places = [
        (shape, tuple(math.prod(shape[i + 1 :]) for i in range(len(shape))), sum(sizes[:k]))
        for k, shape in enumerate(shapes)
    ]
    programs = ceil_div(channels, STEPS) + batch * groups * (padded // STEPS)
    return Sharing(launch, programs, sum(sizes), places)


def share(inputs: ScanInputs, plan: Plan) -> Shared:
    """A, B, C and the starts of packed sequences in the kernels' order."""
    A, B, C, tile = inputs.A, inputs.B, inputs.C, plan.tile
    key = (A.shape, A.stride(), B.shape, B.stride(), C.stride(), tile)
    work = remember(_sharing, key, lambda: _plan_sharing(A, B, C, tile))
    memory = A.new_empty(work.numbers, dtype=torch.float32)
    shared = Shared(
        *[memory.as_strided(*place) for place in work.places],
        start_words(inputs.starts, ceil_div(B.shape[1], STEPS) * STEPS, tile),
    )
    work.launch(
        work.programs,
        A_ptr=A,
        B_ptr=B,
        C_ptr=C,
        a_ptr=shared.a,
        tiled_B_ptr=shared.B,
        tiled_C_ptr=shared.C,
    )
    return shared


@triton.jit(do_not_specialize=["SEGMENTS", "TRUE_N"])
def _add_segments_kernel(
    parts_ptr,  # (SEGMENTS, N + 2, D), of dA, delta_bias and D
    A_ptr,  # (D, true N), out
    bias_ptr,  # (D,), out, or absent
    D_ptr,  # (D,), out, or absent
    SEGMENTS,
    TRUE_N,
    D: tl.constexpr,
    N: tl.constexpr,
    STEPS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    pid = tl.program_id(0)
    n = pid % (N + 2)
    d = pid // (N + 2) * WIDTH + tl.arange(0, WIDTH)
    total = tl.zeros([STEPS, WIDTH], tl.float32)
    for first in range(0, SEGMENTS, STEPS):
        segment = first + tl.arange(0, STEPS)[:, None]
        at = (segment.to(tl.int64) * (N + 2) + n) * D + d[None, :]
        inside = (segment < SEGMENTS) & (d < D)[None, :]
        total += tl.load(parts_ptr + at, mask=inside, other=0.0)
    total = tl.sum(total, axis=0)
    tl.store(A_ptr + d * TRUE_N + n, total, mask=(d < D) & (n < TRUE_N))
    if bias_ptr is not None:
        tl.store(bias_ptr + d, total, mask=(d < D) & (n == N))
    if D_ptr is not None:
        tl.store(D_ptr + d, total, mask=(d < D) & (n == N + 1))


class Summing(NamedTuple):
    """How the segments' parts of dA and the gradients of delta_bias and D are added."""

    launch: Launch
    programs: int

    def __call__(
        self, parts: Tensor, A: Tensor, bias: Tensor | None, D: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Gradients of the shapes and dtypes of A (D, N), bias and D (D,), from the parts
        (B S, even N + 2, D)."""
        grad_A = torch.empty_like(A, memory_format=torch.contiguous_format)
        grad_bias = None if bias is None else torch.empty_like(bias)
        grad_D = None if D is None else torch.empty_like(D)
        self.launch(self.programs, parts_ptr=parts, A_ptr=grad_A, bias_ptr=grad_bias, D_ptr=grad_D)
        return grad_A, grad_bias, grad_D


def summing(count: int, states: int, A: Tensor) -> Summing:
    """For so many segments (B S) of an even N."""
    channels, true_states = A.shape
    width = 16  # few, for more programs
    launch = Launch(
        _add_segments_kernel,
        {},
        SEGMENTS=count,
        TRUE_N=true_states,
        D=channels,
        N=states,
        STEPS=64,
        WIDTH=width,
    )
    return Summing(launch, ceil_div(channels, width) * (states + 2))


@triton.jit(do_not_specialize=["P", "R", "R_L", "first_row", "first", "stop", "out_row"])
def _collect_kernel(
    parts_ptr,  # (P, R, G, R_L / T, even N, 2, T)
    B_ptr,  # (B, L, G, N), out; what is of a position lies together
    C_ptr,  # (B, L, G, N), out, with the same strides
    P,
    R,  # rows of the parts
    R_L,  # positions a row of the parts has room for
    first_row,
    first,  # their first position
    stop,  # the one after their last
    out_row,
    out_step,
    G,
    N,
    EVEN_N: tl.constexpr,
    T: tl.constexpr,
    STEPS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    pid = tl.program_id(0)
    blocks = R_L // STEPS
    row = (pid // (blocks * G)).to(tl.int64)
    group = pid // blocks % G
    t = pid % blocks * STEPS + tl.arange(0, STEPS)[:, None]
    n = tl.arange(0, WIDTH)[None, :]
    inside = (first + t < stop) & (n < N)
    at = (t // T * EVEN_N + n).to(tl.int64) * 2 * T + t % T
    part = parts_ptr + (row * G + group) * EVEN_N * R_L * 2 + at
    grad_B = tl.zeros([STEPS, WIDTH], tl.float32)
    grad_C = tl.zeros([STEPS, WIDTH], tl.float32)
    for _ in range(P):
        grad_B += tl.load(part, mask=inside, other=0.0)
        grad_C += tl.load(part + T, mask=inside, other=0.0)
        part += tl.cast(R * G, tl.int64) * EVEN_N * R_L * 2
    out = (first_row + row) * out_row + (first + t).to(tl.int64) * out_step + group * N + n
    tl.store(B_ptr + out, grad_B.to(B_ptr.dtype.element_ty), mask=inside)
    tl.store(C_ptr + out, grad_C.to(C_ptr.dtype.element_ty), mask=inside)


def collecting(
    shape: tuple[int, ...], out: Tensor, rows: range, positions: range
) -> tuple[Launch, int]:
    """What adds the parts of dB and dC in their order, and its number of programs.

    Args:
        shape: of the parts, (P, R, G, R_L / T, even N, 2, T).
        out: (B, L, G, N), of the strides of those to which the sums are written; groups and states
            are contiguous.
        rows: at most R, and which of out's they are.
        positions: likewise, at most R_L.
    """
    count, room_rows, groups, tiles, even, _, tile = shape
    room = tiles * tile
    launch = Launch(
        _collect_kernel,
        {},
        P=count,
        R=room_rows,
        R_L=room,
        first_row=rows.start,
        first=positions.start,
        stop=positions.stop,
        out_row=out.stride(0),
        out_step=out.stride(1),
        G=groups,
        N=out.shape[3],
        EVEN_N=even,
        T=tile,
        STEPS=STEPS,
        WIDTH=triton.next_power_of_2(even),
    )
    return launch, len(rows) * groups * (room // STEPS)


def collect(parts: Tensor, grad_B: Tensor, grad_C: Tensor, rows: range, positions: range) -> None:
    """Adds the parts; grad_B and grad_C have the same strides."""
    launch, programs = collecting(tuple(parts.shape), grad_B, rows, positions)
    launch(programs, parts_ptr=parts, B_ptr=grad_B, C_ptr=grad_C)
