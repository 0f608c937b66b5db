"""The fast generator against one step after another, and the law of what it draws."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from genomamba_data_prep.simulate import generate
from genomamba_data_prep.simulate.generate import MarkovSource
from genomamba_data_prep.simulate.markov import equidistant_sources
from genomamba_data_prep.simulate.truth import MarkovTruth
from genomamba_data_prep.simulate.words import kl_rates, reverse_complement_words


def count_words(codes: np.ndarray, length: int) -> np.ndarray:
    words = sum(
        codes[i : len(codes) - length + 1 + i].astype(np.intp) * 4 ** (length - 1 - i)
        for i in range(length)
    )
    return np.bincount(words, minlength=4**length)


def step_by_step(source: MarkovSource, start: int, uniforms: np.ndarray) -> list[int]:
    context, bases = start, []
    for uniform in uniforms:
        base = sum(int(uniform >= row[context]) for row in source.thresholds)
        bases.append(base)
        context = (context * 4 + base) % source.n_contexts
    return bases


@pytest.mark.parametrize(("k", "steps"), [(1, 7), (2, 3), (2, 40), (3, 25), (4, 11)])
def test_segments_equal_one_step_after_another(k: int, steps: int) -> None:
    # 3 and 7 steps are too few for the paths to meet, so that ends change and spread on
    source = MarkovSource(equidistant_sources(k, 1e-3, 5, seed=0)[1])
    rng = np.random.default_rng(0)
    rows, segments = 3, 13
    uniforms = rng.integers(0, 2**32, (steps, rows * segments), dtype=np.uint32)
    starts = rng.integers(0, source.n_contexts, rows)
    bases, ends = source.run_chained(starts, uniforms, segments)
    for row in range(rows):
        columns = slice(row * segments, (row + 1) * segments)
        expected = step_by_step(source, starts[row], uniforms[:, columns].T.ravel())
        assert bases[:, columns].T.ravel().tolist() == expected
        tail = np.array(expected[-k:]) if steps * segments >= k else None
        assert tail is not None
        assert ends[row, -1] == int("".join(map(str, tail)), 4)


def test_blocks_continue_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """No seam between blocks: a source that nearly alternates shows one at once."""
    p = np.full(16, 1e-9)
    p[[1, 4]] = 0.5  # ACACAC..., with other words too rare to occur
    monkeypatch.setattr(generate, "BLOCK", 2**10)
    monkeypatch.setattr(generate, "SEGMENTS", 2**4)
    codes = MarkovSource(p / p.sum()).sequences(np.random.default_rng(0), 1, 10_000)[0]
    assert (codes[1:] != codes[:-1]).all()
    assert set(codes) == {0, 1}


def test_counts_follow_the_law_on_both_strands(make_truth: Callable[..., MarkovTruth]) -> None:
    p = make_truth(kl=2e-2).word_probabilities
    n = 4_000_000
    for law in p[:2]:
        rng = np.random.default_rng(1)
        counts = count_words(MarkovSource(law).sequences(rng, 1, n)[0], 3)
        # the counts' standard deviation is near that of independent words
        error = (counts - n * law) / np.sqrt(n * law)
        assert np.abs(error).max() < 5
        both = counts[reverse_complement_words(3)] - counts
        assert np.abs(both / np.sqrt(2 * n * law)).max() < 5


def test_empirical_kl_rate_is_that_asked_for(make_truth: Callable[..., MarkovTruth]) -> None:
    """Mean log-likelihood ratio a base of fresh sequence, against --kl, for all directed pairs."""
    kl, n = 2e-3, 4_000_000
    p = make_truth(kl=kl).word_probabilities
    log = np.log(p.reshape(5, -1, 4) / p.reshape(5, -1, 4).sum(2, keepdims=True)).reshape(5, -1)
    for s in range(5):
        rng = np.random.default_rng(s)
        counts = count_words(MarkovSource(p[s]).sequences(rng, 1, n)[0], 3)
        ratio = counts @ (log[s] - log).T / counts.sum()
        others = np.delete(ratio, s)
        # variance a base of the log ratio is 2 kl to first order
        np.testing.assert_allclose(others, kl, atol=5 * np.sqrt(2 * kl / n))
    np.testing.assert_allclose(kl_rates(p)[~np.eye(5, dtype=bool)], kl, rtol=0.01)


def test_windows_are_stationary_from_their_first_base(
    make_truth: Callable[..., MarkovTruth],
) -> None:
    law = make_truth().word_probabilities[0]
    windows = MarkovSource(law).sequences(np.random.default_rng(0), 200_000, 3)
    counts = np.bincount(windows @ np.array([16, 4, 1]), minlength=64)
    error = (counts - len(windows) * law) / np.sqrt(len(windows) * law)
    assert np.abs(error).max() < 4.5
