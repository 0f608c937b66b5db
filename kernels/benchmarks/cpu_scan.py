"""Times the selective scan on the CPU: step by step, torch backend, and mamba.py's pscan.

    python kernels/benchmarks/cpu_scan.py

Checks the results against each other first and measures only if they agree. The peer is written
with the same discretisation, exp(q A) and q B u. Two modes: "scan" takes finished step sizes and
has the skip connection only, which is what mamba.py's own function covers; "layer" adds what a
Mamba layer asks of the operator: delta_bias, softplus and the gate.
"""

from __future__ import annotations

import argparse
import gc
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from mambapy.pscan import pscan
from torch import Tensor

from genomamba_kernels import selective_scan

SHAPES = [  # batch, length, channels, states
    (1, 16384, 256, 16),
    (8, 8192, 128, 16),
    (16, 1024, 128, 16),
    (64, 1024, 128, 16),
]
PSCAN_LIMIT = 1e8  # state elements B L D N; pscan holds a dozen arrays of this size


def inputs(shape: tuple[int, int, int, int], mode: str) -> dict[str, Tensor]:
    """Random inputs with step sizes near 0.05, as a trained layer has."""
    batch, length, channels, states = shape
    generator = torch.Generator().manual_seed(0)

    def normal(*sizes: int) -> Tensor:
        return torch.randn(*sizes, generator=generator)

    delta = normal(batch, length, channels)
    tensors = {
        "u": normal(batch, length, channels),
        "delta": delta if mode == "layer" else F.softplus(delta - 3),
        "A": -torch.arange(1.0, states + 1).expand(channels, states).clone(),
        "B": normal(batch, length, states),
        "C": normal(batch, length, states),
        "D": normal(channels),
    }
    if mode == "layer":
        tensors |= {"z": normal(batch, length, channels), "delta_bias": normal(channels) - 3}
    return {name: tensor.requires_grad_() for name, tensor in tensors.items()}


def peer(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    *,
    delta_softplus: bool,
) -> Tensor:
    """The scan through mamba.py's pscan, as its MambaBlock.selective_scan does it."""
    q = delta if delta_bias is None else delta + delta_bias
    if delta_softplus:
        q = F.softplus(q)
    h = pscan(torch.exp(q.unsqueeze(-1) * A), (q * u).unsqueeze(-1) * B.unsqueeze(2))
    y = (h @ C.unsqueeze(-1)).squeeze(-1) + D * u
    return y if z is None else y * F.silu(z)


def run(
    function: Callable[..., Any], tensors: dict[str, Tensor], mode: str, **options: str
) -> tuple[list[Tensor], float, float]:
    """(output and gradients, seconds forward, seconds backward)."""
    gc.collect()
    start = time.perf_counter()
    y = function(**tensors, delta_softplus=mode == "layer", **options)
    middle = time.perf_counter()
    grads = torch.autograd.grad(y, list(tensors.values()), torch.ones_like(y))
    return [y.detach(), *grads], middle - start, time.perf_counter() - middle


def agree(ours: list[Tensor], theirs: list[Tensor]) -> bool:
    """RMS of every difference below 1e-4 of the RMS."""
    return all(
        float((a - b).square().mean().sqrt() / b.square().mean().sqrt()) < 1e-4
        for a, b in zip(ours, theirs, strict=True)
    )


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = {line.split(":")[1].strip() for line in lines if line.startswith("model name")}
    return ", ".join(names) or platform.processor()


def commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    folder = Path(__file__).parent
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="runs of each; medians are shown")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "mambapy"))
    print(f"commit {commit()}; {processor()}, {arguments.threads} threads; {versions}; float32")
    print(
        f"{'B':>3} {'L':>6} {'D':>4} {'N':>3}  {'mode':<6} {'function':<10}"
        f" {'forward ms':>11} {'backward ms':>12} {'total ms':>9} {'against torch':>14}"
    )
    functions: dict[str, Callable[..., Any]] = {
        "torch": lambda **kwargs: selective_scan(**kwargs, backend="torch"),
        "pscan": peer,
        "reference": lambda **kwargs: selective_scan(**kwargs, backend="reference"),
    }
    for shape in SHAPES:
        for mode in ("scan", "layer"):
            tensors = inputs(shape, mode)
            results, baseline = None, 0.0
            for name, function in functions.items():
                if name == "pscan" and torch.Size(shape).numel() > PSCAN_LIMIT:
                    continue
                values, *_ = run(function, tensors, mode)  # the first run warms up and checks
                results = results or values
                if not agree(values, results):
                    print(f"{name} disagrees at {shape}, {mode}: nothing measured")
                    return 1
                times = [run(function, tensors, mode)[1:] for _ in range(arguments.repeats)]
                forward, backward = (statistics.median(t) * 1e3 for t in zip(*times, strict=True))
                total = statistics.median(sum(t) for t in times) * 1e3
                baseline = baseline or total
                print(
                    " ".join(f"{n:>{w}}" for n, w in zip(shape, (3, 6, 4, 3), strict=True))
                    + f"  {mode:<6} {name:<10} {forward:>11.0f} {backward:>12.0f} {total:>9.0f}"
                    f" {total / baseline:>13.1f}x",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
