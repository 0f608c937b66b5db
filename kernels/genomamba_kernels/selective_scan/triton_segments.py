# type: ignore  (Triton's language is not Python to a type checker)
"""Selective scan on a GPU, the first of each direction's two passes: each segment by itself.

    segment_ends       from h = 0: the state that a segment leaves
    segment_gradients  from g = 0, backwards: the G that leaves it

and both the segment's sum of q, which gives its decay. What enters a segment follows from these
(triton_states.py). The last of the chain is needed only if something follows the row: ENDS is then
0, else 1. Letters as in triton_forward.py; g, G and p as in triton_backward.py.
"""

from __future__ import annotations

import triton
import triton.language as tl

from genomamba_kernels.selective_scan.triton_tiles import (
    advance_tile,
    keep,
    load_lanes,
    load_rows,
    load_scalars,
    load_vector,
    products,
    restart,
    step_sizes,
    store_lanes,
    touch_rows,
    touch_tile,
    ungate,
)

# Sizes that the kernels are not compiled for: a loop of known length would be unrolled.
SIZES = ["L", "padded_L", "R", "S", "segment_length", "N", "TRUE_N", "ENDS"]


@triton.jit
def locate(S, D: tl.constexpr, G: tl.constexpr, W: tl.constexpr):
    """Which part a program works on: its row, segment, group and channels.

    Programs that share a segment's B and C follow each other.
    """
    blocks: tl.constexpr = (D // G + W - 1) // W
    pid = tl.program_id(0)
    block = pid % blocks
    group = pid // blocks % G
    segment = pid // (blocks * G) % S
    row = pid // (blocks * G * S)
    inside = block * W + tl.arange(0, W)
    first = group * (D // G) + block * W
    return row.to(tl.int64), segment, group, block, first, first + tl.arange(0, W), inside < D // G


@triton.jit(do_not_specialize=SIZES)
def segment_ends_kernel(
    u_ptr,  # (B, L, D)
    delta_ptr,  # (B, L, D)
    bias_ptr,  # (D,)
    a_ptr,  # (N, D), A log2(e)
    B_ptr,  # (B, G, padded L / T, N, T)
    starts_ptr,  # (B, padded L / T), bit i of a word: a sequence begins at step i of the tile
    state_ptr,  # (B, S, N, D), out: the state that each segment leaves
    decay_ptr,  # (B, S, D), out: the sum of q over each segment, infinite where one restarts
    u_row,
    delta_row,
    L,
    padded_L,
    S,
    segment_length,
    N,
    ENDS,
    U_STEP: tl.constexpr,
    DELTA_STEP: tl.constexpr,
    D: tl.constexpr,
    G: tl.constexpr,
    T: tl.constexpr,
    W: tl.constexpr,
    SOFTPLUS: tl.constexpr,
    EVEN: tl.constexpr,
):
    PACKED: tl.constexpr = starts_ptr is not None
    row, segment, group, _, first, d, mask = locate(S, D, G, W)
    if segment >= S - ENDS:  # nothing follows
        return
    begin = segment * segment_length
    end = tl.minimum(begin + segment_length, L)
    u_ptr += row * u_row + first
    delta_ptr += row * delta_row + first
    B_ptr += (row * G + group) * N * padded_L
    state_ptr += (row * S + segment) * N * D + d
    a_ptr += d
    w = d - first
    never = L < 0
    bias = load_vector(bias_ptr, d, mask)

    for n in range(N):
        store_lanes(state_ptr + n * D, tl.zeros([W], tl.float32), mask, EVEN)
    tl.debug_barrier()  # other lanes may read what a lane wrote

    total = tl.zeros([W], tl.float32)
    for t in range(begin, end, T):
        step = tl.cast(t, tl.int64)
        deltas = load_rows(delta_ptr + w + step * DELTA_STEP, DELTA_STEP, mask, t, end, T, EVEN)
        us = load_rows(u_ptr + w + step * U_STEP, U_STEP, mask, t, end, T, EVEN)
        qs = step_sizes(deltas, bias, t, end, T, SOFTPLUS, EVEN)
        bs = products(qs, us, T)
        starts = tl.load(starts_ptr + (row * padded_L + t) // T) if PACKED else 0
        ahead = tl.cast(tl.minimum(t + T, end - T), tl.int64)
        if EVEN:
            near_delta = touch_rows(delta_ptr + ahead * DELTA_STEP, DELTA_STEP, T, W)
            near_u = touch_rows(u_ptr + ahead * U_STEP, U_STEP, T, W)
            near_B = touch_tile(B_ptr + ahead * N, N * T)
        advance_tile(
            state_ptr,
            state_ptr,
            a_ptr,
            B_ptr + step * N,
            qs,
            bs,
            starts,
            mask,
            N,
            D,
            T,
            PACKED,
            EVEN,
        )
        if EVEN:
            keep(delta_ptr, near_delta, never)
            keep(u_ptr, near_u, never)
            keep(B_ptr, near_B, never)
        for i in tl.static_range(T):
            total += qs[i]
        if PACKED:
            total = tl.where(starts != 0, float("inf"), total)
    tl.store(decay_ptr + (row * S + segment) * D + d, total, mask=mask)


@triton.jit(do_not_specialize=SIZES)
def segment_gradients_kernel(
    delta_ptr,  # (B, L, D)
    z_ptr,  # (B, L, D)
    grad_y_ptr,  # (B, L, D)
    bias_ptr,  # (D,)
    a_ptr,  # (N, D), A log2(e)
    C_ptr,  # (B, G, padded L / T, N, T)
    starts_ptr,  # (B, padded L / T)
    grad_state_ptr,  # (B, S, N, D), out: the G that leaves each segment
    decay_ptr,  # (B, S, D), out: the sum of q over each segment, infinite where one restarts
    delta_row,
    z_row,
    grad_row,
    L,
    padded_L,
    S,
    segment_length,
    N,
    ENDS,
    DELTA_STEP: tl.constexpr,
    Z_STEP: tl.constexpr,
    GRAD_STEP: tl.constexpr,
    D: tl.constexpr,
    G: tl.constexpr,
    T: tl.constexpr,
    W: tl.constexpr,
    SOFTPLUS: tl.constexpr,
    EVEN: tl.constexpr,
):
    GATED: tl.constexpr = z_ptr is not None
    PACKED: tl.constexpr = starts_ptr is not None
    row, segment, group, _, first, d, mask = locate(S, D, G, W)
    if segment < ENDS:  # nothing precedes
        return
    begin = segment * segment_length
    end = tl.minimum(begin + segment_length, L)
    delta_ptr += row * delta_row + first
    if GATED:
        z_ptr += row * z_row + first
    grad_y_ptr += row * grad_row + first
    C_ptr += (row * G + group) * N * padded_L
    grad_state_ptr += (row * S + segment) * N * D + d
    a_ptr += d
    w = d - first
    never = L < 0
    bias = load_vector(bias_ptr, d, mask)

    for n in range(N):
        store_lanes(grad_state_ptr + n * D, tl.zeros([W], tl.float32), mask, EVEN)
    tl.debug_barrier()  # other lanes may read what a lane wrote

    total = tl.zeros([W], tl.float32)
    tiles = tl.cdiv(end - begin, T)
    for tile in range(tiles):
        t = begin + (tiles - 1 - tile) * T
        step = tl.cast(t, tl.int64)
        deltas = load_rows(delta_ptr + w + step * DELTA_STEP, DELTA_STEP, mask, t, end, T, EVEN)
        qs = step_sizes(deltas, bias, t, end, T, SOFTPLUS, EVEN)
        ps = load_rows(grad_y_ptr + w + step * GRAD_STEP, GRAD_STEP, mask, t, end, T, EVEN)
        if GATED:
            zs = load_rows(z_ptr + w + step * Z_STEP, Z_STEP, mask, t, end, T, EVEN)
            ps = ungate(ps, zs, T)
        starts = tl.load(starts_ptr + (row * padded_L + t) // T) if PACKED else 0
        ahead = tl.cast(tl.maximum(t - T, begin), tl.int64)
        if EVEN:
            near_delta = touch_rows(delta_ptr + ahead * DELTA_STEP, DELTA_STEP, T, W)
            near_grad = touch_rows(grad_y_ptr + ahead * GRAD_STEP, GRAD_STEP, T, W)
            near_C = touch_tile(C_ptr + ahead * N, N * T)
            if GATED:
                near_z = touch_rows(z_ptr + ahead * Z_STEP, Z_STEP, T, W)
        grad = load_lanes(grad_state_ptr, mask, EVEN)
        a = load_lanes(a_ptr, mask, EVEN)
        Cs = load_scalars(C_ptr + step * N, T)
        at_grad = grad_state_ptr
        at_a = a_ptr
        at_C = C_ptr + step * N
        for _ in range(0, N, 2):
            for k in tl.static_range(2):
                next_grad = load_lanes(at_grad + (k + 1) * D, mask, EVEN)
                next_a = load_lanes(at_a + (k + 1) * D, mask, EVEN)
                next_Cs = load_scalars(at_C + (k + 1) * T, T)
                for j in tl.static_range(T):
                    grad = tl.exp2(qs[T - 1 - j] * a) * (Cs[T - 1 - j] * ps[T - 1 - j] + grad)
                    if PACKED:
                        grad = restart(grad, starts, T - 1 - j)
                store_lanes(at_grad + k * D, grad, mask, EVEN)
                grad = next_grad
                a = next_a
                Cs = next_Cs
            at_grad += 2 * D
            at_a += 2 * D
            at_C += 2 * T
        if EVEN:
            keep(delta_ptr, near_delta, never)
            keep(grad_y_ptr, near_grad, never)
            keep(C_ptr, near_C, never)
            if GATED:
                keep(z_ptr, near_z, never)
        for i in tl.static_range(T):
            total += qs[i]
        if PACKED:
            total = tl.where(starts != 0, float("inf"), total)
    tl.store(decay_ptr + (row * S + segment) * D + d, total, mask=mask)
