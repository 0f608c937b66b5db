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


@triton.jit
def chain(
    state, decay_at, leaving_at, following_at, a, mask, left,
    D: tl.constexpr, N: tl.constexpr, STEP: tl.constexpr, COUNT: tl.constexpr, LAST: tl.constexpr,
):  # fmt: skip
    """The state after the next COUNT segments, of which `left` are there if LAST; what enters each
    but the first of these is written, and what enters the one after them. All are loaded first."""
    decays, leaving = (), ()
    for i in tl.static_range(COUNT):
        inside = mask & (i < left) if LAST else mask
        q = tl.load(decay_at + STEP * i * D, mask=inside, other=0.0)
        decays = decays + (tl.where(q == float("inf"), 0.0, tl.exp2(q * a)),)
        leaving = leaving + (tl.load(leaving_at + STEP * i * N * D, mask=inside, other=0.0),)
    for i in tl.static_range(COUNT):
        # A decay of exactly zero, a restart or an underflow, lets nothing pass: no NaN either.
        after = tl.where(decays[i] == 0.0, 0.0, decays[i] * state) + leaving[i]
        state = tl.where(i < left, after, state) if LAST else after
        goes_on = mask & (i + 1 < left) if LAST else mask
        tl.store(following_at + STEP * i * N * D, state, mask=goes_on)
    return state


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
    W: tl.constexpr,
    REVERSE: tl.constexpr,
    MANY: tl.constexpr,  # segments at a time
    FEW: tl.constexpr,  # of the rest
):
    STEP: tl.constexpr = -1 if REVERSE else 1
    blocks = tl.cdiv(D, W)
    pid = tl.program_id(0)
    n = pid // blocks % N
    row = (pid // (blocks * N)).to(tl.int64)
    d = pid % blocks * W + tl.arange(0, W)
    mask = d < D
    a = tl.load(a_ptr + n * D + d, mask=mask, other=0.0)
    state = tl.zeros([W], tl.float32)
    if given_ptr is not None:
        given = given_ptr + (row * D + d) * TRUE_N + n
        state = tl.load(given, mask=mask & (n < TRUE_N), other=0.0)
    first = row * S + (S - 1 if REVERSE else 0)
    decay_at = decay_ptr + first * D + d
    leaving_at = leaving_ptr + (first * N + n) * D + d
    entering_at = entering_ptr + (first * N + n) * D + d
    tl.store(entering_at, state, mask=mask)
    entering_at += STEP * N * D

    many = (S - 1) // MANY * MANY  # something follows each of these
    for _ in range(0, many, MANY):
        state = chain(
            state, decay_at, leaving_at, entering_at, a, mask, MANY, D, N, STEP, MANY, False
        )
        decay_at += STEP * MANY * D
        leaving_at += STEP * MANY * N * D
        entering_at += STEP * MANY * N * D
    for s in range(many, S, FEW):
        state = chain(
            state, decay_at, leaving_at, entering_at, a, mask, S - s, D, N, STEP, FEW, True
        )
        decay_at += STEP * FEW * D
        leaving_at += STEP * FEW * N * D
        entering_at += STEP * FEW * N * D
    if end_ptr is not None:
        tl.store(end_ptr + (row * D + d) * TRUE_N + n, state, mask=mask & (n < TRUE_N))
