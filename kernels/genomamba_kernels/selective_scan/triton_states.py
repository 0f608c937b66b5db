# type: ignore  (Triton's language is not Python to a type checker)
# ruff: noqa: RUF005  (Triton adds tuples but does not unpack them)
"""Chains segments: from what each leaves when zero enters, and its decay, to what enters each.

One after another, h -> exp(A q) h + b: composed in parallel, what enters a segment would be rounded
by its place in the chain, and a row read in parts would differ (triton_plan.cut_forward). What the
next segments need is loaded ahead. Serves the states (forward in time) and their gradients
(backwards in time).
"""

from __future__ import annotations

import triton
import triton.language as tl


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
        decays, leaving = (), ()
        for i in tl.static_range(BLOCK_S):
            s = base + i  # counted in the order of the chain
            segment = row * S + (S - 1 - s if REVERSE else s)
            inside = mask & (s < S)
            q = tl.load(decay_ptr + segment * D + d, mask=inside, other=0.0)
            decays = decays + (tl.where(q == float("inf"), 0.0, tl.exp2(q * a)),)
            left = tl.load(leaving_ptr + (segment * N + n) * D + d, mask=inside, other=0.0)
            leaving = leaving + (left,)
        for i in tl.static_range(BLOCK_S):
            s = base + i
            # A decay of exactly zero, a restart or an underflow, lets nothing pass: no NaN either.
            crossing = tl.where(decays[i] == 0.0, 0.0, decays[i] * state) + leaving[i]
            state = tl.where(s < S, crossing, state)
            following = row * S + (S - 2 - s if REVERSE else s + 1)
            tl.store(entering_ptr + (following * N + n) * D + d, state, mask=mask & (s + 1 < S))
    if end_ptr is not None:
        tl.store(end_ptr + (row * D + d) * TRUE_N + n, state, mask=mask & (n < TRUE_N))
