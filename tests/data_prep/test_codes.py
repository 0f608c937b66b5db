"""Letters to codes and back, and the other strand."""

from __future__ import annotations

import numpy as np
import pytest
from Bio.Seq import Seq
from hypothesis import given
from hypothesis import strategies as st

from genomamba_data_prep.codes import (
    AMBIGUOUS,
    BASE_BITS,
    COMPLEMENT_BLOCK,
    ILLEGAL,
    SOFT_MASK,
    N,
    decode,
    encode,
    reverse_complement,
)

letters = st.text(alphabet="ACGTNacgtn").map(str.encode)


@given(letters)
def test_decode_undoes_encode(sequence: bytes) -> None:
    assert decode(encode(sequence)) == sequence


@given(letters)
def test_reverse_complement_agrees_with_biopython(sequence: bytes) -> None:
    expected = bytes(Seq(sequence).reverse_complement())
    assert decode(reverse_complement(encode(sequence))) == expected


@given(letters)
def test_reverse_complement_is_an_involution(sequence: bytes) -> None:
    codes = encode(sequence)
    assert np.array_equal(reverse_complement(reverse_complement(codes)), codes)


def test_reverse_complement_of_a_batch_works_on_the_last_axis() -> None:
    codes = np.stack([encode(b"ACGTN"), encode(b"aaCCg")])
    assert [decode(row) for row in reverse_complement(codes)] == [b"NACGT", b"cGGtt"]


def test_u_is_t_and_ambiguity_letters_are_n() -> None:
    assert decode(encode(b"Uu")) == b"Tt"
    upper = AMBIGUOUS.encode()
    assert np.all(encode(upper) == N)
    assert np.all(encode(upper.lower()) == N | SOFT_MASK)


@pytest.mark.parametrize("letter", "EFIJLOPQXZefijlopqxz*-.0159 >\t\r\n\0\xff")
def test_everything_else_is_illegal(letter: str) -> None:
    assert encode(letter.encode("latin-1"))[0] == ILLEGAL


def test_the_soft_mask_leaves_the_base_alone() -> None:
    upper, lower = encode(b"ACGTN"), encode(b"acgtn")
    assert np.array_equal(lower & BASE_BITS, upper)
    assert np.all(lower & SOFT_MASK)
    assert not np.any(upper & SOFT_MASK)


@given(st.integers(0, 50), st.integers(0, 40), st.booleans(), st.booleans())
def test_reverse_complement_into_given_memory(
    seed: int, extra: int, with_n: bool, long: bool
) -> None:
    """Any length and alignment; long ones go in blocks."""
    length = extra + (COMPLEMENT_BLOCK if long else 0)
    rng = np.random.default_rng(seed)
    bases = rng.integers(0, 5 if with_n else 4, (2, length), dtype=np.uint8)
    codes = bases + rng.choice(np.array([0, 8], np.uint8), bases.shape)
    table = np.array([3, 2, 1, 0, 4, 0, 0, 0, 11, 10, 9, 8, 12], np.uint8)
    expected = table[codes][:, ::-1]
    out = np.empty(2 * length + 3, np.uint8)[3:]
    assert reverse_complement(codes, out.reshape(2, length)) is not None
    assert np.array_equal(out.reshape(2, length), expected)
    assert np.array_equal(reverse_complement(codes[:, ::2]), table[codes[:, ::2]][:, ::-1])
    assert np.array_equal(reverse_complement(codes[1]), expected[1])
