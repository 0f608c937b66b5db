# pyright: reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false
# pyright: reportOperatorIssue=false, reportAttributeAccessIssue=false, reportOptionalOperand=false
"""One position of convolution and scan. A program has some channels of one row.

Letters: B rows, D channels, N states, E = d_conv - 1 inputs of the past. The states (B, E, D) and
(B, D, N) are contiguous; each number is read and written by one thread, so that they can change in
place. Addresses are 64-bit.
"""

from __future__ import annotations

import triton
import triton.language as tl

from genomamba_kernels.selective_scan.triton_tiles import softplus
from genomamba_kernels.triton_math import LOG2_E, sigmoid


@triton.jit
def conv_step_kernel(
    x_ptr, state_ptr, weight_ptr, bias_ptr, y_ptr, x_row, blocks,
    D: tl.constexpr, E: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """y = silu(bias + weight . (state, x)); the state forgets its oldest input and takes x."""
    row = (tl.program_id(0) // blocks).to(tl.int64)
    channel = (tl.program_id(0) % blocks) * WIDTH + tl.arange(0, WIDTH)
    inside = channel < D
    x = tl.load(x_ptr + row * x_row + channel, mask=inside, other=0.0)
    total = tl.zeros([WIDTH], tl.float32)
    if bias_ptr is not None:
        total += tl.load(bias_ptr + channel, mask=inside, other=0.0).to(tl.float32)
    past = state_ptr + row * E * D + channel
    for at in tl.static_range(E):
        older = tl.load(past + at * D, mask=inside, other=0.0)
        weight = tl.load(weight_ptr + channel * (E + 1) + at, mask=inside, other=0.0)
        # Through x's type, in which the next forward pass would take it.
        total += older.to(x.dtype).to(tl.float32) * weight.to(tl.float32)
        if at > 0:
            tl.store(past + (at - 1) * D, older, mask=inside)
    weight = tl.load(weight_ptr + channel * (E + 1) + E, mask=inside, other=0.0)
    total += x.to(tl.float32) * weight.to(tl.float32)
    if E > 0:
        tl.store(past + (E - 1) * D, x.to(state_ptr.dtype.element_ty), mask=inside)
    y = total * sigmoid(total)
    tl.store(y_ptr + row * D + channel, y.to(y_ptr.dtype.element_ty), mask=inside)


@triton.jit
def scan_step_kernel(
    u_ptr, delta_ptr, A_ptr, B_ptr, C_ptr, D_ptr, z_ptr, bias_ptr, state_ptr, y_ptr,
    u_row, delta_row, B_row, C_row, z_row, blocks,
    D: tl.constexpr, N: tl.constexpr, WIDTH: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    """h = exp(q A) h + q u B, y = (C h + D u) silu(z), q = softplus(delta + bias)."""
    row = (tl.program_id(0) // blocks).to(tl.int64)
    channel = (tl.program_id(0) % blocks) * WIDTH + tl.arange(0, WIDTH)
    entry = tl.arange(0, STATES)
    inside, there = channel < D, entry < N
    both = inside[:, None] & there[None, :]
    u = tl.load(u_ptr + row * u_row + channel, mask=inside, other=0.0).to(tl.float32)
    delta = tl.load(delta_ptr + row * delta_row + channel, mask=inside, other=0.0).to(tl.float32)
    q = softplus(delta + tl.load(bias_ptr + channel, mask=inside, other=0.0).to(tl.float32))
    A = tl.load(A_ptr + channel[:, None] * N + entry[None, :], mask=both, other=0.0)
    B = tl.load(B_ptr + row * B_row + entry, mask=there, other=0.0).to(tl.float32)
    C = tl.load(C_ptr + row * C_row + entry, mask=there, other=0.0).to(tl.float32)
    places = state_ptr + (row * D + channel[:, None]) * N + entry[None, :]
    h = tl.load(places, mask=both, other=0.0)
    h = tl.exp2(q[:, None] * A * LOG2_E) * h + (q * u)[:, None] * B[None, :]
    tl.store(places, h, mask=both)
    y = tl.sum(h * C[None, :], axis=1)
    y += tl.load(D_ptr + channel, mask=inside, other=0.0).to(tl.float32) * u
    z = tl.load(z_ptr + row * z_row + channel, mask=inside, other=0.0).to(tl.float32)
    y *= z * sigmoid(z)
    tl.store(y_ptr + row * D + channel, y.to(y_ptr.dtype.element_ty), mask=inside)
