"""The inside of a Mamba layer, backend "triton": its work on one piece of the batch.

What lies between the operators (u, delta, their gradients, the parts of dB and dC) is as large as
the layer's input, and lives only as long as a piece is worked on. So a long row is cut into pieces
that carry both states from one to the next, forward, and their gradients, backward; and short rows
are taken several at a time. Results depend on the cut by rounding only.

Letters: B batch, L length, D channels, N states, G groups, R rank of the step size.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from genomamba_kernels.causal_conv1d.inputs import ConvInputs
from genomamba_kernels.causal_conv1d.triton_launch import conv_backward, conv_forward
from genomamba_kernels.mamba_inner.inputs import InnerInputs
from genomamba_kernels.packing import sequence_starts
from genomamba_kernels.selective_scan.inputs import ScanInputs
from genomamba_kernels.selective_scan.triton_launch import scan_backward, scan_forward
from genomamba_kernels.selective_scan.triton_layout import share
from genomamba_kernels.selective_scan.triton_plan import DEFAULT_PLAN

PIECE = 2**26  # channel-positions: enough of them fill the card


class Piece(NamedTuple):
    """Consecutive positions of some rows; of all positions, if there are several rows."""

    rows: slice
    positions: slice

    def of(self, x: Tensor) -> Tensor:
        """The piece of x (B, L, ...): a view."""
        return x[self.rows, self.positions]


def cut(batch: int, length: int, channels: int) -> list[list[Piece]]:
    """The pieces: for some rows at a time, those of their length in order."""
    rows = max(1, PIECE // (length * channels))
    steps = length if rows > 1 else max(1, PIECE // channels)
    count = -(-length // steps)
    steps = -(-length // (count * 64)) * 64  # equal pieces, of whole tiles
    return [
        [
            Piece(slice(row, min(row + rows, batch)), slice(start, min(start + steps, length)))
            for start in range(0, length, steps)
        ]
        for row in range(0, batch, rows)
    ]


class Before(NamedTuple):
    """What a piece has in common forward and backward: its inputs to the convolution and scan."""

    conv: ConvInputs
    scan: ScanInputs
    x_dbl: Tensor  # (rows * steps, R + 2 G N)


def history(inputs: InnerInputs, x: Tensor, piece: Piece) -> Tensor | None:
    """(rows, d_conv - 1, D): the inputs before a piece, or None if they are zero."""
    past, start = inputs.conv_weight.shape[1] - 1, piece.positions.start
    if past == 0:
        return None
    state = None if inputs.conv_state is None else inputs.conv_state[piece.rows]
    if start == 0:
        return None if state is None else state.contiguous()
    found = x[piece.rows, max(0, start - past) : start]
    if start < past:
        if state is None:
            state = x.new_zeros(found.shape[0], past, x.shape[2])
        found = torch.cat([state[:, start:].to(x.dtype), found], dim=1)
    return same_sequence(inputs.seq_idx, piece, found)


def same_sequence(seq_idx: Tensor | None, piece: Piece, found: Tensor) -> Tensor:
    """`found` (rows, E, D) of the E positions before a piece, zero where they are not of its first
    position's sequence. Before a row's first position there is only its first sequence."""
    if seq_idx is None:
        return found.contiguous()
    start = piece.positions.start
    positions = torch.arange(start - found.shape[1], start, device=found.device).clamp(min=0)
    owners = seq_idx[piece.rows]
    same = owners[:, positions] == owners[:, start : start + 1]
    return torch.where(same.unsqueeze(-1), found, 0.0)


def prepare(inputs: InnerInputs, piece: Piece) -> Before:
    """Convolution and projections of a piece."""
    x, z = inputs.xz.chunk(2, dim=-1)
    conv = ConvInputs(
        piece.of(x),
        inputs.conv_weight,
        inputs.conv_bias,
        "silu",
        history(inputs, x, piece),
        None if inputs.seq_idx is None else piece.of(inputs.seq_idx).contiguous(),
    )
    u = conv_forward(conv)
    rank, dtype = inputs.rank, inputs.projection_dtype
    states = inputs.groups * inputs.A.shape[1]
    x_dbl = u.flatten(0, 1).to(dtype) @ inputs.x_proj_weight.to(dtype).T
    delta = x_dbl[:, :rank] @ inputs.dt_proj_weight.to(dtype).T
    _, B, C = x_dbl.view(*u.shape[:2], -1).split((rank, states, states), dim=-1)
    starts = None
    if inputs.seq_idx is not None:
        start, stop = piece.positions.start, piece.positions.stop
        before = max(0, start - 1)  # what precedes the piece's first position tells if that starts
        starts = sequence_starts(inputs.seq_idx[piece.rows, before:stop])[:, start - before :]
    scan = ScanInputs(
        u,
        delta.view_as(u),
        inputs.A,
        B.unflatten(-1, (inputs.groups, -1)),
        C.unflatten(-1, (inputs.groups, -1)),
        None if inputs.D is None else inputs.D.float(),
        piece.of(z),
        None if inputs.dt_bias is None else inputs.dt_bias.float(),
        True,
        starts,
    )
    return Before(conv, scan, x_dbl)


def forward_piece(
    inputs: InnerInputs, piece: Piece, scan_state: Tensor | None, save: bool, y: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Writes the piece's y; returns the scan's state after it (rows, D, N), and what to save."""
    scan = prepare(inputs, piece).scan
    plan = DEFAULT_PLAN
    result = scan_forward(scan, share(scan, plan), scan_state, plan, save, y=piece.of(y))
    return result.final_state, result.saved


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
            return inputs.xz.new_zeros(shape, dtype=torch.float32)

        return cls(
            zeros(*inputs.conv_weight.shape),
            zeros(channels),
            zeros(*inputs.x_proj_weight.shape),
            zeros(*inputs.dt_proj_weight.shape),
            zeros(*inputs.A.shape),
            zeros(channels),
            zeros(channels),
        )


def backward_piece(
    inputs: InnerInputs,
    piece: Piece,
    saved: Tensor,
    grad_y: Tensor,
    grad_conv_state: Tensor | None,
    grad_scan_state: Tensor | None,
    grad_xz: Tensor,
    sums: Sums,
) -> tuple[Tensor | None, Tensor]:
    """Writes the piece of grad_xz and adds to the sums.

    grad_conv_state and grad_scan_state are the gradients of the states after the piece; those of
    the states before it are returned.
    """
    grad_x, grad_z = (piece.of(half) for half in grad_xz.chunk(2, dim=-1))
    conv, scan, x_dbl = prepare(inputs, piece)
    plan = DEFAULT_PLAN
    grads = scan_backward(
        scan, share(scan, plan), saved, piece.of(grad_y), grad_scan_state, plan, grad_z=grad_z
    )
    u = scan.u.flatten(0, 1).to(x_dbl.dtype)
    del scan  # its delta is not needed any more
    sums.A.add_(grads.A)
    if grads.D is not None:
        sums.D.add_(grads.D)
    if grads.delta_bias is not None:
        sums.dt_bias.add_(grads.delta_bias)

    rank = inputs.rank
    grad_u, grad_delta = grads.u.flatten(0, 1), grads.delta.flatten(0, 1)
    grad_x_dbl = torch.empty_like(x_dbl)
    torch.mm(grad_delta, inputs.dt_proj_weight.to(x_dbl.dtype), out=grad_x_dbl[:, :rank])
    sums.dt_proj_weight.add_(product(grad_delta.T, x_dbl[:, :rank]))
    grad_scan_state = grads.initial_state.mT.contiguous()
    torch.cat([grads.B.view(len(u), -1), grads.C.view(len(u), -1)], 1, out=grad_x_dbl[:, rank:])
    del grad_delta, grads
    sums.x_proj_weight.add_(product(grad_x_dbl.T, u))
    del u
    weight = inputs.x_proj_weight.to(x_dbl.dtype)
    if grad_u.dtype == x_dbl.dtype:
        grad_u.addmm_(grad_x_dbl, weight)
    else:
        grad_u += grad_x_dbl @ weight

    conv_grads = conv_backward(conv, grad_u.view(conv.x.shape), grad_conv_state, grad_x)
    sums.conv_weight.add_(conv_grads.weight)
    sums.conv_bias.add_(conv_grads.bias)
    grad_conv_state = conv_grads.initial_state
    if grad_conv_state is not None and piece.positions.start > 0:
        grad_conv_state = same_sequence(inputs.seq_idx, piece, grad_conv_state)
    return grad_conv_state, grad_scan_state


def product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b in float32: a parameter's gradient is a sum over all positions."""
    if a.dtype == torch.float32:
        return a @ b
    if a.is_cuda:
        return torch.mm(a, b, out_dtype=torch.float32)
    return a.float() @ b.float()
