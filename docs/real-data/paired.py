"""A classifier beside others' predictions on the very same frozen windows, as paired differences.

    python docs/real-data/paired.py best.ckpt kmers.tsv --species-set set.tsv \\
        --manifest test-*.parquet --output paired.json

The table is what docs/real-data/kmers.py writes with --predictions. At each length and for each
classifier in it: how much more of the windows the model gets right, and the 95 % interval of the
difference over loci, which are those of `genomamba evaluate`. Windows of one locus are drawn again
together, in all species and for both classifiers.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from genomamba.inference.budget import Budget
from genomamba.inference.evaluate_logits import manifest_logits
from genomamba.inference.evaluate_metrics import window_loci
from genomamba.inference.run import choose_device, load_classifier
from genomamba.training.checkpoint import check_classes
from genomamba_data_prep.atomic import atomic_file
from genomamba_data_prep.audit.accuracy import mean_over_loci
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.manifest_windows import ManifestReader
from genomamba_data_prep.manifests import Manifest, read_manifest
from genomamba_data_prep.progress import Progress
from genomamba_data_prep.species_set import SpeciesSet

COLUMNS = ("classifier", "length", "window", "prediction")


def read_predictions(path: Path) -> pd.DataFrame:
    """The other classifiers' table.

    Raises:
        InputError: no such file, or without the columns.
    """
    try:
        table = pd.read_csv(path, sep="\t")
    except FileNotFoundError as error:
        raise InputError(
            "no such file", file=path, fix="docs/real-data/kmers.py --predictions writes it"
        ) from error
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise InputError(f"expected the columns {', '.join(COLUMNS)}", file=path)
    return table


def differences(
    predicted: np.ndarray, manifest: Manifest, others: pd.DataFrame, locus: int | None
) -> dict[str, Any]:
    """Accuracies and paired differences of predicted classes (B,) of a manifest's windows.

    Raises:
        InputError: another classifier's rows are not one for each window.
    """
    classes = {name: label for label, name in enumerate(manifest.origin.classes)}
    loci, correct = window_loci(manifest, locus), predicted == manifest.labels
    found: dict[str, Any] = {}
    own = others.loc[others["length"] == manifest.length]
    for name in own["classifier"].unique().tolist():
        rows = own.loc[own["classifier"] == name].sort_values(by="window")
        if rows["window"].tolist() != list(range(len(manifest))):
            raise InputError(
                f"{name} has {len(rows)} predictions at {manifest.length} bases, expected one for "
                f"each of the {len(manifest)} windows",
                file=manifest.path,
                fix="Give docs/real-data/kmers.py the same manifests",
            )
        labels = np.array([classes.get(one, -1) for one in rows["prediction"].tolist()])
        other = labels == manifest.labels
        gain = mean_over_loci(correct.astype(float) - other, loci)
        accuracies = {"accuracy": float(other.mean()), "model_accuracy": float(correct.mean())}
        found[name] = {**accuracies, "difference": asdict(gain)}
    return found


def compare(args: argparse.Namespace) -> dict[str, Any]:
    """By length and classifier; also told on stderr."""
    others = read_predictions(args.predictions)
    species_set = SpeciesSet.read(args.species_set)
    model, meta = load_classifier(args.checkpoint)
    check_classes(meta, species_set.classes, args.checkpoint)
    model = model.to(choose_device(args.device))
    manifests = [read_manifest(path, species_set) for path in args.manifest]
    manifests.sort(key=lambda manifest: manifest.length)
    budget = Budget(args.max_bases, lambda _: None)
    found: dict[str, Any] = {}
    with Progress("predicting, bases", sum(len(m) * m.length for m in manifests)) as progress:
        for manifest in manifests:
            reader, stops = ManifestReader(manifest, species_set), [manifest.length]
            logits = manifest_logits(model, reader, stops, budget, progress.advance)[-1]
            own = differences(logits.argmax(axis=-1), manifest, others, args.locus)
            found[str(manifest.length)] = own
    for length, classifiers in found.items():
        for name, row in classifiers.items():
            gain = row["difference"]
            ends = "" if gain["low"] is None else f" ({gain['low']:+.4f} to {gain['high']:+.4f})"
            said = f"{length}\tmodel - {name}\t{gain['value']:+.4f}{ends}, {gain['loci']} loci"
            print(said, file=sys.stderr)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("checkpoint", type=Path, metavar="CKPT", help="a classifier's")
    add("predictions", type=Path, metavar="TSV", help="others' predictions of the same windows")
    add("--species-set", type=Path, required=True, metavar="TSV")
    add("--manifest", type=Path, nargs="+", required=True, metavar="PARQUET")
    add("--output", type=Path, required=True, metavar="JSON")
    add("--locus", type=int, help="as in `genomamba evaluate`")
    add("--max-bases", type=int, default=1 << 17, help="at a time, which bounds memory")
    add("--device", default="auto")
    args = parser.parse_args()
    try:
        found = compare(args)
        with atomic_file(args.output) as path:
            path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    except InputError as error:
        print(f"paired: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
