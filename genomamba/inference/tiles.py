"""Cuts a record into windows of the training length."""

from __future__ import annotations

from collections.abc import Iterator


def tiles(length: int, window: int) -> Iterator[tuple[int, int]]:
    """Windows (start, end) that cover a record of ``length`` bases, 0-based, half-open, in order.

    Tiles do not overlap, except that the last one moves left to end at the record's end, so that
    every window has the length the model was trained at; the bases in that overlap count twice.
    A record no longer than ``window`` is one window of its own length.
    """
    if length <= window:
        yield 0, length
        return
    for start in range(0, length - window + 1, window):
        yield start, start + window
    if length % window:
        yield length - window, length
