"""Accuracy with an interval that respects loci, and whether it is above chance.

Windows of one locus are dependent, in all species: the sequence is orthologous and windows overlap.
So loci are resampled, never windows. The bootstrap's standard error is inflated by
sqrt(G / (G - 1)), because it divides by G where G - 1 is due, and the quantile is Student's with
G - 1 degrees of freedom: with few loci a percentile interval would be far too narrow (Hesterberg
2015, Am Stat 69:371, section 3.2).

Letters: G loci, B windows, C classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

REPLICATES = 4000
MIN_LOCI = 5  # with fewer the spread between them says too little: no interval, no judgement


@dataclass(frozen=True)
class Accuracy:
    """A classifier's accuracy on the test windows of one length.

    Attributes:
        accuracy: fraction of the windows that it gets right.
        low: lower end of the 95 % interval; None with fewer than ``MIN_LOCI`` loci.
        high: upper end, likewise.
        p_value: of "no better than chance", one-sided, likewise.
        recall: by class, in class order.
        windows: B.
        loci: G; whole records for a control that sees the same in all windows of a record.
    """

    accuracy: float
    low: float | None
    high: float | None
    p_value: float | None
    recall: tuple[float, ...]
    windows: int
    loci: int


@dataclass(frozen=True)
class Mean:
    """A mean over windows.

    Attributes:
        value: the mean.
        low: lower end of the 95 % interval; None with fewer than ``MIN_LOCI`` loci.
        high: upper end, likewise.
        loci: G.
    """

    value: float
    low: float | None
    high: float | None
    loci: int


def score(
    predicted: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int64],
    loci: npt.NDArray[np.int64],
    n_classes: int,
    seed: int,
) -> Accuracy:
    """Accuracy and interval of predictions (B,) whose windows lie in ``loci`` (B,)."""
    from scipy.stats import t

    correct = predicted == labels
    n = len(np.unique(loci))
    accuracy = float(correct.mean())
    recall = tuple(float(correct[labels == label].mean()) for label in range(n_classes))
    if n < MIN_LOCI:
        return Accuracy(accuracy, None, None, None, recall, len(labels), n)
    error = _error(correct, loci, seed)
    half = float(t.ppf(0.975, n - 1)) * error
    above = accuracy - 1 / n_classes
    # Without any spread over the loci it is constant: at chance, or above it in each alike.
    p_value = float(t.sf(above / error, n - 1)) if error > 1e-9 else float(above <= 1e-9)
    low, high = max(0.0, accuracy - half), min(1.0, accuracy + half)
    return Accuracy(accuracy, low, high, p_value, recall, len(labels), n)


def mean_over_loci(values: npt.ArrayLike, loci: npt.ArrayLike, seed: int = 0) -> Mean:
    """The mean of ``values`` (B,) whose windows lie in ``loci`` (B,), with its 95 % interval.

    Of differences between two classifiers on the same windows this is the paired comparison.
    """
    from scipy.stats import t

    values, loci = np.asarray(values, dtype=np.float64), np.asarray(loci)
    mean, n = float(values.mean()), len(np.unique(loci))
    if n < MIN_LOCI:
        return Mean(mean, None, None, n)
    half = float(t.ppf(0.975, n - 1)) * _error(values, loci, seed)
    return Mean(mean, mean - half, mean + half, n)


def _error(values: npt.NDArray[Any], loci: npt.NDArray[Any], seed: int) -> float:
    """The mean's standard error over loci, two at least."""
    names, member = np.unique(loci, return_inverse=True)
    n = len(names)
    sums, sizes = np.bincount(member, weights=values), np.bincount(member)
    rng = np.random.Generator(np.random.PCG64(seed))
    times = rng.multinomial(n, np.full(n, 1 / n), size=REPLICATES)  # how often each locus is drawn
    return float(np.std((times @ sums) / (times @ sizes))) * math.sqrt(n / (n - 1))
