"""Rounds of the scan's backward, which bound the memory of the sums over channels.

dB and dC are sums over channels. Each block of channels writes its part, and the parts are added in
a fixed order: 2 N numbers a position and block, more than u has where N is large or D is small.
So backward works on some of the (row, segment) pairs at a time, and adds up their parts before the
next round writes its own to the same place. Every number is computed as in a single round: the
same bits. Letters as in triton_forward.py; P blocks of channels, T steps a tile.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from genomamba_kernels.selective_scan.triton_plan import ceil_div

ALIGNMENT = 64  # positions: what the sums' kernel takes at a time
# Numbers: below 1 MiB a round would cost more, in launches, than its memory is worth.
SMALL = 2**18
SLACK = 1 / 64  # so much more than u, at most


class Round(NamedTuple):
    """All segments of some rows, or some segments of one row."""

    first_row: int
    rows: int
    first_segment: int
    segments: int


def most_numbers(u: Tensor) -> int:
    """What the parts may take: as many float32 numbers as u has, or a MiB."""
    return max(u.numel(), SMALL)


def round_positions(segments: int, segment_length: int, length: int) -> int:
    """Positions a row of a round has room for."""
    return ceil_div(min(segments * segment_length, length), ALIGNMENT) * ALIGNMENT


def longest_segment(u: Tensor, numbers: int) -> int | None:
    """The most positions of a segment that fit in a round, where not even a row does.

    Args:
        numbers: of the parts, a position: 2 N G P.
    """
    room = most_numbers(u) // numbers
    if ceil_div(u.shape[1], ALIGNMENT) * ALIGNMENT <= room:
        return None
    return max(1, room // ALIGNMENT) * ALIGNMENT


def cut_rounds(u: Tensor, numbers: int, segments: int, segment_length: int) -> list[Round]:
    """The rounds, in order: as few as the parts have room for, and of nearly equal size."""
    batch, length, _ = u.shape
    room = max(1, most_numbers(u) // numbers)  # many states and a short row: not even a position
    rows = room // round_positions(segments, segment_length, length)
    if rows > 0:
        rows = ceil_div(batch, ceil_div(batch, rows))
        return [Round(row, min(rows, batch - row), 0, segments) for row in range(0, batch, rows)]
    # One round more only because segments do not fill a round to its end would leave the card idle.
    most = ceil_div(segments, ceil_div(length, room))
    if most * segment_length > room * (1 + SLACK):
        most = max(1, room // ALIGNMENT * ALIGNMENT // segment_length)
        most = ceil_div(segments, ceil_div(segments, most))
    return [
        Round(row, 1, segment, min(most, segments - segment))
        for row in range(batch)
        for segment in range(0, segments, most)
    ]
