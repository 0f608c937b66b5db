"""RMSNorm as its formula, with autograd's gradients: the definition of the other backends."""

from __future__ import annotations

import torch
from torch import Tensor

from genomamba_kernels.checks import accumulate_dtype


def rms_norm_reference(
    x: Tensor, residual: Tensor | None, weight: Tensor, eps: float, out_dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Returns (y, s); the arguments are the interface's."""
    s = x if residual is None else add(x, residual)
    wide = s.to(accumulate_dtype(s))
    y = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps) * weight.to(wide.dtype)
    return y.to(out_dtype), s


def add(x: Tensor, residual: Tensor) -> Tensor:
    """x + residual, summed in the wider dtype and kept in the residual's."""
    return (x + residual).to(residual.dtype)
