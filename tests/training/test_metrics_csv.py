"""The metrics file across kills."""

from __future__ import annotations

from pathlib import Path

from genomamba.training.metrics_csv import MetricsCSV
from genomamba.training.run_files import read_metrics


def test_a_resumed_run_replaces_the_rows_after_its_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "run" / "metrics.csv"
    first = MetricsCSV(path)
    for step in range(5):
        first.log_metrics({"train/loss": step / 3, "epoch": 0}, step)
    with path.open("a") as file:
        file.write("5,train/lo")  # a kill in the middle of a row
    second = MetricsCSV(path)
    second.log_metrics({"train/loss": 9.0}, 3)
    second.log_metrics({"train/loss": 8.0, "valid/loss": 7.0}, 4)
    assert path.read_text().splitlines()[0] == "step,metric,value"
    assert read_metrics(path) == [
        *((step, "train/loss", step / 3) for step in range(3)),
        (3, "train/loss", 9.0),
        (4, "train/loss", 8.0),
        (4, "valid/loss", 7.0),
    ]


def test_values_keep_every_bit(tmp_path: Path) -> None:
    value = 0.1 + 0.2
    MetricsCSV(tmp_path / "m.csv").log_metrics({"x": value}, 1)
    assert read_metrics(tmp_path / "m.csv") == [(1, "x", value)]


def test_no_file_has_no_rows(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "none.csv") == []
