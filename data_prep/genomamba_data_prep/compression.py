"""A file's bytes in blocks, decompressed where its first bytes say gzip or bgzip; never seeks.

gzip: RFC 1952; members one after another are one file. bgzip: gzip in blocks, closed by an empty
one, the EOF block.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain

from genomamba_data_prep.bgzip import BGZIP_EOF, GZIP_FORMAT, Rest, inflated, is_bgzip
from genomamba_data_prep.errors import InputError

Path = str | os.PathLike[str]

# Small enough to stay in the second-level cache while it is hashed, translated and counted, and
# for malloc to keep its memory instead of asking the system for fresh pages each time.
BLOCK_BYTES = 1 << 17
GZIP_MAGIC = b"\x1f\x8b"


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


def decompressed(blocks: Iterable[bytes], path: Path, threads: int = 0) -> Iterator[bytes]:
    """The file's content: the blocks themselves, or what they decompress to.

    Args:
        blocks: as `raw_blocks` gives them; the first one is long enough for a gzip header.
        path: the file to name in errors.
        threads: that inflate bgzip's blocks beside this one; the content is the same, cut
            elsewhere, and so are the errors. gzip's members have to be read one after another.

    Raises:
        InputError: a gzip file that is damaged or cut short, a bgzip file without its EOF block.
    """
    blocks = iter(blocks)
    first = next(blocks, b"")
    blocks = chain([first], blocks)
    if not first.startswith(GZIP_MAGIC):
        return blocks
    if not is_bgzip(first):
        return _members(Rest(0, blocks), path)
    return _bgunzip(blocks, path, threads)


def _bgunzip(blocks: Iterable[bytes], path: Path, threads: int) -> Iterator[bytes]:
    tail = b""

    def watched() -> Iterator[bytes]:
        nonlocal tail
        for block in blocks:
            tail = (tail + block[-len(BGZIP_EOF) :])[-len(BGZIP_EOF) :]
            yield block

    rest = Rest(0, watched())
    if threads:
        rest = yield from inflated(rest.blocks, threads)
    yield from _members(rest, path)
    if tail != BGZIP_EOF:
        raise InputError(
            "the bgzip file has no EOF block, so that its end is probably missing",
            file=path,
            fix="Download or compress it again",
        )


def _members(rest: Rest, path: Path) -> Iterator[bytes]:
    """What gzip members hold, one after another; nothing for no bytes."""
    start, read = rest.start, rest.start  # of the member; bytes of the file
    member = None
    for block in rest.blocks:
        read += len(block)
        while block:
            if member is None or member.eof:
                member = zlib.decompressobj(GZIP_FORMAT)
                start = read - len(block)
            try:
                content = member.decompress(block, BLOCK_BYTES)
            except zlib.error as error:
                raise InputError(
                    f"damaged gzip: {error}, in the member that begins at byte {start:,}",
                    file=path,
                    fix="Download or compress it again",
                ) from error
            block = member.unused_data if member.eof else member.unconsumed_tail
            if content:
                yield content
    if member is not None and not member.eof:
        raise InputError(
            f"the gzip file is cut short, in the member that begins at byte {start:,}",
            file=path,
            fix="Download or compress it again",
        )
