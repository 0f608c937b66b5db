"""Causal convolution, backward: blocks against the length, what precedes the activation recomputed.

With p the gradient before the activation: dweight_k = sum_t p_t x_{t-past+k}, dbias = sum_t p_t and
dx_{t-past+k} += weight_k p_t. What a block adds to the `past` inputs before it is carried to the
block that owns them, and from the first block to the initial state.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from genomamba_kernels.causal_conv1d.blocked_forward import (
    before_activation,
    blocks,
    foreign_taps,
    shifted_inputs,
    taps,
)
from genomamba_kernels.causal_conv1d.inputs import ConvInputs
from genomamba_kernels.checks import accumulate_dtype
from genomamba_kernels.packing import window_owners


class Gradients(NamedTuple):
    """Gradients of the arguments of the same names."""

    x: Tensor
    weight: Tensor
    bias: Tensor
    initial_state: Tensor


def blocked_backward(
    inputs: ConvInputs, grad_y: Tensor, grad_final_state: Tensor | None
) -> Gradients:
    """Gradients of the convolution; grad_y (B, L, D), grad_final_state (B, past, D) or None."""
    x, past = inputs.x, inputs.weight.shape[1] - 1
    batch, length, channels = x.shape
    dtype = accumulate_dtype(x)
    weights = taps(inputs)
    grad_x = torch.empty_like(x)
    grad_weight, grad_bias = (
        weights[0].new_zeros(channels, past + 1),
        weights[0].new_zeros(channels),
    )

    carried = weights[0].new_zeros(batch, past, channels)
    if grad_final_state is not None:
        carried = grad_final_state.to(dtype)
        if inputs.seq_idx is not None:
            owners = window_owners(inputs.seq_idx, past)[:, length:]
            carried = carried.masked_fill((owners != inputs.seq_idx[:, -1:]).unsqueeze(-1), 0)

    for start, stop in reversed(blocks(x)):
        shifted = shifted_inputs(inputs, start, stop)
        p = grad_y[:, start:stop].to(dtype)
        if inputs.activation is not None:
            before = before_activation(inputs, shifted)
            gate = torch.sigmoid(before)
            p = p * gate * before.mul_(1 - gate).add_(1)
        grad_bias += p.sum((0, 1))

        grad_window = p.new_zeros(batch, past + stop - start, channels)
        grad_window[:, stop - start :] = carried
        for tap, foreign in enumerate(foreign_taps(inputs, start, stop)):
            grad_weight[:, tap] += (p * shifted[tap]).sum((0, 1))
            reaching = p if foreign is None else p.masked_fill(foreign, 0)
            grad_window[:, tap : tap + stop - start].addcmul_(reaching, weights[tap])
        grad_x[:, start:stop] = grad_window[:, past:]
        carried = grad_window[:, :past]
    return Gradients(grad_x, grad_weight, grad_bias, carried)
