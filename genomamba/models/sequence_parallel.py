"""One sequence over several processes: each works on a contiguous share of the positions.

The ranks of a process group hold the same weights and are given the same tokens. All that a layer
passes along the length is its state (DESIGN.md, "Length without bound"); how it passes from one
rank's share to the next's is in ``genomamba_kernels.sharing``.

The backward pass is the adjoint. Each process calls backward on its own scalar, which
differentiates the sum of the scalars with respect to every process's copy of the weights. Where
each rank's scalar is the same loss of the whole sequence (``MambaForPretraining.loss`` and any loss
of ``MambaForClassification``'s logits), the *mean* of the ranks' gradients is the gradient of that
loss: what DistributedDataParallel computes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist
from torch.autograd.function import once_differentiable


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
