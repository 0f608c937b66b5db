"""The table that ``benchmarks/baselines.py`` fills: a row a figure, written when it is known."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch
from records import append_row, read_rows

from genomamba.training.provenance import commit, hardware

OUT_OF_MEMORY, TIME, BUDGET = "out of memory", "time", "budget"


class Figure(NamedTuple):
    """What a phase measured."""

    metric: str
    value: float
    parameters: int
    batch: int
    tokens: int  # that were trained on, or timed
    seconds: float  # likewise
    ended_by: str = BUDGET  # or TIME, before the steps and the learning rate's schedule were over
    spent: float = 0.0  # seconds of what grows with the length: a test pass, a step


class Point(NamedTuple):
    """What is to be measured, and how."""

    phase: str
    mixer: str
    shape: str
    length: int
    batch: int | str  # "" where the configs say it
    measure: Callable[[], list[Figure]]


class Table:
    """The results file.

    Args:
        path: of the CSV; what it holds is not measured again.
        command: this one.
        device: on which.
        seed: of weights and data.
    """

    def __init__(self, path: Path, command: str, device: torch.device, seed: int) -> None:
        self.path = path
        self.where = {
            "command": command,
            "commit": commit(),
            "hardware": hardware(device),
            "seed": seed,
            "date": datetime.now(UTC).date().isoformat(),
        }
        rows = read_rows(path) if path.exists() else []
        self.failed = False
        self._has_figure = {_key(row): row["value"] != "" for row in rows}

    def has_figure(self, point: Point) -> bool | None:
        """Of a point that is there; else None."""
        return self._has_figure.get(tuple(map(str, point[:5])))

    def add(self, point: Point, figure: Figure | None, ended_by: str) -> None:
        """A row; without a figure it says why there is none."""
        self.failed = self.failed or ended_by.startswith("failed")
        row: dict[str, Any] = {
            "phase": point.phase,
            "mixer": point.mixer,
            "shape": point.shape,
            "length": point.length,
            "batch": point.batch,
            "metric": "" if figure is None else figure.metric,
            "value": "" if figure is None else f"{figure.value:.6g}",
            "parameters": "" if figure is None else figure.parameters,
            "step_batch": "" if figure is None else figure.batch,
            "tokens": "" if figure is None else figure.tokens,
            "seconds": "" if figure is None else f"{figure.seconds:.3f}",
            "ended_by": ended_by,
        }
        append_row(self.path, row | self.where)
        said = "-" if figure is None else f"{figure.metric} {figure.value:.5g}"
        at = f"{point.phase} {point.mixer} {point.shape} length {point.length:,}"
        print(f"{at} batch {point.batch or '-'}: {said} ({ended_by})", flush=True)


def _key(row: dict[str, str]) -> tuple[str, ...]:
    return tuple(row[name] for name in ("phase", "mixer", "shape", "length", "batch"))


def why(error: BaseException) -> str:
    """What a row says where a figure should be."""
    text = str(error)
    signs = ("out of memory", "allocate memory", "CUFFT_ALLOC_FAILED")  # GPU, CPU, FFT's workspace
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or any(s in text for s in signs):
        return OUT_OF_MEMORY
    return f"failed: {text.splitlines()[0][:100] if text else type(error).__name__}"


def measure_all(table: Table, points: Iterator[Point], most_seconds: float) -> None:
    """Measures points of one phase and mixer, the shortest first, until one cannot be.

    Args:
        table: where to.
        points: as they are asked for.
        most_seconds: of ``Figure.spent``; what comes after is left out.
    """
    for point in points:
        known = table.has_figure(point)
        if known is False:
            return
        if known:
            continue
        try:
            figures = point.measure()
        except (RuntimeError, MemoryError) as error:
            # Not the end of the other rows, which a machine was waited for; also where it failed.
            table.add(point, None, why(error))
            return
        finally:
            gc.collect()
            if torch.cuda.is_initialized():
                torch.cuda.empty_cache()
        for figure in figures:
            table.add(point, figure, figure.ended_by)
        if max(figure.spent for figure in figures) > most_seconds:
            following = next(points, None)
            if following is not None and table.has_figure(following) is None:
                table.add(following, None, TIME)
            return
