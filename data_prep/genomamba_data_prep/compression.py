"""A file's bytes in blocks, decompressed where its first bytes say gzip or bgzip; never seeks.

gzip: RFC 1952; members one after another are one file. bgzip: gzip in blocks, each of which carries
its size in an extra field BC, closed by an empty one, the EOF block (SAM specification, 4.1).
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain

from genomamba_data_prep.errors import InputError

Path = str | os.PathLike[str]

# Small enough to stay in the second-level cache while it is hashed, translated and counted, and
# for malloc to keep its memory instead of asking the system for fresh pages each time.
BLOCK_BYTES = 1 << 17
GZIP_MAGIC = b"\x1f\x8b"
BGZIP_EOF = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
GZIP_FORMAT = 31  # zlib's wbits for a gzip header and the largest window


def raw_blocks(path: Path) -> Iterator[bytes]:
    """The file's bytes as they lie on disk, `BLOCK_BYTES` at a time.

    Raises:
        InputError: the file does not exist, is a folder, or cannot be read.
    """
    try:
        with open(path, "rb") as file:
            while block := file.read(BLOCK_BYTES):
                yield block
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror}", file=path, fix="Check the path and its permissions"
        ) from error


def decompressed(blocks: Iterable[bytes], path: Path) -> Iterator[bytes]:
    """The file's content: the blocks themselves, or what they decompress to.

    Args:
        blocks: as `raw_blocks` gives them; the first one is long enough for a gzip header.
        path: the file to name in errors.

    Raises:
        InputError: a gzip file that is damaged or cut short, a bgzip file without its EOF block.
    """
    blocks = iter(blocks)
    first = next(blocks, b"")
    blocks = chain([first], blocks)
    return _gunzip(blocks, path) if first.startswith(GZIP_MAGIC) else blocks


def _gunzip(blocks: Iterable[bytes], path: Path) -> Iterator[bytes]:
    member = zlib.decompressobj(GZIP_FORMAT)
    has_eof, tail = None, b""
    for block in blocks:
        if has_eof is None:
            has_eof = is_bgzip(block)
        tail = (tail + block[-len(BGZIP_EOF) :])[-len(BGZIP_EOF) :]
        while block:
            if member.eof:
                member = zlib.decompressobj(GZIP_FORMAT)
            try:
                content = member.decompress(block, BLOCK_BYTES)
            except zlib.error as error:
                raise InputError(
                    f"damaged gzip: {error}", file=path, fix="Download or compress it again"
                ) from error
            block = member.unused_data if member.eof else member.unconsumed_tail
            if content:
                yield content
    if not member.eof:
        raise InputError(
            "the gzip file is cut short", file=path, fix="Download or compress it again"
        )
    if has_eof and tail != BGZIP_EOF:
        raise InputError(
            "the bgzip file has no EOF block, so that its end is probably missing",
            file=path,
            fix="Download or compress it again",
        )


def is_bgzip(start: bytes) -> bool:
    """Whether a gzip header has the extra field (flag 4) BC; every writer puts it first."""
    return start[2:4] == b"\x08\x04" and start[12:14] == b"BC"
