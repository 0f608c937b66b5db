"""Causal depthwise convolution: the one public function, its checks and the choice of a backend.

Letters: B batch, L length, D channels.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from genomamba_kernels.autocasting import NoAutocast
from genomamba_kernels.backends import check_triton, resolve_backend
from genomamba_kernels.causal_conv1d.autograd import causal_conv1d_torch
from genomamba_kernels.causal_conv1d.inputs import ConvInputs
from genomamba_kernels.causal_conv1d.reference import causal_conv1d_reference
from genomamba_kernels.checks import check_seq_idx, check_tensor

ACTIVATIONS = (None, "silu", "swish")


def causal_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    activation: str | None = None,
    initial_state: Tensor | None = None,
    return_final_state: bool = False,
    seq_idx: Tensor | None = None,
    backend: str = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """Convolves every channel with its own short filter over the present and the past.

        y_t = activation(bias + sum_k weight[:, k] x_{t - (d_conv - 1) + k})

    Names and meanings are those of causal-conv1d's `causal_conv1d_fn`, but channels come last.
    Sums are kept in float32, or in float64 for float64 data, under autocast too.

    Args:
        x: (B, L, D) input.
        weight: (D, d_conv), the last column meets the present position.
        bias: (D,).
        activation: None, or "silu" or its other name "swish".
        initial_state: (B, d_conv - 1, D), the inputs before a row's first position, oldest first;
            zero if absent.
        return_final_state: whether a row's last d_conv - 1 inputs are returned too.
        seq_idx: (B, L) int32, non-decreasing: where it changes the window restarts from exact zero,
            and a NaN or infinity of one sequence does not reach another's outputs or gradients.
        backend: "triton" (on a GPU, for data shorter than float64), "torch" (anywhere),
            "reference" (step by step), or "auto": the environment variable GENOMAMBA_BACKEND, else
            "triton" where it runs and "torch" elsewhere.

    Returns:
        y (B, L, D) in x's dtype; with return_final_state, (y, state (B, d_conv - 1, D) in x's
        dtype), zero where a row's last sequence is shorter than the window. All tensors but
        seq_idx are differentiable, once.

    Raises:
        ValueError: an argument's shape, dtype, device or value is not the expected one.
    """
    check_tensor("x", x, "(B, L, D)", (-1, -1, -1))
    backend = resolve_backend(backend, x)
    batch, length, channels = x.shape
    check_tensor("weight", weight, "(D, d_conv)", (channels, -1), x)
    past = weight.shape[1] - 1
    if bias is not None:
        check_tensor("bias", bias, "(D,)", (channels,), x)
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation: expected one of {ACTIVATIONS}, got {activation!r}")
    if initial_state is not None:
        check_tensor(
            "initial_state", initial_state, "(B, d_conv - 1, D)", (batch, past, channels), x
        )
    if seq_idx is not None:
        check_seq_idx(seq_idx, batch, length, x)

    with NoAutocast(x.device.type):
        inputs = ConvInputs(x, weight, bias, activation, initial_state, seq_idx)
        y, final_state = _choose(backend, x)(inputs)
    return (y, final_state) if return_final_state else y


def _choose(backend: str, x: Tensor) -> Callable[[ConvInputs], tuple[Tensor, Tensor]]:
    if backend == "torch":
        return causal_conv1d_torch
    if backend == "reference":
        return causal_conv1d_reference
    check_triton(x)
    # Not at the top: importing this package must not import Triton, which may be absent.
    from genomamba_kernels.causal_conv1d.triton_autograd import causal_conv1d_triton

    return causal_conv1d_triton
