# pyright: reportArgumentType=false, reportCallIssue=false
"""A, B and C in the order the scan's kernels read them, and dB and dC back from theirs.

    interface   (B, L, G, N)                    any floating dtype, any strides
    kernels     (B, G, padded L / T, N, T)      float32: a tile together, time innermost

The padding, of the length to a multiple of K and of an odd N to an even one, is zero: a state that
stays zero, and steps that leave the state alone.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from genomamba_kernels.launching import launch
from genomamba_kernels.selective_scan.inputs import ScanInputs
from genomamba_kernels.selective_scan.triton_plan import Plan, ceil_div
from genomamba_kernels.triton_math import LOG2_E

STEPS = 64  # a program's; the padded length is a multiple


def with_spare(like: Tensor, shape: tuple[int, ...], spare: int) -> Tensor:
    """A float32 tensor with room for `spare` numbers behind it, which reading ahead may touch."""
    size = math.prod(shape)
    return like.new_empty(size + spare, dtype=torch.float32)[:size].view(shape)


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


def named_strides(name: str, x: Tensor, *axes: str) -> dict[str, int]:
    return {f"{name}_{axis}": x.stride(i) for i, axis in enumerate(axes)}


def share(inputs: ScanInputs, plan: Plan) -> Shared:
    """A, B, C and the starts of packed sequences in the kernels' order."""
    A, B, C, tile = inputs.A, inputs.B, inputs.C, plan.tile
    batch, length, groups, states = B.shape
    channels = A.shape[0]
    padded = ceil_div(length, STEPS) * STEPS
    even = states + states % 2

    def new(*shape: int) -> Tensor:
        return with_spare(A, shape, tile if len(shape) > 2 else channels)

    shared = Shared(
        new(even, channels),
        new(batch, groups, padded // tile, even, tile),
        new(batch, groups, padded // tile, even, tile),
        start_words(inputs.starts, padded, tile),
    )
    launch(
        _share_kernel,
        ceil_div(channels, STEPS) + batch * groups * (padded // STEPS),
        {},
        A_ptr=A,
        B_ptr=B,
        C_ptr=C,
        a_ptr=shared.a,
        tiled_B_ptr=shared.B,
        tiled_C_ptr=shared.C,
        **named_strides("A", A, "channel", "state"),
        **named_strides("B", B, "row", "step", "group", "state"),
        **named_strides("C", C, "row", "step", "group", "state"),
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


def add_segments(
    parts: Tensor, A: Tensor, bias: Tensor | None, D: Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Adds the segments' parts (B S, N + 2, D) of dA and the gradients of delta_bias and D.

    Returns:
        Gradients of the shapes and dtypes of A (D, true N), bias and D (D,).
    """
    count, rows, channels = parts.shape
    grad_A = torch.empty_like(A, memory_format=torch.contiguous_format)
    grad_bias = None if bias is None else torch.empty_like(bias)
    grad_D = None if D is None else torch.empty_like(D)
    width = 16  # few, for more programs
    launch(
        _add_segments_kernel,
        ceil_div(channels, width) * rows,
        {},
        parts_ptr=parts,
        A_ptr=grad_A,
        bias_ptr=grad_bias,
        D_ptr=grad_D,
        SEGMENTS=count,
        TRUE_N=A.shape[1],
        D=channels,
        N=rows - 2,
        STEPS=64,
        WIDTH=width,
    )
    return grad_A, grad_bias, grad_D


@triton.jit(do_not_specialize=["P", "R", "R_L", "first_row", "first", "stop", "L"])
def _collect_kernel(
    parts_ptr,  # (P, R, G, R_L / T, even N, 2, T)
    B_ptr,  # (B, L, G, N), out
    C_ptr,  # (B, L, G, N), out
    P,
    R,  # rows of the parts
    R_L,  # positions a row of the parts has room for
    first_row,
    first,  # their first position
    stop,  # the one after their last
    L,
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
    out = (((first_row + row) * L + first + t) * G + group) * N + n
    tl.store(B_ptr + out, grad_B.to(B_ptr.dtype.element_ty), mask=inside)
    tl.store(C_ptr + out, grad_C.to(C_ptr.dtype.element_ty), mask=inside)


def collect(parts: Tensor, grad_B: Tensor, grad_C: Tensor, rows: range, positions: range) -> None:
    """Adds the parts (P, R, G, R_L / T, even N, 2, T) of dB and dC in their order.

    Args:
        grad_B: (B, L, G, N) contiguous, as grad_C is: where to write the sums.
        rows: at most R, and which of grad_B's they are.
        positions: likewise, at most R_L.
    """
    count, room_rows, groups, tiles, even, _, tile = parts.shape
    room = tiles * tile
    launch(
        _collect_kernel,
        len(rows) * groups * (room // STEPS),
        {},
        parts_ptr=parts,
        B_ptr=grad_B,
        C_ptr=grad_C,
        P=count,
        R=room_rows,
        R_L=room,
        first_row=rows.start,
        first=positions.start,
        stop=positions.stop,
        L=grad_B.shape[1],
        G=groups,
        N=grad_B.shape[3],
        EVEN_N=even,
        T=tile,
        STEPS=STEPS,
        WIDTH=triton.next_power_of_2(even),
    )
