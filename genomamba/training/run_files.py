"""What a run leaves for others to read: no Lightning, which takes seconds to import."""

from __future__ import annotations

import csv
from pathlib import Path

COMMANDS = "commands.jsonl"  # in the run's folder: see run_log.py
COLUMNS = ("step", "metric", "value")  # of metrics.csv: see metrics_csv.py
EXIT_STOPPED = 75  # EX_TEMPFAIL of sysexits.h: nothing is wrong, run the same again


def read_metrics(path: str | Path) -> list[tuple[int, str, float]]:
    """The rows of a metrics file, none if it is not there; a last row cut short is left out."""
    path = Path(path)
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        lines = [line for line in file if line.endswith("\n")]
    return [(int(step), name, float(value)) for step, name, value in list(csv.reader(lines))[1:]]
