"""Accuracy with an interval that respects loci, and whether it is above chance.

Standard errors and degrees of freedom are of ``genomamba_data_prep.locus_bootstrap``.

Letters: G loci, B windows, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from genomamba_data_prep.locus_bootstrap import MIN_LOCI, mean_spread


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
    spread = mean_spread(correct.astype(np.float64), labels, loci, seed)
    n = int(spread.loci[0])
    accuracy = float(correct.mean())
    recall = tuple(float(correct[labels == label].mean()) for label in range(n_classes))
    if n < MIN_LOCI:
        return Accuracy(accuracy, None, None, None, recall, len(labels), n)
    error, freedom, half = float(spread.error[0]), float(spread.freedom[0]), float(spread.half[0])
    above = accuracy - 1 / n_classes
    # Without any spread over the loci it is constant: at chance, or above it in each alike.
    p_value = float(t.sf(above / error, freedom)) if error > 1e-9 else float(above <= 1e-9)
    low, high = max(0.0, accuracy - half), min(1.0, accuracy + half)
    return Accuracy(accuracy, low, high, p_value, recall, len(labels), n)
