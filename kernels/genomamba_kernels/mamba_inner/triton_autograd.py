"""The inside of a Mamba layer, backend "triton": what autograd saves and restores.

Saved are the arguments and the scan's states at intervals. In units of U, the bytes of one tensor
(B, L, D) of xz's dtype: 2 for xz, and 4 N / K / e for the states (e bytes a number of xz, K steps
between states).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from genomamba_kernels.causal_conv1d.inputs import ConvInputs
from genomamba_kernels.causal_conv1d.triton_launch import final_state
from genomamba_kernels.mamba_inner.inputs import InnerInputs
from genomamba_kernels.mamba_inner.triton_pieces import (
    Sums,
    backward_piece,
    cut,
    forward_piece,
)


class TritonInner(torch.autograd.Function):
    """(y, conv_state, scan_state) of the fields of InnerInputs."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
        inputs = InnerInputs(*arguments)
        batch, length = inputs.xz.shape[:2]
        channels, states = inputs.A.shape
        y = inputs.xz.new_empty(batch, length, channels)
        scan_state = y.new_empty(batch, channels, states, dtype=torch.float32)
        save = any(ctx.needs_input_grad)
        borders = []
        for row in cut(batch, length, channels):
            rows = row[0].rows
            state = None if inputs.scan_state is None else inputs.scan_state[rows]
            for piece in row:
                state, saved = forward_piece(inputs, piece, state, save, y)
                borders.append(saved)
            if state is not None:
                scan_state[rows] = state
        ctx.set_materialize_grads(False)
        ctx.projection_dtype = inputs.projection_dtype
        ctx.count = len(inputs) - 1
        if save:
            ctx.save_for_backward(*inputs[:-1], *borders)
        x = inputs.xz[..., :channels]
        conv = ConvInputs(x, inputs.conv_weight, None, None, inputs.conv_state, inputs.seq_idx)
        return y, final_state(conv), scan_state

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        grad_y, grad_conv_state, grad_scan_state = grad_outputs
        arguments, borders = ctx.saved_tensors[: ctx.count], list(ctx.saved_tensors[ctx.count :])
        inputs = InnerInputs(*arguments, projection_dtype=ctx.projection_dtype)
        batch, length = inputs.xz.shape[:2]
        channels = inputs.A.shape[0]
        if grad_y is None:
            grad_y = inputs.xz.new_zeros(batch, length, channels)
        if grad_y.stride(-1) != 1:
            grad_y = grad_y.contiguous()
        grad_states_after = [
            None if grad is None else grad.contiguous()
            for grad in (grad_conv_state, grad_scan_state)
        ]
        grad_xz = torch.empty_like(inputs.xz)
        grad_states = [
            None if state is None else torch.empty_like(state)
            for state in (inputs.conv_state, inputs.scan_state)
        ]
        sums = Sums.zeros(inputs)
        with torch.autocast(grad_y.device.type, enabled=False):
            for row in reversed(cut(batch, length, channels)):
                rows = row[0].rows
                carried = [None if grad is None else grad[rows] for grad in grad_states_after]
                for piece in reversed(row):
                    saved = borders.pop()
                    carried = backward_piece(
                        inputs, piece, saved, grad_y, *carried, grad_xz=grad_xz, sums=sums
                    )
                for whole, part in zip(grad_states, carried, strict=True):
                    if whole is not None and part is not None:
                        whole[rows] = part
        return (
            grad_xz,
            *(
                None if parameter is None else total.to(parameter.dtype)
                for parameter, total in zip(inputs[1:8], sums, strict=True)
            ),
            *grad_states,
            None,  # seq_idx
            None,  # projection_dtype
        )


def mamba_inner_triton(inputs: InnerInputs) -> tuple[Tensor, Tensor, Tensor]:
    """Returns (y, conv_state, scan_state)."""
    xz, scan_state = inputs.xz, inputs.scan_state
    inputs = inputs._replace(
        xz=xz if xz.stride(-1) == 1 else xz.contiguous(),
        conv_weight=inputs.conv_weight.contiguous(),
        scan_state=None if scan_state is None else scan_state.contiguous(),
    )
    with torch.cuda.device_of(xz):  # Triton launches on the current device
        return TritonInner.apply(*inputs)
