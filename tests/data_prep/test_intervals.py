from __future__ import annotations

import numpy as np
import pytest

from genomamba_data_prep.intervals import cluster_bootstrap, wilson


def test_wilson_known_values() -> None:
    # Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_wilson_refuses_nonsense() -> None:
    for hits, n in ((1, 0), (3, 2), (-1, 2)):
        with pytest.raises(ValueError, match="expected"):
            wilson(hits, n)


def test_bootstrap_of_independent_windows_is_the_binomial_interval() -> None:
    rng = np.random.default_rng(0)
    correct = rng.random(1000) < 0.3
    assert cluster_bootstrap(correct, np.arange(1000)) == pytest.approx(
        wilson(int(correct.sum()), 1000), abs=4e-3
    )


def test_bootstrap_of_repeated_windows_is_as_wide_as_without_the_copies() -> None:
    rng = np.random.default_rng(0)
    correct = rng.random(200) < 0.4
    single = cluster_bootstrap(correct, np.arange(200))
    copies = cluster_bootstrap(np.repeat(correct, 10), np.repeat(np.arange(200), 10))
    assert copies == pytest.approx(single, abs=1e-12)


def test_bootstrap_needs_two_clusters() -> None:
    with pytest.raises(ValueError, match="2 clusters"):
        cluster_bootstrap([1, 0], ["a", "a"])
