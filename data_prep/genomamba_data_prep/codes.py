"""One byte a base: the code in the low three bits, the soft mask (lower case) in the fourth.

A 0, C 1, G 2, T 3, N 4; ``code | SOFT_MASK`` for a lower-case letter. U is read as T; every other
IUPAC nucleotide letter is read as N. Anything else is ``ILLEGAL`` and never reaches a store.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.uint8]

BASES = "ACGTN"
A, C, G, T, N = range(5)
SOFT_MASK = 0x08
BASE_BITS = 0x07
ILLEGAL = 0xFF
COMPLEMENT_BLOCK = 1 << 17  # bytes
_ONES = np.uint64(0x0101010101010101)  # of eight codes in a word
_THREES, _N_BITS = np.uint64(3) * _ONES, np.uint64(N) * _ONES
AMBIGUOUS = "RYSWKMBDHV"  # IUPAC letters that stand for two or three bases; read as N and counted


def _encode_table() -> bytes:
    table = bytearray([ILLEGAL]) * 256
    letters = dict(zip(BASES, range(5), strict=True)) | {"U": T} | dict.fromkeys(AMBIGUOUS, N)
    for letter, code in letters.items():
        table[ord(letter)] = code
        table[ord(letter.lower())] = code | SOFT_MASK
    return bytes(table)


def _decode_table() -> bytes:
    table = bytearray(b"?") * 256
    for code, letter in enumerate(BASES):
        table[code] = ord(letter)
        table[code | SOFT_MASK] = ord(letter.lower())
    return bytes(table)


ENCODE_TABLE = _encode_table()  # for bytes.translate
DECODE_TABLE = _decode_table()


def encode(letters: bytes) -> Codes:
    """Codes of FASTA letters, shape (len(letters),); illegal letters become ``ILLEGAL``."""
    return np.frombuffer(letters.translate(ENCODE_TABLE), dtype=np.uint8)


def decode(codes: Codes) -> bytes:
    """FASTA letters of codes, lower case where soft-masked."""
    return codes.tobytes().translate(DECODE_TABLE)


def reverse_complement(codes: Codes, out: Codes | None = None) -> Codes:
    """The other strand, read 5' to 3', shape as given; the soft mask goes with its base.

    Args:
        codes: (..., L).
        out: where to put it, of the same shape, C-contiguous, apart from ``codes``; None for new
            memory.
    """
    if out is None:
        out = np.empty(codes.shape, dtype=np.uint8)
    length = codes.shape[-1]
    if codes.size <= COMPLEMENT_BLOCK:
        _reverse(codes, out)
        _complement(out.reshape(-1))
        return out
    # In blocks that stay in the cache between reversing and complementing.
    for row in np.ndindex(codes.shape[:-1]):
        for start in range(0, length, COMPLEMENT_BLOCK):
            end = min(start + COMPLEMENT_BLOCK, length)
            block = out[row][start:end]
            _reverse(codes[row][length - end : length - start], block)
            _complement(block)
    return out


def _reverse(codes: Codes, out: Codes) -> None:
    """Reverse the last axis. Eight bases at once: three times the speed of single bytes."""
    length = codes.shape[-1]
    whole = length - length % 8
    if not whole or codes.strides[-1] != 1:
        out[...] = codes[..., ::-1]
        return
    words = out[..., :whole].view(np.uint64)
    words[...] = codes[..., length - whole :].view(np.uint64)[..., ::-1]
    words.byteswap(inplace=True)
    out[..., whole:] = codes[..., : length - whole][..., ::-1]


def _complement(codes: Codes) -> None:
    """Complement in place, shape (n,): A and T, C and G differ by XOR 3; N stays."""
    whole = len(codes) - len(codes) % 8
    words = codes[:whole].view(np.uint64)
    if np.bitwise_or.reduce(words) & _N_BITS:  # N alone has this bit
        is_n = words >> np.uint64(2) & _ONES
        words ^= _THREES ^ (is_n | is_n << np.uint64(1))
    else:
        words ^= _THREES
    rest = codes[whole:]
    rest ^= ((rest & N) == 0).view(np.uint8) * np.uint8(3)
