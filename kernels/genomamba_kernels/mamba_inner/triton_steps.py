"""The inside of a Mamba layer, backend "triton": forward and backward of a piece.

All that enters from before the piece is in its initial states. Letters as in interface.py.
"""

from __future__ import annotations

from typing import NamedTuple

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
    plan: Plan


def prepare(inputs: InnerInputs, plan: Plan) -> Prepared:
    """Convolution and projections. The plan is the scan's, in both directions."""
    x, z = inputs.xz.chunk(2, dim=-1)
    conv_state = inputs.conv_state
    if conv_state is not None and conv_state.numel() == 0:
        conv_state = None
    conv = ConvInputs(x, inputs.conv_weight, inputs.conv_bias, "silu", conv_state, inputs.seq_idx)
    u = conv_forward(conv)
    rank, dtype = inputs.rank, inputs.projection_dtype
    states = inputs.groups * inputs.A.shape[1]
    x_dbl = u.flatten(0, 1).to(dtype) @ inputs.x_proj_weight.to(dtype).T
    delta = x_dbl[:, :rank] @ inputs.dt_proj_weight.to(dtype).T
    _, B, C = x_dbl.view(*u.shape[:2], -1).split((rank, states, states), dim=-1)
    scan = ScanInputs(
        u,
        delta.view_as(u),
        inputs.A,
        B.unflatten(-1, (inputs.groups, -1)),
        C.unflatten(-1, (inputs.groups, -1)),
        None if inputs.D is None else inputs.D.float(),
        z,
        None if inputs.dt_bias is None else inputs.dt_bias.float(),
        True,
        None if inputs.seq_idx is None else sequence_starts(inputs.seq_idx),
    )
    return Prepared(conv, scan, share(scan, plan), x_dbl, plan)


def run_scan(
    prepared: Prepared,
    scan_state: Tensor | None,
    *,
    save: bool,
    y: Tensor | None = None,
    entering: Tensor | None = None,
    share: Share | None = None,
) -> Forward:
    """Arguments as `scan_forward`'s."""
    scan, shared, _, plan = prepared[1:]
    return scan_forward(scan, shared, scan_state, plan, save, y=y, entering=entering, share=share)


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


class Sums(NamedTuple):
    """Gradients of the parameters, float32, to which every piece adds its part."""

    conv_weight: Tensor
    conv_bias: Tensor
    x_proj_weight: Tensor
    dt_proj_weight: Tensor
    A: Tensor
    D: Tensor
    dt_bias: Tensor

    @classmethod
    def zeros(cls, inputs: InnerInputs) -> Sums:
        channels = inputs.A.shape[0]

        def zeros(*shape: int) -> Tensor:
            return inputs.A.new_zeros(shape, dtype=torch.float32)

        return cls(
            zeros(*inputs.conv_weight.shape),
            zeros(channels),
            zeros(*inputs.x_proj_weight.shape),
            zeros(*inputs.dt_proj_weight.shape),
            zeros(*inputs.A.shape),
            zeros(channels),
            zeros(channels),
        )

    def like(self, inputs: InnerInputs) -> tuple[Tensor | None, ...]:
        """In the dtypes of the parameters; None for those that are absent."""
        parameters = (getattr(inputs, name) for name in self._fields)
        return tuple(
            None if parameter is None else total.to(parameter.dtype)
            for parameter, total in zip(parameters, self, strict=True)
        )


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
    conv, scan, shared, x_dbl, plan = prepared
    share = inputs.share
    grads = scan_backward(
        scan, shared, saved, grad_y, grad_scan_state, plan, grad_z=grad_z, share=share
    )
    u = scan.u.flatten(0, 1).to(x_dbl.dtype)
    sums.A.add_(grads.A)
    if grads.D is not None:
        sums.D.add_(grads.D)
    if grads.delta_bias is not None:
        sums.dt_bias.add_(grads.delta_bias)

    rank = inputs.rank
    grad_u, grad_delta = grads.u.flatten(0, 1), grads.delta.flatten(0, 1).to(x_dbl.dtype)
    grad_x_dbl = torch.empty_like(x_dbl)
    torch.mm(grad_delta, inputs.dt_proj_weight.to(x_dbl.dtype), out=grad_x_dbl[:, :rank])
    sums.dt_proj_weight.add_(product(grad_delta.T, x_dbl[:, :rank]))
    torch.cat([grads.B.view(len(u), -1), grads.C.view(len(u), -1)], 1, out=grad_x_dbl[:, rank:])
    grad_scan_state = grads.initial_state
    sums.x_proj_weight.add_(product(grad_x_dbl.T, u))
    weight = inputs.x_proj_weight.to(x_dbl.dtype)
    if grad_u.dtype == x_dbl.dtype:
        grad_u.addmm_(grad_x_dbl, weight)
    else:
        grad_u += grad_x_dbl @ weight

    of_piece = grad_conv_state if share is None else None
    conv_grads = conv_backward(conv, grad_u.view(conv.x.shape), of_piece, grad_x)
    sums.conv_weight.add_(conv_grads.weight)
    sums.conv_bias.add_(conv_grads.bias)
    grad_conv_state = conv_state_gradients(
        inputs, conv_grads.initial_state, grad_conv_state, grad_x
    )
    return grad_conv_state, grad_scan_state


def product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b in float32: a parameter's gradient is a sum over all positions."""
    if a.dtype == torch.float32:
        return a @ b
    if a.is_cuda:
        return torch.mm(a, b, out_dtype=torch.float32)
    return a.float() @ b.float()
