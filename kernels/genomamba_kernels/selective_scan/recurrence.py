"""The linear recurrence over the K steps of a block, in place.

    forward   h_j = e_j h_{j-1} + b_j              b becomes h
    reverse   g_j = e_{j+1} g_{j+1} + c_j          c becomes g

Arrays come as their K views (R, C, W), W = G * N * P; R rows, C chunks, as in blocks.py.

The C chunks advance together, so each needs the value that enters it. A first pass runs all chunks
from zero and keeps only what leaves them; a short chain over the chunks, with the decay of each as
a whole, gives what enters; the second pass is the real one. A single chunk needs no first pass.

Where a packed sequence begins, e is zero, and so is what it is multiplied with: zero times a NaN
would let the NaN into the neighbouring sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

Steps = Sequence[Tensor]


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


def zero_at_restarts_(x: Steps, restarts: Restarts | None) -> None:
    """Zeros in x at the first position of every packed sequence."""
    for x_j, restart in zip(x, restarts.of_step if restarts else (), strict=False):
        if restart is not None:
            x_j.masked_fill_(restart, 0)


def scan_forward_(e: Steps, b: Steps, entering: Tensor, restarts: Restarts | None) -> None:
    """Turns b into h; `entering` (R, C, W) is the h before each chunk's first step."""
    restart = restarts.of_step if restarts else [None] * len(e)
    previous = entering
    for e_j, b_j, restart_j in zip(e, b, restart, strict=True):
        previous = b_j.addcmul_(e_j, zero_at(previous, restart_j))


def scan_reverse_(e: Steps, c: Steps, entering: Tensor, restarts: Restarts | None) -> Tensor:
    """Turns c into g; `entering` (R, C, W) arrives at each chunk's last h.

    Returns:
        (R, W), the gradient at the h before the block.
    """
    restart = restarts.of_step if restarts else [None] * len(e)
    c[-1].add_(entering)
    for j in range(len(e) - 1, 0, -1):
        c[j - 1].addcmul_(e[j], zero_at(c[j], restart[j]))
    return e[0][:, 0] * zero_at(c[0], restart[0])[:, 0]


def entering_states(
    e: Steps, b: Steps, decay: Tensor, state: Tensor, restarts: Restarts | None
) -> Tensor:
    """The h that enters each chunk, (R, C, W).

    Args:
        decay: (R, C, W), the product of e over each chunk's steps.
        state: (R, W), the h that enters the first chunk.
    """
    restart = restarts.of_step if restarts else [None] * len(e)
    leaving = b[0].clone()
    for j in range(1, len(e)):
        torch.addcmul(b[j], e[j], zero_at(leaving, restart[j]), out=leaving)
    return _chain(leaving, decay, state, restarts, range(leaving.shape[1]))


def entering_gradients(
    e: Steps, c: Steps, decay: Tensor, state: Tensor, restarts: Restarts | None
) -> Tensor:
    """The gradient that arrives at each chunk's last h from the next chunk, (R, C, W).

    Args:
        decay: (R, C, W), the product of e over each chunk's steps.
        state: (R, W), the gradient that arrives at the last chunk.
    """
    restart = restarts.of_step if restarts else [None] * len(e)
    leaving = c[-1].clone()
    for j in range(len(e) - 1, 0, -1):
        torch.addcmul(c[j - 1], e[j], zero_at(leaving, restart[j]), out=leaving)
    leaving = e[0] * zero_at(leaving, restart[0])
    return _chain(leaving, decay, state, restarts, range(leaving.shape[1] - 1, -1, -1))


def _chain(
    leaving: Tensor, decay: Tensor, state: Tensor, restarts: Restarts | None, order: range
) -> Tensor:
    """What enters each chunk, (R, C, W), if `leaving` leaves it when zero enters."""
    entering = torch.empty_like(leaving)
    into, out, decays = entering.unbind(1), leaving.unbind(1), decay.unbind(1)
    into[order[0]].copy_(state)
    for chunk, following in pairwise(order):
        restart = restarts.of_chunk[chunk] if restarts else None
        crossing, decay_of_chunk = zero_at(into[chunk], restart), zero_at(decays[chunk], restart)
        torch.addcmul(out[chunk], decay_of_chunk, crossing, out=into[following])
    return entering
