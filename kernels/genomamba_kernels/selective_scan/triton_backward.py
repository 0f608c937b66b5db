# type: ignore  (Triton's language is not Python to a type checker)
# ruff: noqa: RUF005  (Triton adds tuples but does not unpack them)
"""Selective scan on a GPU, backward.

With p_t the gradient at y_t before the gate, g_t the gradient at h_t and e_t = exp(q_t A),

    g_t = C_t p_t + G_t,    G_{t-1} = e_t g_t,    v_t = G_{t-1} h_{t-1},    s_t = sum_n B_t g_t
    dC_t = sum_d h_t p_t,    dB_t = sum_d g_t q_t u_t,    dA = sum_t q_t v_t
    du_t = q_t s_t + D p_t,  dq_t = u_t s_t + sum_n A v_t

v needs both h and g, which run in opposite directions, and keeps its digits only as this product:
taken from differences of sums it loses them where q|A| is large. So a tile's states are computed
again and kept in registers, one state n at a time; e_t is kept too, so that the way back needs no
exponential. Where a tile begins, h comes from a scratch array: forward saved it every K steps, and
a first sweep over the K steps fills in the tiles between.

    segment_gradients  (triton_segments.py) each segment by itself, from zero: the G that leaves it
    pass_states        (triton_states.py) chains the segments, last to first
    backward           each segment again, from the G that enters: all gradients

Of a share of a longer row, the exchange with other processes lies before the last of these, too.

dB and dC are sums over channels, of which a program has W, dA and the gradients of D and delta_bias
sums over positions: a program writes its part, and the parts are added in a fixed order
(triton_layout.py), those of dB and dC round by round (triton_rounds.py). Letters as in
triton_forward.py; J = K / T tiles, P blocks of W channels.
"""

from __future__ import annotations

import triton
import triton.language as tl

from genomamba_kernels.selective_scan.triton_segments import SIZES, locate
from genomamba_kernels.selective_scan.triton_tiles import (
    LANES,
    LN_2,
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
    store_row,
    sum_channels,
    touch_rows,
    touch_tile,
    ungate,
)
from genomamba_kernels.triton_math import sigmoid


@triton.jit(do_not_specialize=[*SIZES, "K", "first_row", "first_segment", "R_S", "R_L"])
def backward_kernel(
    u_ptr,  # (B, L, D)
    delta_ptr,  # (B, L, D)
    z_ptr,  # (B, L, D)
    grad_y_ptr,  # (B, L, D)
    bias_ptr,  # (D,)
    D_ptr,  # (D,)
    a_ptr,  # (N, D), A log2(e)
    B_ptr,  # (B, G, padded L / T, N, T)
    C_ptr,  # (B, G, padded L / T, N, T)
    starts_ptr,  # (B, padded L / T)
    saved_ptr,  # (B, padded L / K, N, D), the state before every K-th step
    scratch_ptr,  # (B, S, J - 1, N, D), the states before the other tiles of K steps
    entering_ptr,  # (B, S, N, D), the G that enters each segment; zero if absent
    grad_state_ptr,  # (B, S, N, D), scratch: G
    grad_initial_ptr,  # (B, D, true N), out: the G that leaves each row
    grad_u_ptr,  # (B, L, D), out, contiguous, as is the next
    grad_delta_ptr,
    grad_z_ptr,  # (B, L, D), out
    grad_A_ptr,  # (B, S, N + 2, D), out: each segment's dA, and its sums for delta_bias and D
    grad_BC_ptr,  # (P, R, G, R_L / T, N, 2, T), out: dB and dC of each P in this round
    u_row,
    delta_row,
    z_row,
    grad_row,
    grad_z_row,
    L,
    padded_L,
    S,
    first_row,  # of this round (triton_rounds.py)
    R,  # its rows
    first_segment,
    R_S,  # its segments a row
    R_L,  # and its positions, padded
    segment_length,
    N,
    TRUE_N,
    K,
    U_STEP: tl.constexpr,
    DELTA_STEP: tl.constexpr,
    Z_STEP: tl.constexpr,
    GRAD_STEP: tl.constexpr,
    GRAD_Z_STEP: tl.constexpr,
    D: tl.constexpr,
    G: tl.constexpr,
    T: tl.constexpr,
    W: tl.constexpr,
    SWEEP: tl.constexpr,  # whether K > T
    SOFTPLUS: tl.constexpr,
    EVEN: tl.constexpr,
):
    GATED: tl.constexpr = z_ptr is not None
    PACKED: tl.constexpr = starts_ptr is not None
    row, segment, group, block, first, d, mask = locate(R_S, D, G, W)
    grad_BC_ptr += ((block * R + row) * G + group) * N * R_L * 2
    grad_BC_ptr -= tl.cast(first_segment, tl.int64) * segment_length * N * 2
    row += first_row
    segment += first_segment
    begin = segment * segment_length
    end = tl.minimum(begin + segment_length, L)
    u_ptr += row * u_row + first
    delta_ptr += row * delta_row + first
    if GATED:
        z_ptr += row * z_row + first
    grad_y_ptr += row * grad_row + first
    grad_u_ptr += row * L * D + d
    grad_delta_ptr += row * L * D + d
    if GATED:
        grad_z_ptr += row * grad_z_row + d
    B_ptr += (row * G + group) * N * padded_L
    C_ptr += (row * G + group) * N * padded_L
    saved_ptr += row * (padded_L // K) * N * D + d
    scratch_ptr += (row * S + segment) * (K // T - 1) * N * D + d
    grad_state_ptr += (row * S + segment) * N * D + d
    a_ptr += d
    w = d - first
    never = L < 0
    grad_A_ptr += (row * S + segment) * (N + 2) * D + d
    lane = tl.arange(0, LANES)
    grad_BC_ptr += lane
    bias = load_vector(bias_ptr, d, mask)
    skip = load_vector(D_ptr, d, mask)
    bias_sum = tl.zeros([W], tl.float32)
    skip_sum = tl.zeros([W], tl.float32)

    for n in range(N):
        G_n = tl.zeros([W], tl.float32)
        store_lanes(grad_A_ptr + n * D, G_n, mask, EVEN)
        if entering_ptr is not None:
            G_n = load_lanes(entering_ptr + ((row * S + segment) * N + n) * D + d, mask, EVEN)
        store_lanes(grad_state_ptr + n * D, G_n, mask, EVEN)
    tl.debug_barrier()  # other lanes may read what a lane wrote

    pieces = tl.cdiv(end - begin, K)
    for piece in range(pieces):
        chunk = begin // K + pieces - 1 - piece
        tiles = tl.cdiv(tl.minimum(end - chunk * K, K), T)
        border = saved_ptr + tl.cast(chunk, tl.int64) * N * D

        # The states before the tiles, but for the first.
        if SWEEP:
            for tile in range(tiles - 1):
                t = chunk * K + tile * T
                step = tl.cast(t, tl.int64)
                deltas = load_rows(
                    delta_ptr + w + step * DELTA_STEP, DELTA_STEP, mask, t, end, T, EVEN
                )
                us = load_rows(u_ptr + w + step * U_STEP, U_STEP, mask, t, end, T, EVEN)
                qs = step_sizes(deltas, bias, t, end, T, SOFTPLUS, EVEN)
                bs = products(qs, us, T)
                starts = tl.load(starts_ptr + (row * padded_L + t) // T) if PACKED else 0
                before = border if tile == 0 else scratch_ptr + (tile - 1) * N * D
                ahead = tl.cast(tl.minimum(t + T, end - T), tl.int64)
                if EVEN:
                    near_delta = touch_rows(delta_ptr + ahead * DELTA_STEP, DELTA_STEP, T, W)
                    near_u = touch_rows(u_ptr + ahead * U_STEP, U_STEP, T, W)
                    near_B = touch_tile(B_ptr + ahead * N, N * T)
                after = scratch_ptr + tile * N * D
                advance_tile(
                    before,
                    after,
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

        # The tiles, last to first.
        for back in range(tiles):
            tile = tiles - 1 - back
            t = chunk * K + tile * T
            step = tl.cast(t, tl.int64)
            deltas = load_rows(delta_ptr + w + step * DELTA_STEP, DELTA_STEP, mask, t, end, T, EVEN)
            us = load_rows(u_ptr + w + step * U_STEP, U_STEP, mask, t, end, T, EVEN)
            ps = load_rows(grad_y_ptr + w + step * GRAD_STEP, GRAD_STEP, mask, t, end, T, EVEN)
            qs = step_sizes(deltas, bias, t, end, T, SOFTPLUS, EVEN)
            bs = products(qs, us, T)
            ys = ()
            for i in tl.static_range(T):
                ys = ys + (skip * us[i],)
            if GATED:
                zs = load_rows(z_ptr + w + step * Z_STEP, Z_STEP, mask, t, end, T, EVEN)
                ps = ungate(ps, zs, T)
            ss = ()
            vs = ()
            for _ in tl.static_range(T):
                ss = ss + (tl.zeros([W], tl.float32),)
                vs = vs + (tl.zeros([W], tl.float32),)
            starts = tl.load(starts_ptr + (row * padded_L + t) // T) if PACKED else 0
            before = border if tile == 0 else scratch_ptr + (tile - 1) * N * D

            ahead = tl.cast(tl.maximum(t - T, begin), tl.int64)
            if EVEN:
                near_delta = touch_rows(delta_ptr + ahead * DELTA_STEP, DELTA_STEP, T, W)
                near_u = touch_rows(u_ptr + ahead * U_STEP, U_STEP, T, W)
                near_grad = touch_rows(grad_y_ptr + ahead * GRAD_STEP, GRAD_STEP, T, W)
                near_B = touch_tile(B_ptr + ahead * N, N * T)
                near_C = touch_tile(C_ptr + ahead * N, N * T)
                if GATED:
                    near_z = touch_rows(z_ptr + ahead * Z_STEP, Z_STEP, T, W)
            h = load_lanes(before, mask, EVEN)
            grad = load_lanes(grad_state_ptr, mask, EVEN)
            grad_a = load_lanes(grad_A_ptr, mask, EVEN)
            a = load_lanes(a_ptr, mask, EVEN)
            Bs = load_scalars(B_ptr + step * N, T)
            Cs = load_scalars(C_ptr + step * N, T)
            at_grad = grad_state_ptr
            at_grad_a = grad_A_ptr
            at_a = a_ptr
            at_B = B_ptr + step * N
            at_C = C_ptr + step * N
            at_sums = grad_BC_ptr + step * N * 2
            for _ in range(0, N, 2):
                for k in tl.static_range(2):
                    next_h = load_lanes(before + (k + 1) * D, mask, EVEN)
                    next_grad = load_lanes(at_grad + (k + 1) * D, mask, EVEN)
                    next_grad_a = load_lanes(at_grad_a + (k + 1) * D, mask, EVEN)
                    next_a = load_lanes(at_a + (k + 1) * D, mask, EVEN)
                    next_Bs = load_scalars(at_B + (k + 1) * T, T)
                    next_Cs = load_scalars(at_C + (k + 1) * T, T)

                    es = ()
                    hs = ()  # before each step
                    dCs = ()
                    sums = ()
                    for i in tl.static_range(T):
                        if PACKED:
                            h = restart(h, starts, i)
                        e = tl.exp2(qs[i] * a)
                        es = es + (e,)
                        hs = hs + (h,)
                        h = e * h + Bs[i] * bs[i]
                        dCs = dCs + (ps[i] * h,)
                        if GATED:
                            sums = sums + (ys[i] + Cs[i] * h,)
                    if GATED:
                        ys = sums

                    # Backwards; tuples grow at the front.
                    dBs = ()
                    s_sums = ()
                    v_sums = ()
                    for j in tl.static_range(T):
                        g = Cs[T - 1 - j] * ps[T - 1 - j] + grad
                        dBs = (g * bs[T - 1 - j],) + dBs
                        s_sums = (ss[T - 1 - j] + Bs[T - 1 - j] * g,) + s_sums
                        grad = es[T - 1 - j] * g
                        if PACKED:
                            grad = restart(grad, starts, T - 1 - j)
                        v = grad * hs[T - 1 - j]
                        v_sums = (vs[T - 1 - j] + a * v,) + v_sums
                        grad_a += qs[T - 1 - j] * v
                    ss = s_sums
                    vs = v_sums
                    sum_BC = sum_channels(dBs + dCs, 2 * T, W)
                    at_sum = at_sums + k * 2 * T
                    tl.store(at_sum, sum_BC, mask=lane < 2 * T, cache_modifier=".cs")
                    store_lanes(at_grad + k * D, grad, mask, EVEN)
                    store_lanes(at_grad_a + k * D, grad_a, mask, EVEN)
                    h = next_h
                    grad = next_grad
                    grad_a = next_grad_a
                    a = next_a
                    Bs = next_Bs
                    Cs = next_Cs
                before += 2 * D
                at_grad += 2 * D
                at_grad_a += 2 * D
                at_a += 2 * D
                at_B += 2 * T
                at_C += 2 * T
                at_sums += 4 * T

            if EVEN:
                keep(delta_ptr, near_delta, never)
                keep(u_ptr, near_u, never)
                keep(grad_y_ptr, near_grad, never)
                keep(B_ptr, near_B, never)
                keep(C_ptr, near_C, never)
                if GATED:
                    keep(z_ptr, near_z, never)

            # Read again, not kept: the loop over the states needs the registers.
            deltas = load_rows(delta_ptr + w + step * DELTA_STEP, DELTA_STEP, mask, t, end, T, EVEN)
            us = load_rows(u_ptr + w + step * U_STEP, U_STEP, mask, t, end, T, EVEN)
            if GATED:
                zs = load_rows(z_ptr + w + step * Z_STEP, Z_STEP, mask, t, end, T, EVEN)
                grads = load_rows(
                    grad_y_ptr + w + step * GRAD_STEP, GRAD_STEP, mask, t, end, T, EVEN
                )
            at = step * D
            for i in tl.static_range(T):
                dq = us[i] * ss[i] + vs[i] * LN_2
                if SOFTPLUS:
                    dq *= sigmoid(deltas[i] + bias)
                if not EVEN:
                    dq = tl.where(t + i < end, dq, 0.0)
                du = qs[i] * ss[i] + skip * ps[i]
                store_row(grad_delta_ptr + at + i * D, dq, mask, t + i, end, EVEN)
                store_row(grad_u_ptr + at + i * D, du, mask, t + i, end, EVEN)
                if GATED:
                    gate = sigmoid(zs[i])
                    dz = grads[i] * ys[i] * gate * (1.0 + zs[i] * (1.0 - gate))
                    to = grad_z_ptr + (step + i) * GRAD_Z_STEP
                    store_row(to, dz, mask, t + i, end, EVEN)
                bias_sum += dq
                skip_sum += ps[i] * us[i]

    store_lanes(grad_A_ptr + N * D, bias_sum, mask, EVEN)
    store_lanes(grad_A_ptr + (N + 1) * D, skip_sum, mask, EVEN)
    if grad_initial_ptr is not None and segment == 0:
        tl.debug_barrier()
        for n in range(TRUE_N):
            G_n = load_lanes(grad_state_ptr + n * D, mask, EVEN)
            tl.store(grad_initial_ptr + (row * D + d) * TRUE_N + n, G_n, mask=mask)
