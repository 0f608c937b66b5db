"""Causal convolution, backend "torch": what autograd saves and restores, and nothing else.

Saved are the inputs. Autocast is off in both directions, as for the selective scan.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from genomamba_kernels.autocasting import NoAutocast
from genomamba_kernels.causal_conv1d.blocked_backward import blocked_backward
from genomamba_kernels.causal_conv1d.blocked_forward import blocked_forward
from genomamba_kernels.causal_conv1d.inputs import ConvInputs


class BlockedConv(torch.autograd.Function):
    """(y, final_state) of the fields of ConvInputs."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor]:
        inputs = ConvInputs(*arguments)
        ctx.set_materialize_grads(False)
        ctx.activation = inputs.activation
        ctx.save_for_backward(*inputs._replace(activation=None))
        return blocked_forward(inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        grad_y, grad_final_state = grad_outputs
        inputs = ConvInputs(*ctx.saved_tensors)._replace(activation=ctx.activation)
        if grad_y is None:
            grad_y = torch.zeros_like(inputs.x)
        with NoAutocast(inputs.x.device.type):
            grads = blocked_backward(inputs, grad_y, grad_final_state)
        return (
            grads.x,
            grads.weight,
            None if inputs.bias is None else grads.bias,
            None,  # activation
            None if inputs.initial_state is None else grads.initial_state,
            None,  # seq_idx
        )


def causal_conv1d_torch(inputs: ConvInputs) -> tuple[Tensor, Tensor]:
    """Returns (y, final_state)."""
    return BlockedConv.apply(*inputs)
