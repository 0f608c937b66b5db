"""Classification at several lengths at once: the recipe of distant species, in small."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from genomamba.cli import main
from genomamba.training.checkpoint import load_model

ROOT = Path(__file__).parents[2]
RECIPE = ("--config", "recipes/distant_species", "--config", "recipes/distant_species/tiny")


def run(*command: object, code: int = 0) -> str:
    """A script's stderr."""
    done = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    return done.stderr


def metrics(name: str) -> list[float]:
    lines = [line.split(",") for line in Path("r/metrics.csv").read_text().splitlines()[1:]]
    return [float(value) for _, metric, value in lines if metric == name]


@pytest.mark.slow
def test_the_recipe_trains_and_its_best_weights_are_judged_at_every_length(
    genomamba: Callable[..., int], data
) -> None:
    assert genomamba("fit", *RECIPE, "--run", "r") == 0
    losses = metrics("valid/readout_loss")
    assert len(losses) == 2
    assert losses[-1] < 0.9  # ln 3 is 1.1: base frequencies tell the tests' species apart
    best, meta = load_model("r/checkpoints/best.ckpt")
    assert meta["readout_lengths"] == [64, 256]
    assert best.head.running_length.tolist() == [64.0, 256.0]  # type: ignore[union-attr]
    steps = {int(n) for n in best.head.batches.tolist()}  # type: ignore[union-attr]
    assert all(0 < n <= 40 for n in steps)
    species_set, splits = str(data.species_set), str(data.splits)
    draw = ["--splits", splits, "--lengths", "64,256", "--windows", "60", "--apart"]
    assert main(["prepare", "manifest", species_set, *draw, "--output", "m"]) == 0
    given = ["--checkpoint", "r/checkpoints/best.ckpt", "--species-set", species_set]
    manifests = ["--manifest", "m/test-64.parquet", "m/test-256.parquet"]
    rows = ["--predictions", "e.predictions.parquet"]
    assert main(["evaluate", *given, *manifests, "--output", "e.html", *rows]) == 0
    Path("results").mkdir()
    assert main(["export", "r/checkpoints/best.ckpt", "--to", "hf", "--output", "hf"]) == 2
    assert not Path("hf").exists()
    splits_and = ["--splits", splits, *manifests]
    baselines = ["--output", "k.json", "--predictions", "k"]
    run(ROOT / "docs/real-data/kmers.py", species_set, *splits_and, *baselines)
    for k in (4, 6):
        pair = ["e.predictions.parquet", f"k.{k}-mers.parquet"]
        run(ROOT / "docs/real-data/compare.py", *pair, "--output", f"less.{k}.json")
    beside = ["--evaluation", "e.json", "--baselines", "k.json"]
    beside += ["--against", "less.4.json", "less.6.json"]
    record = ROOT / "benchmarks" / "record_result.py"
    run(record, "r", *beside, "--output", "results/clade.json")
    found = json.loads(Path("results/clade.json").read_text())
    assert found["tokens"] == 10 * 40 * 64 + 30 * 10 * 256
    by_length = found["metrics"]["accuracy_by_length"]
    evaluated = {str(r["length"]): r for r in json.loads(Path("e.json").read_text())["results"]}
    for length, row in by_length.items():
        assert row["accuracy"] == evaluated[length]["accuracy"]["value"]
        assert 1 / 3 < row["baselines"]["4-mer LDA"]["accuracy"] <= 1
        assert list(row["baselines"]) == ["4-mer LDA", "6-mer LDA", "repeat LDA"]
        for other in ("4-mer LDA", "6-mer LDA"):
            expected = row["accuracy"] - row["baselines"][other]["accuracy"]
            assert row["against"][other]["difference"] == pytest.approx(expected)
    run(ROOT / "benchmarks" / "results_page.py", "--results", "results", "--docs", "docs")
    line = f"| 64 | {by_length['64']['accuracy']:.4f}"
    page = Path("docs/results.md").read_text()
    assert line in page
    assert "| length | less 4-mer LDA | less 6-mer LDA |" in page
    difference = by_length["64"]["against"]["4-mer LDA"]["difference"]
    assert f"| 64 | {difference:+.4f}" in page
    assert Path("docs/results/clade.svg").is_file()
    run(
        ROOT / "docs/real-data/kmers.py",
        *(species_set, "--splits", splits, "--manifest", "m/test-64.parquet", "--output", "k.json"),
    )
    failed = run(record, "r", *beside, "--output", "results/other.json", code=2)
    assert "at 256 bases they are of None windows" in failed
    nowhere = (ROOT / "docs/real-data/kmers.py", species_set, *splits_and, "--output", "k.json")
    assert "--locus: expected 1 or more" in run(*nowhere, "--locus", "0", code=2)
    turned = ["k.4-mers.parquet", "e.predictions.parquet"]
    run(ROOT / "docs/real-data/compare.py", *turned, "--output", "turned.json")
    beside = ["--evaluation", "e.json", "--against", "turned.json"]
    failed = run(record, "r", *beside, "--output", "results/other.json", code=2)
    assert "at 64 bases its first classifier has the accuracy" in failed
    beside = ["--evaluation", "e.json", "--against", "k.json"]
    failed = run(record, "r", *beside, "--output", "results/other.json", code=2)
    assert "expected a comparison of two classifiers" in failed
    beside = ["--evaluation", "e.json", "--against", "less.4.json", "less.4.json"]
    failed = run(record, "r", *beside, "--output", "results/other.json", code=2)
    assert "second comparison with 4-mer LDA" in failed


def test_a_readout_of_no_length_of_the_windows_is_a_message(
    genomamba: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    lengths = ("--model.init_args.readout_lengths", "[100, 200]")
    assert genomamba("fit", *lengths, "--run", "r") == 2
    assert "training windows of 64 bases: expected a multiple" in capsys.readouterr().err
    lengths = ("--model.init_args.readout_lengths", "[64, 100]")
    assert genomamba("fit", *lengths, "--run", "r2") == 2
    assert "each a multiple of the one before" in capsys.readouterr().err


def test_a_resumed_run_draws_the_restarts_that_it_would_have_drawn(
    genomamba: Callable[..., int],
) -> None:
    options = ("--model.init_args.readout_lengths", "[16, 32, 64]", "--checkpoint.save_top_k=-1")
    assert genomamba("fit", *options, "--run", "whole") == 0
    (third,) = Path("whole/checkpoints").glob("*step=3.ckpt")
    assert genomamba("fit", *options, "--run", "again", "--ckpt_path", str(third)) == 0
    whole, again = (rows(run) for run in ("whole", "again"))
    assert again == [row for row in whole if row[0] >= 3]
    assert len({value for _, name, value in whole if name == "train/restart"}) > 1


def rows(run: str) -> list[tuple[int, str, str]]:
    """Of training, as (step, metric, value)."""
    lines = [line.split(",") for line in Path(run, "metrics.csv").read_text().splitlines()[1:]]
    return [(int(at), name, value) for at, name, value in lines if name.startswith("train/")]
