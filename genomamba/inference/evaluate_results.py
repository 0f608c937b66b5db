"""What an evaluation found, as plain values. Letters: B windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from genomamba.inference.evaluate_metrics import Measurement

Quantity = Literal["manifest", "prefix"]


@dataclass(frozen=True)
class Source:
    """The manifest that windows are from.

    Attributes:
        name: of its file.
        split: that it was drawn from.
        length: bases of a window.
    """

    name: str
    split: str
    length: int


@dataclass(frozen=True)
class Result:
    """What was measured at one length.

    Attributes:
        manifest: where the windows are from.
        quantity: "manifest": the windows as drawn; "prefix": their first ``length`` bases.
        length: bases that the model had read.
        measurement: the figures.
        strand_disagreement: mean total variation distance, 0 to 1, between the probabilities of the
            two strands; None where one was read.
    """

    manifest: Source
    quantity: Quantity
    length: int
    measurement: Measurement
    strand_disagreement: float | None = None


@dataclass(frozen=True)
class Calibration:
    """The temperature that was fitted, and the log loss without and with it, on the same windows.

    Attributes:
        temperature: divides the logits.
        windows: B.
        log_loss_before: nats, at temperature 1.
        log_loss_after: nats.
    """

    temperature: float
    windows: int
    log_loss_before: float
    log_loss_after: float


@dataclass(frozen=True)
class Evaluation:
    """All of a run.

    Attributes:
        classes: species, in class order.
        temperature: at which the figures hold.
        results: manifests by length, each with its prefixes after it.
        calibration: where one was fitted.
        request: what was asked, of which data, with which versions.
    """

    classes: tuple[str, ...]
    temperature: float
    results: tuple[Result, ...]
    calibration: Calibration | None
    request: dict[str, Any]
