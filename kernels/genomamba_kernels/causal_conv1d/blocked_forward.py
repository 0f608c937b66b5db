"""Causal convolution, forward: one multiply-add a tap, over blocks of the length that fit a cache.

Letters: B batch, L length, D channels, T positions of a block. `past` is d_conv - 1.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from genomamba_kernels.causal_conv1d.inputs import ConvInputs
from genomamba_kernels.checks import accumulate_dtype
from genomamba_kernels.packing import window_owners


def blocks(x: Tensor) -> list[tuple[int, int]]:
    """(start, stop) of the blocks along the length; results do not depend on them."""
    batch, length, channels = x.shape
    size = 2**17 if x.device.type == "cpu" else 2**24
    positions = max(16, size // (batch * channels))
    return [(start, min(start + positions, length)) for start in range(0, length, positions)]


def blocked_forward(inputs: ConvInputs) -> tuple[Tensor, Tensor]:
    """Returns (y, final_state); the arguments are the interface's."""
    x, past = inputs.x, inputs.weight.shape[1] - 1
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    for start, stop in blocks(x):
        out = before_activation(inputs, shifted_inputs(inputs, start, stop))
        y[:, start:stop] = out if inputs.activation is None else F.silu(out)

    final_state = window(inputs, x.shape[1], x.shape[1])
    if inputs.seq_idx is not None:
        owners = window_owners(inputs.seq_idx, past)[:, x.shape[1] :]
        foreign = owners != inputs.seq_idx[:, -1:]
        final_state = final_state.masked_fill(foreign.unsqueeze(-1), 0)
    return y, final_state.clone()


def window(inputs: ConvInputs, start: int, stop: int) -> Tensor:
    """(B, past + T, D): the inputs of a block and the `past` before them."""
    x, past = inputs.x, inputs.weight.shape[1] - 1
    if start >= past:
        return x[:, start - past : stop]
    history = inputs.initial_state
    if history is None:
        history = x.new_zeros(x.shape[0], past, x.shape[2])
    return torch.cat([history[:, start:].to(x.dtype), x[:, :stop]], dim=1)


def foreign_taps(inputs: ConvInputs, start: int, stop: int) -> list[Tensor | None]:
    """For each tap (B, T, 1) bool, where it would read another sequence; None without packing."""
    d_conv = inputs.weight.shape[1]
    if inputs.seq_idx is None:
        return [None] * d_conv
    owners = window_owners(inputs.seq_idx, d_conv - 1)[:, start : stop + d_conv - 1].unsqueeze(-1)
    length = stop - start
    return [owners[:, tap : tap + length] != owners[:, d_conv - 1 :] for tap in range(d_conv)]


def shifted_inputs(inputs: ConvInputs, start: int, stop: int) -> list[Tensor]:
    """For each tap (B, T, D), the inputs it reads; exact zeros in place of other sequences."""
    x = window(inputs, start, stop).to(accumulate_dtype(inputs.x))
    shifted = [x[:, tap : tap + stop - start] for tap in range(inputs.weight.shape[1])]
    return [
        # Replaced, not multiplied with zero: a NaN must stay in its own sequence.
        part if foreign is None else part.masked_fill(foreign, 0)
        for part, foreign in zip(shifted, foreign_taps(inputs, start, stop), strict=True)
    ]


def taps(inputs: ConvInputs) -> tuple[Tensor, ...]:
    """For each tap its weights (D,), contiguous: strided ones cost twice the time."""
    return inputs.weight.to(accumulate_dtype(inputs.x)).t().contiguous().unbind(0)


def before_activation(inputs: ConvInputs, shifted: list[Tensor]) -> Tensor:
    """(B, T, D): bias + sum over taps."""
    first, *rest = shifted
    weights = taps(inputs)
    if inputs.bias is None:
        out = first * weights[0]
    else:
        out = torch.addcmul(inputs.bias.to(first.dtype), first, weights[0])
    for part, weight in zip(rest, weights[1:], strict=True):
        out.addcmul_(part, weight)
    return out
