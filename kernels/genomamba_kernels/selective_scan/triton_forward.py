# type: ignore  (Triton's language is not Python to a type checker)
# ruff: noqa: RUF005  (Triton adds tuples but does not unpack them)
"""Selective scan on a GPU, forward.

The length is cut into segments, so that a single long sequence fills the card. Three kernels:

    segment_ends    (triton_segments.py) each segment by itself, from zero: the state it leaves
    pass_states     (triton_states.py) chains the segments: the state that enters each
    scan            each segment again, from the state that enters: the outputs

With one segment the last kernel is all there is. What its loop over the states does not wait for
is read ahead: the next state's numbers in every turn, the next tile's rows in the last one.

Where a row is a share of a longer one, what enters its first segment comes from other processes.
The exchange (sharing.py) lies before the last kernel, and the first works on every segment.

Letters: B batch, L length, D channels, N states (an even number), G groups, S segments, T steps a
tile, W channels a program, K steps between the states that backward starts from.
"""

from __future__ import annotations

import triton
import triton.language as tl

from genomamba_kernels.selective_scan.triton_segments import SIZES, locate
from genomamba_kernels.selective_scan.triton_tiles import (
    keep,
    load_lanes,
    load_scalars,
    load_vector,
    products,
    read_rows,
    restart,
    step_sizes,
    store_lanes,
    store_row,
    touch_tile,
    widen,
)
from genomamba_kernels.triton_math import sigmoid


@triton.jit
def advance_state(h, a, Bs, Cs, qs, bs, ys, starts, T: tl.constexpr, PACKED: tl.constexpr):
    """One state over a tile: h after it, and the outputs with this state's part added."""
    sums = ()
    for i in tl.static_range(T):
        if PACKED:
            h = restart(h, starts, i)
        h = tl.exp2(qs[i] * a) * h + Bs[i] * bs[i]
        sums = sums + (ys[i] + Cs[i] * h,)
    return h, sums


@triton.jit(do_not_specialize=SIZES)
def scan_kernel(
    u_ptr,  # (B, L, D)
    delta_ptr,  # (B, L, D)
    z_ptr,  # (B, L, D)
    y_ptr,  # (B, L, D), out, contiguous
    bias_ptr,  # (D,)
    D_ptr,  # (D,)
    a_ptr,  # (N, D), A log2(e)
    B_ptr,  # (B, G, padded L / T, N, T)
    C_ptr,  # (B, G, padded L / T, N, T)
    starts_ptr,  # (B, padded L / T)
    entering_ptr,  # (B, S, N, D), the state that enters each segment; zero if absent
    state_ptr,  # ([B padded L / K] + B S, N, D), out: states before every K-th step, if saved;
    # the state that leaves each segment
    final_ptr,  # (B, D, true N), out: the state that leaves each row
    u_row,
    delta_row,
    z_row,
    L,
    padded_L,
    R,  # rows B
    S,
    segment_length,
    N,
    TRUE_N,
    U_STEP: tl.constexpr,
    DELTA_STEP: tl.constexpr,
    Z_STEP: tl.constexpr,
    D: tl.constexpr,
    G: tl.constexpr,
    T: tl.constexpr,
    W: tl.constexpr,
    K: tl.constexpr,
    SAVE: tl.constexpr,
    SOFTPLUS: tl.constexpr,
    EVEN: tl.constexpr,
):
    GATED: tl.constexpr = z_ptr is not None
    PACKED: tl.constexpr = starts_ptr is not None
    row, segment, group, _, first, d, mask = locate(S, D, G, W)
    begin = segment * segment_length
    end = tl.minimum(begin + segment_length, L)
    w = d - first
    u_ptr += row * u_row + first + w
    delta_ptr += row * delta_row + first + w
    if GATED:
        z_ptr += row * z_row + first + w
    y_ptr += row * L * D + d
    B_ptr += (row * G + group) * N * padded_L
    C_ptr += (row * G + group) * N * padded_L
    state_ptr += d
    a_ptr += d
    never = L < 0
    bias = load_vector(bias_ptr, d, mask)
    skip = load_vector(D_ptr, d, mask)

    # Where the states are read from and written to: a slot of N x D numbers of state_ptr.
    chunks = padded_L // K if SAVE else 0
    working = (R * chunks + row * S + segment) * N * D
    source = (row * chunks + begin // K) * N * D if SAVE else working
    for n in range(N):
        h = tl.zeros([W], tl.float32)
        if entering_ptr is not None:
            h = load_lanes(entering_ptr + ((row * S + segment) * N + n) * D + d, mask, EVEN)
        store_lanes(state_ptr + source + n * D, h, mask, EVEN)
    tl.debug_barrier()  # other lanes may read what a lane wrote

    step = tl.cast(begin, tl.int64)
    deltas = read_rows(delta_ptr + step * DELTA_STEP, DELTA_STEP, mask, begin, end, T, EVEN)
    us = read_rows(u_ptr + step * U_STEP, U_STEP, mask, begin, end, T, EVEN)
    for t in range(begin, end, T):
        step = tl.cast(t, tl.int64)
        target = working
        if SAVE:  # noqa: SIM102  (known to the compiler)
            if (t + T < end) & ((t + T) % K == 0):
                target = (row * chunks + (t + T) // K) * N * D
        h = load_lanes(state_ptr + source, mask, EVEN)
        a = load_lanes(a_ptr, mask, EVEN)
        Bs = load_scalars(B_ptr + step * N, T)
        Cs = load_scalars(C_ptr + step * N, T)
        qs = step_sizes(widen(deltas, T), bias, t, end, T, SOFTPLUS, EVEN)
        bs = products(qs, widen(us, T), T)
        ys = ()
        for i in tl.static_range(T):
            ys = ys + (skip * us[i].to(tl.float32),)
        starts = tl.load(starts_ptr + (row * padded_L + t) // T) if PACKED else 0

        ahead = tl.minimum(t + T, end - T) if EVEN else t + T
        following = tl.cast(ahead, tl.int64)
        if EVEN:
            near_B = touch_tile(B_ptr + following * N, N * T)
            near_C = touch_tile(C_ptr + following * N, N * T)
        for pair in range(0, N - 2, 2):
            for k in tl.static_range(2):
                n = pair + k
                next_h = load_lanes(state_ptr + source + (n + 1) * D, mask, EVEN)
                next_a = load_lanes(a_ptr + (n + 1) * D, mask, EVEN)
                next_Bs = load_scalars(B_ptr + step * N + (n + 1) * T, T)
                next_Cs = load_scalars(C_ptr + step * N + (n + 1) * T, T)
                h, ys = advance_state(h, a, Bs, Cs, qs, bs, ys, starts, T, PACKED)
                store_lanes(state_ptr + target + n * D, h, mask, EVEN)
                h = next_h
                a = next_a
                Bs = next_Bs
                Cs = next_Cs

        # The last two states, where registers are free for rows.
        last_h = load_lanes(state_ptr + source + (N - 1) * D, mask, EVEN)
        last_a = load_lanes(a_ptr + (N - 1) * D, mask, EVEN)
        last_Bs = load_scalars(B_ptr + step * N + (N - 1) * T, T)
        last_Cs = load_scalars(C_ptr + step * N + (N - 1) * T, T)
        h, ys = advance_state(h, a, Bs, Cs, qs, bs, ys, starts, T, PACKED)
        store_lanes(state_ptr + target + (N - 2) * D, h, mask, EVEN)
        deltas = read_rows(
            delta_ptr + following * DELTA_STEP, DELTA_STEP, mask, ahead, end, T, EVEN
        )
        us = read_rows(u_ptr + following * U_STEP, U_STEP, mask, ahead, end, T, EVEN)
        zs = ()
        if GATED:
            zs = read_rows(z_ptr + step * Z_STEP, Z_STEP, mask, t, end, T, EVEN)
        h, ys = advance_state(last_h, last_a, last_Bs, last_Cs, qs, bs, ys, starts, T, PACKED)
        store_lanes(state_ptr + target + (N - 1) * D, h, mask, EVEN)

        source = target
        if EVEN:
            keep(B_ptr, near_B, never)
            keep(C_ptr, near_C, never)
        for i in tl.static_range(T):
            y = ys[i]
            if GATED:
                z = zs[i].to(tl.float32)
                y *= z * sigmoid(z)
            store_row(y_ptr + step * D + i * D, y, mask, t + i, end, EVEN)

    if final_ptr is not None and segment == S - 1:
        tl.debug_barrier()
        for n in range(TRUE_N):
            h = load_lanes(state_ptr + working + n * D, mask, EVEN)
            tl.store(final_ptr + (row * D + d) * TRUE_N + n, h, mask=mask)
