"""Metrics as a tidy CSV (step, metric, value) that survives kills and continues on resume.

Lightning's CSVLogger deletes an existing file when it starts, so that a resumed run would lose the
curve before the kill.
"""

from __future__ import annotations

import csv
from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from genomamba.training.run_files import COLUMNS, read_metrics


class MetricsCSV(Logger):
    """Appends rows as they come, on rank zero.

    When the file exists, the rows from the first logged step on are dropped first: they come from
    steps after the checkpoint, and the resumed run writes them again.

    Args:
        path: the file, such as ``runs/NAME/metrics.csv``.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.path = Path(path)
        self._opened = False

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> int:
        return 0

    @rank_zero_only
    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """The run's options are in its config file."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        step = 0 if step is None else step
        if not self._opened:
            self._drop_rows_from(step)
            self._opened = True
        rows = [
            (step, name, repr(float(value))) for name, value in metrics.items() if name != "epoch"
        ]
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)

    def _drop_rows_from(self, step: int) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = [row for row in read_metrics(self.path) if row[0] < step]
        with self.path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows((at, name, repr(value)) for at, name, value in kept)
