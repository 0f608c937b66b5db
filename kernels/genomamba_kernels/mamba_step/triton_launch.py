# pyright: reportArgumentType=false, reportCallIssue=false
"""One position of convolution and scan, backend "triton": launches.

Bytes a row and channel: the scan reads and writes 4 N of state; all else is small beside it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from genomamba_kernels.launching import launch
from genomamba_kernels.mamba_step.triton_kernels import conv_step_kernel, scan_step_kernel

CONV_WIDTH = 256  # channels a program
SCAN_NUMBERS = 1024  # channels times states a program: 8 a thread of four warps
WARPS = 4
# A sum over threads is the same in each of them only if products are rounded before they are added.
SUMMING = {"num_warps": WARPS, "enable_fp_fusion": False}


def conv_step_triton(x: Tensor, state: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """See ``conv_step``."""
    rows, channels = x.shape
    x = x if x.stride(1) == 1 else x.contiguous()
    assert state.is_contiguous()
    y = torch.empty((rows, channels), dtype=x.dtype, device=x.device)
    blocks = -(-channels // CONV_WIDTH)
    launch(
        conv_step_kernel,
        rows * blocks,
        {"num_warps": WARPS},
        x_ptr=x,
        state_ptr=state,
        weight_ptr=weight.contiguous(),
        bias_ptr=bias,
        y_ptr=y,
        x_row=x.stride(0),
        blocks=blocks,
        D=channels,
        E=weight.shape[1] - 1,
        WIDTH=CONV_WIDTH,
    )
    return y


def scan_step_triton(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor,
    delta_bias: Tensor,
    state: Tensor,
) -> Tensor:
    """See ``scan_step``."""
    rows, channels = u.shape
    u, delta, B, C, z = (t if t.stride(1) == 1 else t.contiguous() for t in (u, delta, B, C, z))
    assert state.is_contiguous()
    assert A.is_contiguous()
    states = A.shape[1]
    padded = 1 << (states - 1).bit_length()
    width = max(1, SCAN_NUMBERS // padded)
    y = torch.empty((rows, channels), dtype=u.dtype, device=u.device)
    blocks = -(-channels // width)
    launch(
        scan_step_kernel,
        rows * blocks,
        SUMMING,
        u_ptr=u,
        delta_ptr=delta,
        A_ptr=A,
        B_ptr=B,
        C_ptr=C,
        D_ptr=D,
        z_ptr=z,
        bias_ptr=delta_bias,
        state_ptr=state,
        y_ptr=y,
        u_row=u.stride(0),
        delta_row=delta.stride(0),
        B_row=B.stride(0),
        C_row=C.stride(0),
        z_row=z.stride(0),
        blocks=blocks,
        D=channels,
        N=states,
        WIDTH=width,
        STATES=padded,
    )
    return y
