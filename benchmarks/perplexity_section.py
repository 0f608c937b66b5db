"""The part of docs/results.md about perplexity by context: what benchmarks/human.py wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

COLORS = ("#0072b2", "#009e73", "#e69f00", "#d55e00", "#cc79a7")


def label(row: dict[str, Any]) -> str:
    """A model's name: the windows it was trained on."""
    return f"{row['length']:,}" + (", warmup" if row["warmup"] else "")


def draw(name: str, models: list[dict[str, Any]], output: Path) -> None:
    """Perplexity against the context's length; dashed with length warmup."""
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = name  # the same file from the same figures
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 3.5), layout="constrained")
    lengths = sorted({row["length"] for row in models})
    for row in models:
        contexts = [int(context) for context in row["contexts"]]
        values = [found["perplexity"] for found in row["contexts"].values()]
        color = COLORS[lengths.index(row["length"]) % len(COLORS)]
        line = "--" if row["warmup"] else "-"
        axis.plot(contexts, values, marker="o", linestyle=line, color=color, label=label(row))
    axis.set_xscale("log", base=2)
    axis.set(xlabel="context (bases)", ylabel="perplexity", title=name)
    figure.legend(title="trained on", fontsize="small", loc="outside right upper")
    axis.grid(alpha=0.3)
    figure.savefig(output, metadata={"Date": None})
    plt.close(figure)


def figures(name: str, metrics: dict[str, Any], plots: Path) -> str:
    """The tables as Markdown; the plot is written to ``plots``."""
    models, test = metrics["models"], metrics["test"]
    draw(name, models, plots / f"{name}.svg")
    parts = [
        f"![perplexity by context](results/{name}.svg)",
        f"{test['bases']:,} test bases, the same for all, in {test['loci']} loci. Gains in "
        "thousandths of a nat a base.",
        _table(
            ["trained on", "steps", "tokens", "perplexity at that context", "gain over the first"],
            [_row(row) for row in models],
        ),
        "Perplexity of all test bases, read in pieces of a length:",
        _table(
            ["context", *map(label, models)],
            [
                [context, *(f"{row['contexts'][context]['perplexity']:.4f}" for row in models)]
                for context in models[0]["contexts"]
            ],
        ),
        "Gain of bases with at least so many before them, over the same in the shortest pieces:",
        _table(
            ["at least", *map(label, models)],
            [
                [
                    str(found["far"]["from"]),
                    *(gain(row["contexts"][context]["far"]["gain"]) for row in models),
                ]
                for context, found in models[0]["contexts"].items()
                if "far" in found
            ],
        ),
    ]
    return "\n\n".join(parts) + "\n"


def gain(found: dict[str, Any]) -> str:
    """A difference of losses in thousandths of a nat, with its interval where it has one."""
    value = f"{1000 * found['value']:+.1f}"
    if found["low"] is None:
        return value
    return f"{value} ({1000 * found['low']:+.1f} to {1000 * found['high']:+.1f})"


def _row(row: dict[str, Any]) -> list[str]:
    own = row["contexts"][str(row["own_context"])]
    ends = f" ({own['low']:.3f} to {own['high']:.3f})" if "low" in own else ""
    over = gain(row["gain_over_first"]) if "gain_over_first" in row else ""
    perplexity = f"{own['perplexity']:.4f}{ends}"
    return [label(row), str(row["steps"]), f"{row['tokens']:,}", perplexity, over]


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["--:"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
