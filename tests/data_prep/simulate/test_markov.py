"""The sources: stationary, closed under reverse complement, equally different."""

from __future__ import annotations

import numpy as np
import pytest

from genomamba_data_prep.errors import InputError
from genomamba_data_prep.simulate.markov import equidistant_sources, human_like
from genomamba_data_prep.simulate.words import (
    conditional,
    kl_rates,
    left_marginal,
    reverse_complement_words,
    right_marginal,
)

SETTINGS = [(1, 1e-3), (2, 1.5e-5), (2, 2e-3), (2, 2e-2), (3, 1e-3), (4, 1e-3)]


@pytest.fixture(params=SETTINGS, ids=lambda setting: f"order{setting[0]}-kl{setting[1]:g}")
def setting(request: pytest.FixtureRequest) -> tuple[int, float]:
    return request.param


def test_reverse_complement_words() -> None:
    # AAC = 1 -> GTT = 2 * 16 + 3 * 4 + 3
    assert reverse_complement_words(3)[1] == 47
    assert reverse_complement_words(2)[[0, 1, 5]].tolist() == [15, 11, 10]  # AA TT, AC GT, CC GG


def test_sources_are_stationary_and_strands_alike(setting: tuple[int, float]) -> None:
    k, kl = setting
    p = equidistant_sources(k, kl, 5, seed=3)
    assert p.min() > 0
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-12)
    np.testing.assert_allclose(left_marginal(p), right_marginal(p), atol=1e-15)
    np.testing.assert_allclose(p, p[:, reverse_complement_words(k + 1)], atol=1e-15)


def test_all_directed_kl_rates_are_equal(setting: tuple[int, float]) -> None:
    k, kl = setting
    p = equidistant_sources(k, kl, 5, seed=3)
    transition = conditional(p).reshape(5, -1, 4)
    context = p.reshape(5, -1, 4).sum(2)
    for s in range(5):
        for t in range(5):
            divergence = (transition[s] * np.log(transition[s] / transition[t])).sum(1)
            rate = (context[s] * divergence).sum()
            assert rate == pytest.approx(0 if s == t else kl, rel=1e-5, abs=1e-15)
            assert kl_rates(p)[s, t] == pytest.approx(rate, abs=1e-14)


def test_seeds_choose_other_sources() -> None:
    first = equidistant_sources(2, 2e-3, 5, seed=0)
    np.testing.assert_array_equal(first, equidistant_sources(2, 2e-3, 5, seed=0))
    assert np.abs(first - equidistant_sources(2, 2e-3, 5, seed=1)).max() > 1e-4


def test_composition_is_human_like() -> None:
    p = human_like(1)
    bases = left_marginal(p)
    assert bases[1] + bases[2] == pytest.approx(0.396, abs=0.001)
    assert p[1 * 4 + 2] / (bases[1] * bases[2]) == pytest.approx(0.22, abs=0.01)  # CpG
    for k in (2, 3, 4):
        longer = human_like(k)
        np.testing.assert_allclose(longer.reshape(16, -1).sum(1), p, atol=1e-9)


@pytest.mark.parametrize(
    ("k", "kl", "message"), [(0, 1e-3, "order"), (6, 1e-3, "order"), (2, 0, "KL"), (2, 3, "equal")]
)
def test_refuses(k: int, kl: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        equidistant_sources(k, kl, 5, seed=0)
