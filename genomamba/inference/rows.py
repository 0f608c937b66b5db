"""From log-probabilities to the columns of a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from genomamba.inference.classifier import LogProbabilities
from genomamba.inference.schema import DECIMALS, probability_columns

Row = dict[str, Any]
FORWARD, REVERSE = 0, 1


def result(scores: LogProbabilities, classes: Sequence[str], abstain: float = 0.0) -> Row:
    """The result columns of mean log-probabilities.

    Args:
        scores: (strands, classes), one or two strands.
        classes: their names.
        abstain: no prediction where its probability is lower.
    """
    probabilities = softmax(scores.mean(axis=0))
    best = int(probabilities.argmax())
    top = float(probabilities[best])
    second = float(np.delete(probabilities, best).max())
    row: Row = dict(zip(probability_columns(classes), probabilities.tolist(), strict=True))
    row["probability"], row["margin"] = top, top - second
    row["entropy"] = entropy(probabilities)
    if top < abstain:
        row["reason"] = f"probability below --abstain {abstain:g}"
    else:
        row["prediction"] = classes[best]
    if len(scores) == 2:
        apart = np.abs(softmax(scores[FORWARD]) - softmax(scores[REVERSE]))
        row["strand_disagreement"] = float(apart.sum() / 2)
    return {name: rounded(value) for name, value in row.items()}


def rounded(value: Any) -> Any:
    """A float with the tables' decimals, without a sign on zero; anything else as it is."""
    return round(value, DECIMALS) + 0.0 if isinstance(value, float) else value


def entropy(probabilities: LogProbabilities) -> float:
    """In bits."""
    positive = probabilities[probabilities > 0]
    return float(-(positive * np.log2(positive)).sum())


def softmax(log_probabilities: LogProbabilities) -> LogProbabilities:
    """Over the last axis of (classes,)."""
    weights = np.exp(log_probabilities - log_probabilities.max())
    return weights / weights.sum()
