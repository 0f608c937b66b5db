"""Training curves, from the metrics that a run logged."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from genomamba.training.run_files import COLUMNS, read_metrics
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.report.charts import Series, line_chart, linear_axis
from genomamba_data_prep.report.page import details, figure, section, table

SMOOTH = 10  # logged steps that a curve's mean runs over, at least
SMOOTH_SHARE = 50  # or this part of all
POINTS = 1000  # of a curve that are drawn, at most


class Curve(NamedTuple):
    """A metric's values that are finite, by step."""

    steps: list[int]
    values: list[float]


def read_curves(path: Path) -> dict[str, Curve]:
    """The curves of a run's metrics.csv, by metric.

    Raises:
        InputError: no such file, or not of metrics.
    """
    expected = f"expected a run's metrics.csv, with the columns {', '.join(COLUMNS)}"
    fix = "Give --run the folder that `genomamba fit --run` wrote"
    if not path.is_file():
        raise InputError(f"no such file; {expected}", file=path, fix=fix)
    try:
        rows = read_metrics(path)
    except ValueError as error:  # of the text's encoding, too
        raise InputError(f"{expected}: {error}", file=path, fix=fix) from None
    curves: dict[str, Curve] = defaultdict(lambda: Curve([], []))
    for step, name, value in rows:
        if math.isfinite(value):
            curves[name].steps.append(step)
            curves[name].values.append(value)
    return dict(curves)


def metric_chart(
    title: str, label: str, curves: dict[str, Curve], metric: str, top: float | None = None
) -> str:
    """Training and validation values of one metric by step; "" where neither was logged.

    The axis ends at ``top``, or else above the highest value.
    """
    empty = Curve([], [])
    train, valid = (curves.get(f"{stage}/{metric}", empty) for stage in ("train", "valid"))
    drawn = [*train.values, *valid.values]
    if not drawn:
        return ""
    series = []
    if train.steps:
        steps = _thin(train.steps)
        mean = _running_mean(train.values)
        series += [
            Series("training, each logged step", "raw", steps, _thin(train.values)),
            Series("training, running mean", "model", steps, _thin(mean)),
        ]
    if valid.steps:
        series.append(Series("validation", "optimum", *map(_thin, valid), markers=True))
    return line_chart(
        title,
        linear_axis("optimiser step", 0, max([*train.steps, *valid.steps]) + 1),
        linear_axis(label, min(0.0, *drawn), 1.05 * max(*drawn, 1e-9) if top is None else top),
        series,
    )


def training_section(curves: dict[str, Curve], steps: int | None) -> str:
    """Loss and accuracy by step, and what was logged last; ``steps`` the checkpoint has made."""
    charts = [
        (metric_chart("Cross-entropy by step", "cross-entropy, nats", curves, "loss"), "Loss"),
        (metric_chart("Accuracy by step", "accuracy", curves, "accuracy", 1.0), "Accuracy"),
    ]
    thinned = max((len(curve.steps) for curve in curves.values()), default=0) > POINTS
    note = f" Of more than {POINTS:,} logged steps every k-th is drawn." if thinned else ""
    figures = [
        figure(chart, f"{name} on windows of the training length.{note}")
        for chart, name in charts
        if chart
    ]
    rows = [
        (
            name,
            f"{len(curve.steps):,}",
            f"{curve.steps[-1]:,}",
            f"{curve.values[-1]:,.6g}",
            f"{min(curve.values):,.6g}",
            f"{max(curve.values):,.6g}",
        )
        for name, curve in curves.items()
    ]
    if not rows:
        return section("Training", "The run's metrics.csv has no value: no step was logged.")
    text = "" if steps is None else f"The checkpoint has made {steps:,} optimiser steps. "
    text += "Steps count from 0; validation is on the same frozen windows each time."
    if not figures:
        text += " The run logged neither loss nor accuracy."
    header = ("metric", "values", "last step", "last", "lowest", "highest")
    return section("Training", text, *figures, details("All metrics", table(header, rows)))


def _running_mean(values: Sequence[float]) -> list[float]:
    """Over the last ``SMOOTH`` values or more; over fewer at the beginning."""
    width = max(SMOOTH, len(values) // SMOOTH_SHARE)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - width, 0)
    return ((sums[ends] - sums[starts]) / (ends - starts)).tolist()


def _thin(values: Sequence[float]) -> Sequence[float]:
    """Every k-th value, and the last."""
    every = -(-len(values) // POINTS)
    return values if every <= 1 else [*values[:-1:every], values[-1]]
