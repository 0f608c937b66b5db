"""Causal convolution, backend "triton": what autograd saves and restores, and nothing else.

Saved are the inputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from genomamba_kernels.applying import apply
from genomamba_kernels.causal_conv1d.inputs import ConvInputs
from genomamba_kernels.causal_conv1d.triton_launch import conv_backward, conv_forward, final_state


def kernel_inputs(inputs: ConvInputs) -> ConvInputs:
    """The inputs with the strides that the kernels expect; copies only what has others."""
    x, state, seq_idx = inputs.x, inputs.initial_state, inputs.seq_idx
    return inputs._replace(
        x=x if x.stride(-1) == 1 else x.contiguous(),
        weight=inputs.weight.contiguous(),
        initial_state=None if state is None else state.contiguous(),
        seq_idx=None if seq_idx is None else seq_idx.contiguous(),
    )


class TritonConv(torch.autograd.Function):
    """(y, final_state) of the fields of ConvInputs."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor]:
        inputs = ConvInputs(*arguments)
        ctx.set_materialize_grads(False)
        ctx.activation = inputs.activation
        ctx.save_for_backward(*inputs._replace(activation=None))
        return conv_forward(inputs), final_state(inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        grad_y, grad_final_state = grad_outputs
        inputs = ConvInputs(*ctx.saved_tensors)._replace(activation=ctx.activation)
        if grad_y is None:
            grad_y = torch.zeros_like(inputs.x)
        if grad_y.stride(-1) != 1:
            grad_y = grad_y.contiguous()
        if grad_final_state is not None:
            grad_final_state = grad_final_state.contiguous()
        grads = conv_backward(inputs, grad_y, grad_final_state)
        return (
            grads.x,
            grads.weight.to(inputs.weight.dtype),
            None if inputs.bias is None else grads.bias.to(inputs.bias.dtype),
            None,  # activation
            grads.initial_state,
            None,  # seq_idx
        )


def causal_conv1d_triton(inputs: ConvInputs) -> tuple[Tensor, Tensor]:
    """Returns (y, final_state)."""
    with torch.cuda.device_of(inputs.x):  # Triton launches on the current device
        return apply(TritonConv, kernel_inputs(inputs))
