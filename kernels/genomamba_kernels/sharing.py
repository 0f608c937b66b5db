"""One sequence over several processes: what passes from one's share of the positions to the next's.

The ranks of a process group each hold a contiguous share, in the order of the ranks. A state that
passes along the length is linear in the state before a share: with ``leaving``, what the share
leaves if zero enters it, and its ``decay``,

    s_0 = before,    s_{r+1} = decay_r s_r + leaving_r,    s_P = after.

So no rank waits for the one before it to finish: each computes its pair, the pairs are exchanged
at once, and each composes those before its own to the state that enters its share. The state of a
convolution passes on likewise, with a decay of zero.

Backward is the adjoint: with g_r the gradient at s_r, and ``grad_entering_r`` what share r makes of
its own outputs' gradients if zero comes back to it from the next,

    g_P = sum_r grad_after_r,    g_r = decay_r g_{r+1} + grad_entering_r.

``after`` and ``before`` are every rank's, so that their gradients are sums over the ranks.

Where a sequence ends inside a share or at its border, the decay is exactly zero. As in the scan's
kernels, a decay of zero lets nothing pass, not even a NaN.

Letters: B batch, L length, P ranks, D channels, N states.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch import distributed as dist
from torch.autograd.function import once_differentiable


class Share(NamedTuple):
    """A rank's positions of a stretch, as a layer needs to know them."""

    group: dist.ProcessGroup
    goes_on: Tensor | None  # (B,) bool: the position before is of the same sequence; None: in all

    def keep(self, x: Tensor) -> Tensor:
        """x (B, ., .), zero in the rows where a sequence begins with the share."""
        return x if self.goes_on is None else torch.where(self.goes_on[:, None, None], x, 0.0)


def states_between(
    decay: Tensor | None, leaving: Tensor, before: Tensor | None, share: Share
) -> tuple[Tensor, Tensor]:
    """The exchange: what enters this rank's share, and what leaves the last one's.

    Args:
        decay: of this rank's share, of the shape of leaving; None is zero.
        leaving: (B, D, N) or of another shape (B, ., .), the same on all ranks.
        before: what enters the first rank's share; None is zero.
        share: this rank's.

    Returns:
        two tensors of the shape and dtype of leaving.
    """
    own = [leaving] if decay is None else [leaving, share.keep(decay)]
    state = torch.zeros_like(leaving) if before is None else before.to(leaving.dtype)
    entering = state
    for rank, (leaving_there, *decay_there) in enumerate(gather(torch.stack(own), share.group)):
        if rank == share.group.rank():
            entering = state
        state = leaving_there + cross(decay_there[0], state) if decay_there else leaving_there
    return share.keep(entering), state


def gradients_between(
    decay: Tensor | None, grad_entering: Tensor, grad_after: Tensor | None, share: Share
) -> tuple[Tensor, Tensor]:
    """The adjoint exchange: the gradients of what leaves this rank's share, and of ``before``.

    Args:
        decay: as for states_between.
        grad_entering: the gradient of what enters this rank's share, apart from the part that
            comes back to it from the next.
        grad_after: of what leaves the last one's; None is zero.
        share: this rank's.

    Returns:
        two tensors of the shape of grad_entering. The second is zero on all ranks but the first:
        the sum over the ranks is the gradient.
    """
    group = share.group
    if grad_after is None:
        grad_after = torch.zeros_like(grad_entering)
    own = [share.keep(grad_entering), grad_after.to(grad_entering.dtype)]
    gathered = gather(torch.stack(own if decay is None else [*own, share.keep(decay)]), group)
    grad = gathered[:, 1].sum(0)
    grad_leaving = grad
    for rank in reversed(range(group.size())):
        if rank == group.rank():
            grad_leaving = grad
        grad_there, _, *decay_there = gathered[rank]
        grad = grad_there + cross(decay_there[0], grad) if decay_there else grad_there
    return grad_leaving, grad if group.rank() == 0 else torch.zeros_like(grad)


def pass_on(
    decay: Tensor | None, leaving: Tensor, before: Tensor | None, share: Share
) -> tuple[Tensor, Tensor]:
    """``states_between``, differentiable."""
    if leaving.numel() == 0:  # a convolution of one position remembers nothing
        return leaving, leaving
    return PassOn.apply(share, decay, leaving, before)


class PassOn(torch.autograd.Function):
    """(entering, after) of (share, decay, leaving, before)."""

    @staticmethod
    def forward(
        ctx: Any, share: Share, decay: Tensor | None, leaving: Tensor, before: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        entering, after = states_between(decay, leaving, before, share)
        ctx.share, ctx.has_decay = share, decay is not None
        ctx.before_dtype = None if before is None else before.dtype
        if decay is not None:
            ctx.save_for_backward(share.keep(decay), entering)
        return entering.clone(), after.clone()  # neither is an input, nor both one tensor

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        decay, entering = ctx.saved_tensors if ctx.has_decay else (None, None)
        grad_entering, grad_after = grads
        grad_leaving, grad_before = gradients_between(decay, grad_entering, grad_after, ctx.share)
        grad_decay = None
        if decay is not None:
            assert entering is not None
            grad_decay = torch.where(decay == 0, 0.0, grad_leaving * entering)
        if ctx.before_dtype is None:
            return None, grad_decay, grad_leaving, None
        return None, grad_decay, grad_leaving, grad_before.to(ctx.before_dtype)


def cross(decay: Tensor, state: Tensor) -> Tensor:
    return torch.where(decay == 0, 0.0, decay * state)


def gather(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    """(P, ...), every rank's x in the order of the ranks."""
    parts = x.new_empty(group.size(), *x.shape)
    dist.all_gather(list(parts.unbind()), x.contiguous(), group=group)
    return parts
