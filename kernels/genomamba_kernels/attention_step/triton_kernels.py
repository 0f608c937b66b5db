# pyright: reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false
# pyright: reportOperatorIssue=false, reportAttributeAccessIssue=false, reportOptionalOperand=false
"""One position of attention, the cache in parts side by side, then the parts together.

One row and head has a single query: a program for each would leave most of a GPU idle while it
reads a long cache, so that several share it, and a second kernel joins their sums.

Letters: B rows, H heads, W width, T room, S parts. The cache (B, H, T, W) is contiguous. Numbers of
a part: m the largest score in bits, total the sum of 2^(score - m), acc that of the values, each
times its 2^(score - m). Addresses are 64-bit.
"""

from __future__ import annotations

import triton
import triton.language as tl

from genomamba_kernels.triton_math import LOG2_E


@triton.jit
def attend_part_kernel(
    q_ptr, k_ptr, v_ptr, keys_ptr, values_ptr, position_ptr, cosine_ptr, sine_ptr,
    m_ptr, total_ptr, acc_ptr, scale,
    q_row, q_head, k_row, k_head, v_row, v_head, room,
    H: tl.constexpr, W: tl.constexpr, S: tl.constexpr, WIDTH: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """A part of the positions before; part 0 has the new one too, and puts it into the cache."""
    pair = (tl.program_id(0) // S).to(tl.int64)
    part = tl.program_id(0) % S
    row, head = pair // H, pair % H
    entry = tl.arange(0, WIDTH)
    inside = entry < W
    HALF: tl.constexpr = W // 2
    partner = tl.where(entry < HALF, entry + HALF, entry - HALF)
    sign = tl.where(entry < HALF, -1.0, 1.0)

    position = tl.load(position_ptr)
    # Beyond the cache's room everything becomes NaN, and nothing is written.
    there = inside & (position < room)
    angle = position * HALF + entry % HALF
    nan = float("nan")
    cosine = tl.load(cosine_ptr + angle, mask=there, other=nan).to(tl.float32)
    sine = tl.load(sine_ptr + angle, mask=there, other=nan).to(tl.float32) * sign

    q_at, k_at = q_ptr + row * q_row + head * q_head, k_ptr + row * k_row + head * k_head
    q = tl.load(q_at + entry, mask=inside, other=0.0).to(tl.float32) * cosine
    q += tl.load(q_at + partner, mask=inside, other=0.0).to(tl.float32) * sine
    k = tl.load(k_at + entry, mask=inside, other=0.0).to(tl.float32) * cosine
    k += tl.load(k_at + partner, mask=inside, other=0.0).to(tl.float32) * sine
    v = tl.load(v_ptr + row * v_row + head * v_head + entry, mask=inside, other=0.0)
    # Through the cache's type, in which later steps will find the key.
    kind = keys_ptr.dtype.element_ty
    q = tl.where(inside, q.to(kind).to(tl.float32), 0.0) * (scale * LOG2_E)
    new_key, new_value = tl.where(inside, k, 0.0).to(kind), v.to(kind)

    cache = pair * room * W
    mine = there & (part == 0)
    tl.store(keys_ptr + cache + position * W + entry, new_key, mask=mine)
    tl.store(values_ptr + cache + position * W + entry, new_value, mask=mine)
    score = tl.sum(q * new_key.to(tl.float32), axis=0)
    m = tl.where(part == 0, score, float("-inf"))
    total = tl.where(part == 0, 1.0, 0.0)
    acc = tl.where(part == 0, new_value.to(tl.float32), 0.0)

    before = tl.minimum(position, room)
    size = tl.cdiv(tl.cdiv(before, S), TILE) * TILE
    first = part * size
    last = tl.minimum(first + size, before)
    for start in range(first, last, TILE):
        at = start + tl.arange(0, TILE)
        known = at < last
        places = cache + at[:, None] * W + entry[None, :]
        both = known[:, None] & inside[None, :]
        keys = tl.load(keys_ptr + places, mask=both, other=0.0).to(tl.float32)
        values = tl.load(values_ptr + places, mask=both, other=0.0).to(tl.float32)
        scores = tl.where(known, tl.sum(keys * q[None, :], axis=1), float("-inf"))
        larger = tl.maximum(m, tl.max(scores, axis=0))
        weights, kept = tl.exp2(scores - larger), tl.exp2(m - larger)
        total = total * kept + tl.sum(weights, axis=0)
        acc = acc * kept + tl.sum(weights[:, None] * values, axis=0)
        m = larger

    place = pair * S + part
    tl.store(m_ptr + place, m)
    tl.store(total_ptr + place, total)
    tl.store(acc_ptr + place * W + entry, acc, mask=inside)


@triton.jit
def join_parts_kernel(
    m_ptr, total_ptr, acc_ptr, y_ptr, W: tl.constexpr, S: tl.constexpr, WIDTH: tl.constexpr
):
    """y of one row and head from its parts; one without positions has m = -inf, weight 0."""
    pair = tl.program_id(0).to(tl.int64)
    part, entry = tl.arange(0, S), tl.arange(0, WIDTH)
    inside = entry < W
    place = pair * S + part
    m, total = tl.load(m_ptr + place), tl.load(total_ptr + place)
    weight = tl.exp2(m - tl.max(m, axis=0))
    places = place[:, None] * W + entry[None, :]
    acc = tl.load(acc_ptr + places, mask=inside[None, :], other=0.0)
    y = tl.sum(weight[:, None] * acc, axis=0) / tl.sum(weight * total, axis=0)
    tl.store(y_ptr + pair * W + entry, y.to(y_ptr.dtype.element_ty), mask=inside)
