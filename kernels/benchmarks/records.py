"""What a row of a results file says about where it was measured, and the file itself."""

from __future__ import annotations

import csv
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch


def commit() -> str:
    """The checkout's; where there is none, the environment variable GENOMAMBA_COMMIT."""
    named = os.environ.get("GENOMAMBA_COMMIT")
    if named:
        return named
    command = ["git", "describe", "--always", "--dirty"]
    folder = Path(__file__).parent
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def package_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def environment(device: torch.device) -> dict[str, str]:
    """The columns that are the same for all rows of a run."""
    is_cuda = device.type == "cuda"
    return {
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "device": torch.cuda.get_device_name(device) if is_cuda else platform.machine(),
        "torch": torch.__version__,
        "triton": package_version("triton"),
        "mamba_ssm": package_version("mamba_ssm"),
        "causal_conv1d": package_version("causal_conv1d"),
    }


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Adds a row at once, so that a run that is cut short keeps what it measured.

    Raises:
        ValueError: the file holds other columns.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.exists() or path.stat().st_size == 0
    if not is_new:
        with path.open(newline="") as file:
            header = next(csv.reader(file))
        if header != list(row):
            raise ValueError(f"{path}: expected the columns {list(row)}, got {header}")
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row), lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
