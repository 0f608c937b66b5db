"""Selective scan, backend "triton": what autograd saves and restores, and nothing else.

Saved are the inputs, every K-th state, and B and C in the kernels' order.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from genomamba_kernels.applying import apply
from genomamba_kernels.selective_scan.inputs import ScanInputs
from genomamba_kernels.selective_scan.plan_choice import choose_plan
from genomamba_kernels.selective_scan.triton_launch import (
    scan_backward,
    scan_forward,
)
from genomamba_kernels.selective_scan.triton_layout import Shared, share
from genomamba_kernels.selective_scan.triton_plan import Plan


def rows_contiguous(x: Tensor) -> Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()


class TritonScan(torch.autograd.Function):
    """(y, final_state) of (initial_state, plan, *inputs)."""

    @staticmethod
    def forward(
        ctx: Any, initial_state: Tensor | None, plan: Plan, *arguments: Any
    ) -> tuple[Tensor, Tensor]:
        inputs = ScanInputs(*arguments)
        shared = share(inputs, plan)
        save = any(ctx.needs_input_grad)
        result = scan_forward(inputs, shared, initial_state, plan, save, in_parts=not save)
        ctx.set_materialize_grads(False)
        ctx.plan = plan
        ctx.delta_softplus = inputs.delta_softplus
        ctx.has_initial_state = initial_state is not None
        if save:
            ctx.save_for_backward(result.saved, *shared, *inputs._replace(delta_softplus=None))
        return result.y, result.final_state

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        grad_y, grad_final_state = grad_outputs
        saved, *rest = ctx.saved_tensors
        shared = Shared(*rest[:4])
        inputs = ScanInputs(*rest[4:])._replace(delta_softplus=ctx.delta_softplus)
        if grad_y is None:
            grad_y = torch.zeros_like(inputs.u)
        grad_y = rows_contiguous(grad_y)
        grads = scan_backward(inputs, shared, saved, grad_y, grad_final_state, ctx.plan)
        return (
            grads.initial_state if ctx.has_initial_state else None,
            None,  # plan
            *(grads.u, grads.delta, grads.A, grads.B, grads.C, grads.D, grads.z, grads.delta_bias),
            None,  # delta_softplus
            None,  # starts
        )


def selective_scan_triton(
    inputs: ScanInputs, initial_state: Tensor | None, plan: Plan | None = None
) -> tuple[Tensor, Tensor]:
    """Returns (y, final_state); the plan is for tests and tuning."""
    inputs = inputs._replace(
        u=rows_contiguous(inputs.u),
        delta=rows_contiguous(inputs.delta),
        z=None if inputs.z is None else rows_contiguous(inputs.z),
    )
    with torch.cuda.device_of(inputs.u):  # Triton launches on the current device
        arguments = (initial_state, plan or choose_plan(inputs.u, inputs.A.shape[1]), *inputs)
        return apply(TritonScan, arguments)
