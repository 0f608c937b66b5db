"""Every shipped config trains, as an overlay on each base that it is made for.

A config with lengths of its own trains with all of them divided by 512, one step each stage.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from genomamba.assets import config_names, folder
from genomamba.data.schedule import Schedule, WarmupStage
from genomamba.training.checkpoint import load_model

BASES = ("species/base", "pretraining/base")
LENGTHS = [name for name in config_names() if name.startswith("length/")]
RECIPES = {"recipes/hg38": "pretraining/base", "recipes/great_apes": "species/base"}
RECIPE_LENGTHS = [(r, name) for r in RECIPES for name in config_names() if name.startswith(f"{r}/")]
ALONE = [
    name
    for name in config_names()
    if name not in (*BASES, "species/discriminant", *LENGTHS, "demo")
    and not name.startswith(("recipes/", "tasks/"))
]
SHORT = ("--trainer.max_steps=2", "--trainer.val_check_interval=2", "--data.init_args.length=64")
NARROW = ("--model.init_args.backbone", '{"d_model": 16, "n_layer": 1, "d_state": 2}')
SCALE = 512
INTERVALS = 34_021  # of 2^17 bases, to train on (Gu & Dao 2023, E.3.1)


def content(name: str) -> dict[str, Any]:
    return yaml.safe_load((folder("configs") / f"{name}.yaml").read_text())


def schedule_of(name: str) -> Schedule:
    """Of a recipe at one length."""
    options = content(name)["data"]["init_args"]
    warmup = [WarmupStage(**stage) for stage in options.get("length_warmup", ())]
    return Schedule(options["length"], options.get("batch_size", 64), warmup)


@pytest.mark.parametrize(
    ("base", "overlay"),
    [*((base, overlay) for base in BASES for overlay in ALONE), ("species/base", "demo")],
)
def test_a_shipped_combination_trains(
    genomamba: Callable[..., int], base: str, overlay: str
) -> None:
    """Two steps on the tests' data; a config that is not about the network gets a small one."""
    shape = () if overlay.startswith(("model/", "mixer/")) else NARROW
    stages = ("--data.init_args.length_warmup", "[{length: 32, steps: 1}]")
    warmup = stages if overlay == "train/length_warmup" else ()
    arguments = ("--config", overlay, *SHORT, *shape, *warmup, "--run", "r")
    assert genomamba("fit", *arguments, base=base) == 0
    _, meta = load_model("r/checkpoints/last.ckpt")
    model = content(overlay).get("model", {}).get("init_args", {})
    wanted = yaml.safe_load(shape[1]) if shape else model["backbone"]
    assert {name: meta["config"][name] for name in wanted} == wanted


def in_small(recipe: str) -> dict[str, Any]:
    """An overlay that makes a recipe at one length small, with all its stages."""
    schedule, parts = schedule_of(recipe), 2
    stages = [
        {"length": s.length // SCALE, "steps": 1, "batch_size": max(parts, s.batch_size // 64)}
        for s in schedule.stages
    ]
    interval = parts * len(stages)
    data = {
        "length": stages[-1]["length"],
        "batch_size": stages[-1]["batch_size"],
        "length_warmup": stages[:-1],
        "eval_length": 64,
        "valid_examples": 12,
    }
    trainer = {
        "max_steps": len(stages) + 1,
        "accumulate_grad_batches": parts,
        "val_check_interval": interval,
    }
    return {"data": {"init_args": data}, "trainer": trainer}


@pytest.mark.parametrize(("recipe", "at_length"), RECIPE_LENGTHS)
def test_a_recipe_trains(
    genomamba: Callable[..., int], tmp_path: Path, recipe: str, at_length: str
) -> None:
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(in_small(at_length)))
    names = (recipe, at_length, "train/long_run", "small.yaml")
    overlays = [argument for name in names for argument in ("--config", name)]
    assert genomamba("fit", *overlays, *NARROW, "--run", "r", base=RECIPES[recipe]) == 0
    written = yaml.safe_load(Path("r/config.yaml").read_text())
    options = content(recipe)["model"]["init_args"]["optimizer"]
    assert written["model"]["init_args"]["optimizer"] == options
    assert written["trainer"]["precision"] == "bf16-mixed"
    stages = len(schedule_of(at_length).stages)
    _, meta = load_model("r/checkpoints/last.ckpt")
    assert len(meta["data"].get("length_warmup", ())) == stages - 1


@pytest.mark.parametrize("at_length", [name for r, name in RECIPE_LENGTHS if r == "recipes/hg38"])
def test_pretraining_is_as_long_as_published(at_length: str) -> None:
    """2^24 tokens a step, 2 epochs at each power of two from 2^10 (Gu & Dao 2023, E.3.1, E.3.3)."""
    schedule, steps = schedule_of(at_length), content(at_length)["trainer"]["max_steps"]
    ends = [*(stage.first_step for stage in schedule.stages[1:]), steps]
    for power, (stage, end) in enumerate(zip(schedule.stages, ends, strict=True), start=10):
        assert stage.length == 2**power
        assert stage.batch_size * stage.length == 2**24
        epoch = INTERVALS * 2**17 if power <= 17 else 2 * INTERVALS * 2**power
        assert end - stage.first_step == round(2 * epoch / 2**24)
        assert stage.batch_size % content("recipes/hg38")["trainer"]["accumulate_grad_batches"] == 0


@pytest.mark.parametrize(
    "at_length", [name for r, name in RECIPE_LENGTHS if r == "recipes/great_apes"]
)
def test_fine_tuning_is_as_long_as_published(at_length: str) -> None:
    """Batches of 64, an epoch of 1,024 steps at each power of two from 2^14 (E.3.4)."""
    schedule, options = schedule_of(at_length), content(at_length).get("trainer", {})
    assert {stage.batch_size for stage in schedule.stages} == {64}
    assert [stage.first_step for stage in schedule.stages] == [
        1024 * stage for stage in range(len(schedule.stages))
    ]
    if len(schedule.stages) > 1:
        lengths = [stage.length for stage in schedule.stages]
        assert lengths == [2**power for power in range(14, 14 + len(lengths))]
    parts = options.get("accumulate_grad_batches", 1)
    assert parts == max(1, 64 * schedule.longest // 2**20)
    assert options.get("val_check_interval", 1024) == 1024 * parts
    assert content("recipes/great_apes")["trainer"]["max_steps"] == 10 * 1024


def test_the_documented_tokens_and_hours_are_those_of_the_recipes() -> None:
    text = Path(__file__).parents[2].joinpath("docs/long-runs.md").read_text()
    small, large = (
        float(rate) * 1e6 for rate in re.findall(r"([0-9.]+) million(?: tokens)?", text)
    )
    for recipe, name in RECIPE_LENGTHS:
        schedule = schedule_of(name)
        options = content(recipe)["trainer"] | content(name).get("trainer", {})
        tokens, stages = schedule.first_token(options["max_steps"]), len(schedule.stages)
        row = [str(stages), f"{options['max_steps']:,}", f"{tokens / 1e9:.1f}"]
        row += [f"{tokens / rate / 3600:.1f}" for rate in (small, large)]
        power = schedule.stages[-1].length.bit_length() - 1
        assert f"| `{name}` | 2^{power} | {' | '.join(row)} |" in text


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("overlay", LENGTHS)
def test_a_length_is_understood(
    genomamba: Callable[..., int], base: str, overlay: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Windows longer than the tests' genomes, so the whole config is printed and not run."""
    with pytest.raises(SystemExit, match="0"):
        genomamba("fit", "--config", overlay, "--print_config", base=base)
    printed = yaml.safe_load(capsys.readouterr().out)
    length = content(overlay)["data"]["init_args"]["length"]
    assert printed["data"]["init_args"]["length"] == length
    assert printed["model"]["init_args"]["backbone"]["d_model"] == 16  # the tests' overlay
