"""Writes docs/results.md and a plot of each results file, from what is under results/.

    python benchmarks/results_page.py

A JSON file is of one run (benchmarks/record_result.py), baselines.csv is benchmarks/baselines.py's.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import baselines_section
import matplotlib as mpl
import perplexity_section

from genomamba_data_prep.atomic import atomic_file

ROOT = Path(__file__).parents[1]
COLUMNS = ("command", "commit", "hardware", "seed", "tokens", "seconds")
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#b3a000", "#56b4e9")
Curve = dict[int, dict[str, Any]]  # length or step: accuracy, and low and high where known


def draw(name: str, curves: dict[str, Curve], output: Path, by: str) -> None:
    """Accuracy against length or step with its intervals; the first curve is the model's."""
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = name  # the same file from the same figures
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 3.5), layout="constrained")
    for i, (label, curve) in enumerate(curves.items()):
        marker, line = ("o", "-") if i == 0 else ("x", "--")
        values = [row["accuracy"] for row in curve.values()]
        color = COLORS[i % len(COLORS)]
        axis.plot(list(curve), values, marker=marker, linestyle=line, color=color, label=label)
        known = {x: row for x, row in curve.items() if row.get("low") is not None}
        if i == 0 and known:
            low, high = ([row[end] for row in known.values()] for end in ("low", "high"))
            axis.fill_between(list(known), low, high, color=color, alpha=0.15, linewidth=0)
    if len(curves) > 1:
        axis.legend(loc="best")
    if by == "length (tokens)":
        axis.set_xscale("log", base=2)
    axis.set(xlabel=by, ylabel="accuracy", ylim=(0, 1.05), title=name)
    axis.grid(alpha=0.3)
    figure.savefig(output, metadata={"Date": None})
    plt.close(figure)


def by_length(found: dict[str, Any]) -> dict[str, Curve]:
    """The model's accuracy, and what stands beside it at every length: optimum and baselines."""
    rows = {int(length): row for length, row in found.items()}
    curves = {"accuracy": rows}
    if all("optimum" in row for row in rows.values()):
        curves["optimum"] = {n: {"accuracy": row["optimum"]} for n, row in rows.items()}
    beside = [row.get("baselines", {}) for row in rows.values()]
    for other in beside[0]:
        if all(other in row for row in beside):
            curves[other] = {n: row["baselines"][other] for n, row in rows.items()}
    return curves


def with_interval(row: dict[str, Any]) -> str:
    """An accuracy and its interval, where it has one."""
    if row.get("low") is None:
        return f"{row['accuracy']:.4f}"
    return f"{row['accuracy']:.4f} ({row['low']:.3f} to {row['high']:.3f})"


def section(path: Path, plots: Path) -> str:
    """A results file as Markdown."""
    content = json.loads(path.read_text(encoding="utf-8"))
    facts = "\n".join(f"- {name}: {content[name]}" for name in COLUMNS)
    training = content["metrics"]["training"]
    note = f"- note: {training['note']}\n" if "note" in training else ""
    evaluation = content["metrics"].get("evaluation")
    if evaluation is not None:
        strands = "both strands averaged" if evaluation["both_strands"] else "one strand"
        note += f"- evaluated: {strands}; SHA-256 of the checkpoint "
        note += f"{evaluation['checkpoint_sha256'][:16]}\n"
    ending = f"- steps: {training['steps']}, ended by {training['ended_by']}\n{note}"
    return f"## {path.stem}\n\n{facts}\n{ending}\n{_figures(path.stem, content, plots)}"


def _figures(name: str, content: dict[str, Any], plots: Path) -> str:
    """By length with a plot, or the one accuracy there is."""
    metrics = content["metrics"]
    if "models" in metrics:
        return perplexity_section.figures(name, metrics, plots)
    if "accuracy_by_length" not in metrics:
        return f"Accuracy {metrics['accuracy']:.4f} of {metrics['examples']} examples.\n"
    found, steps = metrics["accuracy_by_length"], metrics.get("accuracy_by_step")
    curves = by_length(found)
    if len(found) == 1 and steps:  # nothing to see by length
        validation = {int(step): {"accuracy": value} for step, value in steps.items()}
        draw(name, {"validation": validation}, plots / f"{name}.svg", "training step")
    else:
        draw(name, curves, plots / f"{name}.svg", "length (tokens)")
    tables = f"{_table(found, curves)}{_differences(found)}{_folds(metrics)}{_by_step(metrics)}"
    return f"![accuracy](results/{name}.svg)\n\n{tables}"


def _table(found: dict[str, Any], curves: dict[str, Curve]) -> str:
    """A line a length."""
    table = [f"| length | {' | '.join(curves)} | examples |", "|--:" * (len(curves) + 2) + "|"]
    for length, row in found.items():
        figures = " | ".join(with_interval(curve[int(length)]) for curve in curves.values())
        table.append(f"| {length} | {figures} | {row['examples']} |")
    return "\n".join(table) + "\n"


def _folds(metrics: dict[str, Any]) -> str:
    """The same recipe in folds of its training loci, where it was tried."""
    folds = metrics.get("folds")
    if not folds:
        return ""
    found = folds["accuracy_by_length"]
    loci = min(row["loci"] for row in found.values())
    lead = "\nThe same recipe in folds of its training loci, each judged by what was fitted to the "
    lead += f"others; {loci} independent loci:\n\n"
    facts = "\n".join(f"- {name}: {' && '.join(folds[name])}" for name in COLUMNS if name in folds)
    return f"{lead}{facts}\n\n{_table(found, by_length(found))}{_differences(found)}"


def _differences(found: dict[str, Any]) -> str:
    """From other classifiers on the same windows, where they were compared."""
    others = list(dict.fromkeys(name for row in found.values() for name in row.get("against", {})))
    if not others:
        return ""
    lead = "\nAccuracy less that of others, paired by window, with 95 % intervals over loci:\n\n"
    lines = [f"| length | {' | '.join(f'less {name}' for name in others)} |"]
    lines.append("|--:" * (len(others) + 1) + "|")
    for length, row in found.items():
        cells = " | ".join(_difference(row["against"][name]) for name in others)
        lines.append(f"| {length} | {cells} |")
    return lead + "\n".join(lines) + "\n"


def _difference(found: dict[str, Any]) -> str:
    if found["low"] is None:
        return f"{found['difference']:+.4f}"
    return f"{found['difference']:+.4f} ({found['low']:+.3f} to {found['high']:+.3f})"


def _by_step(metrics: dict[str, Any]) -> str:
    """The accuracy on the validation set as training went on."""
    found = metrics.get("accuracy_by_step")
    if not found:
        return ""
    rows = "\n".join(f"| {step} | {accuracy:.4f} |" for step, accuracy in found.items())
    return f"\n| step | validation accuracy |\n|--:|--:|\n{rows}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs")
    args = parser.parse_args()
    plots = args.docs / "results"
    plots.mkdir(parents=True, exist_ok=True)
    parts = [section(path, plots) for path in sorted(args.results.glob("*.json"))]
    parts += [
        baselines_section.section(path, plots)
        for path in sorted(args.results.glob("baselines*.csv"))
    ]
    lead = "# Results\n\nGenerated by `python benchmarks/results_page.py` from `results/`.\n"
    with atomic_file(args.docs / "results.md") as page:
        page.write_text("\n".join([lead, *parts]), encoding="utf-8")


if __name__ == "__main__":
    main()
