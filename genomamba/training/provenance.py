"""Which code ran, and on what."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch

import genomamba

COMMIT = "GENOMAMBA_COMMIT"


def commit() -> str:
    """The checkout's, "-dirty" where files of it were changed; of an installation, the version.

    The environment variable ``GENOMAMBA_COMMIT`` says it where code was copied without ``.git``.
    """
    named = os.environ.get(COMMIT)
    if named:
        return named
    root = Path(genomamba.__file__).parents[1]
    if (root / ".git").exists():
        command = ["git", "describe", "--always", "--dirty"]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.strip()
    return f"genomamba {version('genomamba')}"


def hardware(device: torch.device, ranks: int = 1) -> str:
    """The GPUs, or the CPU and the threads used."""
    times = f"{ranks} x " if ranks > 1 else ""
    if device.type == "cuda":
        return f"{times}{torch.cuda.get_device_name(device)}"
    return f"{times}{_cpu()}, threads: {torch.get_num_threads()}"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
