"""Recipes of docs/real-data.md: human pretraining at several lengths, apes on unseen loci."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from genomamba.assets import config_names, folder
from genomamba.cli import main
from genomamba.data.schedule import Schedule, WarmupStage
from genomamba.training.checkpoint import load_model

ROOT = Path(__file__).parents[2]
HUMAN = [
    name.removeprefix("recipes/human_chr1/")
    for name in config_names()
    if name.startswith("recipes/human_chr1/") and not name.endswith("/tiny")
]
TOKENS = 1 << 20  # a step


def content(name: str) -> dict[str, Any]:
    return yaml.safe_load((folder("configs") / f"{name}.yaml").read_text())


def schedule_of(*names: str) -> tuple[Schedule, int]:
    """Of overlays in order, and the steps in all."""
    options: dict[str, Any] = {}
    for name in names:
        options |= content(name)["data"]["init_args"]
    steps = max(content(name).get("trainer", {}).get("max_steps", 0) for name in names)
    warmup = [WarmupStage(**stage) for stage in options.get("length_warmup") or ()]
    return Schedule(options["length"], options["batch_size"], warmup), steps


def human(name: str) -> list[str]:
    """The overlays of a length, with its warmup where the name has it."""
    lengths = ["recipes/human_chr1", f"recipes/human_chr1/{name.removesuffix('_warmup')}"]
    return [*lengths, *([f"recipes/human_chr1/{name}"] if name.endswith("_warmup") else [])]


def run(*command: object, code: int = 0) -> str:
    """A script's stderr."""
    done = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    return done.stderr


@pytest.mark.parametrize("name", HUMAN)
def test_human_pretraining_takes_as_many_tokens_at_every_length(name: str) -> None:
    schedule, steps = schedule_of(*human(name))
    assert steps == 240
    assert {stage.length * stage.batch_size for stage in schedule.stages} == {TOKENS}
    assert schedule.first_token(steps) == 240 * TOKENS
    if name.endswith("_warmup"):
        lengths = [stage.length for stage in schedule.stages[:-1]]
        power = schedule.stages[-1].length.bit_length() - 1
        assert lengths == [2**p for p in range(10, power, 2)]
        assert schedule.stages[-1].first_step == steps / 2


@pytest.mark.parametrize("name", HUMAN)
def test_human_pretraining_trains_in_small(
    genomamba: Callable[..., int], tmp_path: Path, name: str
) -> None:
    """A step of each stage, windows divided by 16,384 or at least 8 bases."""
    stages = schedule_of(*human(name))[0].stages
    lengths = [max(8, stage.length // 16384) for stage in stages]
    data = {
        "length": lengths[-1],
        "batch_size": 8,
        "length_warmup": [{"length": n, "steps": 1, "batch_size": 8} for n in lengths[:-1]],
    }
    steps = max(2, len(stages))
    trainer = {"max_steps": steps, "val_check_interval": steps}
    small = {"data": {"init_args": data}, "trainer": trainer}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(small))
    overlays = [*human(name), "recipes/human_chr1/tiny", "small.yaml"]
    arguments = [part for overlay in overlays for part in ("--config", overlay)]
    assert genomamba("fit", *arguments, "--run", "r", base="pretraining/base") == 0
    written = yaml.safe_load(Path("r/config.yaml").read_text())
    optimizer = content("recipes/human_chr1")["model"]["init_args"]["optimizer"]
    assert written["model"]["init_args"]["optimizer"] == optimizer
    assert written["data"]["init_args"]["sampling"] == "epoch"
    assert len(load_model("r/checkpoints/last.ckpt")[1]["data"].get("length_warmup", ())) == (
        len(stages) - 1
    )


def test_apes_take_a_window_of_each_species_and_grow() -> None:
    for names in (["recipes/apes_chr1"], ["recipes/apes_chr1", "recipes/apes_chr1/1m"]):
        schedule, steps = schedule_of(*names)
        lengths = [stage.length for stage in schedule.stages]
        rungs = content(names[-1])["model"]["init_args"]["readout_lengths"]
        assert lengths == sorted(lengths) == rungs
        assert all(stage.batch_size % 4 == 0 for stage in schedule.stages)
        assert schedule.stages[-1].first_step < steps


@pytest.mark.parametrize("overlay", ["pretrained", "1m"])
def test_apes_start_from_pretrained_weights(
    genomamba: Callable[..., int], overlay: str, tmp_path: Path
) -> None:
    human_overlays = [*human("65k"), "recipes/human_chr1/tiny"]
    arguments = [part for name in human_overlays for part in ("--config", name)]
    steps = ["--trainer.max_steps", "2", "--trainer.val_check_interval", "2"]
    assert genomamba("fit", *arguments, *steps, "--run", "h", base="pretraining/base") == 0
    apes = ["recipes/apes_chr1", f"recipes/apes_chr1/{overlay}", "recipes/apes_chr1/tiny"]
    arguments = [part for name in apes for part in ("--config", name)]
    # The tests have three species. At a rate of zero the weights stay as they came.
    arguments += ["--data.batch_size", "6", "--data.length_warmup", "null", "--run", "r"]
    given = ["--model.pretrained", "h/checkpoints/last.ckpt"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("genomamba.training.optim.warmup_cosine_factor", lambda *_, **__: 0.0)
        assert genomamba("fit", *arguments, *given, *steps) == 0
    source = load_model("h/checkpoints/last.ckpt")[0].state_dict()
    found = load_model("r/checkpoints/best.ckpt")[0].state_dict()
    shared = [name for name in found if name.startswith("backbone.")]
    assert shared
    assert all(found[name].equal(source[name]) for name in shared)


def test_the_apes_model_stands_beside_the_kmers_of_the_same_windows(
    genomamba: Callable[..., int], data
) -> None:
    recipe = ["--config", "recipes/apes_chr1", "--config", "recipes/apes_chr1/tiny"]
    recipe += ["--trainer.max_steps", "20"]
    assert genomamba("fit", *recipe, "--data.batch_size", "6", "--run", "r") == 0
    species_set, splits = str(data.species_set), str(data.splits)
    draw = ["--splits", splits, "--lengths", "64,256", "--windows", "90", "--apart"]
    assert main(["prepare", "manifest", species_set, *draw, "--output", "m"]) == 0
    manifests = ["--manifest", "m/test-64.parquet", "m/test-256.parquet", "--locus", "256"]
    given = ["--checkpoint", "r/checkpoints/best.ckpt", "--species-set", species_set]
    rows = ["--output", "e.html", "--predictions", "e.predictions.parquet", "--both-strands"]
    assert main(["evaluate", *given, *manifests, *rows]) == 0
    docs, record = ROOT / "docs" / "real-data", ROOT / "benchmarks" / "record_result.py"
    asked = [docs / "kmers.py", species_set, "--splits", splits, *manifests, "--output", "k.json"]
    run(*asked, "--predictions", "k", "--k", "4,3")
    names = ("3-mers", "4-mers", "repeats")
    differences = [f"less.{name}.json" for name in names]
    for name, output in zip(names, differences, strict=True):
        pair = ["e.predictions.parquet", f"k.{name}.parquet"]
        run(docs / "compare.py", *pair, "--output", output)
    beside = ["--evaluation", "e.json", "--baselines", "k.json", "--against", *differences]
    Path("results").mkdir()
    run(record, "r", *beside, "--output", "results/apes.json")
    rows = json.loads(Path("results/apes.json").read_text())["metrics"]["accuracy_by_length"]
    titles = ["3-mer LDA", "4-mer LDA", "repeat LDA"]
    for row in rows.values():
        assert list(row["baselines"]) == list(row["against"]) == titles
        for name, gain in row["against"].items():
            value = row["accuracy"] - row["baselines"][name]["accuracy"]
            assert gain["difference"] == pytest.approx(value)
            assert gain["low"] < value < gain["high"]
    run(ROOT / "benchmarks" / "results_page.py", "--results", "results", "--docs", "docs")
    gain = rows["256"]["against"]["3-mer LDA"]["difference"]
    assert f"| 256 | {gain:+.4f} (" in Path("docs/results.md").read_text()
    for ks in ("0", "4,7", "four"):
        assert f"expected lengths from 1 to 6 as in 4,6, got {ks}" in run(*asked, "--k", ks, code=2)


def test_the_apes_discriminant_follows_the_language_model(genomamba: Callable[..., int]) -> None:
    """Both recipes in small: a network and windows of seconds, everything else as shipped."""
    small = ["--model.init_args.backbone", '{"d_model": 16, "n_layer": 1, "d_state": 4}']
    small += ["--data.length", "64", "--data.batch_size", "6", "--data.num_workers", "0"]
    small += ["--data.valid_examples", "12", "--trainer.max_steps", "6"]
    small += ["--trainer.val_check_interval", "6"]
    language = ["--config", "recipes/apes_chr1/language", *small, "--run", "l"]
    assert genomamba("fit", *language, base="pretraining/base") == 0
    assert (
        yaml.safe_load(Path("l/config.yaml").read_text())["data"]["init_args"]["sampling"]
        == "epoch"
    )
    given = ["--model.pretrained", "l/checkpoints/last.ckpt", "--data.eval_length", "128"]
    fitted = ["--config", "recipes/apes_chr1/discriminant", *small, *given, "--run", "d"]
    assert genomamba("fit", *fitted, base="species/discriminant") == 0
    meta = load_model("d/checkpoints/last.ckpt")[1]
    assert (meta["pooling"], meta["length"]) == ("errors", 64)
