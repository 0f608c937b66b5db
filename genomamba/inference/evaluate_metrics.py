"""Accuracy, confusion and calibration of a classifier on windows, with intervals over loci.

Standard errors and degrees of freedom are of ``genomamba_data_prep.locus_bootstrap``: whole loci
are drawn again, of each species its own where species share none. A class or a bin counts the loci
that have any of it. Where all windows of all loci are right, or all wrong, nothing varies that
could be resampled; the interval is Wilson's then, with loci as the trials.

Letters: B windows, C classes, G loci, F sums, K figures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genomamba_data_prep.intervals import wilson
from genomamba_data_prep.locus_bootstrap import (
    Floats,
    Ints,
    Spread,
    bootstrap,
    locus_strata,
    sum_by_locus,
)
from genomamba_data_prep.manifests import Manifest

BINS = 15  # of the confidence, of equal width, as in Guo et al. 2017
LOCUS = 1_000_000  # bases of a record that count as one locus; four windows if that is more
NOT_PROPORTIONS = (1, 2, 3)  # places of log loss, Brier score and ECE among the figures


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its 95 % interval; None with fewer than ``MIN_LOCI`` loci, nan without data."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Bin:
    """Windows whose predicted class has a probability in [low, high); the last bin has 1 too."""

    low: float
    high: float
    windows: int
    confidence: float
    accuracy: Estimate


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a classifier got right, and how far its probabilities can be believed.

    Attributes:
        windows: B.
        loci: G.
        accuracy: fraction of the windows whose most probable class is the true one.
        log_loss: mean of -ln p(true class), nats.
        brier: mean squared distance of the probabilities from the truth, 0 to 2.
        ece: expected calibration error: mean over windows of |accuracy - confidence| of their bin.
        by_class: accuracy on the windows of each class.
        confusion: counts (C, C): true class, predicted class.
        bins: reliability, ``BINS`` of them.
    """

    windows: int
    loci: int
    accuracy: Estimate
    log_loss: Estimate
    brier: Estimate
    ece: Estimate
    by_class: tuple[Estimate, ...]
    confusion: Ints
    bins: tuple[Bin, ...]


def count_of_loci(loci: int) -> str:
    """For people: 1 locus, 2 loci."""
    return f"{loci:,} {'locus' if loci == 1 else 'loci'}"


def window_loci(manifest: Manifest, size: int | None) -> Ints:
    """The locus of each window, (B,): its record, or the stretch of it that has its middle.

    Records are by common name, the same in all species.

    Args:
        manifest: the windows.
        size: bases of a stretch; None takes the larger of ``LOCUS`` and four windows.
    """
    names, first = _stretches(manifest, size)
    records = np.unique(np.array(names), return_inverse=True)[1]
    places = np.stack([records, first], axis=1)
    return np.unique(places, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def locus_names(manifest: Manifest, size: int | None) -> list[str]:
    """The same loci as RECORD:FIRST, with the first base of the stretch, from 0."""
    names, first = _stretches(manifest, size)
    return [f"{name}:{start}" for name, start in zip(names, first.tolist(), strict=True)]


def _stretches(manifest: Manifest, size: int | None) -> tuple[list[str], Ints]:
    """Of each window the record and the stretch's first base."""
    size = max(LOCUS, 4 * manifest.length) if size is None else size
    middle = (manifest.table["start"].to_numpy() + manifest.table["end"].to_numpy()) // 2
    return manifest.table["record"].to_pylist(), middle // size * size


def log_probabilities(logits: Floats, temperature: float) -> Floats:
    """Of logits (B, C), divided by the temperature."""
    scaled = logits / temperature
    return scaled - np.logaddexp.reduce(scaled, axis=-1, keepdims=True)


def measure(
    logits: Floats, labels: Ints, loci: Ints, temperature: float = 1.0, seed: int = 0
) -> Measurement:
    """Score logits (B, C) of windows with ``labels`` (B,) in ``loci`` (B,)."""
    log_p = log_probabilities(logits, temperature)
    p = np.exp(log_p)
    n, n_classes = p.shape
    rows = np.arange(n)
    predicted, confidence = p.argmax(axis=1), p.max(axis=1)
    correct = (predicted == labels).astype(np.float64)
    truth = np.eye(n_classes)[labels]
    bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    in_bin = np.eye(BINS)[bins]
    terms = np.concatenate(
        [
            np.stack([np.ones(n), correct, -log_p[rows, labels], ((p - truth) ** 2).sum(1)], 1),
            truth,
            truth * correct[:, None],
            in_bin,
            in_bin * correct[:, None],
            in_bin * confidence[:, None],
        ],
        axis=1,
    )
    sums = sum_by_locus(terms, loci)
    counts = [np.repeat(sums[:, :1], 4, axis=1), sums[:, 4 : 4 + n_classes]]
    counts.append(sums[:, 4 + 2 * n_classes : 4 + 2 * n_classes + BINS])
    seen = np.concatenate(counts, axis=1) > 0
    total = sums.sum(axis=0)
    spread = bootstrap(
        sums, locus_strata(loci, labels), lambda own: _figures(own, n_classes), seen, seed
    )
    limits = np.array([1.0, np.inf, 2.0] + [1.0] * (len(spread.loci) - 3))
    estimates = _estimates(_figures(total, n_classes), spread, limits)
    accuracy, log_loss, brier, ece = estimates[:4]
    by_class, reliability = estimates[4 : 4 + n_classes], estimates[4 + n_classes :]
    confusion = np.zeros((n_classes, n_classes), dtype=np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    in_bins, _, confidences = np.split(total[4 + 2 * n_classes :], 3)
    return Measurement(
        windows=n,
        loci=len(sums),
        accuracy=accuracy,
        log_loss=log_loss,
        brier=brier,
        ece=ece,
        by_class=tuple(by_class),
        confusion=confusion,
        bins=tuple(
            Bin(i / BINS, (i + 1) / BINS, int(k), c / k if k else float("nan"), estimate)
            for i, (k, c, estimate) in enumerate(
                zip(in_bins.tolist(), confidences.tolist(), reliability, strict=True)
            )
        ),
    )


def _figures(sums: Floats, n_classes: int) -> Floats:
    """(..., F) -> (..., K): accuracy, log loss, Brier, ECE, accuracy by class and by bin."""
    cuts = np.cumsum([4, n_classes, n_classes, BINS, BINS])
    means, count, hits, in_bin, right, confidence = np.split(sums, cuts, axis=-1)
    n = means[..., :1]
    ece = np.abs(right - confidence).sum(axis=-1, keepdims=True) / n
    with np.errstate(invalid="ignore"):  # a class or a bin without windows is nan
        ratios = [means[..., 1:] / n, ece, hits / count, right / in_bin]
    return np.concatenate(ratios, axis=-1)


def _estimates(values: Floats, spread: Spread, limits: Floats) -> list[Estimate]:
    found = []
    rows = (values.tolist(), spread.half.tolist(), spread.loci.tolist(), limits.tolist())
    for i, (value, h, loci, limit) in enumerate(zip(*rows, strict=True)):
        if np.isnan(h):
            found.append(Estimate(value, None, None))
        elif value in (0.0, 1.0) and i not in NOT_PROPORTIONS:
            found.append(Estimate(value, *wilson(loci * int(value), loci)))
        else:
            found.append(Estimate(value, max(0.0, value - h), min(limit, value + h)))
    return found
