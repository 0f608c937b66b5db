"""Selective scan, step by step: the definition that every other backend is held against.

Plain autograd, any floating dtype (float64 included), time and memory linear in the length.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from genomamba_kernels.checks import accumulate_dtype
from genomamba_kernels.selective_scan.inputs import ScanInputs


def selective_scan_reference(
    inputs: ScanInputs, initial_state: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Returns (y, final_state); the arguments are the interface's."""
    u, delta, A, B, C, D, z, delta_bias, delta_softplus, starts = inputs
    dtype = accumulate_dtype(u)
    batch, _, channels = u.shape
    groups, states = B.shape[2:]
    grouped = (groups, channels // groups)

    x = u.to(dtype)
    q = delta.to(dtype)
    if delta_bias is not None:
        q = q + delta_bias.to(dtype)
    if delta_softplus:
        q = F.softplus(q)
    A = A.to(dtype).unflatten(0, grouped)
    if initial_state is None:
        h = x.new_zeros(batch, *grouped, states)
    else:
        h = initial_state.to(dtype).unflatten(1, grouped)

    ys = []
    # unbind, because an index select's gradient is as long as the sequence: quadratic time.
    steps = zip(
        x.unflatten(2, grouped).unsqueeze(-1).unbind(1),
        q.unflatten(2, grouped).unsqueeze(-1).unbind(1),
        B.to(dtype).unsqueeze(-2).unbind(1),
        C.to(dtype).unsqueeze(-2).unbind(1),
        strict=True,
    )
    start_of_step = None if starts is None else starts[:, :, None, None, None].unbind(1)
    for t, (x_t, q_t, B_t, C_t) in enumerate(steps):
        if start_of_step is not None:
            # where, not a product with zero: a NaN must stay in its own sequence.
            h = torch.where(start_of_step[t], 0.0, h)
        h = torch.exp(q_t * A) * h + (q_t * x_t) * B_t
        ys.append((h * C_t).sum(-1))

    y = torch.stack(ys, dim=1).flatten(2)
    if D is not None:
        y = y + D.to(dtype) * x
    if z is not None:
        y = y * F.silu(z.to(dtype))
    return y.to(u.dtype), h.flatten(1, 2)
