# pyright: reportArgumentType=false, reportCallIssue=false
"""Causal convolution, backend "triton": launches, and what autograd saves and restores.

Saved are the inputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from genomamba_kernels.causal_conv1d.inputs import ConvInputs
from genomamba_kernels.causal_conv1d.triton_kernels import backward_kernel, forward_kernel
from genomamba_kernels.packing import window_owners

STEPS, WIDTH = 32, 64  # positions and channels a program


def _arguments(inputs: ConvInputs) -> dict[str, Any]:
    """What both kernels take."""
    x, weight, bias, activation, state, seq_idx = inputs
    return {
        "x_ptr": x,
        "weight_ptr": weight,
        "bias_ptr": bias,
        "state_ptr": state,
        "seq_ptr": seq_idx,
        "x_row": x.stride(0),
        "L": x.shape[1],
        "X_STEP": x.stride(1),
        "D": x.shape[2],
        "E": weight.shape[1] - 1,
        "SILU": activation is not None,
        "STEPS": STEPS,
        "W": WIDTH,
    }


def _programs(batch: int, length: int, channels: int) -> tuple[int, int]:
    """Programs along the length, and all of them."""
    along = -(-length // STEPS)
    return along, batch * along * -(-channels // WIDTH)


def _final_state(inputs: ConvInputs) -> Tensor:
    x, past = inputs.x, inputs.weight.shape[1] - 1
    length = x.shape[1]
    before = x.new_zeros(x.shape[0], past, x.shape[2])
    if inputs.initial_state is not None:
        before = inputs.initial_state.to(x.dtype)
    state = torch.cat([before, x[:, max(0, length - past) :]], dim=1)
    state = state[:, state.shape[1] - past :]
    if inputs.seq_idx is None:
        return state
    owners = window_owners(inputs.seq_idx, past)[:, length:]
    return torch.where((owners == inputs.seq_idx[:, -1:]).unsqueeze(-1), state, 0.0)


class TritonConv(torch.autograd.Function):
    """(y, final_state) of the fields of ConvInputs."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor]:
        inputs = ConvInputs(*arguments)
        ctx.set_materialize_grads(False)
        ctx.activation = inputs.activation
        ctx.save_for_backward(*inputs._replace(activation=None))
        y = torch.empty_like(inputs.x, memory_format=torch.contiguous_format)
        _, grid = _programs(*inputs.x.shape)
        forward_kernel[(grid,)](y_ptr=y, **_arguments(inputs))
        return y, _final_state(inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        grad_y, grad_final_state = grad_outputs
        inputs = ConvInputs(*ctx.saved_tensors)._replace(activation=ctx.activation)
        x, weight, past = inputs.x, inputs.weight, inputs.weight.shape[1] - 1
        batch, length, channels = x.shape
        if grad_y is None:
            grad_y = torch.zeros_like(x)
        if grad_y.stride(-1) != 1:
            grad_y = grad_y.contiguous()
        if grad_final_state is not None:
            grad_final_state = grad_final_state.contiguous()
        along, grid = _programs(batch, length + past, channels)
        parts = x.new_empty(batch, along, past + 2, channels, dtype=torch.float32)
        grad_x = torch.empty_like(x, memory_format=torch.contiguous_format)
        grad_state = None
        if inputs.initial_state is not None:
            grad_state = torch.empty_like(inputs.initial_state)
        backward_kernel[(grid,)](
            grad_y_ptr=grad_y,
            grad_final_ptr=grad_final_state,
            grad_x_ptr=grad_x,
            grad_state_ptr=grad_state,
            parts_ptr=parts,
            grad_row=grad_y.stride(0),
            GRAD_STEP=grad_y.stride(1),
            **_arguments(inputs),
        )
        sums = parts.sum((0, 1))
        return (
            grad_x,
            sums[:-1].T.to(weight.dtype),
            None if inputs.bias is None else sums[-1].to(inputs.bias.dtype),
            None,  # activation
            grad_state,
            None,  # seq_idx
        )


def causal_conv1d_triton(inputs: ConvInputs) -> tuple[Tensor, Tensor]:
    """Returns (y, final_state)."""
    x, state, seq_idx = inputs.x, inputs.initial_state, inputs.seq_idx
    with torch.cuda.device_of(x):  # Triton launches on the current device
        return TritonConv.apply(
            *inputs._replace(
                x=x if x.stride(-1) == 1 else x.contiguous(),
                weight=inputs.weight.contiguous(),
                initial_state=None if state is None else state.contiguous(),
                seq_idx=None if seq_idx is None else seq_idx.contiguous(),
            )
        )
