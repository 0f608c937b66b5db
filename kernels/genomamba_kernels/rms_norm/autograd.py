"""RMSNorm: what autograd saves and restores, and nothing else.

Saved are the sum s and the weight; the norm of s is had again from s.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from genomamba_kernels.autocasting import NoAutocast
from genomamba_kernels.rms_norm import torch_norm


class FusedNorm(torch.autograd.Function):
    """(y, s) of x, residual, weight, eps, out_dtype and the module that computes them."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        residual: Tensor | None,
        weight: Tensor,
        eps: float,
        out_dtype: torch.dtype,
        steps: ModuleType,
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.eps, ctx.steps = eps, steps
        ctx.branch, ctx.has_residual = x.dtype, residual is not None
        y, s = steps.forward(x, residual, weight, eps, out_dtype)
        ctx.save_for_backward(s, weight)
        return y, s

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        grad_y, grad_s = grad_outputs
        s, weight = ctx.saved_tensors
        if grad_y is None:  # the stream goes on, its norm was not used
            grad_x = None if grad_s is None else grad_s.to(ctx.branch)
            return grad_x, grad_s if ctx.has_residual else None, None, None, None, None
        with NoAutocast(s.device.type):
            grad_x, grad_residual, grad_weight = ctx.steps.backward(
                s, weight, ctx.eps, grad_y, grad_s, ctx.branch
            )
        return grad_x, grad_residual if ctx.has_residual else None, grad_weight, None, None, None


def fused_rms_norm(
    x: Tensor,
    residual: Tensor | None,
    weight: Tensor,
    eps: float,
    out_dtype: torch.dtype,
    backend: str,
) -> tuple[Tensor, Tensor]:
    """Returns (y, s); the arguments are the interface's, the backend "torch" or "triton"."""
    steps = torch_norm
    if backend == "triton":
        # Not at the top: importing this package must not import Triton, which may be absent.
        from genomamba_kernels.rms_norm import triton_norm as steps
    return FusedNorm.apply(x, residual, weight, eps, out_dtype, steps)
