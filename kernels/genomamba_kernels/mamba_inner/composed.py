"""The inside of a Mamba layer as the operators one after another: the definition.

Serves the backends "torch" and "reference"; autograd keeps every operator's inputs.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from genomamba_kernels.causal_conv1d import causal_conv1d
from genomamba_kernels.mamba_inner.inputs import InnerInputs
from genomamba_kernels.selective_scan import selective_scan
from genomamba_kernels.sharing import Share, pass_on


def mamba_inner_composed(inputs: InnerInputs, backend: str) -> tuple[Tensor, Tensor, Tensor]:
    """Returns (y, conv_state, scan_state)."""
    x, z = inputs.xz.chunk(2, dim=-1)
    conv_state, share, last = inputs.conv_state, inputs.share, None
    if share is not None:
        tail = _last_inputs(x, inputs.conv_weight.shape[1] - 1, inputs.seq_idx)
        conv_state, last = pass_on(None, tail, conv_state, share)
    u, conv_state = causal_conv1d(
        x,
        inputs.conv_weight,
        inputs.conv_bias,
        activation="silu",
        initial_state=conv_state,
        return_final_state=True,
        seq_idx=inputs.seq_idx,
        backend=backend,
    )
    dtype = inputs.projection_dtype
    states = inputs.groups * inputs.A.shape[1]
    x_dbl = F.linear(u.to(dtype), inputs.x_proj_weight.to(dtype))
    dt, B, C = x_dbl.split((inputs.rank, states, states), dim=-1)
    scanned = (
        u,
        # The bias joins inside the scan, in its precision.
        F.linear(dt, inputs.dt_proj_weight.to(dtype)),
        inputs.A,
        B.unflatten(-1, (inputs.groups, -1)),
        C.unflatten(-1, (inputs.groups, -1)),
    )
    options = {
        "delta_bias": inputs.dt_bias,
        "delta_softplus": True,
        "return_final_state": True,
        "seq_idx": inputs.seq_idx,
        "backend": backend,
    }
    if share is None:
        y, scan_state = selective_scan(
            *scanned, inputs.D, z, initial_state=inputs.scan_state, **options
        )
        return y, conv_state, scan_state
    assert last is not None
    entering, scan_state = _scan_states(scanned, inputs.scan_state, share, options)
    y, _ = selective_scan(*scanned, inputs.D, z, initial_state=entering, **options)
    return y, last, scan_state


def _scan_states(
    scanned: tuple[Tensor, ...], before: Tensor | None, share: Share, options: dict[str, Any]
) -> tuple[Tensor, Tensor]:
    """What enters this rank's share, and what leaves the last one's.

    A scan of its own, of which only the state that it leaves is used: the Triton backend instead
    makes the exchange between the two passes that its scan has anyway.
    """
    _, leaving = selective_scan(*scanned, **options)
    # Not kept for backward: tensors of delta's shape in the precision of A.
    decay = checkpoint(
        _decay,
        scanned[1],
        options["delta_bias"],
        scanned[2],
        options["seq_idx"],
        use_reentrant=False,
        preserve_rng_state=False,
    )
    assert isinstance(decay, Tensor)
    return pass_on(decay, leaving, before, share)


def _last_inputs(x: Tensor, past: int, seq_idx: Tensor | None) -> Tensor:
    """(B, past, D): the end of x (B, L, D), zero where it is of a sequence before the last."""
    tail = x[:, x.shape[1] - past :]
    if seq_idx is None:
        return tail
    owner = seq_idx[:, seq_idx.shape[1] - past :]
    return torch.where((owner == seq_idx[:, -1:])[..., None], tail, 0.0)


def _decay(delta: Tensor, dt_bias: Tensor | None, A: Tensor, seq_idx: Tensor | None) -> Tensor:
    """(B, D, N): the part of an entering state that is left after the last position."""
    delta = delta.to(A.dtype)
    total = F.softplus(delta if dt_bias is None else delta + dt_bias).sum(1)
    decay = torch.exp(total[..., None] * A)
    if seq_idx is None:
        return decay
    one_sequence = seq_idx[:, 0] == seq_idx[:, -1]  # it does not decrease
    return torch.where(one_sequence[:, None, None], decay, 0.0)
