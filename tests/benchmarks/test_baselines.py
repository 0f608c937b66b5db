"""The baselines' table at tiny sizes: its rows, going on, what does not fit, the page."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmarks are scripts, not a package."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.syspath_prepend(str(FOLDER.parent / "kernels" / "benchmarks"))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def run(script: str, *arguments: object) -> str:
    command = [sys.executable, str(FOLDER / script), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_rows_are_measured_once_and_make_a_page(tmp_path: Path) -> None:
    table = tmp_path / "results" / "baselines.csv"
    tiny = [
        *("--phases", "induction", "step", "decode", "--device", "cpu", "--steps", 4),
        *("--task-configs", "tasks/induction", "tasks/induction_tiny", "--task-length", 16),
        *("--test-examples", 8, "--shape", "16x2", "--step-tokens", 64, "--decode-shape", "16x2"),
        *("--batches", 1, 2, "--prompt", 20, "--runs", tmp_path / "runs", "--output", table),
    ]
    short = ["--step-lengths", 16, "--test-lengths", 16]
    run("baselines.py", *tiny, *short, "--mixers", "mamba", "attention")
    first = rows(table)
    found = [(r["phase"], r["mixer"], r["length"], r["batch"], r["metric"]) for r in first]
    assert found == [
        ("induction", "mamba", "16", "", "accuracy"),
        ("induction", "attention", "16", "", "accuracy"),
        ("step", "mamba", "16", "4", "tokens_per_s"),
        ("step", "attention", "16", "4", "tokens_per_s"),
        *(("decode", "mamba", "20", batch, "tokens_per_s") for batch in "12"),
        *(("decode", "attention", "20", batch, "tokens_per_s") for batch in "12"),
    ]
    for row in first:
        rate = float(row["tokens"]) / float(row["seconds"])
        assert row["phase"] == "induction" or float(row["value"]) == pytest.approx(rate, rel=0.01)
        assert row["tokens"] == str(4 * 16 * 16) or row["phase"] != "induction"
        assert row["commit"]
        assert row["command"].startswith("python ")
        assert int(row["parameters"]) > 1000

    longer = ["--step-lengths", 16, 32, "--test-lengths", 16, 32]
    said = run("baselines.py", *tiny, *longer, "--mixers", "hyena")
    assert rows(table)[: len(first)] == first
    assert [r["length"] for r in rows(table)[len(first) :]] == ["16", "32", "16", "32"]
    assert "induction hyena config length 32 batch -: accuracy" in said

    run("results_page.py", "--results", table.parent, "--docs", tmp_path)
    page = (tmp_path / "results.md").read_text()
    assert (tmp_path / "results" / "baselines.svg").stat().st_size > 10_000
    assert "| length | Mamba | Transformer | Hyena |" in page
    learnt, timed = (
        next(r for r in rows(table) if (r["phase"], r["length"]) == (phase, "32"))
        for phase in ("induction", "step")
    )
    assert f"| 32 |  |  | {float(learnt['value']):.4g} |" in page
    value = float(timed["value"])
    assert f"| 32 |  |  | {value:,.{'0f' if value >= 1e4 else '4g'}} |" in page


@pytest.mark.usefixtures("modules")
def test_a_training_that_time_ends_has_its_row(
    tmp_path: Path, write_species_set: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its first validation. In this process, for time."""
    import baselines
    from baselines_section import section

    def measure(*arguments: object) -> None:
        deterministic = torch.are_deterministic_algorithms_enabled()
        monkeypatch.setattr(sys, "argv", ["baselines.py", *map(str, (*given, *arguments))])
        assert baselines.main() == 0
        torch.use_deterministic_algorithms(deterministic)

    rng = np.random.default_rng(0)
    genomes = {
        species: {record: "".join(rng.choice([*"ACGT"], 3000)) for record in ("c1", "c2")}
        for species in ("human", "chimp")
    }
    lines = ["species\trecord\tstart\tend\tsplit"]
    for species in genomes:
        lines += [f"{species}\tc1\t0\t3000\ttrain", f"{species}\tc2\t0\t3000\tvalid"]
    splits, table = tmp_path / "splits.tsv", tmp_path / "results" / "baselines.csv"
    splits.write_text("\n".join(lines) + "\n")
    given = [
        *("--mixers", "mamba", "--device", "cpu", "--minutes", 1 / 60, "--steps", 1_000_000),
        *("--species-set", write_species_set(genomes), "--splits", splits),
        *("--batch-tokens", 128, "--valid-examples", 16),
        *("--runs", tmp_path / "runs", "--output", table),
    ]
    measure("--phases", "next-token", "--train-lengths", 32)
    first = rows(table)
    # What time ended is there, and does not leave longer ones out.
    measure("--phases", "next-token", "--train-lengths", 32, 64)
    measure("--phases", "clade", "--train-lengths", 32)
    found = rows(table)
    assert found[:1] == first
    assert [(r["phase"], r["length"], r["metric"]) for r in found] == [
        ("next-token", "32", "bits_per_base"),
        ("next-token", "64", "bits_per_base"),
        ("clade", "32", "accuracy"),
    ]
    for row in found:
        folder = f"{'pretraining' if row['phase'] == 'next-token' else 'species'}-mamba"
        at = tmp_path / "runs" / f"{folder}-{row['length']}"
        assert row["ended_by"] == "time"
        assert "valid/" not in (at / "metrics.csv").read_text()
        expected = json.loads((at / "valid.json").read_text())[row["metric"]]
        assert float(row["value"]) == pytest.approx(expected, rel=1e-5)
        assert 0 < int(row["tokens"]) < 128 * 1_000_000
    assert 1.9 < float(found[0]["value"]) < 4  # 2 at best, of random bases

    value = float(found[0]["value"])
    assert f"| 32 | {value:,.4g} (time over) |" in section(table, tmp_path)


@pytest.mark.usefixtures("modules")
def test_the_page_says_which_figure_is_of_which_machine(tmp_path: Path) -> None:
    from baselines_section import section

    def page(*hardware: str) -> str:
        lines = ["phase,mixer,shape,length,batch,metric,value,parameters,ended_by,"]
        lines[0] += "command,commit,hardware,seed"
        for mixer, own in zip(("mamba", "s4d"), hardware, strict=True):
            where = f"train {mixer},abc,{own},0"
            lines.append(f"step,{mixer},8x1,16,1,tokens_per_s,7,10,budget,{where}")
            lines.append(f"step,{mixer},8x1,32,1,,,,time,{where}")
        (tmp_path / "b.csv").write_text("\n".join(lines) + "\n")
        return section(tmp_path / "b.csv", tmp_path)

    apart = page("H100", "H200")
    assert "- commit abc, H100, seed 0: train mamba\n- commit abc, H200, seed 0: train s4d" in apart
    assert "| length | Mamba (H100) | S4D (H200) |" in apart
    assert "| 32 | too long | too long |" in apart
    assert "| length | Mamba | S4D |" in page("H200", "H200")


@pytest.mark.usefixtures("modules")
def test_what_does_not_fit_is_a_row_and_ends_the_phase(tmp_path: Path) -> None:
    from baseline_table import Figure, Point, Table, measure_all

    asked: list[int] = []

    def points(error: Exception) -> Any:
        for length in (8, 16, 32):

            def measure(length: int = length) -> list[Figure]:
                asked.append(length)
                if length == 16:
                    raise error
                return [Figure("tokens_per_s", 5.0, 10, 1, 20, 4.0)]

            yield Point("step", "hyena", "16x2", length, 1, measure)

    for error, ended in (
        (torch.OutOfMemoryError("CUDA out of memory"), "out of memory"),
        (RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"), "out of memory"),
        (RuntimeError("no kernel\nmore"), "failed: no kernel"),
    ):
        asked.clear()
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.csv"
        table = Table(path, "python x", torch.device("cpu"), 0)
        measure_all(table, points(error), 1e9)
        assert asked == [8, 16]
        assert [(r["length"], r["value"], r["ended_by"]) for r in rows(path)] == [
            ("8", "5", "budget"),
            ("16", "", ended),
        ]
        assert table.failed == ended.startswith("failed")
        asked.clear()
        measure_all(Table(path, "python x", torch.device("cpu"), 0), points(error), 1e9)
        assert asked == []  # all is known


@pytest.mark.usefixtures("modules")
def test_what_takes_too_long_leaves_longer_ones_out(tmp_path: Path) -> None:
    from baseline_table import Figure, Point, Table, measure_all

    def points() -> Any:
        for length in (8, 16, 32):
            figure = Figure("tokens_per_s", 5.0, 10, 1, 20, 4.0)
            yield Point("step", "mamba", "16x2", length, 1, lambda figure=figure: [figure])

    table = Table(tmp_path / "x.csv", "python x", torch.device("cpu"), 0)
    measure_all(table, points(), most_seconds=-1.0)
    found = [(r["length"], r["value"], r["ended_by"]) for r in rows(tmp_path / "x.csv")]
    assert found == [("8", "5", "budget"), ("16", "", "time")]
