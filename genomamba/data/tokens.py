"""From stored codes to model tokens, on whatever device the codes are.

Codes travel as one byte a base, soft-mask bit included (`genomamba_data_prep.codes`); eight times
fewer bytes cross to the device than int64 tokens would need.
"""

from __future__ import annotations

from torch import Tensor

from genomamba_data_prep.codes import BASE_BITS, BASES, SOFT_MASK, N

VOCABULARY: tuple[str, ...] = tuple(BASES)  # a token is a base's code: A 0, C 1, G 2, T 3, N 4
N_TOKEN = N
T_TOKEN = VOCABULARY.index("T")  # A and T, C and G add up to it


def tokens(codes: Tensor) -> Tensor:
    """Tokens of codes: uint8 (B, L) -> int64 (B, L), the soft mask dropped."""
    return (codes & BASE_BITS).long()


def reverse_complement(found: Tensor) -> Tensor:
    """Tokens (B, L) of the other strand, from its beginning."""
    return found.where(found == N_TOKEN, T_TOKEN - found).flip(1)


def is_n(codes: Tensor) -> Tensor:
    """Where the base is unknown: uint8 (B, L) -> bool (B, L)."""
    return (codes & BASE_BITS) == N_TOKEN


def is_soft_masked(codes: Tensor) -> Tensor:
    """Where the FASTA had a lower-case letter: uint8 (B, L) -> bool (B, L)."""
    return (codes & SOFT_MASK) != 0
