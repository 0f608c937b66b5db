"""RMSNorm in plain tensor operations, forward and backward, on any device.

With r = 1 / sqrt(mean(s²) + eps), n = s r and p the gradient at n, that is weight times y's:

    ds = r (p - n mean(p n)) + the gradient that arrives at s itself
    dweight = sum over rows of n times y's gradient
"""

from __future__ import annotations

import torch
from torch import Tensor

from genomamba_kernels.checks import accumulate_dtype
from genomamba_kernels.rms_norm.reference import rms_norm_reference as forward

__all__ = ["backward", "forward"]


def backward(
    s: Tensor,
    weight: Tensor,
    eps: float,
    grad_y: Tensor,
    grad_s: Tensor | None,
    branch: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the gradient at s in the dtype `branch` and in its own, and the weight's."""
    wide = s.to(accumulate_dtype(s))
    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    normed = wide * scale
    grad_y = grad_y.to(wide.dtype)
    grad_weight = (grad_y * normed).flatten(0, -2).sum(0)
    grad = grad_y * weight.to(wide.dtype)
    grad = scale * (grad - normed * (grad * normed).mean(-1, keepdim=True))
    if grad_s is not None:
        grad = grad + grad_s
    return grad.to(branch), grad.to(s.dtype), grad_weight.to(weight.dtype)
