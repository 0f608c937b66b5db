# type: ignore  (Triton's language is not Python to a type checker)
"""Causal convolution on a GPU: a program owns a block of positions and channels.

Positions count from the row's first; those from -(d_conv - 1) to -1 are the initial state. What a
program needs of its neighbours' positions it reads or computes again: the loads hit the cache, and
nothing but the output is written.

Letters: B batch, L length, D channels, E = d_conv - 1 past positions, P programs along the length.
"""

from __future__ import annotations

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def _inputs(x_ptr, state_ptr, seq_ptr, s, owner, d, inside, L, X_STEP, D, E):
    """x at the positions s (steps, 1); zero where another sequence owns them than `owner`."""
    x = tl.load(
        x_ptr + s.to(tl.int64) * X_STEP + d, mask=inside & (s >= 0) & (s < L), other=0.0
    ).to(tl.float32)
    if state_ptr is not None:
        before = tl.load(state_ptr + (s + E) * D + d, mask=inside & (s < 0) & (s >= -E), other=0.0)
        x = tl.where(s < 0, before.to(tl.float32), x)
    if seq_ptr is not None:
        x = tl.where(_owner(seq_ptr, s, L) == owner, x, 0.0)
    return x


@triton.jit
def _owner(seq_ptr, s, L):
    """The sequence of the positions s; the initial state belongs to the row's first."""
    return tl.load(seq_ptr + tl.minimum(tl.maximum(s, 0), L - 1))


@triton.jit
def _before_activation(
    x_ptr, state_ptr, seq_ptr, weight_ptr, bias, t, owner, d, inside, L, X_STEP, D, E: tl.constexpr
):
    y = bias
    for tap in tl.static_range(E + 1):
        weight = tl.load(weight_ptr + d * (E + 1) + tap, mask=d < D, other=0.0).to(tl.float32)
        y += weight * _inputs(
            x_ptr, state_ptr, seq_ptr, t + (tap - E), owner, d, inside, L, X_STEP, D, E
        )
    return y


@triton.jit
def forward_kernel(
    x_ptr,  # (B, L, D)
    weight_ptr,  # (D, E + 1)
    bias_ptr,  # (D,)
    state_ptr,  # (B, E, D)
    seq_ptr,  # (B, L)
    y_ptr,  # (B, L, D), out, contiguous
    x_row,
    L,
    X_STEP: tl.constexpr,
    D: tl.constexpr,
    E: tl.constexpr,
    SILU: tl.constexpr,
    STEPS: tl.constexpr,
    W: tl.constexpr,
):
    blocks: tl.constexpr = (D + W - 1) // W
    programs = tl.cdiv(L, STEPS)
    pid = tl.program_id(0)
    row = (pid // (blocks * programs)).to(tl.int64)
    t = pid // blocks % programs * STEPS + tl.arange(0, STEPS)[:, None]
    d = pid % blocks * W + tl.arange(0, W)[None, :]
    inside = (t < L) & (d < D)
    x_ptr += row * x_row
    if state_ptr is not None:
        state_ptr += row * E * D
    owner = 0
    if seq_ptr is not None:
        seq_ptr += row * L
        owner = _owner(seq_ptr, t, L)
    bias = tl.zeros([1, W], tl.float32)
    if bias_ptr is not None:
        bias = tl.load(bias_ptr + d, mask=d < D, other=0.0).to(tl.float32)
    y = _before_activation(
        x_ptr, state_ptr, seq_ptr, weight_ptr, bias, t, owner, d, inside, L, X_STEP, D, E
    )
    if SILU:
        y = y / (1.0 + tl.exp2(y * -LOG2_E))
    out = y_ptr + (row * L + t) * D + d
    tl.store(out, y.to(y_ptr.dtype.element_ty), mask=inside)


@triton.jit
def backward_kernel(
    x_ptr,  # (B, L, D)
    weight_ptr,  # (D, E + 1)
    bias_ptr,  # (D,)
    state_ptr,  # (B, E, D)
    seq_ptr,  # (B, L)
    grad_y_ptr,  # (B, L, D)
    grad_final_ptr,  # (B, E, D)
    grad_x_ptr,  # (B, L, D), out, contiguous
    grad_state_ptr,  # (B, E, D), out
    parts_ptr,  # (B, P, E + 2, D), out: dweight by tap, then dbias
    x_row,
    grad_row,
    L,
    X_STEP: tl.constexpr,
    GRAD_STEP: tl.constexpr,
    D: tl.constexpr,
    E: tl.constexpr,
    SILU: tl.constexpr,
    STEPS: tl.constexpr,
    W: tl.constexpr,
):
    """dx at the positions s from -E on: sum over taps of weight p_{s + E - tap}, with p the
    gradient before the activation. The first tap, at p_s itself, also gives dweight and dbias."""
    blocks: tl.constexpr = (D + W - 1) // W
    programs = tl.cdiv(L + E, STEPS)
    pid = tl.program_id(0)
    row = (pid // (blocks * programs)).to(tl.int64)
    program = pid // blocks % programs
    s = program * STEPS - E + tl.arange(0, STEPS)[:, None]
    d = pid % blocks * W + tl.arange(0, W)[None, :]
    x_ptr += row * x_row
    grad_y_ptr += row * grad_row
    if state_ptr is not None:
        state_ptr += row * E * D
    owner = 0
    if seq_ptr is not None:
        seq_ptr += row * L
        owner = _owner(seq_ptr, s, L)
    bias = tl.zeros([1, W], tl.float32)
    if bias_ptr is not None:
        bias = tl.load(bias_ptr + d, mask=d < D, other=0.0).to(tl.float32)
    parts_ptr += (row * programs + program) * (E + 2) * D + d

    grad_x = tl.zeros([STEPS, W], tl.float32)
    for ahead in tl.static_range(E + 1):
        t = s + ahead
        inside = (t >= 0) & (t < L) & (d < D)
        owner_t = owner
        if seq_ptr is not None:
            owner_t = _owner(seq_ptr, t, L)
        p = tl.load(grad_y_ptr + t.to(tl.int64) * GRAD_STEP + d, mask=inside, other=0.0).to(
            tl.float32
        )
        if SILU:
            y = _before_activation(
                x_ptr, state_ptr, seq_ptr, weight_ptr, bias, t, owner_t, d, inside, L, X_STEP, D, E
            )
            gate = 1.0 / (1.0 + tl.exp2(y * -LOG2_E))
            p = tl.where(inside, p * gate * (1.0 + y * (1.0 - gate)), 0.0)
        if ahead == 0:
            for tap in tl.static_range(E + 1):
                x = _inputs(
                    x_ptr, state_ptr, seq_ptr, t + (tap - E), owner_t, d, inside, L, X_STEP, D, E
                )
                total = tl.sum(p * x, axis=0)[None, :]
                tl.store(parts_ptr + tap * D, total, mask=d < D)
            tl.store(parts_ptr + (E + 1) * D, tl.sum(p, axis=0)[None, :], mask=d < D)
        weight = tl.load(weight_ptr + d * (E + 1) + (E - ahead), mask=d < D, other=0.0)
        reaching = weight.to(tl.float32) * p
        if seq_ptr is not None:
            reaching = tl.where(owner_t == owner, reaching, 0.0)
        grad_x += reaching

    if grad_final_ptr is not None:
        kept = (s >= L - E) & (s < L) & (d < D)
        final = tl.load(grad_final_ptr + (row * E + s - (L - E)) * D + d, mask=kept, other=0.0).to(
            tl.float32
        )
        if seq_ptr is not None:
            final = tl.where(owner == tl.load(seq_ptr + L - 1), final, 0.0)
        grad_x += final
    out = grad_x_ptr + (row * L + s) * D + d
    mask = (s >= 0) & (s < L) & (d < D)
    tl.store(out, grad_x.to(grad_x_ptr.dtype.element_ty), mask=mask)
    if grad_state_ptr is not None:
        out = grad_state_ptr + (row * E + s + E) * D + d
        tl.store(out, grad_x.to(grad_state_ptr.dtype.element_ty), mask=(s < 0) & (d < D))
