"""Cuts a record into the stretches that have a result each: windows, or steps of a stream."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tiling:
    """Stretches (start, end) of a record, 0-based, half-open, in order; each is found on its own.

    They do not overlap. The last one is shorter where the length is no multiple of the size; or,
    with ``full``, it moves left to end at the record's end, so that every window has the length the
    model was trained at, and the bases in that overlap count twice. A record no longer than the
    size is one stretch of its own length.

    Args:
        size: bases a stretch; None is the whole record.
        full: whether the last stretch is as long as the others.
    """

    size: int | None
    full: bool = True

    def count(self, length: int) -> int:
        """Stretches of a record of ``length`` bases."""
        return 1 if self.size is None else -(-length // self.size)

    def __call__(self, length: int, index: int) -> tuple[int, int]:
        """The stretch of this index, from 0."""
        if self.size is None or length <= self.size:
            return 0, length
        end = min((index + 1) * self.size, length)
        return (end - self.size if self.full else index * self.size), end
