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
    Workspace,
    inner_A,
    inner_state,
    load,
    outer_state,
    put,
    row_groups,
    spans,
    take,
)
from genomamba_kernels.selective_scan.chunked_forward import (
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
    batch, length, channels = inputs.u.shape
    A = inner_A(inputs)
    D = None if inputs.D is None else inputs.D.to(A.dtype).unflatten(0, (A.shape[0], -1))
    grad_state = inner_state(grad_final_state, batch, A).flatten(1)
    workspace = Workspace(3, tiling, A)
    grad_u, grad_delta = torch.empty_like(inputs.u), torch.empty_like(inputs.delta)
    grad_B, grad_C = torch.empty_like(inputs.B), torch.empty_like(inputs.C)
    grad_z = None if inputs.z is None else torch.empty_like(inputs.z)
    grad_A = torch.zeros_like(A)
    grad_D, grad_bias = A.new_zeros(channels), A.new_zeros(channels)

    for rows in row_groups(batch, tiling):
        for span in reversed(spans(rows, length, tiling)):
            block = load(inputs, span)
            e, h, g = workspace.arrays(span)
            decays_and_inputs(block, A, e, h)
            entering_h = borders[rows, span.saved]
            scan_forward_(e.flatten(3), h.flatten(3), entering_h, block.restarts)

            p = take(grad_y, span, A.dtype)
            if inputs.z is not None and grad_z is not None:
                z = take(inputs.z, span, A.dtype)
                y = outputs_before_gate(block, h, inputs.D)
                gate = torch.sigmoid(z)
                put(p * y * gate * (1 + z * (1 - gate)), span, grad_z)
                p = p * z * gate
            p = p.view_as(block.u)

            put(sum_over_channels(h, p), span, grad_C)
            torch.mul(p.unsqueeze(-2), block.C.unsqueeze(-1), out=g)
            entering_g = grad_state[rows].unsqueeze(1)
            if span.chunks > 1:
                entering_g = entering_gradients(
                    e.flatten(3),
                    g.flatten(3),
                    chunk_decay(block, A),
                    entering_g[:, 0],
                    block.restarts,
                )
            grad_state[rows] = scan_reverse_(e.flatten(3), g.flatten(3), entering_g, block.restarts)

            put(sum_over_channels(g, block.q * block.u), span, grad_B)
            s = sum_over_states(block.B, g)
            grad_x = block.q * s
            if D is not None:
                grad_x.addcmul_(D, p)
                grad_D += (p * block.u).flatten(0, 2).sum(0).flatten()
            put(grad_x.flatten(-2), span, grad_u)

            v = decay_gradient_(e, g, h, entering_h, block.restarts)
            grad_q = add_products_(s.mul_(block.u), v, A)
            if inputs.delta_softplus:
                grad_q *= torch.sigmoid(block.delta)
            grad_bias += grad_q.flatten(0, 2).sum(0).flatten()
            put(grad_q.flatten(-2), span, grad_delta)
            grad_A += sum_over_positions(v, block.q)

    return Gradients(
        u=grad_u,
        delta=grad_delta,
        A=grad_A.mT.flatten(0, 1),
        B=grad_B,
        C=grad_C,
        D=None if inputs.D is None else grad_D,
        z=grad_z,
        delta_bias=None if inputs.delta_bias is None else grad_bias,
        initial_state=outer_state(grad_state.unflatten(1, A.shape)),
    )


def decay_gradient_(
    e: Tensor, g: Tensor, h: Tensor, entering: Tensor, restarts: Restarts | None
) -> Tensor:
    """v_t = g_t e_t h_{t-1}, in the place of e; (R, C, K, G, N, P), entering (R, C, G * N * P)."""
    v = e.mul_(g)
    v[:, :, 1:] *= h[:, :, :-1]
    v[:, :, 0] *= entering.view_as(v[:, :, 0])
    zero_at_restarts_(v.flatten(3), restarts)
    return v


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
