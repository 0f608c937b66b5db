"""One position at a time: the two public functions and the choice of a backend.

Letters: B rows, D d_inner, N d_state, K d_conv. Without gradients.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from genomamba_kernels.backends import check_triton, resolve_backend
from genomamba_kernels.checks import check_tensor


@torch.no_grad()
def conv_step(
    x: Tensor, state: Tensor, weight: Tensor, bias: Tensor | None = None, *, backend: str = "auto"
) -> Tensor:
    """``causal_conv1d`` with SiLU at one position.

    Args:
        x: (B, D), channels contiguous.
        state: (B, K - 1, D), the inputs before, oldest first; moves on in place.
        weight: (D, K), the last column meets x.
        bias: (D,).
        backend: as in ``causal_conv1d``; "reference" is "torch", which is step by step here.

    Returns:
        (B, D) in x's dtype.

    Raises:
        ValueError: an argument's shape or device is not the expected one.
    """
    check_tensor("x", x, "(B, D)", (-1, -1))
    rows, channels = x.shape
    check_tensor("weight", weight, "(D, K)", (channels, -1))
    past = weight.shape[1] - 1
    check_tensor("state", state, "(B, K - 1, D)", (rows, past, channels))
    if resolve_backend(backend, x) == "triton":
        check_triton(x)
        # Not at the top: importing this package must not import Triton, which may be absent.
        from genomamba_kernels.mamba_step.triton_launch import conv_step_triton

        return conv_step_triton(x, state, weight, bias)
    window = torch.cat([state.to(x.dtype), x.unsqueeze(1)], dim=1)
    state.copy_(window[:, 1:])
    u = (_wide(window) * _wide(weight).T).sum(1)
    return F.silu(u if bias is None else u + bias).to(x.dtype)


@torch.no_grad()
def scan_step(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor,
    delta_bias: Tensor,
    state: Tensor,
    *,
    backend: str = "auto",
) -> Tensor:
    """``selective_scan`` at one position, gated, with softplus on the step size.

        h = exp(q A) h + q u B,  y = (C h + D u) silu(z),  q = softplus(delta + delta_bias)

    Args:
        u, delta, z: (B, D), channels contiguous.
        A: (D, N), negative, in at least float32.
        B, C: (B, N), entries contiguous.
        D, delta_bias: (D,).
        state: (B, D, N) in at least float32; moves on in place.
        backend: as in ``conv_step``.

    Returns:
        y (B, D) in u's dtype.

    Raises:
        ValueError: an argument's shape or device is not the expected one.
    """
    check_tensor("u", u, "(B, D)", (-1, -1))
    rows, channels = u.shape
    check_tensor("A", A, "(D, N)", (channels, -1))
    states = A.shape[1]
    check_tensor("state", state, "(B, D, N)", (rows, channels, states))
    for name, tensor in (("delta", delta), ("z", z)):
        check_tensor(name, tensor, "(B, D)", (rows, channels), u)
    for name, tensor in (("B", B), ("C", C)):
        check_tensor(name, tensor, "(B, N)", (rows, states), u)
    if resolve_backend(backend, u) == "triton":
        check_triton(u)
        from genomamba_kernels.mamba_step.triton_launch import scan_step_triton

        return scan_step_triton(u, delta, A, B, C, D, z, delta_bias, state)
    q = F.softplus(_wide(delta) + _wide(delta_bias))
    wide = _wide(u)
    state.mul_(torch.exp(q.unsqueeze(-1) * A))
    state.add_((q * wide).unsqueeze(-1) * _wide(B).unsqueeze(1))
    y = (state * _wide(C).unsqueeze(1)).sum(-1) + _wide(D) * wide
    return (y * F.silu(_wide(z))).to(u.dtype)


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
