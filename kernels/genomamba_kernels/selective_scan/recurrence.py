"""The linear recurrence over a block, in place, on arrays (R, C, K, W), W = G * N * P.

    forward   h_j = e_j h_{j-1} + b_j              b becomes h
    reverse   g_j = e_{j+1} g_{j+1} + c_j          c becomes g

The C chunks advance together, so each needs the value that enters it. A first pass runs all chunks
from zero and keeps only what leaves them; a short chain over the chunks, with the decay of each as
a whole, gives what enters; the second pass is the real one. A single chunk needs no first pass.

Where a packed sequence begins, e is zero, and so is what it is multiplied with: zero times a NaN
would let the NaN into the neighbouring sequence.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor


class Restarts(NamedTuple):
    """Where packed sequences begin in a block."""

    of_step: list[Tensor | None]  # (R, C, 1) bool each; None where no chunk restarts at that step
    of_chunk: list[Tensor | None]  # (R, 1) bool each; None where a chunk has no restart


def find_restarts(starts: Tensor) -> Restarts | None:
    """The restarts of a block from its starts (R, C, K) bool; None if there are none."""
    if not starts.any():
        return None

    def masks(x: Tensor, dim: int) -> list[Tensor | None]:
        return [mask.unsqueeze(-1) if mask.any() else None for mask in x.unbind(dim)]

    return Restarts(of_step=masks(starts, 2), of_chunk=masks(starts.any(2), 1))


def zero_at(x: Tensor, restart: Tensor | None) -> Tensor:
    """x with zeros where a sequence begins."""
    return x if restart is None else x.masked_fill(restart, 0)


def zero_at_restarts_(x: Tensor, restarts: Restarts | None) -> None:
    """Zeros in x (R, C, K, W) at the first position of every packed sequence, in place."""
    if restarts is not None:
        for x_j, restart in zip(x.unbind(2), restarts.of_step, strict=True):
            if restart is not None:
                x_j.masked_fill_(restart, 0)


def entering_states(
    e: Tensor, b: Tensor, decay: Tensor, state: Tensor, restarts: Restarts | None
) -> Tensor:
    """The h that enters each chunk.

    Args:
        e, b: (R, C, K, W).
        decay: (R, C, W), the product of e over each chunk's steps.
        state: (R, W), the h that enters the first chunk.

    Returns:
        (R, C, W)
    """
    restart = restarts.of_step if restarts else [None] * e.shape[2]
    leaving, *bs = b.unbind(2)
    leaving = leaving.clone()
    for e_j, b_j, restart_j in zip(e.unbind(2)[1:], bs, restart[1:], strict=True):
        torch.addcmul(b_j, e_j, zero_at(leaving, restart_j), out=leaving)
    return _chain(leaving, decay, state, restarts, reverse=False)


def entering_gradients(
    e: Tensor, c: Tensor, decay: Tensor, state: Tensor, restarts: Restarts | None
) -> Tensor:
    """The gradient that enters each chunk from the next, at its last h.

    Args:
        e, c, decay: as for `entering_states`, c being the direct gradient at h.
        state: (R, W), the gradient that enters the last chunk.

    Returns:
        (R, C, W)
    """
    restart = restarts.of_step if restarts else [None] * e.shape[2]
    es, cs = e.unbind(2), c.unbind(2)
    leaving = cs[-1].clone()
    for j in range(len(es) - 1, 0, -1):
        torch.addcmul(cs[j - 1], es[j], zero_at(leaving, restart[j]), out=leaving)
    leaving = zero_at(leaving.mul_(es[0]), restart[0])
    return _chain(leaving, decay, state, restarts, reverse=True)


def _chain(
    leaving: Tensor, decay: Tensor, state: Tensor, restarts: Restarts | None, *, reverse: bool
) -> Tensor:
    """What enters each chunk, (R, C, W), if `leaving` leaves it when zero enters."""
    entering = torch.empty_like(leaving)
    order = range(leaving.shape[1])[:: -1 if reverse else 1]
    into, out, decays = entering.unbind(1), leaving.unbind(1), decay.unbind(1)
    into[order[0]].copy_(state)
    for chunk, following in pairwise(order):
        restart = restarts.of_chunk[chunk] if restarts else None
        crossing, decay_of_chunk = zero_at(into[chunk], restart), zero_at(decays[chunk], restart)
        torch.addcmul(out[chunk], decay_of_chunk, crossing, out=into[following])
    return entering


def scan_forward_(e: Tensor, b: Tensor, entering: Tensor, restarts: Restarts | None) -> None:
    """Turns b into h in place; `entering` (R, C, W) is the h before each chunk's first step."""
    restart = restarts.of_step if restarts else [None] * e.shape[2]
    previous = entering
    for e_j, b_j, restart_j in zip(e.unbind(2), b.unbind(2), restart, strict=True):
        previous = b_j.addcmul_(e_j, zero_at(previous, restart_j))


def scan_reverse_(e: Tensor, c: Tensor, entering: Tensor, restarts: Restarts | None) -> Tensor:
    """Turns c into g in place; `entering` (R, C, W) arrives at each chunk's last h.

    Returns:
        (R, W), the gradient at the h before the block.
    """
    restart = restarts.of_step if restarts else [None] * e.shape[2]
    es, gs = e.unbind(2), c.unbind(2)
    gs[-1].add_(entering)
    for j in range(len(es) - 1, 0, -1):
        gs[j - 1].addcmul_(es[j], zero_at(gs[j], restart[j]))
    return zero_at(es[0] * gs[0], restart[0])[:, 0]
