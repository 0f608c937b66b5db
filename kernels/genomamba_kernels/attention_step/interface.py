"""One position of attention at a time: the public function and the choice of a backend.

Letters: B rows, H heads, W head width, T positions that the cache has room for. Without gradients.
"""

from __future__ import annotations

import torch
from torch import Tensor

from genomamba_kernels.attention_step.torch_step import attention_step_torch
from genomamba_kernels.backends import check_triton, resolve_backend
from genomamba_kernels.checks import check_tensor


@torch.no_grad()
def attention_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    keys: Tensor,
    values: Tensor,
    position: Tensor,
    cosine: Tensor,
    sine: Tensor,
    *,
    backend: str = "auto",
) -> Tensor:
    """Turns q and k, puts k and v into the cache at ``position``, attends to it and all before.

        y = softmax(q K^T / sqrt(W)) V,  K and V of the positions 0 to ``position``

    Rotary as in Su et al. 2021 (arXiv:2104.09864, section 3.2.2): entries i and i + W / 2 are
    turned together. On a GPU nothing is asked of the device and all shapes and addresses are
    constant, so that a CUDA graph can record the call.

    Args:
        q, k, v: (B, H, W), not yet turned, W even.
        keys, values: (B, H, T, W), contiguous: the cache. What lies after ``position`` must be
            finite and does not count.
        position: (1,) int64, below T, on the device; the caller moves it on.
        cosine, sine: (T, W / 2) of the angles, by position.
        backend: as in ``causal_conv1d``; "reference" is "torch".

    Returns:
        y (B, H, W) in q's dtype; NaN from "triton" where ``position`` is T or more, which from
        "torch" is an IndexError, or a device-side assertion.

    Raises:
        ValueError: an argument's shape or device is not the expected one.
    """
    check_tensor("q", q, "(B, H, W)", (-1, -1, -1))
    rows, heads, width = q.shape
    if width % 2:
        raise ValueError(f"q: expected an even head width W, got {width}")
    for name, tensor in (("k", k), ("v", v)):
        check_tensor(name, tensor, "(B, H, W)", (rows, heads, width), q)
    check_tensor("keys", keys, "(B, H, T, W)", (rows, heads, -1, width), q)
    room = keys.shape[2]
    check_tensor("values", values, "(B, H, T, W)", (rows, heads, room, width), q)
    for name, tensor in (("cosine", cosine), ("sine", sine)):
        check_tensor(name, tensor, "(T, W / 2)", (room, width // 2), q)
    if position.shape != (1,) or position.dtype != torch.int64 or position.device != q.device:
        raise ValueError(
            f"position: expected int64 of shape (1,) on {q.device}, "
            f"got {position.dtype} {tuple(position.shape)} on {position.device}"
        )
    if not (keys.is_contiguous() and values.is_contiguous()):
        raise ValueError("keys, values: expected contiguous tensors, got strided ones")
    arguments = (q, k, v, keys, values, position, cosine, sine)
    if resolve_backend(backend, q) == "triton":
        check_triton(q)
        # Not at the top: importing this package must not import Triton, which may be absent.
        from genomamba_kernels.attention_step.triton_launch import attention_step_triton

        return attention_step_triton(*arguments)
    return attention_step_torch(*arguments)
