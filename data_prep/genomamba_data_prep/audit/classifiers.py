"""The audit's classifiers: linear discriminant analysis with Ledoit-Wolf shrinkage.

Letters: B windows, F features, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

JITTER = 1e-3  # of a feature's standard deviation


def predict_lda(
    train: npt.NDArray[np.floating],
    labels: npt.NDArray[np.int64],
    tests: Sequence[npt.NDArray[np.floating]],
    n_classes: int,
    seed: int,
) -> list[npt.NDArray[np.int64]]:
    """The classes (B,) with the highest `lda_scores` of each of ``tests``; arguments as there."""
    scores = lda_scores(train, labels, tests, n_classes, seed)
    return [found.argmax(axis=1) for found in scores]


def lda_scores(
    train: npt.NDArray[np.floating],
    labels: npt.NDArray[np.int64],
    tests: Sequence[npt.NDArray[np.floating]],
    n_classes: int,
    seed: int,
) -> list[npt.NDArray[np.float64]]:
    """Fit to ``train`` (B, F) and give scores (B, C) of each of ``tests``, with equal priors.

    Scores are log-probabilities up to a constant a window.

    Features are centred and scaled by ``train`` first, in float64; the discriminant analysis
    itself runs in float32, five times as fast for the 2,080 features of 6-mers. Features that are
    the same in all of ``train`` are left out; without any other all scores are zero, and the
    prediction is class 0, which is chance.

    A feature that differs between classes but never within one, such as the length of a record, has
    no variance to measure the difference by, and the least-squares solution would ignore it. The
    training features get noise of ``JITTER`` standard deviations for this; it changes no other
    result by more than a part in a million.
    """
    # A second to import, and only this command needs it.
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    mean = train.mean(axis=0, dtype=np.float64)
    scale = train.std(axis=0, dtype=np.float64)
    used = scale > 1e-12 * np.maximum(np.abs(mean), 1e-300)
    if not used.any():
        return [np.zeros((len(test), n_classes)) for test in tests]

    def standardised(features: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        return ((features[:, used] - mean[used]) / scale[used]).astype(np.float32)

    fitted = standardised(train)
    noise = np.random.Generator(np.random.PCG64(seed)).standard_normal(fitted.shape, np.float32)
    fitted += np.float32(JITTER) * noise
    lda = LinearDiscriminantAnalysis(
        solver="lsqr", shrinkage="auto", priors=np.full(n_classes, 1 / n_classes)
    )
    lda.fit(fitted, labels)
    return [_by_class(np.asarray(lda.decision_function(standardised(test)))) for test in tests]


def _by_class(scores: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """(B, C); of two classes scikit-learn gives the difference alone."""
    if scores.ndim == 1:
        scores = np.stack([np.zeros_like(scores), scores], axis=1)
    return scores.astype(np.float64)
