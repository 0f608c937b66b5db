"""The computed permutation: a bijection for every size, seed and epoch, and no order left."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genomamba_data_prep.permutation import permuted
from genomamba_data_prep.philox import key_of


def whole(n: int, seed: int = 0, epoch: int = 0, stream: int = 0) -> np.ndarray:
    position = np.arange(n)
    return permuted(position, n, key_of(seed), np.full(n, epoch), stream)


@given(st.integers(1, 3000), st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1))
@settings(max_examples=80, deadline=None)
def test_a_bijection(n: int, seed: int, epoch: int) -> None:
    np.testing.assert_array_equal(np.sort(whole(n, seed, epoch)), np.arange(n))


@pytest.mark.parametrize("n", [2**16, 65_521, 34_021 * 2])
def test_a_bijection_of_many(n: int) -> None:
    found = whole(n, seed=5)
    assert np.bincount(found, minlength=n).max() == 1
    # No order is left: neighbours are uncorrelated, within five standard deviations.
    assert abs(np.corrcoef(found[:-1], found[1:])[0, 1]) < 5 / np.sqrt(n)
    assert abs(np.corrcoef(found, np.arange(n))[0, 1]) < 5 / np.sqrt(n)


def test_each_element_by_itself() -> None:
    n = 1000
    together = whole(n, 3)
    order = np.random.default_rng(0).permutation(n)[:50]
    alone = [
        int(permuted(order[i : i + 1], n, key_of(3), np.zeros(1, int), 0)[0]) for i in range(50)
    ]
    assert alone == together[order].tolist()
    epochs = np.arange(n) % 3
    mixed = permuted(np.arange(n), n, key_of(3), epochs, 0)
    for epoch in range(3):
        assert (mixed == whole(n, 3, epoch))[epochs == epoch].all()


def test_seeds_epochs_and_streams_have_their_own() -> None:
    n = 10_000
    orders = [whole(n), whole(n, seed=1), whole(n, epoch=1), whole(n, stream=1), whole(n, 2**40)]
    for i, left in enumerate(orders):
        for right in orders[:i]:
            assert abs(np.corrcoef(left, right)[0, 1]) < 0.05


@pytest.mark.parametrize("n", [3, 5, 7, 20])
def test_each_pair_comes_first_as_often(n: int) -> None:
    epochs = 20_000
    position = np.tile(np.arange(2), epochs)
    found = permuted(position, n, key_of(0), np.repeat(np.arange(epochs), 2), 0).reshape(-1, 2)
    counts = np.bincount(found[:, 0] * n + found[:, 1], minlength=n * n).reshape(n, n)
    assert not counts.diagonal().any()
    pairs = counts[~np.eye(n, dtype=bool)]
    expected = epochs / len(pairs)
    statistic = float(((pairs - expected) ** 2 / expected).sum())
    assert abs(statistic - len(pairs) + 1) < 5 * np.sqrt(2 * (len(pairs) - 1))


def test_pinned() -> None:
    """A change here changes every run that samples by epochs."""
    assert whole(10, 1).tolist() == [9, 1, 4, 8, 5, 0, 3, 2, 6, 7]
    big = permuted(np.array([0, 2**61]), 2**62, key_of(1), np.array([0, 2**31]), 2)
    assert big.tolist() == [1005248566255712990, 1297094574084067935]
