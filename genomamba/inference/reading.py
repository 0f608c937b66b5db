"""Cuts the pieces of a plan's shards out of the FASTA files, in order and in constant memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby
from typing import NamedTuple

import numpy as np

from genomamba.inference.fasta_records import Part, pieces, split_records
from genomamba.inference.inputs import Source
from genomamba.inference.plan import Span
from genomamba.inference.prefetch import decompressed_ahead
from genomamba.inference.scan import Record
from genomamba.inference.tiles import Tiling
from genomamba_data_prep.codes import Codes
from genomamba_data_prep.compression import raw_blocks
from genomamba_data_prep.errors import InputError


class Piece(NamedTuple):
    """Bases of a record: its index in the plan, first base, one past the last, their codes."""

    record: int
    start: int
    end: int
    codes: Codes


def read_pieces(
    sources: Sequence[Source], records: Sequence[Record], spans: Iterable[Span], tiling: Tiling
) -> Iterator[Piece]:
    """The pieces of the spans, which are in order; what lies between is passed.

    Raises:
        InputError: a file has changed since it was scanned.
    """
    for index, of_file in groupby(spans, key=lambda span: records[span.record].source):
        source = sources[index]
        with decompressed_ahead(raw_blocks(source.path), source.name) as blocks:
            in_file = split_records(blocks)
            for number, of_record in groupby(of_file, key=lambda span: span.record):
                record = records[number]
                parts = next((parts for at, parts in in_file if at == record.number), iter(()))
                wanted = chain.from_iterable(range(span.first, span.last) for span in of_record)
                places = [tiling(record.length, i) for i in wanted]
                for place, codes in zip(places, _cut(parts, source, record, places), strict=True):
                    yield Piece(number, *place, codes)


def _cut(
    parts: Iterator[Part], source: Source, record: Record, places: Sequence[tuple[int, int]]
) -> Iterator[Codes]:
    """Codes at each place, whose starts ascend."""
    buffer, at = bytearray(), 0  # some bases, and the position of the first of them
    waiting = iter(places)
    start, end = next(waiting)
    for piece in pieces(parts, source.name):
        if piece.name != record.name:
            break
        buffer += piece.codes.data
        while at + len(buffer) >= end:
            yield np.frombuffer(bytes(buffer[start - at : end - at]), np.uint8)
            place = next(waiting, None)
            if place is None:
                return
            start, end = place
        passed = min(start - at, len(buffer))
        if passed > 0:
            del buffer[:passed]
            at += passed
    raise InputError(
        f"the file has changed: it had {record.length:,} bases",
        file=source.name,
        record=record.name,
        fix="Remove the .parts folder and start again",
    )
