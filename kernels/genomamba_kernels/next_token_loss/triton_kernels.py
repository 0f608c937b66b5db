# type: ignore  (Triton's language is not Python to a type checker)
"""The next-token loss's kernels: a program owns some positions, their channels in registers.

The vocabulary is small: a logit is a product and a sum over the channels, and a program holds the
head's weight, too, in the layout of the hidden vectors. It takes every so-manieth block of
positions, so that it loads the weight once, and the partial sums of the weight's gradient are few
and always of the same positions.

Letters: L length, T positions of a row that have a target, D channels, V vocabulary, W the power of
two that holds D.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _weights(weight_ptr, d, D: tl.constexpr, V: tl.constexpr, ROWS: tl.constexpr, W: tl.constexpr):
    """The weight's rows, one tensor (ROWS, W) a token: every position's thread has its own copy."""
    d = tl.broadcast_to(d, [ROWS, W])
    rows = ()
    for v in tl.static_range(V):
        rows += (tl.load(weight_ptr + v * D + d, mask=d < D, other=0.0).to(tl.float32),)
    return rows


@triton.jit
def _positions(block, along, L, T, ROWS: tl.constexpr):
    """A block's positions (ROWS,): their numbers among the targets and among the hidden vectors,
    and which of them exist."""
    row = tl.cast(block // along, tl.int64)
    t = block % along * ROWS + tl.arange(0, ROWS)
    return row * T + t, row * L + t, t < T


@triton.jit
def _logits(h, weights, V: tl.constexpr):
    """The logits, a tensor (ROWS,) a token, and their logsumexp."""
    logits = ()
    for v in tl.static_range(V):
        logits += (tl.sum(h * weights[v], axis=1),)
    top = logits[0]
    for v in tl.static_range(1, V):
        top = tl.maximum(top, logits[v])
    total = tl.exp(logits[0] - top)
    for v in tl.static_range(1, V):
        total += tl.exp(logits[v] - top)
    return logits, top + tl.log(total)


@triton.jit
def forward_kernel(
    hidden_ptr,  # (B, L, D)
    weight_ptr,  # (V, D)
    targets_ptr,  # (B, T)
    importance_ptr,  # (B, T) or none; not used
    loss_ptr,  # (B, T), out
    blocks,
    along,  # blocks of a row
    L,
    T,
    D: tl.constexpr,
    V: tl.constexpr,
    W: tl.constexpr,
    ROWS: tl.constexpr,
):
    d = tl.arange(0, W)[None, :]
    weights = _weights(weight_ptr, d, D, V, ROWS, W)
    for block in range(tl.program_id(0), blocks, tl.num_programs(0)):
        at, row, inside = _positions(block, along, L, T, ROWS)
        target = tl.load(targets_ptr + at, mask=inside, other=0).to(tl.int32)
        mask = inside[:, None] & (d < D)
        h = tl.load(hidden_ptr + row[:, None] * D + d, mask=mask, other=0.0).to(tl.float32)
        logits, loss = _logits(h, weights, V)
        for v in tl.static_range(V):
            loss = tl.where(target == v, loss - logits[v], loss)
        tl.store(loss_ptr + at, loss, mask=inside)


@triton.jit
def backward_kernel(
    hidden_ptr,  # (B, L, D)
    weight_ptr,  # (V, D)
    targets_ptr,  # (B, T)
    importance_ptr,  # (B, T) or none
    grad_total_ptr,  # ()
    grad_hidden_ptr,  # (B, L, D), out
    parts_ptr,  # (programs, V, D), out: partial sums of the head's gradient
    blocks,
    along,  # blocks of a row
    L,
    T,
    D: tl.constexpr,
    V: tl.constexpr,
    W: tl.constexpr,
    ROWS: tl.constexpr,
):
    program = tl.program_id(0)
    d = tl.arange(0, W)[None, :]
    weights = _weights(weight_ptr, d, D, V, ROWS, W)
    grad_total = tl.load(grad_total_ptr).to(tl.float32)
    totals = ()
    for _v in tl.static_range(V):
        totals += (tl.zeros([ROWS, W], tl.float32),)
    for block in range(program, blocks, tl.num_programs(0)):
        at, row, inside = _positions(block, along, L, T, ROWS)
        target = tl.load(targets_ptr + at, mask=inside, other=0).to(tl.int32)
        mask = inside[:, None] & (d < D)
        h = tl.load(hidden_ptr + row[:, None] * D + d, mask=mask, other=0.0).to(tl.float32)
        logits, normaliser = _logits(h, weights, V)
        scale = tl.where(inside, grad_total, 0.0)
        if importance_ptr is not None:
            scale *= tl.load(importance_ptr + at, mask=inside, other=0).to(tl.float32)
        grad_h = tl.zeros([ROWS, W], tl.float32)
        sums = ()
        for v in tl.static_range(V):
            grad = scale * (tl.exp(logits[v] - normaliser) - tl.where(target == v, 1.0, 0.0))
            grad_h += grad[:, None] * weights[v]
            sums += (totals[v] + grad[:, None] * h,)
        totals = sums
        out = grad_hidden_ptr + row[:, None] * D + d
        tl.store(out, grad_h.to(grad_hidden_ptr.dtype.element_ty), mask=mask)
    for v in tl.static_range(V):
        part = parts_ptr + (program * V + v) * D + d
        tl.store(part, tl.sum(totals[v], axis=0)[None, :], mask=d < D)
