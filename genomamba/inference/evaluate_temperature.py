"""Temperature calibration: one number that divides a classifier's logits (Guo et al. 2017)."""

from __future__ import annotations

import os

import numpy as np
import torch

from genomamba.inference.evaluate_logits import Logits
from genomamba.inference.evaluate_metrics import Ints, log_probabilities
from genomamba.training.checkpoint import META_KEY, read_checkpoint
from genomamba_data_prep.errors import InputError

WIDEST = 1e3  # temperatures from 1 / WIDEST to WIDEST
HALVINGS = 60  # of the bracket of ln T: far beyond float64's digits


def log_loss(logits: Logits, labels: Ints, temperature: float) -> float:
    """Mean of -ln p(true class) over windows, nats."""
    found = log_probabilities(logits, temperature)
    return float(-found[np.arange(len(labels)), labels].mean())


def fit_temperature(logits: Logits, labels: Ints) -> float:
    """The temperature T with the least log loss on windows.

    The log loss is convex in b = 1 / T: its derivative, the mean of E_p[z] - z_true over windows
    with p = softmax(b z), rises with b. Its zero is found by bisection, in float64.

    Args:
        logits: (B, C).
        labels: (B,).

    Raises:
        InputError: no finite temperature is best: the logits say nothing about the classes, or
            every window is right.
    """
    if not np.isfinite(logits).all():
        raise InputError("some logits are not finite: no temperature can be fitted")
    true = logits[np.arange(len(labels)), labels]

    def slope(log_b: float) -> float:
        p = np.exp(log_probabilities(logits, float(np.exp(-log_b))))
        return float(((p * logits).sum(axis=1) - true).mean())

    low, high = -np.log(WIDEST), np.log(WIDEST)
    if slope(low) >= 0:
        raise InputError(
            "on this validation data the logits say nothing about the classes: no finite "
            "temperature is best",
            fix="Train longer, or check that the manifest is of the checkpoint's data",
        )
    if slope(high) <= 0:
        raise InputError(
            "every window of this validation data is classified right: no temperature is best",
            fix="Use more windows, or shorter ones",
        )
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    return float(np.exp(-(low + high) / 2))


def write_calibrated(
    checkpoint: str | os.PathLike[str], output: str | os.PathLike[str], temperature: float
) -> None:
    """Write a copy of a checkpoint with ``temperature`` in its ``genomamba`` entry."""
    content = read_checkpoint(checkpoint)
    content[META_KEY]["temperature"] = temperature
    torch.save(content, output)
