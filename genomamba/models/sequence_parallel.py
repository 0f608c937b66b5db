"""One sequence over several processes: each works on a contiguous share of the positions.

The ranks of a process group hold the same weights and are given the same tokens. All that a layer
passes along the length is its state (DESIGN.md, "Length without bound"), and that is linear in the
state before: h_after = decay * h_before + leaving, where ``leaving`` is the state after a share if
zero enters it, and decay = exp(A sum q). So no rank waits for the one before it to finish: each
computes its pair, the pairs are exchanged once a layer, and each composes those before its own to
the state that enters its share. The convolution's last inputs are passed on likewise, with a decay
of zero.

Where a sequence ends inside a share or at its border, the decay is exactly zero. As in the scan's
kernels, a decay of zero lets nothing pass, not even a NaN.

The backward pass is the adjoint of all this. Each process calls backward on its own scalar, which
differentiates the sum of the scalars with respect to every process's copy of the weights. Where
each rank's scalar is the same loss of the whole sequence (``MambaForPretraining.loss`` and any loss
of ``MambaForClassification``'s logits), the *mean* of the ranks' gradients is the gradient of that
loss: what DistributedDataParallel computes.

Letters: B batch, L length, P ranks, D d_inner, N d_state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch import distributed as dist
from torch.autograd.function import once_differentiable

from genomamba.models.recompute import recomputed
from genomamba.models.state import LayerState
from genomamba_kernels import causal_conv1d, selective_scan


class Share(NamedTuple):
    """A rank's positions of a stretch, as a layer needs to know them."""

    group: dist.ProcessGroup
    goes_on: Tensor | None  # (B,) bool: the position before is of the same sequence; None: in all


def share_of(stretch: slice, group: dist.ProcessGroup, least: int) -> slice:
    """This rank's positions: contiguous, in the order of the ranks, as even as can be.

    Args:
        stretch: positions of all ranks together.
        group: the ranks.
        least: positions that every rank needs (what the convolution passes on).

    Raises:
        ValueError: the stretch is too short.
    """
    length, rank, ranks = stretch.stop - stretch.start, group.rank(), group.size()
    if length < ranks * least:
        raise ValueError(
            f"tokens: expected stretches of at least {least} positions for each of the {ranks} "
            f"ranks of a sequence, got positions {stretch.start} to {stretch.stop}"
        )
    return slice(
        stretch.start + length * rank // ranks, stretch.start + length * (rank + 1) // ranks
    )


def mamba_inner_of_share(
    xz: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    x_proj_weight: Tensor,
    dt_proj_weight: Tensor,
    A: Tensor,
    D: Tensor,
    dt_bias: Tensor,
    *,
    share: Share,
    initial_state: tuple[Tensor, Tensor] | None,
    seq_idx: Tensor | None,
    backend: str,
) -> tuple[Tensor, LayerState]:
    """``genomamba_kernels.mamba_inner`` of a share: what enters it comes from the ranks before.

    The scan runs twice, first for the state it leaves if zero enters; its outputs are not used.

    A kernel could spare nearly all of that: the Triton scan of a long row itself begins with a pass
    that makes each segment's decay and leaving state, and ends with one from the entering states.
    The exchange belongs between the two (selective_scan/triton_forward.py), and in backward
    likewise between the pass for the states' gradients and the rest.

    Args:
        xz: (B, L, 2 D) of this rank's positions; what follows as for ``mamba_inner``.
        share: where they are.
        initial_state: before the first rank's first position, the same on all ranks; None is zero.
        seq_idx: (B, L) of this rank's positions.

    Returns:
        y (B, L, D), and the state after the last rank's last position, the same on all ranks.
    """
    options: dict[str, Any] = {"seq_idx": seq_idx, "backend": backend}
    conv_before, scan_before = (None, None) if initial_state is None else initial_state
    x, z = xz.chunk(2, dim=-1)
    past = conv_weight.shape[1] - 1
    entering, conv_after = pass_on(None, _last_inputs(x, past, seq_idx), conv_before, share)
    u = causal_conv1d(
        x, conv_weight, conv_bias, activation="silu", initial_state=entering, **options
    )
    assert isinstance(u, Tensor)
    states = (x_proj_weight.shape[0] - dt_proj_weight.shape[1]) // 2
    dt, B, C = F.linear(u, x_proj_weight).split((dt_proj_weight.shape[1], states, states), dim=-1)
    # The bias joins inside the scan, in its precision; under autocast delta may be in half.
    delta = F.linear(dt, dt_proj_weight)
    scanned = (u, delta, A, B, C)
    options |= {"delta_bias": dt_bias, "delta_softplus": True, "return_final_state": True}
    _, leaving = selective_scan(*scanned, **options)
    # Not kept for backward: float32 tensors of delta's shape.
    decay = recomputed(_decay, delta, dt_bias, A, seq_idx)
    entering, scan_after = pass_on(decay, leaving, scan_before, share)
    y, _ = selective_scan(*scanned, D, z, initial_state=entering, **options)
    return y, LayerState(conv_after, scan_after)


def _last_inputs(x: Tensor, past: int, seq_idx: Tensor | None) -> Tensor:
    """(B, past, D): the end of x (B, L, D), zero where it is of a sequence before the last."""
    tail = x[:, x.shape[1] - past :]
    if seq_idx is None:
        return tail
    owner = seq_idx[:, seq_idx.shape[1] - past :]
    return torch.where((owner == seq_idx[:, -1:])[..., None], tail, 0.0)


def _decay(delta: Tensor, dt_bias: Tensor, A: Tensor, seq_idx: Tensor | None) -> Tensor:
    """(B, D, N): the part of an entering state that is left after the last position."""
    with torch.autocast(delta.device.type, enabled=False):
        total = F.softplus(delta.to(A.dtype) + dt_bias).sum(1)
        decay = torch.exp(total[..., None] * A)
    if seq_idx is None:
        return decay
    one_sequence = seq_idx[:, 0] == seq_idx[:, -1]  # it does not decrease
    return torch.where(one_sequence[:, None, None], decay, 0.0)


def pass_on(
    decay: Tensor | None, leaving: Tensor, before: Tensor | None, share: Share
) -> tuple[Tensor, Tensor]:
    """The exchange: what enters this rank's share, and what leaves the last one's.

    Args:
        decay: (B, D, N); None is zero.
        leaving: (B, D, N), or another shape without a decay.
        before: what enters the first rank's share; None is zero.
        share: this rank's.

    Returns:
        two tensors of the shape of leaving. All are differentiable.
    """
    if leaving.numel() == 0:  # a convolution of one position remembers nothing
        return leaving, leaving
    before = torch.zeros_like(leaving) if before is None else before.to(leaving.dtype)
    if share.goes_on is None:
        return PassOn.apply(share.group, decay, leaving, before)
    goes_on = share.goes_on[:, None, None]
    decay = None if decay is None else torch.where(goes_on, decay, 0.0)
    entering, after = PassOn.apply(share.group, decay, leaving, before)
    return torch.where(goes_on, entering, 0.0), after


class PassOn(torch.autograd.Function):
    """(entering, after) of (group, decay, leaving, before), linear in the states.

    With s_0 = before and s_{r+1} = decay_r s_r + leaving_r, rank r gets s_r and all get s_P. The
    adjoint of the states runs through the same chain from the last rank to the first; ``after`` and
    ``before`` are every rank's, so that their gradients are the sums over the ranks, and the one of
    ``before`` is returned on the first rank.
    """

    @staticmethod
    def forward(
        ctx: Any, group: dist.ProcessGroup, decay: Tensor | None, leaving: Tensor, before: Tensor
    ) -> tuple[Tensor, Tensor]:
        own = [leaving] if decay is None else [leaving, decay]
        gathered = gather(torch.stack(own), group)
        state, entering = before, before
        for rank, (leaving_there, *decay_there) in enumerate(gathered):
            if rank == group.rank():
                entering = state
            state = leaving_there + (cross(decay_there[0], state) if decay_there else 0)
        ctx.group, ctx.has_decay = group, decay is not None
        if decay is not None:
            ctx.save_for_backward(entering, *(decay_there for _, decay_there in gathered))
        return entering.clone(), state.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        group = ctx.group
        entering, *decays = ctx.saved_tensors if ctx.has_decay else (None,)
        gathered = gather(torch.stack(grads), group)
        grad = torch.stack([after for _, after in gathered]).sum(0)
        grad_decay = grad_leaving = None
        for rank in reversed(range(group.size())):
            if rank == group.rank():
                grad_leaving = grad
                if entering is not None:
                    grad_decay = torch.where(decays[rank] == 0, 0.0, grad * entering)
            grad = gathered[rank][0] + (cross(decays[rank], grad) if decays else 0)
        grad_before = grad if group.rank() == 0 else torch.zeros_like(grad)
        return None, grad_decay, grad_leaving, grad_before


class SumOverRanks(torch.autograd.Function):
    """The sum of the ranks' x, on every rank; the gradient is the sum of the ranks' gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        return _summed(x, group)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _summed(grad, ctx.group), None


def sum_over_ranks(x: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """x, summed over the ranks where there are several; differentiable."""
    return x if group is None else SumOverRanks.apply(x, group)


def _summed(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    total = x.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total, group=group)
    return total


def cross(decay: Tensor, state: Tensor) -> Tensor:
    return torch.where(decay == 0, 0.0, decay * state)


def gather(x: Tensor, group: dist.ProcessGroup) -> Sequence[Tensor]:
    """Every rank's x, in the order of the ranks."""
    parts = [torch.empty_like(x) for _ in range(group.size())]
    dist.all_gather(parts, x, group=group)
    return parts
