"""Reads a FASTA file record by record, so that one bad record does not lose the rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter

import numpy as np

from genomamba_data_prep.errors import InputError
from genomamba_data_prep.fasta import Piece, read_pieces

LINE_END = ord("\n")
Part = tuple[int, int, bytes]  # record, line at which the part begins, text


def split_records(blocks: Iterable[bytes]) -> Iterator[tuple[int, Iterator[Part]]]:
    """Each record's number in the file, from 0, and its text in parts.

    Text before the first header belongs to record 0, where ``pieces`` complains about it. Records
    that are not iterated over are passed at the speed of a search.
    """
    return groupby(_parts(blocks), key=itemgetter(0))


def _parts(blocks: Iterable[bytes]) -> Iterator[Part]:
    record, line, seen_header, at_line_start = 0, 1, False, True
    for block in blocks:
        start = 0
        at = 0 if at_line_start and block.startswith(b">") else _next_header(block, 0)
        while at >= 0:
            if at > start:
                yield record, line, block[start:at]
                line += _lines(block, start, at)
            record += seen_header
            seen_header = True
            start, at = at, _next_header(block, at + 1)
        yield record, line, block[start:] if start else block
        line += _lines(block, start, len(block))
        at_line_start = block.endswith(b"\n")


def _next_header(block: bytes, start: int) -> int:
    """Index of the next > after a line end that lies in the block at ``start`` or later, or -1."""
    # By the > alone, which is rare: every line has the other one.
    at = block.find(b">", start + 1)
    while at >= 0 and block[at - 1] != LINE_END:
        at = block.find(b">", at + 1)
    return at


def _lines(block: bytes, start: int, end: int) -> int:
    """Line ends of a part of the block; NumPy counts them several times as fast as bytes do."""
    text = np.frombuffer(block, np.uint8)[start:end]
    return int(np.count_nonzero(text == LINE_END))


def pieces(parts: Iterator[Part], name: str) -> Iterator[Piece]:
    """The pieces of one record of ``split_records``.

    Args:
        parts: the record's text.
        name: the file, for messages.

    Raises:
        InputError: as ``read_pieces``, with the line's number in the file.
    """
    before = 0

    def blocks() -> Iterator[bytes]:
        nonlocal before
        for number, (_, line, text) in enumerate(parts):
            if number == 0:
                before = line - 1
            yield text

    try:
        yield from read_pieces(blocks(), name)
    except InputError as error:
        if error.line is None or not before:
            raise
        place = {"file": error.file, "record": error.record, "position": error.position}
        raise InputError(error.what, **place, line=error.line + before, fix=error.fix) from None
