"""The bootstrap over loci: its two cases, its coverage of a known truth, its correction."""

from __future__ import annotations

import numpy as np
import pytest

from genomamba_data_prep.locus_bootstrap import (
    MIN_LOCI,
    bootstrap,
    locus_strata,
    mean_spread,
    sum_by_locus,
)

# Windows in the loci of five species, unequal as those of assembled genomes are.
SIZES = ((40, 40, 20, 42, 41), (51, 52, 7, 22, 24), (46, 45, 7, 45), (58, 61, 61), (35, 4, 36, 29))
TRUTH = (0.95, 0.5, 0.7, 0.6, 0.7)  # accuracy on each species' sequence


def places() -> tuple[np.ndarray, np.ndarray]:
    """Label and locus of each window."""
    loci = np.repeat(np.arange(sum(map(len, SIZES))), [n for own in SIZES for n in own])
    labels = np.repeat(np.arange(len(SIZES)), [sum(own) for own in SIZES])
    return labels, loci


def simulate(labels: np.ndarray, loci: np.ndarray, seed: int) -> np.ndarray:
    """Whether each window is right: loci are unlike, around their species' accuracy."""
    rng = np.random.default_rng(seed)
    p = np.array(TRUTH)[[labels[loci == locus][0] for locus in range(loci.max() + 1)]]
    return (rng.random(len(labels)) < rng.beta(20 * p, 20 * (1 - p))[loci]).astype(float)


def test_intervals_cover_the_truth_where_species_have_loci_of_their_own() -> None:
    """Drawn all together, how many windows are of which species would vary too: too wide."""
    labels, loci = places()
    truth = np.bincount(labels) @ TRUTH / len(labels)
    covered = by_all = 0
    widths = []
    for seed in range(200):
        correct = simulate(labels, loci, seed)
        off = abs(correct.mean() - truth)
        own = mean_spread(correct, labels, loci, seed)
        sums = sum_by_locus(np.stack([np.ones(len(correct)), correct], axis=1), loci)
        together = np.zeros(len(sums), dtype=np.int64)
        all_ = bootstrap(sums, together, lambda s: s[..., 1:] / s[..., :1], seed=seed)
        covered += off <= own.half[0]
        by_all += off <= all_.half[0]
        widths.append(all_.half[0] / own.half[0])
    assert 180 <= covered <= 197
    assert by_all > 197
    assert np.mean(widths) > 1.2


def test_species_alone_make_no_error() -> None:
    """Loci that are all alike within a species: nothing is uncertain, unlike as species are."""
    labels = np.repeat([0, 1], 60)
    loci = np.repeat(np.arange(12), 10)
    found = mean_spread(labels.astype(float), labels, loci)
    assert found.error[0] == pytest.approx(0, abs=1e-12)
    shared = mean_spread(labels.astype(float), labels, np.tile(np.arange(12), 10))
    assert shared.error[0] == pytest.approx(0, abs=1e-12)  # both species in each
    alone = mean_spread(labels.astype(float), np.zeros(120, dtype=np.int64), loci)
    assert alone.error[0] > 0.1


def test_the_error_is_that_of_stratified_samples() -> None:
    """Equal loci have the textbook's variance: sum over species of (share^2 s^2 / G)."""
    rng = np.random.default_rng(2)
    means = [rng.normal(0, 1, 8), rng.normal(3, 2, 6)]
    values = np.repeat(np.concatenate(means), 10)
    labels, loci = np.repeat([0, 1], [80, 60]), np.repeat(np.arange(14), 10)
    parts = [(len(m) / 14) ** 2 * m.var(ddof=1) / len(m) for m in means]
    found = mean_spread(values, labels, loci)
    assert found.error[0] == pytest.approx(np.sqrt(sum(parts)), rel=0.05)
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / 7 + parts[1] ** 2 / 5)
    assert found.freedom[0] == pytest.approx(freedom, rel=0.1)


def test_the_cases_are_told_apart_by_the_data() -> None:
    labels = np.array([1, 1, 0, 0, 1, 0, 1, 0])
    own = np.array(["b", "b", "a", "a", "d", "c", "d", "c"])
    assert locus_strata(own, labels).tolist() == [0, 1, 0, 1]  # a, b, c, d
    one_is_shared = np.where(np.arange(8) == 5, "d", own)
    assert locus_strata(one_is_shared, labels).tolist() == [0, 0, 0, 0]
    single = np.where(own == "d", "b", own)  # all of class 1 in one locus
    assert locus_strata(single, labels).tolist() == [0, 0, 0]
    assert locus_strata(own, np.zeros(8, dtype=np.int64)).tolist() == [0, 0, 0, 0]


def test_shared_loci_are_drawn_together() -> None:
    """The error of a cluster sample, with G - 1 degrees of freedom."""
    rng = np.random.default_rng(3)
    means = rng.normal(0, 1, 9)
    values, loci = np.repeat(means, 20), np.repeat(np.arange(9), 20)
    found = mean_spread(values, np.arange(180) % 2, loci)
    assert found.error[0] == pytest.approx(means.std(ddof=1) / 3, rel=0.05)
    assert (found.freedom[0], found.loci[0]) == (pytest.approx(8), 9)


def test_too_few_loci_have_no_error() -> None:
    for loci, known in ((MIN_LOCI - 1, False), (MIN_LOCI, True)):
        windows = np.arange(40)
        found = mean_spread((windows % 3).astype(float), windows % 2, windows % loci)
        assert np.isfinite(found.half[0]) == known
