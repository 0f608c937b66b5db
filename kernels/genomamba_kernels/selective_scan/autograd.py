"""Selective scan, backend "torch": what autograd saves and restores, and nothing else.

Saved are the inputs and the states at the block borders. Autocast is off in both directions: the
arithmetic is float32 (float64 for float64 data) by definition, whatever the data's dtype.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from genomamba_kernels.autocasting import NoAutocast
from genomamba_kernels.selective_scan.blocks import Tiling, choose_tiling
from genomamba_kernels.selective_scan.chunked_backward import chunked_backward
from genomamba_kernels.selective_scan.chunked_forward import chunked_forward
from genomamba_kernels.selective_scan.inputs import ScanInputs


class ChunkedScan(torch.autograd.Function):
    """(y, final_state) of (initial_state, tiling, *inputs)."""

    @staticmethod
    def forward(
        ctx: Any, initial_state: Tensor | None, tiling: Tiling, *arguments: Any
    ) -> tuple[Tensor, Tensor]:
        inputs = ScanInputs(*arguments)
        result = chunked_forward(inputs, initial_state, tiling)
        ctx.set_materialize_grads(False)
        ctx.tiling = tiling
        ctx.delta_softplus = inputs.delta_softplus
        ctx.has_initial_state = initial_state is not None
        ctx.save_for_backward(result.borders, *inputs._replace(delta_softplus=None))
        return result.y, result.final_state

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        grad_y, grad_final_state = grad_outputs
        borders, *arguments = ctx.saved_tensors
        inputs = ScanInputs(*arguments)._replace(delta_softplus=ctx.delta_softplus)
        if grad_y is None:
            grad_y = torch.zeros_like(inputs.u)
        with NoAutocast(inputs.u.device.type):
            grads = chunked_backward(inputs, borders, grad_y, grad_final_state, ctx.tiling)
        return (
            grads.initial_state if ctx.has_initial_state else None,
            None,  # tiling
            *(grads.u, grads.delta, grads.A, grads.B, grads.C, grads.D, grads.z, grads.delta_bias),
            None,  # delta_softplus
            None,  # starts
        )


def selective_scan_torch(
    inputs: ScanInputs, initial_state: Tensor | None, tiling: Tiling | None = None
) -> tuple[Tensor, Tensor]:
    """Returns (y, final_state); the tiling is for tests, by default it follows the shape."""
    tiling = tiling or choose_tiling(inputs.u, inputs.A.shape[1])
    return ChunkedScan.apply(initial_state, tiling, *inputs)
