"""Pretrained models on the same test bases, each base read with a short context and with long ones.

    python benchmarks/human.py runs/human.*/ --species-set human.tsv \\
        --manifest human/test-1048576.parquet --output results/human_pretraining.json

The models are those of docs/real-data/run.sh human_train: RUN/checkpoints/last.ckpt. A window of
the manifest is read at every context length C, a power of two: the model restarts every C bases.
The targets are the same bases at every C and for every model, those that begin no piece at the
shortest C, so that no difference comes from where in the genome a position lies. Two questions:

- all targets: what are pieces of C bases worth? (perplexity, and the gain over the shortest C)
- the second halves of pieces, bases that have C/2 to C before them, against the very same bases
  in the shortest pieces: what is a context of that length worth?

Gains are in nats a base, with the 95 % interval over loci, stretches of the test sequence that are
drawn again whole (`genomamba_data_prep.locus_bootstrap`); so is each model's difference to the
model that was trained on the shortest windows, each at its own length.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from record_result import log_lines

from genomamba.inference.run import choose_device
from genomamba.models import MambaForPretraining
from genomamba.training.checkpoint import load_model
from genomamba.training.run_files import COMMANDS
from genomamba_data_prep.atomic import atomic_file
from genomamba_data_prep.codes import BASE_BITS, Codes, N
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.locus_bootstrap import MIN_LOCI, mean_spread
from genomamba_data_prep.manifest_command import read_lengths
from genomamba_data_prep.manifest_windows import ManifestReader
from genomamba_data_prep.manifests import read_manifest
from genomamba_data_prep.progress import Progress
from genomamba_data_prep.species_set import SpeciesSet

CHECKPOINT = Path("checkpoints", "last.ckpt")
Losses = npt.NDArray[np.float32]


class Mean(NamedTuple):
    """In nats a base, with the 95 % interval; that is None with fewer than ``MIN_LOCI`` loci."""

    value: float
    low: float | None
    high: float | None
    loci: int


class Targets:
    """Which bases count, and to which locus they belong.

    Args:
        codes: (W, T), of W windows.
        shortest: context length; its pieces' first bases are no targets.
        locus: bases of a locus.
    """

    def __init__(self, codes: Codes, shortest: int, locus: int) -> None:
        windows, length = codes.shape
        self.at = np.arange(length)
        self.counted = (codes & BASE_BITS != N) & (self.at % shortest > 0)
        per_window = -(-length // locus)
        self.locus = np.arange(windows)[:, None] * per_window + self.at // locus
        self.loci = windows * per_window

    def by_locus(self, values: Losses, chosen: npt.NDArray[np.bool_]) -> tuple[Any, Any]:
        """Sum and number of the chosen targets (T,) in each locus."""
        counted = self.counted & chosen
        sums = np.bincount(self.locus[counted], weights=values[counted], minlength=self.loci)
        return sums, np.bincount(self.locus[counted], minlength=self.loci)

    def mean(self, values: Losses, chosen: npt.NDArray[np.bool_]) -> Mean:
        """The mean of the chosen targets (T,), its interval over loci that weigh alike."""
        sums, numbers = self.by_locus(values, chosen)
        has = numbers > 0
        means, loci = sums[has] / numbers[has], np.flatnonzero(has)
        value = float(means.mean())
        if len(loci) < MIN_LOCI:
            return Mean(value, None, None, len(loci))
        half = float(mean_spread(means, np.zeros(len(loci), dtype=np.int64), loci).half[0])
        return Mean(value, value - half, value + half, len(loci))


@torch.inference_mode()
def losses(
    model: MambaForPretraining, codes: Codes, context: int, max_bases: int, told: Progress
) -> Losses:
    """Each base's loss in nats (W, T), of windows (W, T) in pieces of ``context`` bases.

    A piece's first base has no loss: 0.
    """
    device = model.backbone.embedding.weight.device
    pieces = np.ascontiguousarray(codes & BASE_BITS).reshape(-1, context)
    found = np.zeros(pieces.shape, dtype=np.float32)
    rows = max(1, max_bases // context)
    for first in range(0, len(pieces), rows):
        own = found[first : first + rows]

        def observe(at: slice, values: torch.Tensor, own: Losses = own) -> None:
            own[:, at] = values.float().cpu().numpy()

        model.loss(torch.from_numpy(pieces[first : first + rows]).to(device), observe=observe)
        told.advance(own.size)
    return found.reshape(codes.shape)


def by_context(found: dict[int, Losses], targets: Targets) -> dict[str, Any]:
    """Of losses by context length: perplexities and gains over the shortest."""
    shortest = min(found)
    rows: dict[str, Any] = {}
    for context, values in found.items():
        everywhere = np.ones(len(targets.at), dtype=bool)
        second = targets.at % context >= context // 2
        loss = targets.mean(values, everywhere)
        row: dict[str, Any] = {"loss": loss.value, "perplexity": math.exp(loss.value)}
        if loss.low is not None and loss.high is not None:
            row |= {"low": math.exp(loss.low), "high": math.exp(loss.high)}
        if context > shortest:
            gained = found[shortest] - values
            row["gain"] = targets.mean(gained, everywhere)._asdict()
            row["far"] = {
                "from": context // 2,
                "perplexity": math.exp(targets.mean(values, second).value),
                "gain": targets.mean(gained, second)._asdict(),
            }
        rows[str(context)] = row
    return rows


def evaluate(args: argparse.Namespace) -> dict[str, Any]:
    """The results file's content.

    Raises:
        InputError: a run that is none or not of pretraining, windows that contexts do not divide.
    """
    species_set = SpeciesSet.read(args.species_set)
    manifest = read_manifest(args.manifest, species_set)
    contexts = [length for length in args.contexts if length <= manifest.length]
    if len(contexts) < 2 or any(manifest.length % length for length in contexts):
        raise InputError(
            f"expected two --contexts or more that divide the windows' {manifest.length} bases, "
            f"got {', '.join(map(str, args.contexts))}",
            file=args.manifest,
        )
    codes = ManifestReader(manifest, species_set).codes(np.arange(len(manifest)))
    targets = Targets(codes, contexts[0], args.locus)
    models = [load(run) for run in args.runs]
    models.sort(key=lambda one: (one[1]["length"], one[1]["warmup"]))
    device = choose_device(args.device)
    rows, own = [], []
    with Progress("reading, bases", codes.size * len(contexts) * len(models)) as progress:
        for model, row in models:
            model = model.to(device)
            found = {c: losses(model, codes, c, args.max_bases, progress) for c in contexts}
            at = max(c for c in contexts if c <= max(row["length"], contexts[0]))
            own.append(found[at])
            better = targets.mean(own[0] - own[-1], np.ones(len(targets.at), dtype=bool))
            row |= {"contexts": by_context(found, targets), "own_context": at}
            row |= {"gain_over_first": better._asdict()} if len(own) > 1 else {}
            rows.append(row)
            model.cpu()
    return content(args.runs, rows, targets)


def load(run: Path) -> tuple[MambaForPretraining, dict[str, Any]]:
    """A run's model and what it says of itself."""
    model, meta = load_model(run / CHECKPOINT)
    if not isinstance(model, MambaForPretraining):
        raise InputError(f"a model for {meta['task']}, expected one of pretraining", file=run)
    begun, ends = log_lines(run / COMMANDS)
    if not begun or not ends:
        raise InputError("no training of this run ended", file=run / COMMANDS)
    row = {
        "run": run.name,
        "length": meta["length"],
        "warmup": bool(meta["data"].get("length_warmup")),
        "steps": ends[-1]["steps"],
        "tokens": ends[-1]["tokens"],
        "seconds": sum(end["seconds"] for end in ends),
    }
    return model.eval(), row


def content(runs: Sequence[Path], rows: list[dict[str, Any]], targets: Targets) -> dict[str, Any]:
    """The results file: the figures, and what the runs' logs say."""
    begun = [line for run in runs for line in log_lines(run / COMMANDS)[0]]
    fits = [line for line in begun if line["subcommand"] == "fit"]
    steps = ", ".join(dict.fromkeys(str(row["steps"]) for row in rows))
    tested = {"bases": int(targets.counted.sum()), "loci": targets.loci}
    return {
        "command": " && ".join(
            [*dict.fromkeys(line["command"] for line in fits), shlex.join(["python", *sys.argv])]
        ),
        "commit": ", ".join(dict.fromkeys(line["commit"] for line in fits)),
        "hardware": ", ".join(dict.fromkeys(line["hardware"] for line in fits)),
        "seed": fits[0]["seed"],
        "tokens": sum(row["tokens"] for row in rows),
        "seconds": round(sum(row["seconds"] for row in rows), 1),
        "metrics": {
            "training": {"steps": steps, "ended_by": "budget"},
            "test": tested,
            "models": rows,
        },
        "ended_by": "budget",
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("runs", nargs="+", type=Path, metavar="RUN", help="folders of pretraining runs")
    add("--species-set", type=Path, required=True, metavar="TSV")
    add("--manifest", type=Path, required=True, metavar="PARQUET", help="the test windows")
    add("--output", type=Path, required=True, metavar="JSON")
    add("--contexts", type=read_lengths, default=read_lengths("2^10..2^20"), metavar="LIST")
    add("--locus", type=int, default=1 << 18, metavar="BASES", help="default 262144")
    add("--max-bases", type=int, default=1 << 20, help="at a time, or one piece if that is more")
    add("--device", default="auto")
    args = parser.parse_args()
    if min(args.locus, args.max_bases) < 1:
        parser.error(
            f"--locus and --max-bases: expected 1 or more, got {args.locus} and {args.max_bases}"
        )
    try:
        found = evaluate(args)
        args.output.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(args.output) as path:
            path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    except InputError as error:
        print(f"human: error: {error}", file=sys.stderr)
        return 2
    for row in found["metrics"]["models"]:
        at = row["contexts"][str(row["own_context"])]
        print(f"{row['run']}: perplexity {at['perplexity']:.4f}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
