# type: ignore  (Triton's language is not Python to a type checker)
# ruff: noqa: RUF005  (Triton adds tuples but does not unpack them)
"""Causal convolution on a GPU: a program is one warp that walks along the length.

It owns W channels and a run of positions, T of which it works on at a time. The last E inputs stay
in registers, so that every input is read once, but for E of them a run; a tile is read while the
one before it is worked on. Positions count from the row's first; those from -E to -1 are the
initial state.

Letters: B batch, L length, D channels, E = d_conv - 1 past positions, P programs along the length.
"""

from __future__ import annotations

import triton
import triton.language as tl

from genomamba_kernels.triton_math import sigmoid

# Sizes that the kernels are not compiled for.
SIZES = ["L", "run"]


@triton.jit
def _locate(P, D: tl.constexpr, W: tl.constexpr):
    """Which part a program works on: its row, place along the length, channels and their mask."""
    blocks: tl.constexpr = (D + W - 1) // W
    pid = tl.program_id(0)
    d = pid % blocks * W + tl.arange(0, W)
    return (pid // (blocks * P)).to(tl.int64), pid // blocks % P, d, d < D


@triton.jit
def _load_row(first, t, STEP: tl.constexpr, begin, end, mask):
    """The channels at position t from the pointers of position 0; zero outside [begin, end)."""
    inside = mask & (t >= begin) & (t < end)
    return tl.load(first + tl.cast(t, tl.int64) * STEP, mask=inside, other=0.0)


@triton.jit
def _load_tile(first, t, STEP: tl.constexpr, end, mask, T: tl.constexpr):
    rows = ()
    for i in tl.static_range(T):
        rows = rows + (_load_row(first, t + i, STEP, 0, end, mask),)
    return rows


@triton.jit
def _load_past(
    x,
    state,
    t,
    X_STEP: tl.constexpr,
    L,
    mask,
    D: tl.constexpr,
    E: tl.constexpr,
    COUNT: tl.constexpr,
):
    """The inputs at the COUNT positions before t, of which the initial state may be part."""
    rows = ()
    for i in tl.static_range(COUNT):
        s = t - COUNT + i
        row = _load_row(x, s, X_STEP, 0, L, mask).to(tl.float32)
        if state is not None:
            row += _load_row(state, s + E, D, 0, E, mask).to(tl.float32)
        rows = rows + (row,)
    return rows


@triton.jit
def _load_owners(seq_ptr, t, L, E: tl.constexpr, T: tl.constexpr):
    """The sequences of the positions t - E to t + T - 1; the initial state is of the row's first,
    what follows the row is of its last."""
    owners = ()
    for i in tl.static_range(E + T):
        s = tl.minimum(tl.maximum(t + i - E, 0), L - 1)
        owners = owners + (tl.load(seq_ptr + s) if seq_ptr is not None else 0,)
    return owners


@triton.jit
def _load_weights(weight_ptr, d, mask, E: tl.constexpr):
    weights = ()
    for tap in tl.static_range(E + 1):
        weight = tl.load(weight_ptr + d * (E + 1) + tap, mask=mask, other=0.0)
        weights = weights + (weight.to(tl.float32),)
    return weights


@triton.jit
def _load_bias(bias_ptr, d, mask):
    bias = tl.zeros(d.shape, tl.float32)
    if bias_ptr is not None:
        bias = tl.load(bias_ptr + d, mask=mask, other=0.0).to(tl.float32)
    return bias


@triton.jit
def _tap_input(xs, owners, i, tap: tl.constexpr, E: tl.constexpr, PACKED: tl.constexpr):
    """What a tap of the i-th position meets: zero, not a product with it, of another sequence."""
    x = xs[i + tap]
    if PACKED and tap < E:
        x = tl.where(owners[i + tap] == owners[i + E], x, 0.0)
    return x


@triton.jit
def _before_activation(xs, owners, i, weights, bias, E: tl.constexpr, PACKED: tl.constexpr):
    """The i-th position's sum over taps; xs[i + E] is its own input."""
    y = bias
    for tap in tl.static_range(E + 1):
        y += weights[tap] * _tap_input(xs, owners, i, tap, E, PACKED)
    return y


@triton.jit
def _join(xs, rows, T: tl.constexpr):
    for i in tl.static_range(T):
        xs = xs + (rows[i].to(tl.float32),)
    return xs


@triton.jit
def _last(xs, E: tl.constexpr, T: tl.constexpr):
    """The last E of E + T."""
    kept = ()
    for i in tl.static_range(E):
        kept = kept + (xs[T + i],)
    return kept


@triton.jit(do_not_specialize=SIZES)
def forward_kernel(
    x_ptr,  # (B, L, D)
    weight_ptr,  # (D, E + 1)
    bias_ptr,  # (D,)
    state_ptr,  # (B, E, D)
    seq_ptr,  # (B, L)
    y_ptr,  # (B, L, D), out
    x_row,
    y_row,
    L,
    run,  # positions a program
    X_STEP: tl.constexpr,
    Y_STEP: tl.constexpr,
    D: tl.constexpr,
    E: tl.constexpr,
    SILU: tl.constexpr,
    T: tl.constexpr,
    W: tl.constexpr,
):
    PACKED: tl.constexpr = seq_ptr is not None
    row, program, d, mask = _locate(tl.cdiv(L, run), D, W)
    begin = program * run
    end = tl.minimum(begin + run, L)
    x = x_ptr + row * x_row + d
    y_out = y_ptr + row * y_row + d
    state = None
    if state_ptr is not None:
        state = state_ptr + row * E * D + d
    if PACKED:
        seq_ptr += row * L
    weights = _load_weights(weight_ptr, d, mask, E)
    bias = _load_bias(bias_ptr, d, mask)

    past = _load_past(x, state, begin, X_STEP, L, mask, D, E, E)
    rows = _load_tile(x, begin, X_STEP, end, mask, T)
    for t in range(begin, end, T):
        ahead = _load_tile(x, t + T, X_STEP, end, mask, T)
        owners = _load_owners(seq_ptr, t, L, E, T)
        xs = _join(past, rows, T)
        for i in tl.static_range(T):
            y = _before_activation(xs, owners, i, weights, bias, E, PACKED)
            if SILU:
                y *= sigmoid(y)
            to = y_out + tl.cast(t + i, tl.int64) * Y_STEP
            tl.store(to, y.to(y_ptr.dtype.element_ty), mask=mask & (t + i < end))
        past = _last(xs, E, T)
        rows = ahead


@triton.jit
def _gradient_before(y, grad, SILU: tl.constexpr):
    """The gradient at what precedes the activation."""
    p = grad.to(tl.float32)
    if SILU:
        gate = sigmoid(y)
        p *= gate * (1.0 + y * (1.0 - gate))
    return p


@triton.jit(do_not_specialize=SIZES)
def backward_kernel(
    x_ptr,  # (B, L, D)
    weight_ptr,  # (D, E + 1)
    bias_ptr,  # (D,)
    state_ptr,  # (B, E, D)
    seq_ptr,  # (B, L)
    grad_y_ptr,  # (B, L, D)
    grad_final_ptr,  # (B, E, D)
    grad_x_ptr,  # (B, L, D), out
    grad_state_ptr,  # (B, E, D), out
    parts_ptr,  # (B, P, E + 2, D), out: dweight by tap, then dbias
    x_row,
    grad_y_row,
    grad_x_row,
    L,
    run,  # positions a program
    X_STEP: tl.constexpr,
    GRAD_Y_STEP: tl.constexpr,
    GRAD_X_STEP: tl.constexpr,
    D: tl.constexpr,
    E: tl.constexpr,
    SILU: tl.constexpr,
    T: tl.constexpr,
    W: tl.constexpr,
):
    """With p the gradient before the activation: dx_s = sum over taps of weight p_{s + E - tap},
    so dx follows p by E positions. A program adds the p of its run to dweight and dbias; the E of
    them before its run it computes again."""
    PACKED: tl.constexpr = seq_ptr is not None
    programs = tl.cdiv(L + E, run)
    row, program, d, mask = _locate(programs, D, W)
    begin = program * run
    x = x_ptr + row * x_row + d
    grad_y = grad_y_ptr + row * grad_y_row + d
    grad_x = grad_x_ptr + row * grad_x_row + d
    state = None
    if state_ptr is not None:
        state = state_ptr + row * E * D + d
    if PACKED:
        seq_ptr += row * L
    weights = _load_weights(weight_ptr, d, mask, E)
    bias = _load_bias(bias_ptr, d, mask)

    past = _load_past(x, state, begin, X_STEP, L, mask, D, E, 2 * E)
    past_owners = _load_owners(seq_ptr, begin - E, L, E, E)
    past_ps = ()
    for i in tl.static_range(E):
        before = _before_activation(past, past_owners, i, weights, bias, E, PACKED)
        grad = _load_row(grad_y, begin - E + i, GRAD_Y_STEP, 0, L, mask)
        past_p = _gradient_before(before, grad, SILU)
        past_ps = past_ps + (tl.where((begin >= E - i) & (begin - E + i < L), past_p, 0.0),)
    past = _last(past, E, E)

    grad_weights = ()
    for _ in tl.static_range(E + 1):
        grad_weights = grad_weights + (tl.zeros([W], tl.float32),)
    grad_bias = tl.zeros([W], tl.float32)

    end = tl.minimum(begin + run, L + E)
    rows = _load_tile(x, begin, X_STEP, tl.minimum(end, L), mask, T)
    grads = _load_tile(grad_y, begin, GRAD_Y_STEP, tl.minimum(end, L), mask, T)
    for t in range(begin, end, T):
        ahead = _load_tile(x, t + T, X_STEP, tl.minimum(end, L), mask, T)
        grads_ahead = _load_tile(grad_y, t + T, GRAD_Y_STEP, tl.minimum(end, L), mask, T)
        owners = _load_owners(seq_ptr, t, L, E, T)
        xs = _join(past, rows, T)
        ps = past_ps
        for i in tl.static_range(T):
            y = _before_activation(xs, owners, i, weights, bias, E, PACKED)
            p = tl.where(t + i < tl.minimum(end, L), _gradient_before(y, grads[i], SILU), 0.0)
            ps = ps + (p,)
            sums = ()
            for tap in tl.static_range(E + 1):
                sums = sums + (grad_weights[tap] + p * _tap_input(xs, owners, i, tap, E, PACKED),)
            grad_weights = sums
            grad_bias += p

            s = t + i - E
            total = tl.zeros([W], tl.float32)
            if grad_final_ptr is not None:
                final = grad_final_ptr + row * E * D + d
                reaching = _load_row(final, s - (L - E), D, 0, E, mask).to(tl.float32)
                if PACKED:
                    reaching = tl.where(owners[i] == tl.load(seq_ptr + L - 1), reaching, 0.0)
                total += reaching
            for tap in tl.static_range(E + 1):
                reaching = weights[tap] * ps[i + E - tap]
                if PACKED:
                    reaching = tl.where(owners[i + E - tap] == owners[i], reaching, 0.0)
                total += reaching
            written = mask & (t + i < end)
            to = grad_x + tl.cast(s, tl.int64) * GRAD_X_STEP
            tl.store(to, total.to(grad_x_ptr.dtype.element_ty), mask=written & (s >= 0))
            if grad_state_ptr is not None:
                to = grad_state_ptr + (row * E + s + E) * D + d
                tl.store(to, total.to(grad_state_ptr.dtype.element_ty), mask=written & (s < 0))
        past = _last(xs, E, T)
        past_ps = _last(ps, E, T)
        rows = ahead
        grads = grads_ahead

    parts = parts_ptr + (row * programs + program) * (E + 2) * D + d
    for tap in tl.static_range(E + 1):
        tl.store(parts + tap * D, grad_weights[tap], mask=mask)
    tl.store(parts + (E + 1) * D, grad_bias, mask=mask)
