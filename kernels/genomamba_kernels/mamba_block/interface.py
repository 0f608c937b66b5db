"""A residual Mamba block: the one public function, its checks and the choice of a backend.

Letters: B batch, L length, M channels of the stream (d_model), D channels inside (d_inner).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from genomamba_kernels.autocasting import NoAutocast
from genomamba_kernels.backends import check_triton, resolve_backend
from genomamba_kernels.checks import check_tensor
from genomamba_kernels.mamba_block.composed import mamba_block_composed
from genomamba_kernels.mamba_block.inputs import OuterInputs
from genomamba_kernels.mamba_inner.inputs import InnerInputs, projection_dtype
from genomamba_kernels.mamba_inner.interface import check_inner
from genomamba_kernels.sharing import Share


def mamba_block(
    stream: Tensor,
    norm_weight: Tensor,
    in_proj_weight: Tensor,
    in_proj_bias: Tensor | None,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    x_proj_weight: Tensor,
    dt_proj_weight: Tensor,
    A: Tensor,
    D: Tensor | None,
    dt_bias: Tensor | None,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    *,
    eps: float,
    initial_state: tuple[Tensor, Tensor] | None = None,
    return_final_state: bool = False,
    seq_idx: Tensor | None = None,
    share: Share | None = None,
    backend: str = "auto",
) -> Tensor | tuple[Tensor, tuple[Tensor, Tensor]]:
    """A block with its residual sum, of which only the stream is kept between forward and backward.

        stream + out_proj(mamba_inner(in_proj(rms_norm(stream))))

    The gradients are those of the operators one after another; backward computes them again. The
    backend "triton" then does so a piece at a time, and skips the first of the scan's two passes.
    The norm's result and the projections are in autocast's dtype where that is on, else in the
    dtype of in_proj_weight.

    Args:
        stream: (B, L, M).
        norm_weight: (M,) of the norm.
        in_proj_weight: (2 D, M).
        in_proj_bias: (2 D,).
        conv_weight: this and what follows up to dt_bias, as for `mamba_inner`.
        out_proj_weight: (M, D).
        out_proj_bias: (M,).
        eps: added to the mean square in the norm.
        initial_state: as for `mamba_inner`, like the rest.

    Returns:
        the stream (B, L, M) in its dtype; with return_final_state, (stream, (conv_state,
        scan_state)). All tensors but seq_idx are differentiable, once.

    Raises:
        ValueError: an argument's shape, dtype, device or value is not the expected one.
    """
    check_tensor("stream", stream, "(B, L, M)", (-1, -1, -1))
    backend = resolve_backend(backend, stream)
    width, channels = stream.shape[2], A.shape[0]
    check_tensor("norm_weight", norm_weight, "(M,)", (width,), stream)
    check_tensor("in_proj_weight", in_proj_weight, "(2 D, M)", (2 * channels, width), stream)
    check_tensor("out_proj_weight", out_proj_weight, "(M, D)", (width, channels), stream)
    if in_proj_bias is not None:
        check_tensor("in_proj_bias", in_proj_bias, "(2 D,)", (2 * channels,), stream)
    if out_proj_bias is not None:
        check_tensor("out_proj_bias", out_proj_bias, "(M,)", (width,), stream)
    dtype = projection_dtype(in_proj_weight)
    outer = OuterInputs(
        stream,
        norm_weight,
        in_proj_weight,
        in_proj_bias,
        out_proj_weight,
        out_proj_bias,
        eps,
        dtype,
    )
    conv_state, scan_state = (None, None) if initial_state is None else initial_state
    inner = InnerInputs(
        stream.new_empty(0),  # xz is not made as a whole
        conv_weight,
        conv_bias,
        x_proj_weight,
        dt_proj_weight,
        A,
        D,
        dt_bias,
        conv_state,
        scan_state,
        seq_idx,
        dtype,
        share,
    )
    check_inner(inner, stream, channels)
    with NoAutocast(stream.device.type):
        out, *final_state = _run(outer, inner, backend)
    return (out, (final_state[0], final_state[1])) if return_final_state else out


def _run(outer: OuterInputs, inner: InnerInputs, backend: str) -> tuple[Tensor, Tensor, Tensor]:
    if backend != "triton":
        if not torch.is_grad_enabled():
            return mamba_block_composed(outer, inner, backend)
        return checkpoint(
            mamba_block_composed,
            outer,
            inner,
            backend,
            use_reentrant=False,
            preserve_rng_state=False,
        )
    check_triton(outer.stream)
    # Not at the top: importing this package must not import Triton, which may be absent.
    from genomamba_kernels.mamba_block.triton_autograd import mamba_block_triton

    return mamba_block_triton(outer, inner)
