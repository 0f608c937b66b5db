"""The clade beside the optimum at a tiny size: all stages, going on, the page."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
CHANCE = 0.2  # five species


def run(script: str, *arguments: object) -> str:
    command = [sys.executable, str(FOLDER / script), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def tiny(folder: Path, output: Path, *configs: object) -> list[object]:
    return [
        *("--folder", folder, "--output", output, "--preset", "demo"),
        *("--chromosomes", 4, "--chromosome-length", 300_000, "--test-chromosomes", 1),
        *("--lengths", "2^10..2^11", "--windows", 500, "--test-bases", 1_000_000),
        *configs,
        *("--device", "cpu", "--jobs", 1, "--max-bases", 16384),
    ]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "clade"
    run("clade.py", *tiny(folder, folder / "none.json"), "--stages", "data")
    return folder


@pytest.mark.slow
def test_a_tiny_clade_is_learnt_and_stands_beside_the_optimum(tmp_path: Path, data: Path) -> None:
    """Half a minute on one core."""
    shutil.copytree(data, tmp_path / "clade")
    output = tmp_path / "results" / "markov_clade.json"
    configs = ("--configs", "species/base", "tasks/markov_clade", "tasks/markov_clade_tiny")
    steps = ["--options", "--trainer.max_steps", 60, "--trainer.val_check_interval", 30]
    said = run("clade.py", *tiny(tmp_path / "clade", output, *configs), *steps)
    assert "prepare simulate" not in said  # it is there
    found = json.loads(output.read_text())
    assert found["command"].startswith("python ")
    assert found["tokens"] == 60 * 20 * 1024
    assert list(found["metrics"]["accuracy_by_step"]) == ["30", "60"]
    lengths = found["metrics"]["accuracy_by_length"]
    assert [value["examples"] for value in lengths.values()] == [500, 488]
    for value in lengths.values():
        error = value["optimum_standard_error"]
        assert CHANCE + 0.1 < value["accuracy"] < value["optimum"] + 0.05
        assert abs(value["optimum"] - value["optimum_hits"]) < 0.1
        assert 0 < error < 0.02
    run("results_page.py", "--results", output.parent, "--docs", tmp_path)
    page = (tmp_path / "results.md").read_text()
    first = lengths["1024"]
    assert f"| 1024 | {first['accuracy']:.4f} | {first['optimum']:.4f} | 500 |" in page
    assert "| 60 | " in page
    drawn = (tmp_path / "results" / "markov_clade.svg").read_text()
    assert "<!-- optimum -->" in drawn


@pytest.mark.slow
def test_a_discriminant_of_a_tiny_clade_follows_its_language_model(
    tmp_path: Path, data: Path
) -> None:
    """Half a minute on one core."""
    shutil.copytree(data, tmp_path / "clade")
    output = tmp_path / "markov_clade.json"
    pretraining = ["pretraining/base", "tasks/markov_clade_pretraining"]
    discriminant = ["species/discriminant", "tasks/markov_clade_discriminant"]
    configs = (
        *("--pretraining", *pretraining, "tasks/markov_clade_pretraining_tiny"),
        *("--configs", *discriminant, "tasks/markov_clade_discriminant_tiny"),
    )
    run("clade.py", *tiny(tmp_path / "clade", output, *configs))
    found = json.loads(output.read_text())
    assert found["tokens"] == 40 * 20 * 1024 + 40 * 80 * 256  # the language model's, too
    value = found["metrics"]["accuracy_by_length"]["1024"]
    assert 0.45 < value["accuracy"] < value["optimum"] + 0.05  # the optimum is 0.63
