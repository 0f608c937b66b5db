"""Causal convolution, written as its sum over taps: the definition of the other backends."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from genomamba_kernels.causal_conv1d.inputs import ConvInputs
from genomamba_kernels.checks import accumulate_dtype
from genomamba_kernels.packing import window_owners


def causal_conv1d_reference(inputs: ConvInputs) -> tuple[Tensor, Tensor]:
    """Returns (y, final_state); the arguments are the interface's."""
    x, weight, bias, activation, initial_state, seq_idx = inputs
    dtype = accumulate_dtype(x)
    batch, length, channels = x.shape
    past = weight.shape[1] - 1
    if initial_state is None:
        initial_state = x.new_zeros(batch, past, channels)
    window = torch.cat([initial_state.to(x.dtype), x], dim=1)
    owner = None if seq_idx is None else window_owners(seq_idx, past)

    y = x.new_zeros(batch, length, channels, dtype=dtype)
    for tap, weight_of_tap in enumerate(weight.to(dtype).unbind(1)):
        shifted = window[:, tap : tap + length].to(dtype)
        if owner is not None:
            same = owner[:, tap : tap + length] == owner[:, past:]
            # where, not a product with zero: a NaN must stay in its own sequence.
            shifted = torch.where(same.unsqueeze(-1), shifted, 0.0)
        y = y + shifted * weight_of_tap
    if bias is not None:
        y = y + bias.to(dtype)
    if activation is not None:
        y = F.silu(y)

    final_state = window[:, length:]
    if owner is not None:
        same = owner[:, length:] == owner[:, -1:]
        final_state = torch.where(same.unsqueeze(-1), final_state, 0.0)
    return y.to(x.dtype), final_state
