"""From log-probabilities to the columns of a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from genomamba.inference.classifier import LogProbabilities
from genomamba.inference.schema import DECIMALS, probability_columns
from genomamba.inference.strands import disagreement, joined

Row = dict[str, Any]


def result(scores: LogProbabilities, classes: Sequence[str], abstain: float = 0.0) -> Row:
    """The result columns of mean log-probabilities.

    Args:
        scores: (strands, classes), one or two strands.
        classes: their names.
        abstain: no prediction where its probability is lower.
    """
    probabilities = np.exp(joined(scores))
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
        row["strand_disagreement"] = float(disagreement(scores))
    return {name: rounded(value) for name, value in row.items()}


def rounded(value: Any) -> Any:
    """A float with the tables' decimals, without a sign on zero; anything else as it is."""
    return round(value, DECIMALS) + 0.0 if isinstance(value, float) else value


def entropy(probabilities: LogProbabilities) -> float:
    """In bits."""
    positive = probabilities[probabilities > 0]
    return float(-(positive * np.log2(positive)).sum())
