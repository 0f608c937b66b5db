"""The baselines' part of docs/results.md: a plot and tables of results/baselines.csv."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

Rows = list[dict[str, str]]
MIXERS = {"mamba": "#0072b2", "s4d": "#e69f00", "attention": "#d55e00", "hyena": "#009e73"}
NAMES = {"mamba": "Mamba", "s4d": "S4D", "attention": "Transformer", "hyena": "Hyena"}
TITLES = {
    ("induction", "accuracy"): "Induction heads: accuracy at a length",
    ("next-token", "bits_per_base"): "Next token: bits a base, trained at a length",
    ("clade", "accuracy"): "Species: accuracy, trained at a length",
    ("step", "tokens_per_s"): "Training step: tokens a second",
    ("step", "peak_gib"): "Training step: peak memory, GiB",
    ("decode", "tokens_per_s"): "Decoding: tokens a second, by batch",
}
ENDED = "time over"  # before the steps and the learning rate's schedule were
LEFT_OUT = "too long"  # a shorter one had taken more than was asked for
LOGARITHMIC = ("tokens_per_s", "peak_gib")


def section(path: Path, plots: Path) -> str:
    """The CSV as Markdown; its plot is written to ``plots``."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    tables = {title: _of(rows, *key) for key, title in TITLES.items()}
    tables = {title: found for title, found in tables.items() if any(row["value"] for row in found)}
    drawn = {title: found for title, found in tables.items() if found[0]["phase"] != "decode"}
    parts = [f"## {path.stem}\n"]
    for commit, hardware, seed, command in dict.fromkeys(
        (row["commit"], row["hardware"], row["seed"], row["command"]) for row in rows
    ):
        parts.append(f"- commit {commit}, {hardware}, seed {seed}: {command}")
    if drawn:
        _draw(drawn, path.stem, plots / f"{path.stem}.svg")
        parts.append(f"\n![baselines by length](results/{path.stem}.svg)")
    parts += [f"\n### {title}\n\n{_table(found)}" for title, found in tables.items()]
    return "\n".join(parts) + "\n"


def _of(rows: Rows, phase: str, metric: str) -> Rows:
    """The figures of a metric, and the rows that say why there is none."""
    return [row for row in rows if row["phase"] == phase and row["metric"] in (metric, "")]


def _across(row: dict[str, str]) -> str:
    """What a table's rows stand for."""
    return "batch" if row["phase"] == "decode" else "length"


def _table(rows: Rows) -> str:
    across = _across(rows[0])
    mixers = [mixer for mixer in MIXERS if any(row["mixer"] == mixer for row in rows)]
    lines = [
        f"| {across} | " + " | ".join(_header(mixer, rows) for mixer in mixers) + " |",
        "|--:" * (len(mixers) + 1) + "|",
    ]
    keys = sorted({(row["shape"], int(row[across])) for row in rows})
    shapes = len({shape for shape, _ in keys}) > 1
    for shape, at in keys:
        cells = [
            _cell([r for r in rows if (r["shape"], int(r[across]), r["mixer"]) == (shape, at, m)])
            for m in mixers
        ]
        name = f"{shape}, {at}" if shapes else str(at)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    counts = [_parameters(mixer, rows) for mixer in mixers]
    lines.append("| parameters | " + " | ".join(counts) + " |")
    return "\n".join(lines)


def _header(mixer: str, rows: Rows) -> str:
    """A column's name, with its hardware where the columns are not of the same."""
    if len({row["hardware"] for row in rows}) == 1:
        return NAMES[mixer]
    own = dict.fromkeys(row["hardware"] for row in rows if row["mixer"] == mixer)
    return f"{NAMES[mixer]} ({', '.join(own)})"


def _cell(rows: Rows) -> str:
    if not rows:
        return ""
    value, ended_by = rows[-1]["value"], rows[-1]["ended_by"]
    if not value:
        return LEFT_OUT if ended_by == "time" else ended_by
    number = float(value)
    said = f"{number:,.4g}" if abs(number) < 1e4 else f"{number:,.0f}"
    return f"{said} ({ENDED})" if ended_by == "time" else said


def _parameters(mixer: str, rows: Rows) -> str:
    counts = {r["parameters"] for r in rows if r["mixer"] == mixer and r["parameters"]}
    return ", ".join(f"{int(count):,}" for count in sorted(counts, key=int))


def _draw(tables: dict[str, Rows], name: str, output: Path) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = name  # the same file from the same figures
    import matplotlib.pyplot as plt

    columns = min(2, len(tables))
    lines = -(-len(tables) // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(5 * columns, 3.2 * lines), layout="constrained", squeeze=False
    )
    for axis in axes.flat[len(tables) :]:
        axis.remove()
    for axis, (title, rows) in zip(axes.flat, tables.items(), strict=False):
        _panel(axis, title, rows)
    lines_of = {line.get_label(): line for axis in figure.axes for line in axis.get_lines()}
    names = [name for name in NAMES.values() if name in lines_of]
    figure.legend([lines_of[n] for n in names], names, loc="outside lower center", ncols=4)
    figure.savefig(output, metadata={"Date": None})
    plt.close(figure)


def _panel(axis: Any, title: str, rows: Rows) -> None:
    """A line a mixer; a cross below where it ran out of memory."""
    for mixer, colour in MIXERS.items():
        mine = [row for row in rows if row["mixer"] == mixer]
        points = sorted((int(r["length"]), float(r["value"])) for r in mine if r["value"])
        if points:
            axis.plot(*zip(*points, strict=True), marker="o", color=colour, label=NAMES[mixer])
        for row in mine:
            if row["ended_by"] == "out of memory":
                at = {"transform": axis.get_xaxis_transform(), "clip_on": False}
                axis.plot([int(row["length"])], [0.03], marker="x", color=colour, **at)
    axis.set_xscale("log", base=2)
    if any(row["metric"] in LOGARITHMIC for row in rows):
        axis.set_yscale("log")
    elif any(row["metric"] == "accuracy" for row in rows):
        axis.set_ylim(0, 1.05)
    axis.set_xlabel("length (tokens); x: out of memory")
    axis.set_title(title, fontsize=10)
    axis.grid(alpha=0.3)
