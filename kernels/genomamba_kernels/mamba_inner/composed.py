"""The inside of a Mamba layer as the operators one after another: the definition.

Serves the backends "torch" and "reference"; autograd keeps every operator's inputs.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from genomamba_kernels.causal_conv1d import causal_conv1d
from genomamba_kernels.mamba_inner.inputs import InnerInputs
from genomamba_kernels.selective_scan import selective_scan


def mamba_inner_composed(inputs: InnerInputs, backend: str) -> tuple[Tensor, Tensor, Tensor]:
    """Returns (y, conv_state, scan_state)."""
    x, z = inputs.xz.chunk(2, dim=-1)
    u, conv_state = causal_conv1d(
        x,
        inputs.conv_weight,
        inputs.conv_bias,
        activation="silu",
        initial_state=inputs.conv_state,
        return_final_state=True,
        seq_idx=inputs.seq_idx,
        backend=backend,
    )
    dtype = inputs.projection_dtype
    states = inputs.groups * inputs.A.shape[1]
    x_dbl = F.linear(u.to(dtype), inputs.x_proj_weight.to(dtype))
    dt, B, C = x_dbl.split((inputs.rank, states, states), dim=-1)
    y, scan_state = selective_scan(
        u,
        # The bias joins inside the scan, in its precision.
        F.linear(dt, inputs.dt_proj_weight.to(dtype)),
        inputs.A,
        B.unflatten(-1, (inputs.groups, -1)),
        C.unflatten(-1, (inputs.groups, -1)),
        inputs.D,
        z=z,
        delta_bias=inputs.dt_bias,
        delta_softplus=True,
        initial_state=inputs.scan_state,
        return_final_state=True,
        seq_idx=inputs.seq_idx,
        backend=backend,
    )
    return y, conv_state, scan_state
