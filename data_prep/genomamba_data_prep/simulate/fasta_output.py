"""Writes codes as FASTA lines."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np

from genomamba_data_prep.codes import DECODE_TABLE, Codes

LINE_WIDTH = 60
LINES_AT_ONCE = 2**18


def write_record(file: BinaryIO, name: str, codes: Codes) -> None:
    """Append one record of (L,) codes in lines of ``LINE_WIDTH``; the soft mask as lower case."""
    file.write(b">" + name.encode() + b"\n")
    whole = len(codes) // LINE_WIDTH * LINE_WIDTH
    lines = codes[:whole].reshape(-1, LINE_WIDTH)
    for first in range(0, len(lines), LINES_AT_ONCE):
        part = lines[first : first + LINES_AT_ONCE]
        text = np.full((len(part), LINE_WIDTH + 1), ord("\n"), dtype=np.uint8)
        text[:, :-1] = np.frombuffer(part.tobytes().translate(DECODE_TABLE), np.uint8).reshape(
            part.shape
        )
        file.write(text.tobytes())
    if whole < len(codes):
        file.write(codes[whole:].tobytes().translate(DECODE_TABLE) + b"\n")
