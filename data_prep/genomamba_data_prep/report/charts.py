"""Charts as inline SVG: colours come from the page's style, so they follow light and dark.

Lengths in SVG units: one unit is one CSS pixel at the chart's natural width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 720.0, 340.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 16.0, 14.0, 48.0
HALF_LETTER = 3.6  # of a tick's label, about
CAP = 4.0  # half the width of an interval's end mark


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Args:
        name: for the legend.
        style: a class of the page's style: ``model``, ``optimum``, ``chance`` or ``raw``.
        x: positions.
        y: values.
        low: lower ends of the intervals, or None.
        high: their upper ends.
        markers: draw the points too.
    """

    name: str
    style: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    markers: bool = False


@dataclass(frozen=True)
class Band:
    """One layer of a stacked chart.

    Args:
        name: for the legend.
        style: a class of the page's style: ``s1`` to ``s6`` or ``rest``.
        heights: one a span; nan leaves the span empty.
    """

    name: str
    style: str
    heights: Sequence[float]


@dataclass(frozen=True)
class Axis:
    """An axis from ``low`` to ``high`` with labelled ticks; ``log2`` spaces it logarithmically."""

    label: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    log2: bool = False

    def fraction(self, value: float) -> float:
        """Where a value lies, 0 at ``low`` and 1 at ``high``."""
        low, high = self.low, self.high
        if self.log2:
            value, low, high = math.log2(value), math.log2(low), math.log2(high)
        return (value - low) / (high - low)


def linear_axis(label: str, low: float, high: float, n_ticks: int = 5) -> Axis:
    """An axis whose ticks are round numbers."""
    step = 10 ** math.floor(math.log10((high - low) / n_ticks))
    step *= next(m for m in (1, 2, 5, 10) if (high - low) / (step * m) <= n_ticks)
    first = math.ceil(low / step - 1e-9)
    values = [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]
    return Axis(label, low, high, [(value, f"{value:,.10g}") for value in values])


def line_chart(title: str, x: Axis, y: Axis, series: Sequence[Series]) -> str:
    """A chart as an ``<svg>`` element; ``title`` is what a screen reader says."""

    def at_x(value: float) -> float:
        return _at_x(x, value)

    def at_y(value: float) -> float:
        return _at_y(y, value)

    parts = [
        f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" aria-label="{escape(title)}">',
        *_grid(x, y, at_x, at_y),
    ]
    for line in series:
        parts.append(f'<g class="{line.style}"><title>{escape(line.name)}</title>')
        parts += _line(line, at_x, at_y)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", _legend(series)])


def band_chart(
    title: str, x: Axis, y: Axis, spans: Sequence[tuple[float, float]], bands: Sequence[Band]
) -> str:
    """Heights stacked from the first band up, over each span (start, end) of the x axis."""
    columns = list(zip(*(band.heights for band in bands), strict=True))
    parts = [
        f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" aria-label="{escape(title)}">',
        *_grid(x, y, lambda value: _at_x(x, value), lambda value: _at_y(y, value)),
    ]
    for i, band in enumerate(bands):
        boxes = []
        for (start, end), column in zip(spans, columns, strict=True):
            low, high = sum(column[:i]), sum(column[: i + 1])
            if math.isnan(low + high):
                continue
            left, right, top = _at_x(x, start), _at_x(x, end), _at_y(y, high)
            boxes.append(f"M{left:.1f} {top:.1f}H{right:.1f}V{_at_y(y, low):.1f}H{left:.1f}Z")
        name = escape(band.name)
        parts.append(
            f'<g class="{band.style}"><title>{name}</title>'
            f'<path class="band" d="{"".join(boxes)}"/></g>'
        )
    return "\n".join([*parts, "</svg>", _legend(bands)])


def _at_x(axis: Axis, value: float) -> float:
    return LEFT + axis.fraction(value) * (WIDTH - LEFT - RIGHT)


def _at_y(axis: Axis, value: float) -> float:
    return HEIGHT - BOTTOM - axis.fraction(value) * (HEIGHT - TOP - BOTTOM)


def _grid(
    x: Axis, y: Axis, at_x: Callable[[float], float], at_y: Callable[[float], float]
) -> list[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for value, label in y.ticks:
        at = at_y(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(
            f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{escape(label)}</text>'
        )
    for value, label in x.ticks:
        at = at_x(value)
        parts.append(
            f'<line class="axis" x1="{at:.1f}" x2="{at:.1f}" y1="{bottom}" y2="{bottom + 5}"/>'
        )
        inside = min(at, WIDTH - HALF_LETTER * len(label))  # a long last label is not cut
        parts.append(
            f'<text x="{inside:.1f}" y="{bottom + 20}" text-anchor="middle">{escape(label)}</text>'
        )
    middle_x, middle_y = (LEFT + right) / 2, (TOP + bottom) / 2
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    parts.append(
        f'<text class="label" x="{middle_x}" y="{HEIGHT - 6}" text-anchor="middle">'
        f"{escape(x.label)}</text>"
    )
    parts.append(
        f'<text class="label" transform="translate(14 {middle_y}) rotate(-90)" '
        f'text-anchor="middle">{escape(y.label)}</text>'
    )
    return parts


def _line(
    line: Series, at_x: Callable[[float], float], at_y: Callable[[float], float]
) -> list[str]:
    points = [(at_x(a), at_y(b)) for a, b in zip(line.x, line.y, strict=True)]
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
    parts = [f'<polyline points="{path}"/>']
    if line.low is not None and line.high is not None:
        for (a, _), low, high in zip(points, line.low, line.high, strict=True):
            top, bottom = at_y(high), at_y(low)
            parts.append(
                f'<path class="interval" d="M{a:.1f} {top:.1f}V{bottom:.1f}'
                f"M{a - CAP:.1f} {top:.1f}h{2 * CAP}"
                f'M{a - CAP:.1f} {bottom:.1f}h{2 * CAP}"/>'
            )
    if line.markers:
        parts += [
            f'<circle cx="{a:.1f}" cy="{b:.1f}" r="4"><title>{value:.3f}</title></circle>'
            for (a, b), value in zip(points, line.y, strict=True)
        ]
    return parts


def _legend(series: Sequence[Series] | Sequence[Band]) -> str:
    items = "".join(
        f'<li><svg class="key" viewBox="0 0 28 10" aria-hidden="true"><g class="{line.style}">'
        f'<polyline points="0,5 28,5"/></g></svg>{escape(line.name)}</li>'
        for line in series
    )
    return f'<ul class="legend">{items}</ul>'
