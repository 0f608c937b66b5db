"""The job as a list of shards, a function of the records and the options alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from genomamba.inference.options import Options
from genomamba.inference.scan import Record

TOO_SHORT = "shorter than --min-length"
TOO_MUCH_N = "too large a fraction of N"


class Span(NamedTuple):
    """Some of a record's pieces: its index in the plan, first piece, one past the last."""

    record: int
    first: int
    last: int


@dataclass(frozen=True)
class Plan:
    """What is done, in order.

    Attributes:
        records: all of them, with the reasons of those that are left out.
        shards: the pieces of each shard. Of a stream every record is whole in one shard.
    """

    records: list[Record]
    shards: list[list[Span]]


def make_plan(records: Sequence[Record], options: Options) -> Plan:
    """Leave out what the options exclude and deal the rest out to shards, in order."""
    records = [_excluded(record, options) for record in records]
    shards: list[list[Span]] = []
    room = 0
    for index, record in enumerate(records):
        if record.reason:
            continue
        first, count = 0, options.pieces.count(record.length)
        size = record.length if options.mode == "stream" else min(options.window, record.length)
        while first < count:
            if room < size:
                shards.append([])
                room = max(options.shard_bases, size)
            last = count if options.mode == "stream" else min(count, first + room // size)
            shards[-1].append(Span(index, first, last))
            room -= size if options.mode == "stream" else (last - first) * size
            first = last
    return Plan(records, shards)


def _excluded(record: Record, options: Options) -> Record:
    if record.reason:
        return record
    if record.length < options.min_length:
        return replace(record, reason=f"{TOO_SHORT} {options.min_length}")
    if options.mode == "stream" and not options.usable(record.length, record.n_count):
        return replace(record, reason=TOO_MUCH_N)
    return record


def array_slice(shards: int, index: int, tasks: int) -> range:
    """The shards of an array's task: consecutive ones, as many as the others' or one more.

    Args:
        shards: how many there are.
        index: the task, from 1.
        tasks: how many tasks there are.
    """
    return range(shards * (index - 1) // tasks, shards * index // tasks)
