"""Repeats of short units: found at their whole length, once, on either strand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genomamba_data_prep.codes import SOFT_MASK, Codes, reverse_complement
from genomamba_data_prep.repeats import EDGES, FEATURES, repeat_features

CODES = {letter: code for code, letter in enumerate("ACGTN")}


def encode(text: str) -> Codes:
    return np.array([CODES[letter] for letter in text], np.uint8)


def counts(text: str) -> dict[tuple[str, int], int]:
    """Of the kinds and the bins' least lengths that occur."""
    found = np.rint(repeat_features(encode(text)) * len(text)).astype(int)
    kinds = ("A or T", "C or G", "2", "3", "4")
    table = found.reshape(len(kinds), len(EDGES))
    return {(kinds[i], EDGES[j]): int(table[i, j]) for i, j in zip(*table.nonzero(), strict=True)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ACGTACAGT", {}),
        ("CAAAC", {}),  # three are too few
        ("CAAAAC", {("A or T", 4): 1}),
        ("GTTTTTTTTG", {("A or T", 8): 1}),
        ("AGGGGGGA", {("C or G", 6): 1}),
        ("G" + "A" * 100 + "G", {("A or T", 45): 1}),
        ("GCACACAG", {("2", 6): 1}),
        ("GCACACG", {}),  # CA repeats for 3 bases
        ("T" + "CAG" * 4 + "A", {("3", 11): 1}),
        ("A" + "CTGA" * 3 + "G", {("4", 13): 1}),  # with the A before it
        ("G" + "CACA" * 3 + "T", {("2", 11): 1}),  # not under 4
        ("CAAAANAAAAC", {("A or T", 4): 2}),
        ("NNNNNNNNNNNN", {}),
        ("", {}),
        ("A", {}),
    ],
)
def test_repeats_are_counted_once_at_their_length(
    text: str, expected: dict[tuple[str, int], int]
) -> None:
    assert counts(text) == expected


@given(st.text("ACGTN", max_size=80), st.integers(0, 4), st.integers(1, 12))
def test_strand_and_soft_mask_do_not_matter(text: str, place: int, copies: int) -> None:
    text += text[place : place + 3] * copies  # what chance seldom makes
    codes = encode(text)
    features = repeat_features(codes)
    assert features.shape == (FEATURES,)
    np.testing.assert_array_equal(repeat_features(reverse_complement(codes)), features)
    np.testing.assert_array_equal(repeat_features(codes | np.uint8(SOFT_MASK)), features)
