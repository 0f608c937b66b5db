"""Selective scan, backward: block after block against the length, states recomputed in each block.

With e_t = exp(q_t A), p_t the gradient at y_t before the gate and g_t the gradient at h_t,

    g_t = C_t p_t + e_{t+1} g_{t+1},    v_t = g_t e_t h_{t-1},    s_t = sum_n B_t g_t
    dC_t = sum_d h_t p_t,    dB_t = sum_d g_t q_t u_t,    dA = sum_t q_t v_t
    du_t = q_t s_t + D p_t,  dq_t = u_t s_t + sum_n A v_t

v is taken in this direct form: from differences of sums it loses all digits where q|A| is large.
Letters as in blocks.py.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from genomamba_kernels.selective_scan.blocks import (
    Tiling,
    Work,
    Workspace,
    inner_inputs,
    inner_state,
    load,
    outer_state,
    put,
    row_groups,
    spans,
    take,
)
from genomamba_kernels.selective_scan.chunked_forward import (
    LOG2_E,
    chunk_decay,
    decays_and_inputs,
    outputs_before_gate,
    sum_over_states,
)
from genomamba_kernels.selective_scan.inputs import ScanInputs
from genomamba_kernels.selective_scan.recurrence import (
    Restarts,
    entering_gradients,
    scan_forward_,
    scan_reverse_,
    zero_at_restarts_,
)


class Gradients(NamedTuple):
    """Gradients of the arguments of the same names; None for an argument that was not given."""

    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    z: Tensor | None
    delta_bias: Tensor | None
    initial_state: Tensor


def chunked_backward(
    inputs: ScanInputs,
    borders: Tensor,
    grad_y: Tensor,
    grad_final_state: Tensor | None,
    tiling: Tiling,
) -> Gradients:
    """Gradients of the scan.

    Args:
        borders: from `chunked_forward` with the same tiling.
        grad_y: (B, L, D).
        grad_final_state: (B, D, N), or None for zero.
    """
    inner = inner_inputs(inputs)
    A, rates = inner.A, inner.A * LOG2_E
    batch, length, groups, channels = inner.u.shape
    grad_state = inner_state(grad_final_state, batch, A)
    grad_y = grad_y.unflatten(2, (groups, channels))
    workspace = Workspace(3, tiling, A)
    grad_u, grad_delta = torch.empty_like(inner.u), torch.empty_like(inner.delta)
    grad_B, grad_C = torch.empty_like(inner.B), torch.empty_like(inner.C)
    grad_z = None if inner.z is None else torch.empty_like(inner.z)
    grad_A = torch.zeros_like(A)
    grad_D, grad_bias = A.new_zeros(groups, channels), A.new_zeros(groups, channels)

    for rows in row_groups(batch, tiling):
        for span in reversed(spans(rows, length, tiling)):
            block = load(inner, span)
            e, h, g = workspace.arrays(span)
            decays_and_inputs(block, rates, e, h)
            entering_h = borders[rows, span.saved]
            scan_forward_(e.steps, h.steps, entering_h, block.restarts)

            p = take(grad_y, span, A.dtype)
            if inner.z is not None and grad_z is not None:
                z = take(inner.z, span, A.dtype)
                y = outputs_before_gate(block, h.whole, inner.D)
                gate = torch.sigmoid(z)
                put(p * y * gate * (1 + z * (1 - gate)), span, grad_z)
                p = p * z * gate

            put(sum_over_channels(h.whole, p), span, grad_C)
            torch.mul(p.unsqueeze(-2), block.C.unsqueeze(-1), out=g.whole)
            entering_g = grad_state[rows].unsqueeze(1)
            if span.chunks > 1:
                decay = chunk_decay(block, rates)
                entering_g = entering_gradients(
                    e.steps, g.steps, decay, grad_state[rows], block.restarts
                )
            grad_state[rows] = scan_reverse_(e.steps, g.steps, entering_g, block.restarts)

            put(sum_over_channels(g.whole, block.q * block.u), span, grad_B)
            s = sum_over_states(block.B, g.whole)
            grad_x = block.q * s
            if inner.D is not None:
                grad_x.addcmul_(inner.D, p)
                grad_D += (p * block.u).sum((0, 1, 2))
            put(grad_x, span, grad_u)

            v = decay_gradient_(e, g, h, entering_h, block.restarts)
            grad_q = add_products_(s.mul_(block.u), v.whole, A)
            if inner.delta_softplus:
                grad_q *= torch.sigmoid(block.delta)
            if inner.delta_bias is not None:
                grad_bias += grad_q.sum((0, 1, 2))
            put(grad_q, span, grad_delta)
            grad_A += sum_over_positions(v.whole, block.q)

    return Gradients(
        u=grad_u.flatten(2),
        delta=grad_delta.flatten(2),
        A=grad_A.mT.flatten(0, 1),
        B=grad_B,
        C=grad_C,
        D=None if inner.D is None else grad_D.flatten(),
        z=None if grad_z is None else grad_z.flatten(2),
        delta_bias=None if inner.delta_bias is None else grad_bias.flatten(),
        initial_state=outer_state(grad_state, A),
    )


def decay_gradient_(e: Work, g: Work, h: Work, entering: Tensor, restarts: Restarts | None) -> Work:
    """v_t = g_t e_t h_{t-1}, in the place of e; `entering` (R, C, G * N * P) is h before it."""
    e.whole.mul_(g.whole)
    e.whole[:, :, 1:] *= h.whole[:, :, :-1]
    e.steps[0].mul_(entering)
    zero_at_restarts_(e.steps, restarts)
    return e


def add_products_(total: Tensor, v: Tensor, A: Tensor) -> Tensor:
    """Adds sum_n A (G, N, P) v (..., G, N, P) to total (..., G, P), with no array of products."""
    for A_n, v_n in zip(A.unbind(-2), v.unbind(-2), strict=True):
        total.addcmul_(A_n, v_n)
    return total


def sum_over_positions(v: Tensor, q: Tensor) -> Tensor:
    """sum over R, C, K of q (R, C, K, G, P) v (R, C, K, G, N, P) -> (G, N, P)."""
    first, *vs = v.unbind(2)
    q_first, *qs = q.unsqueeze(-2).unbind(2)
    total = first * q_first
    for v_j, q_j in zip(vs, qs, strict=True):
        total.addcmul_(v_j, q_j)
    return total.sum((0, 1))


def sum_over_channels(x: Tensor, weights: Tensor) -> Tensor:
    """sum_p x (..., N, P) weights (..., P) -> (..., N)."""
    # The transposed row, not an unsqueezed column: its strides keep the fast path of MKL.
    sums = torch.bmm(x.flatten(0, -3), weights.flatten(0, -2).unsqueeze(1).mT)
    return sums.view(x.shape[:-1])
