"""Selective scan, backward: block after block against the length, states recomputed in each block.

With p_t the gradient at y_t before the gate and g_t the gradient at h_t,

    g_t = C_t p_t + e_{t+1} g_{t+1},    v_t = g_t e_t h_{t-1},    s_t = sum_n B_t g_t
    dC_t = sum_d h_t p_t,    dB_t = sum_d g_t q_t u_t,    dA = sum_t q_t v_t
    du_t = q_t s_t + D p_t,  dq_t = u_t s_t + sum_n A v_t

v is taken in this direct form: from differences of sums it loses all digits where q|A| is large.
Letters as in blocks.py.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
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
    fill_states,
    lane_decay,
    outputs_before_gate,
    sum_over_states,
)
from genomamba_kernels.selective_scan.inputs import ScanInputs
from genomamba_kernels.selective_scan.recurrence import Restarts, scan_reverse


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
    batch, length, _ = inputs.u.shape
    A = inner_A(inputs)
    grad_state = inner_state(grad_final_state, batch, A)
    workspace = Workspace(4, tiling, A)
    grad_u, grad_delta = torch.empty_like(inputs.u), torch.empty_like(inputs.delta)
    grad_B, grad_C = torch.empty_like(inputs.B), torch.empty_like(inputs.C)
    grad_z = None if inputs.z is None else torch.empty_like(inputs.z)
    grad_A = torch.zeros_like(A)
    grad_D, grad_bias = A.new_zeros(inputs.u.shape[2]), A.new_zeros(inputs.u.shape[2])

    for rows in row_groups(batch, tiling):
        for index, span in reversed(list(enumerate(spans(rows, length, tiling)))):
            block = load(inputs, span)
            e, h, g, scratch = workspace.arrays(span)
            entering = fill_states(block, A, borders[index, rows], e, h)

            p = take(grad_y, span, A.dtype)
            if inputs.z is not None and grad_z is not None:
                z = take(inputs.z, span, A.dtype)
                y = outputs_before_gate(block, h, inputs.D)
                put(p * y * silu_derivative(z), span, grad_z)
                p = p * F.silu(z)
            p = p.view_as(block.u)

            put(sum_over_channels(h, p), span, grad_C)
            torch.mul(p.unsqueeze(-2), block.C.unsqueeze(-1), out=g)
            grad_state[rows] = scan_reverse(
                e.flatten(3),
                g.flatten(3),
                lane_decay(block, A),
                grad_state[rows].flatten(1),
                block.restarts,
            ).view_as(grad_state[rows])
            put(sum_over_channels(g, block.q * block.u), span, grad_B)

            s = sum_over_states(block.B, g)
            grad_x = block.q * s
            if inputs.D is not None:
                grad_x += p * inputs.D.to(A.dtype).view_as(p[0, 0, 0])
                grad_D += (p * block.u).flatten(0, 2).sum(0).flatten()
            put(grad_x.flatten(-2), span, grad_u)

            v = gradient_of_decay_(e, g, h, entering, block.restarts)
            grad_q = torch.mul(v, A, out=scratch).sum(-2).addcmul_(block.u, s)
            if inputs.delta_softplus:
                grad_q *= -torch.expm1(-block.q)  # = sigmoid(delta + bias)
            grad_bias += grad_q.flatten(0, 2).sum(0).flatten()
            put(grad_q.flatten(-2), span, grad_delta)
            grad_A += v.mul_(block.q.unsqueeze(-2)).flatten(0, 2).sum(0)

    return Gradients(
        u=grad_u,
        delta=grad_delta,
        A=grad_A.mT.flatten(0, 1),
        B=grad_B,
        C=grad_C,
        D=None if inputs.D is None else grad_D,
        z=grad_z,
        delta_bias=None if inputs.delta_bias is None else grad_bias,
        initial_state=outer_state(grad_state),
    )


def gradient_of_decay_(
    e: Tensor, g: Tensor, h: Tensor, entering: Tensor, restarts: Restarts | None
) -> Tensor:
    """v_t = g_t e_t h_{t-1}, in the place of e; all (steps, R, lanes, G, N, P)."""
    v = e.mul_(g)
    v[1:] *= h[:-1]
    v[0] *= entering.view_as(v[0])
    if restarts is not None:
        for v_of_step, restart in zip(v.flatten(3).unbind(0), restarts.steps, strict=True):
            if restart is not None:
                v_of_step.masked_fill_(restart, 0)
    return v


def silu_derivative(z: Tensor) -> Tensor:
    """d silu(z) / dz."""
    gate = torch.sigmoid(z)
    return gate * (1 + z * (1 - gate))


def sum_over_channels(x: Tensor, weights: Tensor) -> Tensor:
    """sum_p x (..., N, P) weights (..., P) -> (..., N)."""
    return torch.bmm(x.flatten(0, -3), weights.flatten(0, -2).unsqueeze(-1)).view(x.shape[:-1])
