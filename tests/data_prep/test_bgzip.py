"""Threads that inflate bgzip give what one decompressor gives: same content, same errors."""

from __future__ import annotations

import gzip
import itertools
import re
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from genomamba_data_prep import bgzip
from genomamba_data_prep.bgzip import BGZIP_EOF, inflated, inflating_threads, is_bgzip
from genomamba_data_prep.compression import decompressed
from genomamba_data_prep.errors import InputError

Rng = np.random.Generator


def block(content: bytes, level: int = 6) -> bytes:
    """A gzip member with its size in the field BC."""
    plain = gzip.compress(content, level, mtime=0)
    head = plain[:3] + b"\x04" + plain[4:10] + b"\x06\x00BC\x02\x00"
    return head + (len(plain) + 8 - 1).to_bytes(2, "little") + plain[10:]


def letters(rng: Rng, length: int) -> bytes:
    """Bases, or a run of N, which compresses a thousandfold."""
    if rng.random() < 0.2:
        return b"N" * length
    return rng.choice(np.frombuffer(b"ACGT\n", np.uint8), length).tobytes()


def bgzip_file(rng: Rng) -> bytes:
    """Blocks of all sizes, EOF blocks among them where files were put together."""
    sizes = [0, 1, 300, 5000, 65_280, 1 << 16]
    blocks = []
    for _ in range(int(rng.integers(0, 60))):
        content = letters(rng, int(rng.choice(sizes)))
        blocks.append(BGZIP_EOF if rng.random() < 0.05 else block(content, int(rng.choice([1, 6]))))
    return b"".join(blocks) + BGZIP_EOF


def cut(raw: bytes, rng: Rng) -> Iterator[bytes]:
    """The file's bytes in pieces, the first of which holds a header."""
    sizes = rng.integers(18, int(rng.choice([100, 5000, 200_000])), size=10_000)
    start = 0
    for size in itertools.cycle(int(size) for size in sizes):
        if start >= len(raw):
            return
        yield raw[start : start + size]
        start += size


def outcome(raw: bytes, rng: Rng, threads: int) -> tuple[bytes, str]:
    """The content before any error, and the error."""
    content = bytearray()
    try:
        for piece in decompressed(cut(raw, rng), "x.fa.gz", threads):
            assert 0 < len(piece) <= 1 << 17
            content += piece
    except InputError as error:
        return bytes(content), str(error)
    return bytes(content), ""


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("seed", range(8))
def test_content_is_that_of_gzip(seed: int, threads: int) -> None:
    rng = np.random.default_rng(seed)
    raw = bgzip_file(rng)
    assert outcome(raw, rng, threads) == (gzip.decompress(raw), "")


def mutated(raw: bytes, rng: Rng) -> bytes:
    """The file with one thing wrong, or a member that is gzip but no bgzip somewhere."""
    at = int(rng.integers(18, len(raw)))
    kind = rng.integers(6)
    if kind == 0:
        return raw[:at]
    if kind == 1:
        flipped = bytearray(raw)
        flipped[at] ^= 1 << rng.integers(8)
        return bytes(flipped)
    if kind == 2:
        return raw[:at] + letters(rng, 30) + raw[at:]
    starts = [0]
    while starts[-1] < len(raw):
        starts.append(
            starts[-1] + int.from_bytes(raw[starts[-1] + 16 : starts[-1] + 18], "little") + 1
        )
    at = int(rng.choice(starts))
    if kind == 3 and at:
        return raw[:at] + gzip.compress(letters(rng, 100_000)) + raw[at:]
    if kind == 4 and at < len(raw):  # a size that is not the block's
        size = int(rng.integers(1 << 16)).to_bytes(2, "little")
        return raw[: at + 16] + size + raw[at + 18 :]
    return raw[: -len(BGZIP_EOF)]


@pytest.mark.parametrize("seed", range(60))
def test_errors_are_those_of_one_thread(seed: int) -> None:
    rng = np.random.default_rng(seed)
    raw = mutated(bgzip_file(rng), rng)
    content, error = outcome(raw, rng, 3)
    of_one, error_of_one = outcome(raw, rng, 0)
    assert error == error_of_one
    place = re.search(r"begins at byte ([\d,]+)", error)
    if place is None:
        assert content == of_one == gzip.decompress(raw)
    else:  # of the damaged member there is more or less, as the bytes before it were cut
        sound = gzip.decompress(raw[: int(place[1].replace(",", ""))])
        assert content.startswith(sound)
        assert of_one.startswith(sound)


def test_the_mutations_damage() -> None:
    """Otherwise the test above would compare sound files only."""
    errors = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        errors.append(outcome(mutated(bgzip_file(rng), rng), rng, 0)[1])
    for what in ("damaged gzip", "cut short", "no EOF block"):
        assert sum(what in error for error in errors) >= 5
    assert errors.count("") >= 5


@pytest.mark.parametrize("threads", [0, 3])
def test_damage_is_said_with_its_block(threads: int) -> None:
    blocks = [block(b"ACGT" * 1000), block(b"GATTACA" * 1000), block(b"T" * 9), BGZIP_EOF]
    first = blocks[0]
    for at, what in ((-5, "incorrect data check"), (-1, "incorrect length check")):
        wrong = bytearray(blocks[1])  # a checksum, or a length, that is not the content's
        wrong[at] ^= 1
        raw = b"".join([first, bytes(wrong), *blocks[2:]])
        with pytest.raises(InputError, match=rf"x: damaged gzip: .*{what}.* byte {len(first)}\b"):
            list(decompressed([raw], "x", threads))
    cut_short = first + blocks[1][:-3]
    with pytest.raises(InputError, match=rf"x: .* cut short, .* byte {len(first)}\b"):
        list(decompressed([cut_short], "x", threads))


def test_a_size_over_two_equal_blocks_loses_none_of_them() -> None:
    """Nor what had been read ahead of them by then."""
    one = block(b"N" * 60_000)
    over = (2 * len(one) - 1).to_bytes(2, "little")
    after = [block(b"%09d" % number) for number in range(100)]
    raw = one[:16] + over + one[18:] + one + b"".join(after) + BGZIP_EOF
    assert b"".join(decompressed([raw], "x", 2)) == gzip.decompress(raw)


def read_by_threads(pieces: list[bytes]) -> tuple[bytes, bgzip.Rest]:
    """The content, and what the threads leave to a single one."""
    rest = None

    def content() -> Iterator[bytes]:
        nonlocal rest
        rest = yield from inflated(iter(pieces), 2)

    found = b"".join(content())
    assert rest is not None
    return found, rest


def test_whole_blocks_are_left_to_the_threads() -> None:
    """Also those that are as large as a block can be, which a fallback would hide."""
    blocks = [block(b"N" * (1 << 16)), BGZIP_EOF, block(b"ACGT" * 9000)] * 30
    content, rest = read_by_threads([b"".join(blocks)])
    assert len(content) == 30 * ((1 << 16) + 36_000)
    assert rest.start == sum(map(len, blocks))
    assert b"".join(rest.blocks) == b""


@pytest.mark.parametrize("cut", range(1, 20))
@pytest.mark.parametrize("before", [0, 1, 8])
def test_a_header_in_two_pieces_is_left_to_the_threads(before: int, cut: int) -> None:
    """A single thread would read the same content, the rest of the file at its own pace."""
    one = block(b"ACGT" * 900)
    raw, at = one * (before + 3), len(one) * before + cut
    content, rest = read_by_threads([raw[:at], raw[at:]])
    assert content == b"ACGT" * 900 * (before + 3)
    assert rest.start == len(raw)


def test_reading_ahead_is_bounded() -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        one = block(b"N" * 65_280)
        while True:
            taken += 1
            yield one

    content = inflated(endless(), 3)
    next(content)
    assert taken <= 3 * bgzip.GROUPS_AHEAD
    content.close()


def test_threads_end_with_the_reader() -> None:
    raw = bgzip_file(np.random.default_rng(3))
    content = decompressed([raw], "x", 4)
    next(content)
    assert any(thread.name.startswith("inflate") for thread in threading.enumerate())
    content.close()  # type: ignore[attr-defined]
    assert not any(thread.name.startswith("inflate") for thread in threading.enumerate())


def test_blocks_are_inflated_at_once(monkeypatch) -> None:
    """Two groups are in work at a time: each waits for the other."""
    both = threading.Barrier(2, timeout=30)
    contents = bgzip._contents

    def meeting(group):
        both.wait()
        return contents(group)

    monkeypatch.setattr(bgzip, "_contents", meeting)
    raw = block(b"ACGT" * 10) * 2 * bgzip.GROUP_BLOCKS
    assert b"".join(inflated([raw], 2)) == b"ACGT" * 20 * bgzip.GROUP_BLOCKS


def test_order_is_that_of_the_file(monkeypatch) -> None:
    contents = bgzip._contents

    def late_first(group):
        if group.start == 0:
            time.sleep(0.2)
        return contents(group)

    monkeypatch.setattr(bgzip, "_contents", late_first)
    blocks = [block(b"%09d" % number) for number in range(100)]
    expected = b"".join(b"%09d" % number for number in range(100))
    assert b"".join(inflated([b"".join(blocks)], 3)) == expected


@pytest.mark.parametrize(("cores", "threads"), [(1, 0), (2, 0), (3, 1), (4, 2), (16, 6)])
def test_threads_byusable_cores(monkeypatch, cores: int, threads: int) -> None:
    monkeypatch.setattr(bgzip, "usable_cores", lambda: cores)
    assert inflating_threads() == threads


def test_what_bgzip_is() -> None:
    assert is_bgzip(BGZIP_EOF)
    assert is_bgzip(block(b"A"))
    assert not is_bgzip(gzip.compress(b"A"))
    assert not is_bgzip(b"")
