"""Philox4x32-10 against Random123's known answers."""

from __future__ import annotations

import numpy as np
import pytest

from genomamba_data_prep.philox import key_of, philox4x32

# Random123, kat_vectors: counter, key, result of "philox4x32 10".
KNOWN_ANSWERS = [
    ("00000000 " * 4, "00000000 " * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff " * 4, "ffffffff " * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (
        "243f6a88 85a308d3 13198a2e 03707344",
        "a4093822 299f31d0",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


def _words(text: str) -> np.ndarray:
    return np.array([int(word, 16) for word in text.split()], dtype=np.uint32)


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN_ANSWERS)
def test_known_answers(counter: str, key: str, result: str) -> None:
    np.testing.assert_array_equal(philox4x32(_words(counter)[None], _words(key))[0], _words(result))


def test_each_row_depends_on_its_own_counter_only() -> None:
    counters = np.random.default_rng(0).integers(0, 2**32, (100, 4), dtype=np.uint32)
    key = key_of(2**40 + 17)
    whole = philox4x32(counters, key)
    order = np.random.default_rng(1).permutation(100)
    np.testing.assert_array_equal(philox4x32(counters[order], key), whole[order])
    np.testing.assert_array_equal(philox4x32(counters[7:8], key), whole[7:8])
    assert philox4x32(counters[:0], key).shape == (0, 4)


def test_key_of_splits_a_seed_into_words() -> None:
    np.testing.assert_array_equal(key_of(0x299F31D0A4093822), _words("a4093822 299f31d0"))


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seed_out_of_range(seed: int) -> None:
    with pytest.raises(ValueError, match=r"seed in \[0, 2\^64\)"):
        key_of(seed)
