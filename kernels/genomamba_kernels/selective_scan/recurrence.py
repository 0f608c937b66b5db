"""The linear recurrence over a block, in place, on arrays (steps, R, lanes, W), W = G * N * P.

    forward   h_j = e_j h_{j-1} + b_j              b becomes h
    reverse   g_j = e_{j+1} g_{j+1} + c_j          c becomes g

The lanes of a block advance together, so each needs the value that enters it. A first pass runs
all lanes from zero and keeps only what leaves them; a short chain over the lanes, with the decay of
each lane as a whole, gives what enters; the second pass is the real one. One lane needs no first.

Where a packed sequence begins, what crosses is replaced by zero and not multiplied with it, so that
a NaN stays in its own sequence.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor


class Restarts(NamedTuple):
    """Where packed sequences begin in a block."""

    steps: list[Tensor | None]  # (R, lanes, 1) bool each; None where no lane restarts at that step
    lanes: Tensor  # (R, lanes, 1) bool: whether a lane restarts at any step


def find_restarts(starts: Tensor) -> Restarts | None:
    """Restarts of a block from its starts (steps, R, lanes) bool; None if there are none."""
    starts = starts.unsqueeze(-1)
    present = starts.flatten(1).any(1).tolist()
    if not any(present):
        return None
    masks = [mask if here else None for mask, here in zip(starts.unbind(0), present, strict=True)]
    return Restarts(masks, starts.any(0))


def zero_at(x: Tensor, restart: Tensor | None) -> Tensor:
    """x with zeros where a sequence begins."""
    return x if restart is None else x.masked_fill(restart, 0)


def scan_forward(
    e: Tensor, b: Tensor, decay: Tensor | None, state: Tensor, restarts: Restarts | None
) -> Tensor:
    """Turns b into h in place.

    Args:
        e, b: (steps, R, lanes, W).
        decay: (R, lanes, W), the product of e over a lane's steps; None for one lane.
        state: (R, W), h before the block.

    Returns:
        (R, lanes, W), h before each lane's first step.
    """
    restart = restarts.steps if restarts else [None] * len(e)
    es, hs = e.unbind(0), b.unbind(0)

    entering = state.unsqueeze(1)
    if decay is not None:
        leaving = hs[0].clone()
        for j in range(1, len(es)):
            torch.addcmul(hs[j], es[j], zero_at(leaving, restart[j]), out=leaving)
        entering = _chain(leaving, decay, state, restarts, range(leaving.shape[1]))

    previous = entering
    for j in range(len(es)):
        previous = hs[j].addcmul_(es[j], zero_at(previous, restart[j]))
    return entering


def scan_reverse(
    e: Tensor, c: Tensor, decay: Tensor | None, state: Tensor, restarts: Restarts | None
) -> Tensor:
    """Turns c, the direct gradient at h, into g, the whole gradient at h, in place.

    Args:
        e, c, decay: as for `scan_forward`.
        state: (R, W), the gradient that arrives at the block's last h from later blocks.

    Returns:
        (R, W), the gradient that leaves for the h before the block.
    """
    restart = restarts.steps if restarts else [None] * len(e)
    es, gs = e.unbind(0), c.unbind(0)
    last = len(es) - 1

    entering = state.unsqueeze(1)
    if decay is not None:
        leaving = gs[last].clone()
        for j in range(last, 0, -1):
            torch.addcmul(gs[j - 1], es[j], zero_at(leaving, restart[j]), out=leaving)
        leaving = zero_at(leaving.mul_(es[0]), restart[0])
        entering = _chain(leaving, decay, state, restarts, reversed(range(leaving.shape[1])))

    gs[last].add_(entering)
    for j in range(last, 0, -1):
        gs[j - 1].addcmul_(es[j], zero_at(gs[j], restart[j]))
    return zero_at(es[0] * gs[0], restart[0])[:, 0]


def _chain(
    leaving: Tensor,
    decay: Tensor,
    state: Tensor,
    restarts: Restarts | None,
    order: Iterable[int],
) -> Tensor:
    """What enters each lane, (R, lanes, W), if `leaving` leaves it when zero enters."""
    entering = torch.empty_like(leaving)
    for lane in order:
        entering[:, lane] = state
        crossing = zero_at(state, None if restarts is None else restarts.lanes[:, lane])
        state = torch.addcmul(leaving[:, lane], decay[:, lane], crossing)
    return entering
