# pyright: reportArgumentType=false, reportCallIssue=false
"""RMSNorm on a GPU: launches. The formulas are those of `torch_norm`."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from genomamba_kernels.launching import Launch, remember
from genomamba_kernels.rms_norm.triton_kernels import backward_kernel, forward_kernel

EACH = 8  # numbers of the rows that a thread holds
WARPS = 4  # or more for wide rows
MOST_PARTS = 2048  # programs of the backward kernel, and rows of dweight's partial sums


class Launches(NamedTuple):
    """Of rows of one number and width."""

    blocks: int  # of rows, a program's at a time
    forward: Launch
    backward: Launch


_launches: dict[Any, Launches] = {}


def _plan(rows: int, channels: int, eps: float) -> Launches:
    width = triton.next_power_of_2(channels)
    warps = max(WARPS, width // (32 * EACH))
    at_once = warps * 32 * EACH // width
    blocks = triton.cdiv(rows, at_once)
    sizes = {"rows": rows, "eps": eps, "D": channels, "W": width, "ROWS": at_once}
    options = {"num_warps": warps}
    return Launches(
        blocks,
        Launch(forward_kernel, options, **sizes),
        Launch(backward_kernel, options, blocks=blocks, **sizes),
    )


def _launches_of(x: Tensor, eps: float) -> Launches:
    channels = x.shape[-1]
    rows = x.numel() // channels
    return remember(_launches, (rows, channels, eps), lambda: _plan(rows, channels, eps))


def forward(
    x: Tensor, residual: Tensor | None, weight: Tensor, eps: float, out_dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Returns (y, s); the arguments are the interface's."""
    launches = _launches_of(x, eps)
    flat = x.contiguous()
    y = torch.empty_like(flat, dtype=out_dtype)
    s = None if residual is None else torch.empty_like(flat, dtype=residual.dtype)
    if launches.blocks:
        with torch.cuda.device_of(x):  # Triton launches on the current device
            launches.forward(
                launches.blocks,
                x_ptr=flat,
                residual_ptr=None if residual is None else residual.contiguous(),
                weight_ptr=weight.contiguous(),
                y_ptr=y,
                s_ptr=s,
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
    launches = _launches_of(s, eps)
    s = s.contiguous()
    grad = torch.empty_like(s)
    narrow = grad if branch == s.dtype else torch.empty_like(s, dtype=branch)
    programs = min(launches.blocks, MOST_PARTS)
    parts = s.new_empty((programs, s.shape[-1]), dtype=torch.float32)
    if programs:
        with torch.cuda.device_of(s):
            launches.backward(
                programs,
                s_ptr=s,
                weight_ptr=weight.contiguous(),
                grad_y_ptr=grad_y.contiguous(),
                grad_s_ptr=None if grad_s is None else grad_s.contiguous(),
                grad_ptr=grad,
                narrow_ptr=None if narrow is grad else narrow,
                parts_ptr=parts,
            )
    return narrow, grad, parts.sum(0).to(weight.dtype)
