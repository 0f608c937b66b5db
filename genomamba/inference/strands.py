"""The answers on a sequence's two strands made one, the same way by classify and by evaluate."""

from __future__ import annotations

import numpy as np

from genomamba.inference.classifier import LogProbabilities

FORWARD, REVERSE = 0, 1


def joined(scores: LogProbabilities) -> LogProbabilities:
    """Log-probabilities of the mean over strands: (..., strands, classes) -> (..., classes).

    Args:
        scores: log-probabilities on one strand or two, or what differs from them by a constant a
            strand, such as logits.
    """
    return _normalised(scores.mean(axis=-2))


def disagreement(scores: LogProbabilities) -> LogProbabilities:
    """Total variation distance, 0 to 1, between the strands: (..., 2, classes) -> (...)."""
    probabilities = np.exp(_normalised(scores))
    apart = probabilities[..., FORWARD, :] - probabilities[..., REVERSE, :]
    return np.abs(apart).sum(axis=-1) / 2


def _normalised(scores: LogProbabilities) -> LogProbabilities:
    return scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True)
