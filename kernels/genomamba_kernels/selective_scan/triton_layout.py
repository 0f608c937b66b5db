# pyright: reportArgumentType=false, reportCallIssue=false
"""B and C in the order the scan's kernels read them, and dB and dC back from theirs.

    interface   (B, L, G, N)                    any floating dtype, any strides
    kernels     (B, G, padded L / T, N, T)      float32: a tile together, time innermost

The padding, of the length to a multiple of K and of an odd N to an even one, is zero: a state that
stays zero, and steps that leave the state alone.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

STEPS = 64  # a program's; the padded length is a multiple


@triton.jit
def _tile_kernel(
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
    EVEN_N: tl.constexpr,
    T: tl.constexpr,
    STEPS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    pid = tl.program_id(0)
    blocks = padded_L // STEPS
    row = (pid // (blocks * G)).to(tl.int64)
    group = pid // blocks % G
    t = pid % blocks * STEPS + tl.arange(0, STEPS)[:, None]
    n = tl.arange(0, WIDTH)[None, :]
    x_ptr += row * row_stride + group * group_stride
    x = tl.load(
        x_ptr + t.to(tl.int64) * step_stride + n * state_stride,
        mask=(t < L) & (n < N),
        other=0.0,
    )
    out_ptr += (row * G + group) * EVEN_N * padded_L
    at = (t // T * EVEN_N + n).to(tl.int64) * T + t % T
    tl.store(out_ptr + at, x.to(tl.float32), mask=n < EVEN_N)


def to_tiles(x: Tensor, padded: int, tile: int) -> Tensor:
    """(B, L, G, N) to (B, G, padded L / T, even N, T) float32."""
    batch, length, groups, states = x.shape
    even = states + states % 2
    out = x.new_empty(batch, groups, padded // tile, even, tile, dtype=torch.float32)
    _tile_kernel[(batch * groups * (padded // STEPS),)](
        x_ptr=x,
        out_ptr=out,
        row_stride=x.stride(0),
        step_stride=x.stride(1),
        group_stride=x.stride(2),
        state_stride=x.stride(3),
        L=length,
        padded_L=padded,
        G=groups,
        N=states,
        EVEN_N=even,
        T=tile,
        STEPS=STEPS,
        WIDTH=triton.next_power_of_2(even),
    )
    return out


@triton.jit
def _collect_kernel(
    parts_ptr,  # (P, B, G, padded L / T, even N, 2, T)
    B_ptr,  # (B, L, G, N), out
    C_ptr,  # (B, L, G, N), out
    P,
    R,  # rows B
    L,
    padded_L,
    G,
    N,
    EVEN_N: tl.constexpr,
    T: tl.constexpr,
    STEPS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    pid = tl.program_id(0)
    blocks = padded_L // STEPS
    row = (pid // (blocks * G)).to(tl.int64)
    group = pid // blocks % G
    t = pid % blocks * STEPS + tl.arange(0, STEPS)[:, None]
    n = tl.arange(0, WIDTH)[None, :]
    inside = (t < L) & (n < N)
    at = (t // T * EVEN_N + n).to(tl.int64) * 2 * T + t % T
    part = parts_ptr + (row * G + group) * EVEN_N * padded_L * 2 + at
    grad_B = tl.zeros([STEPS, WIDTH], tl.float32)
    grad_C = tl.zeros([STEPS, WIDTH], tl.float32)
    for _ in range(P):
        grad_B += tl.load(part, mask=inside, other=0.0)
        grad_C += tl.load(part + T, mask=inside, other=0.0)
        part += tl.cast(R * G, tl.int64) * EVEN_N * padded_L * 2
    out = ((row * L + t) * G + group) * N + n
    tl.store(B_ptr + out, grad_B.to(B_ptr.dtype.element_ty), mask=inside)
    tl.store(C_ptr + out, grad_C.to(C_ptr.dtype.element_ty), mask=inside)


def collect(parts: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
    """Adds the parts (P, B, G, padded L / T, even N, 2, T) of dB and dC in their order.

    Returns:
        dB and dC, of the shapes and dtypes of B and C (B, L, G, N).
    """
    count, batch, groups, tiles, even, _, tile = parts.shape
    length, states = B.shape[1], B.shape[3]
    grad_B = torch.empty_like(B, memory_format=torch.contiguous_format)
    grad_C = torch.empty_like(C, memory_format=torch.contiguous_format)
    padded = tiles * tile
    _collect_kernel[(batch * groups * (padded // STEPS),)](
        parts_ptr=parts,
        B_ptr=grad_B,
        C_ptr=grad_C,
        P=count,
        R=batch,
        L=length,
        padded_L=padded,
        G=groups,
        N=states,
        EVEN_N=even,
        T=tile,
        STEPS=STEPS,
        WIDTH=triton.next_power_of_2(even),
    )
    return grad_B, grad_C
