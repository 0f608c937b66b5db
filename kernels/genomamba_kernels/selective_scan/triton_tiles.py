# type: ignore  (Triton's language is not Python to a type checker)
# ruff: noqa: RUF005  (Triton adds tuples but does not unpack them)
"""Building blocks of the scan's Triton kernels: everything that works on a tile of a few steps.

A program is one warp. It owns W channels, a lane of the warp having W / 32 of them, and walks along
the length T steps at a time. A tile is a tuple of T one-dimensional tensors of W channels: Triton
keeps it in registers, and no value ever changes its layout. States are taken one after another, so
a lane holds one state's path through the tile and any number of states costs the same registers.

What all channels share (B, C) is stored a tile together, time innermost, and read as scalars, two
to a load. A warp has few others beside it to hide the latency of memory, so

- a loop over the states reads what the next state needs before it works on one. It takes two states
  a turn, so that what was read need not be moved from register to register; their number N is made
  even with a state that stays zero. In the last turn it reads the row after the last state's, which
  is not used: whatever holds a row a state has room for one more (SPARE).
- what is written for good is marked so (".cs"), to leave the cache to what is read again.
- at the start of a tile every sector of the next one is touched, to bring it into the cache.
"""

from __future__ import annotations

import triton
import triton.language as tl

from genomamba_kernels.triton_math import LOG2_E, sigmoid

LANES = tl.constexpr(32)
LN_2 = tl.constexpr(0.6931471805599453)


@triton.jit
def load_vector(vector, d, mask):
    """The channels d of an optional vector, as float32; zero if there is none."""
    x = tl.zeros(d.shape, tl.float32)
    if vector is not None:
        x = tl.load(vector + d, mask=mask, other=0.0).to(tl.float32)
    return x


@triton.jit
def read_rows(row, STRIDE: tl.constexpr, mask, t, end, T: tl.constexpr, EVEN: tl.constexpr):
    """T rows from pointers `row` (W,) at step t on, as they are; zero from step `end` on."""
    rows = ()
    for i in tl.static_range(T):
        if EVEN:
            x = tl.load(row + i * STRIDE)
        else:
            x = tl.load(row + i * STRIDE, mask=mask & (t + i < end), other=0.0)
        rows = rows + (x,)
    return rows


@triton.jit
def widen(rows, T: tl.constexpr):
    """The rows as float32."""
    wide = ()
    for i in tl.static_range(T):
        wide = wide + (rows[i].to(tl.float32),)
    return wide


@triton.jit
def load_rows(row, STRIDE: tl.constexpr, mask, t, end, T: tl.constexpr, EVEN: tl.constexpr):
    """The same, as float32."""
    return widen(read_rows(row, STRIDE, mask, t, end, T, EVEN), T)


@triton.jit
def load_lanes(pointers, mask, EVEN: tl.constexpr):
    """W float32 numbers, zero where the mask is not set."""
    return tl.load(pointers) if EVEN else tl.load(pointers, mask=mask, other=0.0)


@triton.jit
def store_lanes(pointers, x, mask, EVEN: tl.constexpr):
    if EVEN:
        tl.store(pointers, x)
    else:
        tl.store(pointers, x, mask=mask)


@triton.jit
def store_row(row, x, mask, t, end, EVEN: tl.constexpr):
    """Stores the row of step t, unless that is `end` or later."""
    x = x.to(row.dtype.element_ty)
    if EVEN:
        tl.store(row, x, cache_modifier=".cs")
    else:
        tl.store(row, x, mask=mask & (t < end), cache_modifier=".cs")


@triton.jit
def touch_rows(first, STEP: tl.constexpr, T: tl.constexpr, W: tl.constexpr):
    """Reads a number of every sector (32 bytes) of T rows of W channels, to have them in the cache
    when they are needed. The result goes to `keep`, once something else has been done."""
    SECTOR: tl.constexpr = 256 // first.dtype.element_ty.primitive_bitwidth
    i = tl.arange(0, T * W // SECTOR)
    return tl.load(first + i // (W // SECTOR) * STEP + i % (W // SECTOR) * SECTOR)


@triton.jit
def touch_tile(first, size):
    """The same for a tile of B or C of `size` numbers, or as much of it as one load reaches."""
    i = tl.arange(0, LANES) * 8
    return tl.load(first + i, mask=i < size, other=0.0)


@triton.jit
def keep(first, x, never):
    """A use of x that never happens, so that the compiler does not drop its load."""
    tl.store(first + tl.zeros(x.shape, tl.int32), x, mask=never)


@triton.jit
def load_scalars(first, T: tl.constexpr):
    """T consecutive float32 numbers as scalars; `first` is 8-byte aligned."""
    scalars = ()
    for i in tl.static_range(T // 2):
        pair = tl.load((first + 2 * i).to(tl.pointer_type(tl.int64)))
        low = (pair & 0xFFFFFFFF).to(tl.uint32).to(tl.float32, bitcast=True)
        high = (pair >> 32).to(tl.uint32).to(tl.float32, bitcast=True)
        scalars = scalars + (low, high)
    return scalars


@triton.jit
def ungate(grads, zs, T: tl.constexpr):
    """The gradient before the gate: p of a tile from its rows of dy and z."""
    ps = ()
    for i in tl.static_range(T):
        ps = ps + (grads[i] * zs[i] * sigmoid(zs[i]),)
    return ps


@triton.jit
def softplus(x):
    """log(1 + exp(x)) = max(x, 0) + log(1 + w), w = exp(-|x|) in (0, 1], where log(1 + w) / w is a
    polynomial: to full relative accuracy, also where w is small against 1."""
    w = tl.exp2(tl.abs(x) * -LOG2_E)
    p = 0.078225866 + w * (-0.029505160 + w * 0.0052326731)
    p = 0.19106004 + w * (-0.13663237 + w * p)
    p = 0.33319098 + w * (-0.24842982 + w * p)
    p = 0.99999994 + w * (-0.49999493 + w * p)
    return tl.maximum(x, 0.0) + w * p  # relative error 5e-8


@triton.jit
def step_sizes(deltas, bias, t, end, T: tl.constexpr, SOFTPLUS: tl.constexpr, EVEN: tl.constexpr):
    """q of a tile from its rows of delta; zero, which leaves the state alone, from `end` on."""
    qs = ()
    for i in tl.static_range(T):
        q = deltas[i] + bias
        if SOFTPLUS:
            q = softplus(q)
        if not EVEN:
            q = tl.where(t + i < end, q, 0.0)
        qs = qs + (q,)
    return qs


@triton.jit
def products(xs, ys, T: tl.constexpr):
    zs = ()
    for i in tl.static_range(T):
        zs = zs + (xs[i] * ys[i],)
    return zs


@triton.jit
def restart(x, starts, i):
    """x, or zero if a packed sequence begins at the tile's step i: not a product with zero, so that
    a NaN stays in its own sequence."""
    return tl.where(((starts >> i) & 1) != 0, 0.0, x)


@triton.jit
def advance_tile(
    before,  # (N, W) pointers, the states before the tile
    after,  # (N, W) pointers, the states after it
    a_ptr,  # (N, W) pointers, A log2(e)
    B_ptr,  # (N, T)
    qs,
    bs,  # q u
    starts,
    mask,
    N,
    D: tl.constexpr,
    T: tl.constexpr,
    PACKED: tl.constexpr,
    EVEN: tl.constexpr,
):
    """Carries all states over a tile."""
    h = load_lanes(before, mask, EVEN)
    a = load_lanes(a_ptr, mask, EVEN)
    Bs = load_scalars(B_ptr, T)
    for _ in range(0, N, 2):
        for k in tl.static_range(2):
            next_h = load_lanes(before + (k + 1) * D, mask, EVEN)
            next_a = load_lanes(a_ptr + (k + 1) * D, mask, EVEN)
            next_Bs = load_scalars(B_ptr + (k + 1) * T, T)
            for i in tl.static_range(T):
                if PACKED:
                    h = restart(h, starts, i)
                h = tl.exp2(qs[i] * a) * h + Bs[i] * bs[i]
            store_lanes(after + k * D, h, mask, EVEN)
            h = next_h
            a = next_a
            Bs = next_Bs
        before += 2 * D
        after += 2 * D
        a_ptr += 2 * D
        B_ptr += 2 * T


@triton.jit
def _fold(xs, HALF: tl.constexpr):
    """Adds lanes that differ in one bit; a lane keeps one half of its values or the other."""
    lane = tl.arange(0, LANES)
    upper = (lane & HALF) != 0
    folded = ()
    for i in tl.static_range(HALF):
        kept = tl.where(upper, xs[i + HALF], xs[i])
        sent = tl.where(upper, xs[i], xs[i + HALF])
        folded = folded + (kept + tl.gather(sent, lane ^ HALF, 0),)
    return folded


@triton.jit
def sum_channels(xs, COUNT: tl.constexpr, W: tl.constexpr):
    """(32,) with the sum of xs[i] over its channels in the lanes i, i + COUNT, ...; COUNT >= 8.

    Sums of 32 lanes by halves: 31 exchanges for 32 sums, where one sum alone needs 5.
    """
    lane = tl.arange(0, LANES)
    if W > LANES:
        narrow = ()
        for i in tl.static_range(COUNT):
            narrow = narrow + (tl.sum(tl.reshape(xs[i], [LANES, W // LANES]), axis=1),)
        xs = narrow
    if COUNT == 32:
        xs = _fold(xs, 16)
    if COUNT >= 16:
        xs = _fold(xs, 8)
    xs = _fold(xs, 4)
    xs = _fold(xs, 2)
    xs = _fold(xs, 1)
    total = xs[0]
    if COUNT == 8:
        total += tl.gather(total, lane ^ 8, 0)
    if COUNT <= 16:
        total += tl.gather(total, lane ^ 16, 0)
    return total
