"""Where a training step's memory goes: which line of code made what is held at the peak.

    python kernels/benchmarks/memory.py --model 1.4m --recompute block     (needs a GPU)
    python kernels/benchmarks/memory.py --measured results/memory.csv --plot memory.png

Trains for two steps at two lengths while the allocator writes down every allocation with its Python
stack, finds the moment of the peak and sums what is held then by line. The difference between the
lengths gives each line's bytes a token; what is left does not grow with the length. With
--measured it draws peaks that model_step.py measured against the tokens of a step, and the line
through them; on logarithmic axes, without the line, where they span more than 64 times.
"""

from __future__ import annotations

import argparse
import gc
import linecache
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from model_step import GIB, build, configuration
from records import read_rows
from torch.utils.checkpoint import set_checkpoint_early_stop

MOST_EVENTS = 2_000_000
OURS = ("genomamba_kernels", "genomamba/", "benchmarks/peer_model.py", "mamba_ssm")
ENGINE = "torch's autograd: gradients of built-in operators"
LOGARITHMIC = 64  # longest over shortest, from which on the axes are
LEAST = 0.5  # bytes a token: what is below is not shown by itself


def place(frames: Sequence[Mapping[str, Any]]) -> str:
    """The innermost line of ours, or the innermost line at all, with its text."""
    if not frames:
        return ENGINE
    chosen = next((f for f in frames if any(part in f["filename"] for part in OURS)), frames[0])
    text = linecache.getline(chosen["filename"], chosen["line"]).strip()
    name = "/".join(Path(chosen["filename"]).parts[-2:])
    return f"{name}:{chosen['line']} {text}"


def held_at_peak(events: Iterable[Mapping[str, Any]], first: int = 0) -> dict[str, int]:
    """Bytes by place at the moment of most bytes, of all events from number `first` on."""
    live: dict[int, tuple[int, Sequence[Mapping[str, Any]]]] = {}
    total = peak = 0
    at_peak: dict[int, tuple[int, Sequence[Mapping[str, Any]]]] = {}
    rising = False
    for i, event in enumerate(events):
        if event["action"] == "alloc":
            live[event["addr"]] = (event["size"], event.get("frames", ()))
            total += event["size"]
            rising = i >= first and total > peak
            peak = total if rising else peak
        elif event["action"] == "free_requested" and event["addr"] in live:
            if rising:  # the peak was the event before
                at_peak, rising = dict(live), False
            total -= live.pop(event["addr"])[0]
    if rising:
        at_peak = live
    held: dict[str, int] = defaultdict(int)
    for size, frames in at_peak.values():
        held[place(frames)] += size
    return dict(held)


def trace(arguments: argparse.Namespace, length: int, first: int) -> tuple[dict[str, int], int]:
    """What is held at the peak of two steps at a length, and the number of events so far."""
    gc.collect()  # the run before
    device = torch.device("cuda")
    torch.manual_seed(0)
    tokens = torch.randint(4, (arguments.batch, length), device=device, dtype=torch.uint8)
    config = configuration(
        arguments.model, arguments.recompute, arguments.residual, backend="triton"
    )
    runner = build(arguments.who, config, tokens, forward_only=False)
    torch.cuda.reset_peak_memory_stats()
    # An early stop is an exception, which the allocator's look at the stack loses (torch 2.11).
    with set_checkpoint_early_stop(enable=False):
        for _ in range(2):
            runner.step()
    torch.cuda.synchronize()
    measured = torch.cuda.max_memory_allocated()
    events = torch.cuda.memory._snapshot()["device_traces"][0]
    held = held_at_peak(events, first)
    found = sum(held.values())
    if abs(found / measured - 1) > 0.01:
        print(f"{length}: found {found} bytes, the allocator {measured}", file=sys.stderr)
    return held, len(events)


def table(held: Sequence[dict[str, int]], tokens: Sequence[int]) -> list[tuple[float, float, str]]:
    """(bytes a token, bytes besides, place), the largest first; small ones in the last row."""
    rows, rest = [], [0.0, 0.0]
    for name in {name for side in held for name in side}:
        small, large = (side.get(name, 0) for side in held)
        slope = (large - small) / (tokens[1] - tokens[0])
        besides = large - slope * tokens[1]
        if abs(slope) < LEAST and abs(besides) < LEAST * tokens[1]:
            rest = [rest[0] + slope, rest[1] + besides]
        else:
            rows.append((slope, besides, name))
    return [*sorted(rows, reverse=True), (*rest, "the rest")]


def explain(arguments: argparse.Namespace) -> None:
    torch.cuda.memory._record_memory_history(max_entries=MOST_EVENTS, stacks="python")
    held, first = [], 0
    for length in arguments.lengths:
        found, first = trace(arguments, length, first)
        held.append(found)
    tokens = [arguments.batch * length for length in arguments.lengths]
    rows = table(held, tokens)
    print(f"{'B/token':>8} {'besides MiB':>11}  what is held at the peak, {tokens[1]} tokens")
    for slope, besides, name in rows:
        print(f"{slope:>8.1f} {besides / 2**20:>11.1f}  {name}")
    print(f"{sum(row[0] for row in rows):>8.1f} {sum(row[1] for row in rows) / 2**20:>11.1f}  all")


def line(points: Sequence[tuple[int, float]]) -> tuple[float, float, float]:
    """(slope, intercept, largest distance) of the least-squares line through some points."""
    n = len(points)
    mean_x, mean_y = (sum(values) / n for values in zip(*points, strict=True))
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0
    intercept = mean_y - slope * mean_x
    return slope, intercept, max(abs(y - slope * x - intercept) for x, y in points)


def compare(path: Path, image: Path | None) -> None:
    """Measured peaks of training steps against tokens, with the lines through them."""
    curves: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for row in read_rows(path):
        if row["mode"] == "train" and row["peak_gib"]:
            name = f"{row['who']}, {row['model']}, recompute {row['recompute']}, {row['residual']}"
            if row.get("segment"):
                name += f", segments of {row['segment']}"
            curves[name].append((int(row["B"]) * int(row["L"]), float(row["peak_gib"])))
    fits = {name: line(points) for name, points in curves.items()}
    for name, (slope, intercept, distance) in fits.items():
        print(
            f"{name}: {slope * GIB:.0f} bytes a token and {intercept:.2f} GiB;"
            f" points at most {distance:.2f} GiB off"
        )
    if image is None:
        return
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 4.5), layout="constrained")
    every = [tokens for points in curves.values() for tokens, _ in points]
    logarithmic = max(every, default=1) > LOGARITHMIC * min(every, default=1)
    for i, (name, points) in enumerate(curves.items()):
        tokens, peaks = zip(*sorted(points), strict=True)
        if logarithmic:
            axis.plot(tokens, peaks, "o-", color=f"C{i}", lw=1, label=name)
            continue
        slope, intercept, _ = fits[name]
        label = f"{name}: {slope * GIB:.0f} bytes a token"
        axis.plot(tokens, peaks, "o", color=f"C{i}", label=label)
        axis.plot(tokens, [slope * x + intercept for x in tokens], color=f"C{i}", lw=1)
    axis.set(xlabel="tokens a step", ylabel="peak [GiB]")
    if logarithmic:
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
    else:
        axis.set(xlim=(0, None), ylim=(0, None))
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, fontsize=8)
    figure.savefig(image, dpi=150)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--who", default="ours", choices=["ours", "mamba-ssm"])
    add("--model", default="1.4m", help="1.4m, 7m, or d_model x n_layer: 128x12")
    add("--batch", type=int, default=1)
    add("--lengths", type=int, nargs=2, default=[2**19, 2**20])
    add("--recompute", default="none", help="none, block, group:n")
    add("--residual", default="float32", choices=["float32", "bfloat16"])
    add("--measured", type=Path, help="a results file of model_step.py")
    add("--plot", type=Path, help="where to draw what it holds")
    arguments = parser.parse_args()
    if arguments.measured is not None:
        compare(arguments.measured, arguments.plot)
    elif torch.cuda.is_available():
        explain(arguments)
    else:
        print("expected a GPU, whose allocator can be asked; found none", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
