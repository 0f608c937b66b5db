# type: ignore  (Triton's language is not Python to a type checker)
"""Chains segments: from what each leaves when zero enters, and its decay, to what enters each.

The map h -> exp(A q) h + b of a segment composes associatively, so the chain is a parallel scan.
Serves the states (forward in time) and their gradients (backwards in time).
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def compose(decay, leaving, later_decay, later_leaving):
    """One segment after another. A decay of exactly zero, a restart or an underflow, lets nothing
    pass: not even a NaN."""
    crossing = tl.where(later_decay == 0.0, 0.0, later_decay * leaving)
    decay = tl.where(later_decay == 0.0, 0.0, later_decay * decay)
    return decay, crossing + later_leaving


@triton.jit(do_not_specialize=["S", "TRUE_N"])
def pass_states_kernel(
    leaving_ptr,  # (B, S, N, D), what a segment leaves if zero enters; the chain's last is used
    # for end_ptr only
    decay_ptr,  # (B, S, D), sums of q; infinite where a sequence restarts
    a_ptr,  # (N, D), A log2(e)
    given_ptr,  # (B, D, true N), what enters the chain's first segment; zero if absent
    entering_ptr,  # (B, S, N, D), out: what enters each segment
    end_ptr,  # (B, D, true N), out: what leaves the chain's last segment, or absent
    S,
    TRUE_N,
    D: tl.constexpr,
    N: tl.constexpr,
    BLOCK_S: tl.constexpr,
    W: tl.constexpr,
    REVERSE: tl.constexpr,
):
    blocks = tl.cdiv(D, W)
    pid = tl.program_id(0)
    n = pid // blocks % N
    row = (pid // (blocks * N)).to(tl.int64)
    d = pid % blocks * W + tl.arange(0, W)
    mask = d < D
    a = tl.load(a_ptr + n * D + d, mask=mask, other=0.0)
    first = row * S + (S - 1 if REVERSE else 0)
    state = tl.zeros([W], tl.float32)
    if given_ptr is not None:
        given = given_ptr + (row * D + d) * TRUE_N + n
        state = tl.load(given, mask=mask & (n < TRUE_N), other=0.0)
    tl.store(entering_ptr + (first * N + n) * D + d, state, mask=mask)

    for base in range(0, S, BLOCK_S):
        s = base + tl.arange(0, BLOCK_S)  # counted in the order of the chain
        segment = row * S + (S - 1 - s if REVERSE else s)
        inside = (s < S)[:, None] & mask[None, :]
        q = tl.load(decay_ptr + segment[:, None] * D + d[None, :], mask=inside, other=0.0)
        decay = tl.where(q == float("inf"), 0.0, tl.exp2(q * a[None, :]))
        where = (segment[:, None] * N + n) * D + d[None, :]
        leaving = tl.load(leaving_ptr + where, mask=inside, other=0.0)
        decay, leaving = tl.associative_scan((decay, leaving), 0, compose)
        leaving += tl.where(decay == 0.0, 0.0, decay * state[None, :])
        following = where + (-N * D if REVERSE else N * D)
        tl.store(entering_ptr + following, leaving, mask=inside & (s + 1 < S)[:, None])
        last = (s == tl.minimum(base + BLOCK_S, S) - 1)[:, None]
        state = tl.sum(tl.where(last, leaving, 0.0), axis=0)
    if end_ptr is not None:
        tl.store(end_ptr + (row * D + d) * TRUE_N + n, state, mask=mask & (n < TRUE_N))
