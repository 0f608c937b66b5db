"""How a layer's work is cut into pieces, and what passes from one to the next.

What lies between the operators of a layer (u, delta, their gradients, the parts of dB and dC) is as
large as its input, and lives only as long as a piece is worked on. A row longer than a piece is cut
along its length: both states are carried from one piece to the next, forward, and their gradients,
backward. Of short rows a piece has several. Results depend on the cut by rounding only; without
gradients by no bit, as pieces end at multiples of STATE_GRID.

Letters: B batch, L length, D channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from genomamba_kernels.selective_scan.grid import STATE_GRID

PIECE = 2**27  # channel-positions: twice as many are 3 % faster, half as many 4 % slower
TILE = 16  # positions: all pieces but a row's last have whole tiles, with which the scan is faster


class Piece(NamedTuple):
    """Consecutive positions of some rows; of all positions, if there are several rows."""

    rows: slice
    positions: slice

    def of(self, x: Tensor) -> Tensor:
        """The piece of x (B, L, ...): a view, contiguous if x is; x itself if it is all of it."""
        rows, positions = self.rows, self.positions
        if (rows.start, positions.start, rows.stop, positions.stop) == (0, 0, *x.shape[:2]):
            return x
        return x[rows, positions]

    def of_optional(self, x: Tensor | None) -> Tensor | None:
        """The same, contiguous, or None."""
        return None if x is None else self.of(x).contiguous()


def cut(batch: int, length: int, channels: int, in_one: bool = False) -> list[list[Piece]]:
    """The pieces: for some rows at a time, those of their length in order.

    `in_one` makes one of all: a share of longer rows, of which the whole must have been walked
    before what enters it is known.
    """
    if in_one:
        return [[Piece(slice(0, batch), slice(0, length))]]
    rows = max(1, PIECE // (length * channels))
    steps = length if rows > 1 else max(1, PIECE // channels)
    count = -(-length // steps)
    grain = STATE_GRID if steps >= STATE_GRID else TILE
    steps = -(-length // (count * grain)) * grain  # equal pieces
    return [
        [
            Piece(slice(row, min(row + rows, batch)), slice(start, min(start + steps, length)))
            for start in range(0, length, steps)
        ]
        for row in range(0, batch, rows)
    ]


def rows_of(states: tuple[Tensor | None, ...], rows: slice) -> tuple[Tensor | None, ...]:
    """Some rows of the states, or of their gradients."""
    return tuple(
        state if state is None or rows == slice(0, len(state)) else state[rows] for state in states
    )


def join(parts: Sequence[Tensor]) -> Tensor:
    """The states of all groups of rows."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def cross(
    states: tuple[Tensor | None, ...], seq_idx: Tensor | None, piece: Piece
) -> tuple[Tensor | None, ...]:
    """The states (rows, ...) that enter a piece from the one before it: zero where a sequence ends
    between the two. Their gradients pass backward likewise."""
    start = piece.positions.start
    if seq_idx is None or start == 0:
        return states
    before, after = seq_idx[piece.rows, start - 1], seq_idx[piece.rows, start]
    goes_on = (before == after)[:, None, None]
    return tuple(None if state is None else torch.where(goes_on, state, 0.0) for state in states)
