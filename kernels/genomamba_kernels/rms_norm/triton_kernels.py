# type: ignore  (Triton's language is not Python to a type checker)
"""RMSNorm's kernels: a program owns some rows, whole, in registers.

Letters: D channels, W the power of two that holds them.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def forward_kernel(
    x_ptr,  # (rows, D)
    residual_ptr,  # (rows, D) or none
    weight_ptr,  # (D,)
    y_ptr,  # (rows, D), out
    s_ptr,  # (rows, D), out; none where there is no residual
    rows,
    eps,
    D: tl.constexpr,
    W: tl.constexpr,
    ROWS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    d = tl.arange(0, W)[None, :]
    inside = (row < rows) & (d < D)
    at = row * D + d
    s = tl.load(x_ptr + at, mask=inside, other=0.0).to(tl.float32)
    if residual_ptr is not None:
        s += tl.load(residual_ptr + at, mask=inside, other=0.0).to(tl.float32)
        stored = s.to(s_ptr.dtype.element_ty)
        tl.store(s_ptr + at, stored, mask=inside)
        s = stored.to(tl.float32)  # as the backward pass will read it
    scale = tl.rsqrt(tl.sum(s * s, axis=1) / D + eps)[:, None]
    weight = tl.load(weight_ptr + d, mask=d < D, other=0.0).to(tl.float32)
    tl.store(y_ptr + at, (s * scale * weight).to(y_ptr.dtype.element_ty), mask=inside)


@triton.jit
def backward_kernel(
    s_ptr,  # (rows, D)
    weight_ptr,  # (D,)
    grad_y_ptr,  # (rows, D)
    grad_s_ptr,  # (rows, D) or none
    grad_ptr,  # (rows, D), out
    narrow_ptr,  # (rows, D), out: the same in another dtype; or none
    parts_ptr,  # (programs, D), out: partial sums of the weight's gradient
    rows,
    blocks,
    eps,
    D: tl.constexpr,
    W: tl.constexpr,
    ROWS: tl.constexpr,
):
    """A program takes every blocks / programs-th block of rows, so that the partial sums are few
    and always of the same rows."""
    program, programs = tl.program_id(0), tl.num_programs(0)
    d = tl.arange(0, W)[None, :]
    weight = tl.load(weight_ptr + d, mask=d < D, other=0.0).to(tl.float32)
    total = tl.zeros([ROWS, W], tl.float32)
    for block in range(program, blocks, programs):
        row = tl.cast(block, tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
        inside = (row < rows) & (d < D)
        at = row * D + d
        s = tl.load(s_ptr + at, mask=inside, other=0.0).to(tl.float32)
        grad_y = tl.load(grad_y_ptr + at, mask=inside, other=0.0).to(tl.float32)
        scale = tl.rsqrt(tl.sum(s * s, axis=1) / D + eps)[:, None]
        scale = tl.where(row < rows, scale, 0.0)  # infinite in the rows beyond, if eps is 0
        normed = s * scale
        total += grad_y * normed
        grad = grad_y * weight
        grad = scale * (grad - normed * (tl.sum(grad * normed, axis=1) / D)[:, None])
        if grad_s_ptr is not None:
            grad += tl.load(grad_s_ptr + at, mask=inside, other=0.0).to(tl.float32)
        tl.store(grad_ptr + at, grad.to(grad_ptr.dtype.element_ty), mask=inside)
        if narrow_ptr is not None:
            tl.store(narrow_ptr + at, grad.to(narrow_ptr.dtype.element_ty), mask=inside)
    parts = parts_ptr + program * D + d
    tl.store(parts, tl.sum(total, axis=0)[None, :], mask=d < D)
