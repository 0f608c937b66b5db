"""RMSNorm and the residual sum before it: the public function, its checks, a backend's choice.

Letters: D channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from genomamba_kernels.autocasting import NoAutocast
from genomamba_kernels.backends import check_triton, resolve_backend
from genomamba_kernels.checks import DATA_DTYPES, check_tensor
from genomamba_kernels.rms_norm.autograd import fused_rms_norm
from genomamba_kernels.rms_norm.reference import rms_norm_reference

WIDEST = 4096  # channels that the Triton kernels hold in registers


def rms_norm(
    x: Tensor,
    weight: Tensor,
    eps: float,
    *,
    residual: Tensor | None = None,
    out_dtype: torch.dtype | None = None,
    backend: str = "auto",
) -> tuple[Tensor, Tensor]:
    """Adds x to the residual stream and normalises the sum (Zhang & Sennrich 2019).

        s = x + residual,    y = s / sqrt(mean(s²) + eps) * weight

    over the last axis, in float32, or in float64 for float64 data, under autocast too. y is made
    from s as it is stored, so that it can be computed again from s.

    Args:
        x: (..., D) what joins the stream.
        weight: (D,).
        eps: added to the mean square.
        residual: (..., D) the stream; without one x is the stream.
        out_dtype: of y; the weight's if absent.
        backend: "auto" (the environment variable GENOMAMBA_BACKEND, else the device's default),
            "torch", "reference", or "triton" (a GPU, data shorter than float64, D up to 4096).

    Returns:
        y (..., D) in out_dtype, and s (..., D) in the residual's dtype; without a residual s is x.
        x, residual and weight are differentiable, once; only s and the weight are kept for it.

    Raises:
        ValueError: an argument's shape, dtype, device or value is not the expected one.
    """
    if not isinstance(x, Tensor) or x.ndim == 0 or x.dtype not in DATA_DTYPES:
        got = f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"x: expected a floating-point tensor (..., D), got {got}")
    check_tensor("weight", weight, "(D,)", (x.shape[-1],), x)
    asked, backend = backend, resolve_backend(backend, x)
    if asked == "auto" and x.shape[-1] > WIDEST:
        backend = "torch"
    if residual is not None:
        check_tensor("residual", residual, "(..., D)", tuple(x.shape), x)
    if out_dtype is None:
        out_dtype = weight.dtype
    if out_dtype not in DATA_DTYPES:
        raise ValueError(f"out_dtype: expected a floating-point dtype, got {out_dtype}")
    with NoAutocast(x.device.type):
        if backend == "reference":
            return rms_norm_reference(x, residual, weight, eps, out_dtype)
        if backend == "triton":
            check_triton(x)
            if x.shape[-1] > WIDEST:
                raise ValueError(
                    f'x: "triton" expects at most {WIDEST} channels, got {x.shape[-1]}; use the '
                    f'backend "torch"'
                )
        return fused_rms_norm(x, residual, weight, eps, out_dtype, backend)
