"""What ``benchmarks/baselines.py`` learns from trainings with the shipped commands and configs."""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

from baseline_table import BUDGET, TIME, Figure

from genomamba.cli import main as genomamba
from genomamba.training.checkpoint import model_of, read_checkpoint
from genomamba.training.run_files import COMMANDS, EXIT_STOPPED
from genomamba_data_prep.errors import InputError


def induction(mixer: str, length: int, args: argparse.Namespace) -> list[Figure]:
    """Accuracy at a length of the network that was trained at the configs' length."""
    run = args.runs / f"induction-{mixer}"
    configs = _options([*args.task_configs, f"mixer/{mixer}"])
    network = _network(mixer, args.task_length)
    _train(run, [*configs, *network], args)
    test = {"data.init_args.test_lengths": f"[{length}]"}
    test |= {"data.init_args.test_examples": args.test_examples}
    where = _dotted({"trainer.accelerator": _accelerator(args)})
    command = ["test", *configs, *network, *where, *_dotted(test)]
    begin = time.monotonic()
    _done(genomamba([*command, "--run", str(run), "--ckpt_path", "last"]), command)
    found = json.loads((run / "test.json").read_text(encoding="utf-8"))
    training, accuracy = found["training"], found["accuracy_by_length"][str(length)]
    ended_by = training["ended_by"]
    if ended_by == BUDGET and training["steps"] < args.steps:
        ended_by = TIME
    spent = training["tokens"], training["seconds"], ended_by
    examples = accuracy["examples"]
    took = time.monotonic() - begin
    return [Figure("accuracy", accuracy["accuracy"], _parameters(run), examples, *spent, took)]


def next_token(mixer: str, length: int, args: argparse.Namespace) -> list[Figure]:
    """Bits a base on the validation windows, after a training at this length."""
    return [_learnt("pretraining/base", "bits_per_base", mixer, length, args)]


def clade(mixer: str, length: int, args: argparse.Namespace) -> list[Figure]:
    """Accuracy on the validation windows, after a training at this length."""
    return [_learnt("species/base", "accuracy", mixer, length, args)]


def _learnt(base: str, metric: str, mixer: str, length: int, args: argparse.Namespace) -> Figure:
    """A metric on the validation windows, with the weights that the training ended with."""
    run = args.runs / f"{base.partition('/')[0]}-{mixer}-{length}"
    species_set, splits = args.species_set, args.splits
    if species_set is None:
        species_set, splits = simulated(args.runs / "clade", args.seed)
    batch = max(1, args.batch_tokens // length)
    data = {
        "data.init_args.species_set": species_set,
        "data.init_args.splits": splits,
        "data.init_args.length": length,
        "data.init_args.batch_size": batch,
        "data.init_args.valid_examples": args.valid_examples,
        "trainer.val_check_interval": max(1, args.steps // 10),
    }
    configs = _options([base, args.model_config, f"mixer/{mixer}"])
    given = [*configs, *_network(mixer, length), *_dotted(data)]
    _train(run, given, args)
    # Not the training's last validation: its time may have been over before one was due.
    command = ["validate", *given, *_dotted(_everywhere(args))]
    _done(genomamba([*command, "--run", str(run), "--ckpt_path", "last"]), command)
    value = json.loads((run / "valid.json").read_text(encoding="utf-8"))[metric]
    lines = (run / COMMANDS).read_text(encoding="utf-8").splitlines()
    ends = [line for line in map(json.loads, lines) if "steps" in line]
    seconds = sum(line["seconds"] for line in ends)
    ended_by = BUDGET if ends[-1]["steps"] >= args.steps else TIME
    return Figure(metric, value, _parameters(run), batch, ends[-1]["tokens"], seconds, ended_by)


def _train(run: Path, given: list[str], args: argparse.Namespace) -> None:
    """Trains, or goes on with a training, until its steps or its time are over."""
    last = run / "checkpoints" / "last.ckpt"
    if (run / "trained").exists():
        return
    minutes, seconds = divmod(math.ceil(args.minutes * 60), 60)
    most = f"00:{minutes // 60:02}:{minutes % 60:02}:{seconds:02}"
    bounds = {"trainer.max_steps": args.steps, "trainer.max_time": most, "run": run}
    command = ["fit", *given, *_dotted(_everywhere(args) | bounds)]
    if last.exists():
        command += ["--ckpt_path", "last"]
    begin = time.monotonic()
    code = genomamba(command)
    if code == EXIT_STOPPED and time.monotonic() - begin < args.minutes * 60:
        raise SystemExit(EXIT_STOPPED)  # by a signal: the same command goes on
    _done(code, command)
    (run / "trained").touch()  # so that a row's test after it does not begin with a training


def _everywhere(args: argparse.Namespace) -> dict[str, Any]:
    """Options of training and validation."""
    seeds = {"seed_everything": args.seed, "data.init_args.seed": args.seed}
    return seeds | {"trainer.accelerator": _accelerator(args)}


def _network(mixer: str, length: int) -> list[str]:
    options: dict[str, Any] = {"filter_length": length} if mixer == "hyena" else {}
    return _dotted({f"model.init_args.backbone.{name}": value for name, value in options.items()})


def _accelerator(args: argparse.Namespace) -> str:
    return "gpu" if args.device.startswith("cuda") else "cpu"


def _options(configs: list[str]) -> list[str]:
    return [part for name in configs for part in ("--config", name)]


def _dotted(options: dict[str, Any]) -> list[str]:
    return [part for name, value in options.items() for part in (f"--{name}", str(value))]


def _done(code: int, command: list[str]) -> None:
    if code not in (0, EXIT_STOPPED):
        raise InputError(f"genomamba {' '.join(command)}: exit code {code}")


def _parameters(run: Path) -> int:
    path = run / "checkpoints" / "last.ckpt"
    model = model_of(read_checkpoint(path, vocabulary=None), path)
    return sum(parameter.numel() for parameter in model.parameters())


def simulated(folder: Path, seed: int) -> tuple[Path, Path]:
    """Species set and splits of a simulated clade, made once."""
    species_set, splits = folder / "species.tsv", folder / "splits.tsv"
    if splits.exists():
        return species_set, splits
    folder.mkdir(parents=True, exist_ok=True)
    genomes, stores = folder / "genomes", folder / "stores"
    size = ["--preset", "demo", "--chromosomes", "6", "--length", "500000", "--seed", str(seed)]
    _prepare("simulate", *size, "--output", genomes)
    stores.mkdir(exist_ok=True)
    names = sorted(path.stem for path in genomes.glob("*.fa"))
    for name in names:
        _prepare("encode", genomes / f"{name}.fa", "--output", stores / name)
    lines = ["species\tstore", *(f"{name}\tstores/{name}" for name in names)]
    species_set.write_text("\n".join(lines) + "\n", encoding="utf-8")
    train = ",".join(f"chr{number}" for number in range(1, 5))
    held_out = ["--valid", "chr5", "--test", "chr6"]
    _prepare("split", species_set, "--train", train, *held_out, "--output", splits)
    return species_set, splits


def _prepare(*arguments: Any) -> None:
    command = ["prepare", *map(str, arguments)]
    _done(genomamba(command), command)
