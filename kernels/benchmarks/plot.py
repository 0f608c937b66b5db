"""Draws time and memory against length from a results file of run.py.

python kernels/benchmarks/plot.py kernels/benchmarks/results/lengths.csv --output lengths.png
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path

from records import read_rows

COLOURS = {"forward": "#0072b2", "forward+backward": "#d55e00"}  # Okabe and Ito
PANELS = (
    ("ms", "peer_ms", "time [ms]"),
    ("peak_mib", "peer_peak_mib", "memory above the inputs [MiB]"),
)


def series(
    rows: list[dict[str, str]], column: str
) -> dict[tuple[str, str, str], list[tuple[int, float]]]:
    """(operator, backend, mode) -> (length, value), in order of length; later rows win."""
    found: dict[tuple[str, str, str], dict[int, float]] = defaultdict(dict)
    for row in rows:
        if row.get(column):
            key = (row["operator"], row["backend"], row["mode"])
            found[key][int(row["L"])] = float(row[column])
    return {key: sorted(points.items()) for key, points in found.items()}


def draw(rows: list[dict[str, str]], output: Path) -> None:
    """Our curves are solid and the peer's dashed."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for axis, (ours, peer, label) in zip(axes, PANELS, strict=True):
        for column, style, who in ((ours, "-", None), (peer, "--", "mamba-ssm")):
            for (_, backend, mode), points in series(rows, column).items():
                x, y = zip(*points, strict=True)
                name = f"{who or backend}, {mode}"
                axis.plot(x, y, style, color=COLOURS[mode], marker="o", ms=3, label=name)
        axis.set(xlabel="length", ylabel=label)
        if axis.lines:
            axis.set_xscale("log", base=2)
            axis.set_yscale("log")
            axis.legend(frameon=False)
        axis.grid(alpha=0.3)
    first = rows[0]
    title = f"{first['operator']}, B {first['B']}, D {first['D']}, {first['dtype']}"
    figure.suptitle(f"{title}; {first['device']}, commit {first['commit']}", fontsize=10)
    figure.savefig(output, dpi=150)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", type=Path, help="a CSV file written by run.py")
    parser.add_argument("--operator", default="selective_scan")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--timer", default="events", choices=["events", "graph"])
    parser.add_argument("--output", type=Path, help="default: the results' name with .png")
    arguments = parser.parse_args()
    chosen = {name: getattr(arguments, name) for name in ("operator", "dtype", "timer")}
    rows = [
        row
        for row in read_rows(arguments.results)
        if all(row[name] == value for name, value in chosen.items())
    ]
    if not rows:
        print(f"{arguments.results}: no rows with {chosen}", file=sys.stderr)
        return 1
    draw(rows, arguments.output or arguments.results.with_suffix(".png"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
