"""Random FASTA in bgzip, made with all cores: the benchmarks do not count it, but wait for it."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from genomamba_data_prep.bgzip import BGZIP_EOF
from genomamba_data_prep.codes import decode

LINE = 60
BLOCK_BASES = 1067 * LINE  # a block's text then has the size of bgzip's, 65,280 bytes at most
LEVEL = 1  # quick to write; of random bases level 6 is hardly smaller

Block = tuple[int, int, bytes]  # number, bases, header


def write_bgzip(path: Path, lengths: Sequence[int]) -> None:
    """Records r0, r1 ... of these lengths, lines of 60; the same bytes each time."""
    with path.open("wb") as file, ThreadPoolExecutor(os.cpu_count()) as pool:
        file.writelines(pool.map(_block, _blocks(lengths)))
        file.write(BGZIP_EOF)


def _blocks(lengths: Sequence[int]) -> Iterator[Block]:
    number = 0
    for record, length in enumerate(lengths):
        for start in range(0, length, BLOCK_BASES):
            header = b">r%d\n" % record if start == 0 else b""
            yield number, min(BLOCK_BASES, length - start), header
            number += 1


def _block(block: Block) -> bytes:
    number, bases, header = block
    codes = np.random.default_rng(number).integers(0, 4, bases, np.uint8)
    letters = np.frombuffer(decode(codes), np.uint8)
    whole = bases - bases % LINE
    lines = np.full((whole // LINE, LINE + 1), ord("\n"), np.uint8)
    lines[:, :LINE] = letters[:whole].reshape(-1, LINE)
    rest = letters[whole:].tobytes()
    return bgzip_block(header + lines.tobytes() + (rest + b"\n" if rest else b""))


def bgzip_block(content: bytes) -> bytes:
    """A gzip member with bgzip's field BC."""
    plain = gzip.compress(content, LEVEL, mtime=0)
    size = len(plain) + 8 - 1
    head = plain[:3] + b"\x04" + plain[4:10] + b"\x06\x00BC\x02\x00" + size.to_bytes(2, "little")
    return head + plain[10:]
