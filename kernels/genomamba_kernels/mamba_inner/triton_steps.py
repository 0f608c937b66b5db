"""The inside of a Mamba layer, backend "triton": forward and backward of a piece.

All that enters from before the piece is in its initial states. Letters as in interface.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from genomamba_kernels.causal_conv1d.inputs import ConvInputs
from genomamba_kernels.causal_conv1d.triton_launch import conv_backward, conv_forward, final_state
from genomamba_kernels.mamba_inner.inputs import InnerInputs
from genomamba_kernels.packing import sequence_starts
from genomamba_kernels.selective_scan.inputs import ScanInputs
from genomamba_kernels.selective_scan.triton_launch import Forward, scan_backward, scan_forward
from genomamba_kernels.selective_scan.triton_layout import Shared, share
from genomamba_kernels.selective_scan.triton_plan import Plan
from genomamba_kernels.sharing import Share, gradients_between, states_between


class Prepared(NamedTuple):
    """What forward and backward have in common: the inputs of the convolution and the scan."""

    conv: ConvInputs
    scan: ScanInputs
    shared: Shared
    x_dbl: Tensor  # (B L, R + 2 G N)
    x_proj_weight: Tensor  # in the projections' dtype, as is the next
    dt_proj_weight: Tensor
    plan: Plan


def prepare(inputs: InnerInputs, plan: Plan) -> Prepared:
    """Convolution and projections. The plan is the scan's, in both directions."""
    x, z = inputs.xz.chunk(2, dim=-1)
    conv_state = inputs.conv_state
    if conv_state is not None and conv_state.numel() == 0:
        conv_state = None
    conv = ConvInputs(x, inputs.conv_weight, inputs.conv_bias, "silu", conv_state, inputs.seq_idx)
    u = conv_forward(conv)
    dtype = inputs.projection_dtype
    x_proj_weight, dt_proj_weight = inputs.x_proj_weight.to(dtype), inputs.dt_proj_weight.to(dtype)
    x_dbl = u.flatten(0, 1).to(dtype) @ x_proj_weight.T
    delta = x_dbl[:, : inputs.rank] @ dt_proj_weight.T
    B, C = parts_BC(inputs, x_dbl)
    scan = ScanInputs(
        u,
        delta.view(u.shape),
        inputs.A,
        B,
        C,
        None if inputs.D is None else inputs.D.float(),
        z,
        None if inputs.dt_bias is None else inputs.dt_bias.float(),
        True,
        None if inputs.seq_idx is None else sequence_starts(inputs.seq_idx),
    )
    return Prepared(conv, scan, share(scan, plan), x_dbl, x_proj_weight, dt_proj_weight, plan)


def parts_BC(inputs: InnerInputs, x_dbl: Tensor) -> tuple[Tensor, Tensor]:
    """B and C (B, L, G, N), which lie in x_dbl (B L, R + 2 G N)."""
    batch, length = inputs.xz.shape[:2]
    groups, states, width = inputs.groups, inputs.A.shape[1], x_dbl.shape[1]
    shape, strides = (batch, length, groups, states), (length * width, width, states, 1)
    B = x_dbl.as_strided(shape, strides, inputs.rank)
    return B, x_dbl.as_strided(shape, strides, inputs.rank + groups * states)


def run_scan(
    prepared: Prepared,
    scan_state: Tensor | None,
    *,
    save: bool,
    y: Tensor | None = None,
    entering: Tensor | None = None,
    share: Share | None = None,
    in_parts: bool = False,
) -> Forward:
    """Arguments as `scan_forward`'s."""
    return scan_forward(
        prepared.scan,
        prepared.shared,
        scan_state,
        prepared.plan,
        save,
        y=y,
        entering=entering,
        share=share,
        in_parts=in_parts,
    )


def pass_conv_state(inputs: InnerInputs) -> tuple[InnerInputs, Tensor]:
    """The inputs with the convolution's state (B, d_conv - 1, D) before the piece, and the state
    after it; of a share, the one before comes from the other ranks, as does the one after all."""
    x = inputs.xz.chunk(2, dim=-1)[0]
    share, before = inputs.share, inputs.conv_state
    given = before if share is None else None
    after = final_state(ConvInputs(x, inputs.conv_weight, None, None, given, inputs.seq_idx))
    if share is None or after.numel() == 0:
        return inputs, after
    entering, after = states_between(None, after, before, share)
    return inputs._replace(conv_state=entering.contiguous()), after


def conv_state_gradients(
    inputs: InnerInputs, grad_entering: Tensor | None, grad_after: Tensor | None, grad_x: Tensor
) -> Tensor | None:
    """Of a share: adds to grad_x (B, L, D) what comes back from the next, and returns the gradient
    of the convolution's state before all of them."""
    if inputs.share is None or grad_entering is None:
        return grad_entering
    grad_leaving, grad_before = gradients_between(None, grad_entering, grad_after, inputs.share)
    past = grad_leaving.shape[1]
    if inputs.seq_idx is not None:  # the state after is zero where another sequence has it
        owners = inputs.seq_idx[:, -past:, None]
        grad_leaving = torch.where(owners == owners[:, -1:], grad_leaving, 0.0)
    grad_x[:, -past:] += grad_leaving
    return grad_before


class Sums:
    """Gradients of parameters, float32 or of the parameter's dtype: sums over the pieces."""

    def __init__(self) -> None:
        self._of: dict[str, Tensor] = {}

    def add(self, **parts: Tensor | None) -> None:
        """A piece's parts, by the parameter's name. Takes them over."""
        for name, part in parts.items():
            if part is not None:
                total = self._of.get(name)
                self._of[name] = part if total is None else total.add_(part)

    def like(self, inputs: Any, names: Sequence[str]) -> tuple[Tensor | None, ...]:
        """Of the fields of these names, in their dtypes; None for those that are absent."""
        parameters = [getattr(inputs, name) for name in names]
        return tuple(
            None if parameter is None else self._of[name].to(parameter.dtype)
            for name, parameter in zip(names, parameters, strict=True)
        )


INNER = ("conv_weight", "conv_bias", "x_proj_weight", "dt_proj_weight", "A", "D", "dt_bias")


def backward(
    inputs: InnerInputs,
    prepared: Prepared,
    saved: Tensor,
    grad_y: Tensor,
    grad_states: tuple[Tensor | None, ...],
    grad_xz: Tensor,
    sums: Sums,
) -> tuple[Tensor | None, Tensor]:
    """Writes grad_xz and adds to the sums.

    grad_states are the gradients of the convolution's and the scan's state after the piece; those
    of the states before it are returned.
    """
    grad_x, grad_z = grad_xz.chunk(2, dim=-1)
    grad_conv_state, grad_scan_state = grad_states
    conv, scan, x_dbl = prepared.conv, prepared.scan, prepared.x_dbl
    share, rank, dtype = inputs.share, inputs.rank, prepared.x_dbl.dtype
    grad_x_dbl = torch.empty_like(x_dbl)
    grads = scan_backward(
        scan,
        prepared.shared,
        saved,
        grad_y,
        grad_scan_state,
        prepared.plan,
        grad_z=grad_z,
        grad_BC=parts_BC(inputs, grad_x_dbl),
        share=share,
    )
    u = scan.u.flatten(0, 1).to(dtype)
    grad_u, grad_delta = grads.u.flatten(0, 1), grads.delta.flatten(0, 1).to(dtype)
    torch.mm(grad_delta, prepared.dt_proj_weight, out=grad_x_dbl[:, :rank])
    of_dt_proj = product(grad_delta.T, x_dbl[:, :rank])
    of_x_proj = product(grad_x_dbl.T, u)
    if grad_u.dtype == dtype:
        grad_u.addmm_(grad_x_dbl, prepared.x_proj_weight)
    else:
        grad_u += grad_x_dbl @ prepared.x_proj_weight

    of_piece = grad_conv_state if share is None else None
    conv_grads = conv_backward(conv, grads.u, of_piece, grad_x)
    sums.add(
        conv_weight=conv_grads.weight,
        conv_bias=conv_grads.bias,
        x_proj_weight=of_x_proj,
        dt_proj_weight=of_dt_proj,
        A=grads.A,
        D=grads.D,
        dt_bias=grads.delta_bias,
    )
    grad_conv_state = conv_state_gradients(
        inputs, conv_grads.initial_state, grad_conv_state, grad_x
    )
    return grad_conv_state, grads.initial_state


def product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b in float32: a parameter's gradient is a sum over all positions."""
    if a.dtype == torch.float32:
        return a @ b
    if a.is_cuda:
        return torch.mm(a, b, out_dtype=torch.float32)
    return a.float() @ b.float()
