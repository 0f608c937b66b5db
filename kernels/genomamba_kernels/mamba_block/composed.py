"""A residual block as its operators one after another: the definition.

Serves the backends "torch" and "reference".
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from genomamba_kernels.mamba_block.inputs import OuterInputs
from genomamba_kernels.mamba_inner.composed import mamba_inner_composed
from genomamba_kernels.mamba_inner.inputs import InnerInputs
from genomamba_kernels.rms_norm import rms_norm


def mamba_block_composed(
    outer: OuterInputs, inner: InnerInputs, backend: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns (stream, conv_state, scan_state). `inner` lacks its xz."""
    dtype = outer.projection_dtype
    normed, stream = rms_norm(
        outer.stream, outer.norm_weight, outer.eps, out_dtype=dtype, backend=backend
    )

    def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype))

    xz = linear(normed, outer.in_proj_weight, outer.in_proj_bias)
    y, *states = mamba_inner_composed(inner._replace(xz=xz), backend)
    branch = linear(y, outer.out_proj_weight, outer.out_proj_bias)
    return (stream + branch).to(stream.dtype), states[0], states[1]
