"""The Markov clade: a trained classifier beside the best that any can reach, by window length.

    python benchmarks/clade.py --output results/markov_clade.json
    python benchmarks/clade.py --stages data        # simulating needs no GPU: a minute
    python benchmarks/clade.py --stages train test --options --trainer.max_time 00:01:00:00
    python benchmarks/clade.py --pretraining pretraining/base tasks/markov_clade_pretraining \\
        --configs species/discriminant tasks/markov_clade_discriminant

By shipped commands: ``prepare simulate``, ``encode``, ``split`` and ``manifest``, then ``fit``,
then ``evaluate`` and ``prepare bayes`` on the same windows, of chromosomes that the model has never
seen. The optimum's accuracy is exact: the mean of the largest posterior under the simulation's
sources. What is there is not made again, so that the same command goes on; a training that was
stopped goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from record_result import write_result

from genomamba.training.run_files import COMMANDS, EXIT_STOPPED
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.manifest_command import read_lengths

STAGES = ("data", "train", "test")
LAST = Path("checkpoints", "last.ckpt")


def data(args: argparse.Namespace) -> None:
    """Genomes, stores, splits and frozen test windows."""
    folder, seed = args.folder, str(args.seed)
    folder.mkdir(parents=True, exist_ok=True)
    clade, stores, splits = folder / "clade", folder / "stores", folder / "splits.tsv"
    if not clade.exists():
        size = ["--chromosomes", args.chromosomes, "--length", args.chromosome_length]
        _run(
            "prepare", "simulate", "--preset", args.preset, *size, "--seed", seed, "--output", clade
        )
    stores.mkdir(exist_ok=True)
    names = sorted(path.stem for path in clade.glob("*.fa"))
    with ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(lambda name: _encode(clade / f"{name}.fa", stores / name), names))
    lines = ["species\tstore", *(f"{name}\tstores/{name}" for name in names)]
    (folder / "species.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    first = args.chromosomes - args.test_chromosomes
    numbers = [f"chr{number}" for number in range(1, args.chromosomes + 1)]
    held_out = ["--valid", numbers[first - 1], "--test", ",".join(numbers[first:])]
    train = ",".join(numbers[: first - 1])
    if not splits.exists():
        species = folder / "species.tsv"
        _run("prepare", "split", species, "--train", train, *held_out, "--output", splits)
    with ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(lambda length: _draw(args, length), args.lengths))


def _draw(args: argparse.Namespace, length: int) -> None:
    windows = max(args.least_windows, min(args.windows, args.test_bases // length))
    given = ["--splits", args.folder / "splits.tsv", "--length", length, "--windows", windows]
    output = ["--seed", args.seed, "--output", _manifest(args, length)]
    _run("prepare", "manifest", args.folder / "species.tsv", *given, *output)


def _encode(fasta: Path, store: Path) -> None:
    if not store.exists():
        _run("prepare", "encode", fasta, "--output", store)


def train(args: argparse.Namespace) -> None:
    """`genomamba fit`, or what is left of it; before it, that of the language model if one is
    asked for."""
    begin: list[Any] = []
    if args.pretraining:
        _fit(args, "pretraining", args.pretraining)
        begin = ["--model.init_args.pretrained", args.folder / "pretraining" / LAST]
    _fit(args, "run", args.configs, *begin, *args.options)


def _fit(args: argparse.Namespace, name: str, configs: list[str], *options: Any) -> None:
    run = args.folder / name
    given = [part for config in configs for part in ("--config", config)]
    where = {"species_set": args.folder / "species.tsv", "splits": args.folder / "splits.tsv"}
    given += [part for key, path in where.items() for part in (f"--data.init_args.{key}", path)]
    seeds = ["--seed_everything", args.seed, "--data.init_args.seed", args.seed]
    goes_on = ["--ckpt_path", "last"] if (run / LAST).exists() else []
    _run("fit", *given, *seeds, "--run", run, *options, *goes_on)


def test(args: argparse.Namespace) -> None:
    """The trained model and the optimum on the same windows; writes the results file."""
    run = args.folder / "run"
    with ThreadPoolExecutor(args.jobs) as pool:
        optima = [pool.submit(_optimum, args, length) for length in args.lengths]
        command = _run(
            *(
                "evaluate",
                "--checkpoint",
                run / LAST,
                "--device",
                args.device,
            ),
            *("--species-set", args.folder / "species.tsv", "--max-bases", args.max_bases),
            *("--manifest", *(_manifest(args, length) for length in args.lengths)),
            *("--output", run / "evaluation.html", "--force"),
        )
        best = {optimum["length"]: optimum for optimum in (future.result() for future in optima)}
    found = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    lengths = {}
    for result in found["results"]:
        optimum = best[result["length"]]
        lengths[str(result["length"])] = {
            "accuracy": result["accuracy"]["value"],
            "low": result["accuracy"]["low"],
            "high": result["accuracy"]["high"],
            "optimum": optimum["accuracy"],
            "optimum_standard_error": optimum["standard_error"],
            "optimum_hits": optimum["hits"],
            "examples": result["windows"],
        }
    content = {"accuracy_by_length": lengths}
    (run / "test.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    begun = [
        line
        for line in map(json.loads, (run / COMMANDS).read_text(encoding="utf-8").splitlines())
        if line.get("subcommand") == "fit"
    ]
    line = {**begun[-1], "command": command, "subcommand": "evaluate"}
    with (run / COMMANDS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    after = [args.folder / "pretraining"] if args.pretraining else []
    write_result(run, args.output, after=after, command=shlex.join(["python", *sys.argv]))


def _optimum(args: argparse.Namespace, length: int) -> dict[str, Any]:
    given = ["--manifest", _manifest(args, length), "--set", args.folder / "species.tsv", "--json"]
    command = _command("prepare", "bayes", args.folder / "clade", *given)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    _check(done.returncode, command)
    return json.loads(done.stdout)[0]


def _manifest(args: argparse.Namespace, length: int) -> Path:
    return args.folder / f"test-{length}.parquet"


def _command(*arguments: Any) -> list[str]:
    return [sys.executable, "-m", "genomamba", *map(str, arguments)]


def _run(*arguments: Any) -> str:
    """Runs a command of genomamba; returns it as a user would type it."""
    typed = shlex.join(["genomamba", *map(str, arguments)])
    begin = time.monotonic()
    print(f"$ {typed}", file=sys.stderr, flush=True)
    command = _command(*arguments)
    _check(subprocess.run(command, check=False).returncode, command)
    print(f"  {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
    return typed


def _check(code: int, command: list[str]) -> None:
    """That it ended well, or was stopped by its time."""
    if code not in (0, EXIT_STOPPED):
        raise InputError(f"{shlex.join(command)}: exit code {code}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    add("--folder", type=Path, default=Path("runs/markov_clade"), help="of data and training")
    add("--output", type=Path, default=Path("results/markov_clade.json"), metavar="JSON")
    add("--preset", default="paper", help="of prepare simulate")
    add("--chromosomes", type=int, default=20, help="the last are for testing, one for validation")
    add("--chromosome-length", type=int, default=20_000_000)
    add("--test-chromosomes", type=int, default=5)
    add("--lengths", type=read_lengths, default=read_lengths("2^10..2^20"), metavar="LIST")
    add("--windows", type=int, default=2500, help="of a length: a standard error of 1 point")
    add("--test-bases", type=int, default=320_000_000, help="bound the windows of a length")
    add("--least-windows", type=int, default=300, help="which are right almost all at 2^20")
    add("--configs", nargs="+", default=["species/base", "tasks/markov_clade"])
    add("--pretraining", nargs="+", default=[], metavar="CONFIG", help="of a model to begin with")
    add("--device", default="auto", help="of the test")
    add("--max-bases", type=int, default=1 << 20, help="at a time in the test")
    add("--jobs", type=int, default=5, help="processes that encode, or compute the optimum")
    add("--seed", type=int, default=0)
    add("--options", nargs=argparse.REMAINDER, default=[], help="of fit; the last option here")
    return parser.parse_args()


def main() -> int:
    args = parse()
    try:
        for stage in args.stages:
            {"data": data, "train": train, "test": test}[stage](args)
    except InputError as error:
        print(f"clade: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
