# type: ignore  (Triton's language is not Python to a type checker)
"""The next-token loss's kernels: a program owns some positions, their channels in registers.

The vocabulary is small: a logit is a product and a sum over the channels, computed again wherever
it is needed.

Letters: L length, T positions of a row that have a target, D channels, V vocabulary, W the power of
two that holds D.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _positions(block, targets_ptr, positions, L, T, ROWS: tl.constexpr):
    """Flat numbers among the targets (ROWS, 1) and among the hidden vectors, and the targets."""
    at = tl.cast(block, tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    target = tl.load(targets_ptr + at, mask=at < positions, other=0).to(tl.int32)
    return at, at // T * L + at % T, target


@triton.jit
def _weight(weight_ptr, v: tl.constexpr, d, D: tl.constexpr):
    return tl.load(weight_ptr + v * D + d, mask=d < D, other=0.0).to(tl.float32)


@triton.jit
def _normaliser(h, weight_ptr, target, d, D: tl.constexpr, V: tl.constexpr):
    """The logits' logsumexp and the target's logit."""
    top = tl.full([h.shape[0], 1], float("-inf"), tl.float32)
    total = tl.zeros([h.shape[0], 1], tl.float32)
    hit = tl.zeros([h.shape[0], 1], tl.float32)
    for v in tl.static_range(V):
        logit = tl.sum(h * _weight(weight_ptr, v, d, D), axis=1)[:, None]
        hit = tl.where(target == v, logit, hit)
        higher = tl.maximum(top, logit)
        total = total * tl.exp(top - higher) + tl.exp(logit - higher)
        top = higher
    return top + tl.log(total), hit


@triton.jit
def forward_kernel(
    hidden_ptr,  # (B, L, D)
    weight_ptr,  # (V, D)
    targets_ptr,  # (B, T)
    importance_ptr,  # (B, T) or none; not used
    loss_ptr,  # (B, T), out
    positions,
    L,
    T,
    D: tl.constexpr,
    V: tl.constexpr,
    W: tl.constexpr,
    ROWS: tl.constexpr,
):
    at, row, target = _positions(tl.program_id(0), targets_ptr, positions, L, T, ROWS)
    d = tl.arange(0, W)[None, :]
    inside = at < positions
    h = tl.load(hidden_ptr + row * D + d, mask=inside & (d < D), other=0.0).to(tl.float32)
    normaliser, hit = _normaliser(h, weight_ptr, target, d, D, V)
    tl.store(loss_ptr + at, normaliser - hit, mask=inside)


@triton.jit
def backward_kernel(
    hidden_ptr,  # (B, L, D)
    weight_ptr,  # (V, D)
    targets_ptr,  # (B, T)
    importance_ptr,  # (B, T) or none
    grad_total_ptr,  # ()
    grad_hidden_ptr,  # (B, L, D), out
    parts_ptr,  # (programs, V, D), out: partial sums of the head's gradient
    positions,
    blocks,
    L,
    T,
    D: tl.constexpr,
    V: tl.constexpr,
    W: tl.constexpr,
    ROWS: tl.constexpr,
):
    """A program takes every blocks / programs-th block of positions, so that the partial sums are
    few and always of the same positions."""
    program, programs = tl.program_id(0), tl.num_programs(0)
    d = tl.arange(0, W)[None, :]
    grad_total = tl.load(grad_total_ptr).to(tl.float32)
    totals = ()
    for _ in tl.static_range(V):
        totals += (tl.zeros([ROWS, W], tl.float32),)
    for block in range(program, blocks, programs):
        at, row, target = _positions(block, targets_ptr, positions, L, T, ROWS)
        inside = at < positions
        h = tl.load(hidden_ptr + row * D + d, mask=inside & (d < D), other=0.0).to(tl.float32)
        normaliser, _hit = _normaliser(h, weight_ptr, target, d, D, V)
        scale = tl.where(inside, grad_total, 0.0)
        if importance_ptr is not None:
            scale *= tl.load(importance_ptr + at, mask=inside, other=0).to(tl.float32)
        grad_h = tl.zeros([ROWS, W], tl.float32)
        sums = ()
        for v in tl.static_range(V):
            weight = _weight(weight_ptr, v, d, D)
            logit = tl.sum(h * weight, axis=1)[:, None]
            grad = scale * (tl.exp(logit - normaliser) - tl.where(target == v, 1.0, 0.0))
            grad_h += grad * weight
            sums += (totals[v] + grad * h,)
        totals = sums
        out = grad_hidden_ptr + row * D + d
        tl.store(out, grad_h.to(grad_hidden_ptr.dtype.element_ty), mask=inside & (d < D))
    for v in tl.static_range(V):
        part = parts_ptr + (program * V + v) * D + d
        tl.store(part, tl.sum(totals[v], axis=0)[None, :], mask=d < D)
