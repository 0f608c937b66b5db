"""Runs of N and lower case: their law, and that a window's first base is no different."""

from __future__ import annotations

import numpy as np
import pytest

from genomamba_data_prep.simulate.masks import Runs, mask


def test_fraction_and_lengths() -> None:
    drawn = Runs(0.2, 50.0).draw(np.random.default_rng(0), 2_000_000)
    assert drawn.shape == (2_000_000,)
    edges = np.flatnonzero(np.diff(drawn))
    lengths = np.diff(edges)
    runs, gaps = (lengths[drawn[edges[:-1] + 1] == value] for value in (True, False))
    assert drawn.mean() == pytest.approx(0.2, abs=0.006)
    assert runs.mean() == pytest.approx(50, rel=0.04)
    assert gaps.mean() == pytest.approx(200, rel=0.04)


def test_every_base_is_alike() -> None:
    rng = np.random.default_rng(0)
    rows = np.array([Runs(0.3, 10.0).draw(rng, 40) for _ in range(5000)])
    np.testing.assert_allclose(rows.mean(0), 0.3, atol=4.5 * np.sqrt(0.3 * 0.7 / 5000))


def test_none() -> None:
    assert not Runs(0.0, 10.0).draw(np.random.default_rng(0), 100).any()


def test_n_hides_the_soft_mask() -> None:
    codes = np.array([0, 1, 2, 3], dtype=np.uint8)
    mask(codes, np.array([False, True, True, False]), np.array([False, False, True, True]))
    assert codes.tolist() == [0, 4, 4, 11]
