# pyright: reportArgumentType=false, reportCallIssue=false
"""RMSNorm on a GPU: launches. The formulas are those of `torch_norm`."""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor

from genomamba_kernels.launching import launch
from genomamba_kernels.rms_norm.triton_kernels import backward_kernel, forward_kernel

EACH = 8  # numbers of the rows that a thread holds
WARPS = 4  # or more for wide rows
MOST_PARTS = 2048  # programs of the backward kernel, and rows of dweight's partial sums


def _tile(channels: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sizes for both kernels, and the compiler's options."""
    width = triton.next_power_of_2(channels)
    warps = max(WARPS, width // (32 * EACH))
    return {"D": channels, "W": width, "ROWS": warps * 32 * EACH // width}, {"num_warps": warps}


def forward(
    x: Tensor, residual: Tensor | None, weight: Tensor, eps: float, out_dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Returns (y, s); the arguments are the interface's."""
    channels = x.shape[-1]
    rows = x.numel() // channels
    flat = x.contiguous()
    y = torch.empty_like(flat, dtype=out_dtype)
    s = None if residual is None else torch.empty_like(flat, dtype=residual.dtype)
    tile, options = _tile(channels)
    if rows:
        with torch.cuda.device_of(x):  # Triton launches on the current device
            launch(
                forward_kernel,
                triton.cdiv(rows, tile["ROWS"]),
                options,
                x_ptr=flat,
                residual_ptr=None if residual is None else residual.contiguous(),
                weight_ptr=weight.contiguous(),
                y_ptr=y,
                s_ptr=s,
                rows=rows,
                eps=eps,
                **tile,
            )
    return y, x if s is None else s


def backward(
    s: Tensor,
    weight: Tensor,
    eps: float,
    grad_y: Tensor,
    grad_s: Tensor | None,
    branch: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the gradient at s in the dtype `branch` and in its own, and the weight's."""
    channels = s.shape[-1]
    rows = s.numel() // channels
    s = s.contiguous()
    grad = torch.empty_like(s)
    narrow = grad if branch == s.dtype else torch.empty_like(s, dtype=branch)
    tile, options = _tile(channels)
    blocks = triton.cdiv(rows, tile["ROWS"])
    parts = s.new_empty(min(blocks, MOST_PARTS), channels, dtype=torch.float32)
    if rows:
        with torch.cuda.device_of(s):
            launch(
                backward_kernel,
                len(parts),
                options,
                s_ptr=s,
                weight_ptr=weight.contiguous(),
                grad_y_ptr=grad_y.contiguous(),
                grad_s_ptr=None if grad_s is None else grad_s.contiguous(),
                grad_ptr=grad,
                narrow_ptr=None if narrow is grad else narrow,
                parts_ptr=parts,
                rows=rows,
                blocks=blocks,
                eps=eps,
                **tile,
            )
    return narrow, grad, parts.sum(0).to(weight.dtype)
