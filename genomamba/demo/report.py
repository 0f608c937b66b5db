"""The demonstration's report: a page that stands alone."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from genomamba.demo.evaluation import LONGEST_AT_LEAST, WITHIN, Row
from genomamba.demo.shell import Shell
from genomamba.inference.report.training import metric_chart, read_curves
from genomamba_data_prep.atomic import atomic_file
from genomamba_data_prep.report.charts import Axis, Series, line_chart, linear_axis
from genomamba_data_prep.report.page import (
    commands,
    confusion_matrix,
    figure,
    key_figures,
    page,
    section,
    table,
    verdict,
)
from genomamba_data_prep.simulate.truth import MarkovTruth

RECORD_COLUMNS = ("file", "record", "length", "prediction", "probability", "windows")
PACKAGES = ("genomamba", "torch", "lightning", "numpy")


def write_report(
    output: Path,
    shell: Shell,
    truth: MarkovTruth,
    rows: Sequence[Row],
    failed: Sequence[str],
    seconds: float,
) -> Path:
    """Write ``output``/report.html and return its path."""
    longest = max(rows, key=lambda row: row.length)
    ok = (
        f"Every check passed: at least {LONGEST_AT_LEAST:.2f} at {longest.length:,} bp, "
        f"and within {100 * WITHIN:.0f} points of the optimum at every length."
    )
    body = [
        verdict(not failed, "; ".join(failed) or ok),
        key_figures(
            {
                f"accuracy at {longest.length:,} bp": f"{longest.accuracy:.3f}",
                "optimum there": f"{longest.optimum:.3f}",
                "species, chance": f"{len(truth.species)}, {1 / len(truth.species):.2f}",
                "time in all": f"{seconds:.0f} s",
            }
        ),
        _accuracy(rows, truth),
        _training(output),
        section(
            f"Which species is taken for which, at {longest.length:,} bp",
            "Rows are the true species, columns the predicted ones; counts of windows.",
            confusion_matrix(longest.confusion, truth.species),
        ),
        _records(output, longest),
        section(
            "How it was made",
            "The commands, in order; each can be run again by hand.",
            commands(shell.lines),
            table(
                ("step", "seconds"),
                [(name, f"{value:.1f}") for name, value in shell.seconds.items()],
            ),
        ),
        _provenance(output, truth),
    ]
    lead = (
        "Five simulated species differ only in which bases tend to follow which. A small Mamba "
        "model learned to tell them apart, one token a base, and classified chromosomes that it "
        "had never seen."
    )
    path = output / "report.html"
    with atomic_file(path) as temporary:
        temporary.write_text(page("genomamba demonstration", lead, body), encoding="utf-8")
    return path


def _accuracy(rows: Sequence[Row], truth: MarkovTruth) -> str:
    lengths = [row.length for row in rows]
    intervals = [row.interval for row in rows]
    accuracy = Series(
        "model, with 95 % intervals",
        "model",
        lengths,
        [row.accuracy for row in rows],
        [low for low, _ in intervals],
        [high for _, high in intervals],
        markers=True,
    )
    optimum = Series("optimum", "optimum", lengths, [row.optimum for row in rows], markers=True)
    low, high = lengths[0] / 1.15, lengths[-1] * 1.15
    chance = Series("chance", "chance", [low, high], [1 / len(truth.species)] * 2)
    x = Axis("window, bp", low, high, [(length, f"{length:,}") for length in lengths], log2=True)
    chart = line_chart(
        "Accuracy by window length: the model and the optimum",
        x,
        linear_axis("accuracy", 0, 1),
        [chance, optimum, accuracy],
    )
    cells = [
        (
            f"{row.length:,}",
            f"{row.windows:,}",
            f"{row.accuracy:.3f}",
            f"{low:.3f} – {high:.3f}",
            f"{row.optimum:.3f}",
            f"{100 * (row.accuracy - row.optimum):+.1f}",
        )
        for row, (low, high) in zip(rows, intervals, strict=True)
    ]
    header = ("window, bp", "windows", "accuracy", "95 % interval", "optimum", "points apart")
    return section(
        "Accuracy by window length",
        "The longer a window, the more it tells. On average no classifier can do better than the "
        "optimum: it knows the sources that the species were simulated from and compares exact "
        "likelihoods, here on exactly the windows that the model classified.",
        figure(chart, "Tiles of held-out chromosomes; only the last overlaps its neighbour."),
        table(header, cells),
    )


def _training(output: Path) -> str:
    curves = read_curves(output / "run" / "metrics.csv")
    chart = metric_chart("Cross-entropy by training step", "cross-entropy, nats", curves, "loss")
    return section(
        "Training",
        "Every step draws fresh windows from the training chromosomes; validation is on the same "
        "frozen windows each time, from a chromosome that is not trained on.",
        figure(chart, "Loss on windows of the training length."),
    )


def _records(output: Path, longest: Row) -> str:
    records = pd.read_csv(output / f"records-{longest.length}.tsv", sep="\t")
    cells = [
        (Path(file).name, record, f"{length:,}", prediction, f"{probability:.3f}", f"{windows:,}")
        for file, record, length, prediction, probability, windows in zip(
            *(records[column] for column in RECORD_COLUMNS), strict=True
        )
    ]
    return section(
        "Whole chromosomes",
        "The table that genomamba classify writes has one row a record. A record's probabilities "
        "come from the mean log-probability over its windows.",
        table(RECORD_COLUMNS, cells, numeric=False),
    )


def _provenance(output: Path, truth: MarkovTruth) -> str:
    last = output / "run" / "checkpoints" / "last.ckpt"
    facts = {
        "seed": f"{truth.seed}",
        "sources": f"Markov, order {truth.order}, {truth.kl:g} nats a base between any two species",
        **{f"{name} version": version(name) for name in PACKAGES},
        "Python, system": f"{platform.python_version()}, {platform.system()} {platform.machine()}",
        "cores": f"{os.cpu_count()}",
        "checkpoint, SHA-256": hashlib.sha256(last.read_bytes()).hexdigest(),
        "truth.json, SHA-256": hashlib.sha256(
            (output / "clade" / "truth.json").read_bytes()
        ).hexdigest(),
    }
    return section(
        "Versions, seeds, hashes",
        "What a second run needs to give the same figures.",
        table(("what", "value"), list(facts.items()), numeric=False),
    )
