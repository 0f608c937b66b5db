"""Inflates the blocks of bgzip several at a time, in threads; what comes out is in order.

A block (SAM specification, 4.1) is a gzip member of at most 64 KiB on either side that carries its
size in the extra field BC, so that blocks are found without inflating them. zlib lets other threads
run while it inflates one and compares its CRC-32 and length.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from typing import NamedTuple

from genomamba_data_prep.cores import usable_cores

BGZIP_EOF = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
GZIP_FORMAT = 31  # zlib's wbits for a gzip header and the largest window
HEADER_BYTES = 18  # to the end of the size
CONTENT_BYTES = 1 << 16  # of a block, at most

# Blocks of a group, which is a task: a millisecond or two of inflating, so that handing it over
# costs little beside it, and at most 512 KiB of content, however well it compresses.
GROUP_BLOCKS = 8
GROUPS_AHEAD = 2  # a thread: one in work and one that waits or is done
MOST_THREADS = 6  # each inflates some 250 Mbp/s, and the parser takes some 1,000


class Rest(NamedTuple):
    """What is left of a file: where it begins, in bytes, and the bytes from there on."""

    start: int
    blocks: Iterator[bytes]


class _Group(NamedTuple):
    """Consecutive blocks of bgzip: where in the file they begin, their bytes, where each ends."""

    start: int
    raw: bytes
    ends: list[int]


def is_bgzip(start: bytes) -> bool:
    """Whether a gzip header has the extra field (flag 4) BC; every writer puts it first."""
    return start[:4] == b"\x1f\x8b\x08\x04" and start[12:14] == b"BC"


def inflating_threads() -> int:
    """Threads that are worth it: 0 where the parser and the reader leave no core free."""
    return min(max(0, usable_cores() - 2), MOST_THREADS)


def inflated(blocks: Iterable[bytes], threads: int) -> Generator[bytes, None, Rest]:
    """The content of a file's bgzip blocks, up to the first that is not one, or not a sound one.

    Args:
        blocks: the file's bytes, cut anywhere.
        threads: that inflate, at least 1; together they are ``GROUPS_AHEAD`` groups each ahead.

    Returns:
        The rest of the file, from the start of the member that is no bgzip block, or is damaged or
        cut short: for the one who says what is wrong with it. At the file's end it is empty.
    """
    groups = _Groups(blocks)
    ahead: deque[tuple[_Group, Future[list[bytes]]]] = deque()
    with ThreadPoolExecutor(threads, "inflate") as pool:
        try:
            while True:
                while len(ahead) < GROUPS_AHEAD * threads and (group := groups.next()):
                    ahead.append((group, pool.submit(_contents, group)))
                if not ahead:
                    return groups.rest()
                group, future = ahead.popleft()
                contents = future.result()
                yield from filter(None, contents)
                if len(contents) < len(group.ends):
                    done = [0, *group.ends][len(contents)]
                    raw = [group.raw[done:], *(later.raw for later, _ in ahead)]
                    return Rest(group.start + done, chain(raw, groups.rest().blocks))
        finally:
            for _, future in ahead:
                future.cancel()


def _contents(group: _Group) -> list[bytes]:
    """What the group's blocks hold, up to the first that is damaged."""
    raw, contents = memoryview(group.raw), []
    for start, end in zip([0, *group.ends], group.ends, strict=False):
        member = zlib.decompressobj(GZIP_FORMAT)
        try:
            content = member.decompress(raw[start:end], CONTENT_BYTES)
        except zlib.error:
            break
        if not member.eof or member.unused_data:  # it has another size than it says
            break
        contents.append(content)
    return contents


class _Groups:
    """Cuts a file's bytes into groups of whole bgzip blocks, as long as there are any."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)
        self._start, self._raw = 0, b""  # where in the file, and what was read from there on

    def next(self) -> _Group | None:
        """The next group; None where no whole block follows."""
        while not (ends := _ends(self._raw)):
            if len(self._raw) >= HEADER_BYTES and not is_bgzip(self._raw):
                return None
            block = next(self._blocks, None)
            if block is None:
                return None
            self._raw += block
        group = _Group(self._start, self._raw[: ends[-1]], ends)
        self._start, self._raw = self._start + ends[-1], self._raw[ends[-1] :]
        return group

    def rest(self) -> Rest:
        """What follows the last group."""
        raw = [self._raw] if self._raw else []
        return Rest(self._start, chain(raw, self._blocks))


def _ends(raw: bytes) -> list[int]:
    """Where the whole blocks end that the bytes begin with, ``GROUP_BLOCKS`` at most."""
    ends: list[int] = []
    start = 0
    # The end of what was read may lie within a header, before its size.
    while len(ends) < GROUP_BLOCKS and start + HEADER_BYTES <= len(raw):
        header = raw[start : start + HEADER_BYTES]
        start += int.from_bytes(header[16:], "little") + 1
        if not is_bgzip(header) or start > len(raw):
            break
        ends.append(start)
    return ends
