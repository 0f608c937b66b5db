"""Perplexity by context: figures against a plain computation, the page."""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from genomamba.cli import main
from genomamba.training.checkpoint import load_model
from genomamba_data_prep.manifest_windows import ManifestReader
from genomamba_data_prep.manifests import read_manifest
from genomamba_data_prep.species_set import SpeciesSet

FOLDER = Path(__file__).parents[2] / "benchmarks"
LETTERS = "ACGT"
TILE, CONTEXTS = 512, (64, 128, 512)


@pytest.fixture
def human(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location("human", FOLDER / "human.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "human", module)
    spec.loader.exec_module(module)
    return module


def test_targets_are_the_same_known_bases_at_every_context(human: ModuleType) -> None:
    codes = np.zeros((2, 16), dtype=np.uint8)
    codes[0, 5] = 4  # N
    targets = human.Targets(codes, shortest=4, locus=8)
    assert targets.counted.sum() == 2 * 12 - 1
    assert targets.locus[1].tolist() == [2] * 8 + [3] * 8
    at = targets.at
    values = np.where(codes == 4, 1000.0, np.arange(16.0))  # N, if it counted, would show
    sums, numbers = targets.by_locus(values, at % 8 >= 4)
    assert sums.tolist() == [6 + 7, 13 + 14 + 15, 5 + 6 + 7, 13 + 14 + 15]
    assert numbers.tolist() == [2, 3, 3, 3]
    assert targets.mean(values, at >= 8).value == np.mean([9, 10, 11, 13, 14, 15])


@pytest.mark.slow
def test_models_of_two_lengths_are_read_at_every_context(
    human: ModuleType, write_species_set: Callable[..., Path], tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    # A period of 96 bases: what a context of more than that is worth, a little one cannot know.
    word = "".join(rng.choice(list(LETTERS), 96))
    genome = dict.fromkeys(("train", "test"), (word * 50)[: 8 * TILE])
    species_set = write_species_set({"human": genome})
    rows = ["species\trecord\tstart\tend\tsplit"]
    for split, record in genome.items():
        rows += [
            f"human\t{split}\t{start}\t{start + TILE}\t{split}"
            for start in range(0, len(record), TILE)
        ]
    Path("splits.tsv").write_text("\n".join(rows) + "\n")
    data = ["--data.species_set", str(species_set), "--data.splits", "splits.tsv"]
    configs = ["pretraining/base", "recipes/human_chr1", "recipes/human_chr1/65k"]
    configs.append("recipes/human_chr1/tiny")
    options = [part for name in configs for part in ("--config", name)]
    options += [*data, "--trainer.max_steps", "4", "--trainer.limit_val_batches", "0"]
    for length, warmup in ((64, "null"), (512, "[{length: 64, steps: 1}]")):
        own = ["--data.length", str(length), "--data.length_warmup", warmup]
        assert main(["fit", *options, *own, "--run", f"human.{length}"]) == 0
    draw = ["--splits", "splits.tsv", "--length", str(TILE), "--windows", "8", "--apart"]
    assert main(["prepare", "manifest", str(species_set), *draw, "--output", "t.parquet"]) == 0

    Path("results").mkdir()
    given = ["--species-set", str(species_set), "--manifest", "t.parquet"]
    numbers = ["--contexts", ",".join(map(str, CONTEXTS)), "--locus", "512", "--max-bases", "600"]
    output = ["--output", "results/human.json"]
    command = [sys.executable, FOLDER / "human.py", "human.512", "human.64", *given, *numbers]
    done = subprocess.run([*command, *output], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    content = json.loads(Path("results/human.json").read_text())
    trained, again, tested = content["command"].split(" && ")
    assert "--run human.512" in trained
    assert "--run human.64" in again
    assert tested.startswith("python ")
    assert "--contexts 64,128,512" in tested
    found = content["metrics"]
    short, long = found["models"]
    assert (short["run"], short["warmup"], short["own_context"]) == ("human.64", False, 64)
    assert (long["run"], long["warmup"], long["own_context"]) == ("human.512", True, 512)
    assert found["test"] == {"bases": 8 * 8 * 63, "loci": 8}

    species = SpeciesSet.read(species_set)
    manifest = read_manifest(Path("t.parquet"), species)
    codes = ManifestReader(manifest, species).codes(np.arange(8))
    for row in (short, long):
        by_context = plain(Path(row["run"], "checkpoints", "last.ckpt"), codes)
        counted = np.arange(TILE) % 64 > 0
        for context, values in by_context.items():
            got = row["contexts"][str(context)]
            assert got["perplexity"] == pytest.approx(math.exp(values[:, counted].mean()), 1e-4)
            assert got["low"] <= got["perplexity"] <= got["high"]
            if context > 64:
                far = counted & (np.arange(TILE) % context >= context // 2)
                gain = (by_context[64] - values)[:, far].mean()
                assert got["far"]["gain"]["value"] == pytest.approx(gain, abs=1e-5)
                assert got["far"]["from"] == context // 2
                assert got["gain"]["loci"] == 8
        row["own"] = by_context[row["own_context"]][:, counted].mean()
    gain = long["gain_over_first"]["value"]
    assert gain == pytest.approx(short["own"] - long["own"], abs=1e-5)
    assert "gain_over_first" not in short

    page = [sys.executable, FOLDER / "results_page.py", "--results", "results", "--docs", "docs"]
    subprocess.run(page, check=True)
    text = Path("docs/results.md").read_text()
    assert (
        f"| 512, warmup | 4 | {long['tokens']:,} | {long['contexts']['512']['perplexity']:.4f} ("
        in text
    )
    assert f"| 128 | {short['contexts']['128']['perplexity']:.4f} | " in text
    assert "<!-- 512, warmup -->" in Path("docs/results/human.svg").read_text()

    for wrong, message in (
        (["--contexts", "64,100"], "that divide the windows' 512 bases, got 64, 100"),
        (["--locus", "0"], "--locus and --max-bases: expected 1 or more, got 0 and 1048576"),
    ):
        again = [*command[:2], "human.64", *given, *wrong, *output]
        failed = subprocess.run(again, capture_output=True, text=True, check=False)
        assert failed.returncode == 2
        assert message in failed.stderr


@torch.inference_mode()
def plain(checkpoint: Path, codes: np.ndarray) -> dict[int, np.ndarray]:
    """Each base's loss by context length, from the logits; 0 where a piece begins."""
    model = load_model(checkpoint)[0]
    found = {}
    for context in CONTEXTS:
        pieces = torch.from_numpy(codes.reshape(-1, context)).long()
        log_p = model(pieces[:, :-1]).log_softmax(-1)
        losses = -log_p.gather(-1, pieces[:, 1:, None])[..., 0]
        found[context] = torch.nn.functional.pad(losses, (1, 0)).reshape(codes.shape).numpy()
    return found
