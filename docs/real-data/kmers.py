"""k-mer and repeat baselines on the very windows of frozen manifests, as JSON.

    python docs/real-data/kmers.py set.tsv --splits splits.tsv --manifest test-*.parquet \\
        --output kmers.json --predictions five

Shrinkage LDA on square roots of strand-symmetric k-mer frequencies, for each k of --k, and on the
lengths of short tandem repeats (`genomamba_data_prep.repeats`), fitted at each length to windows of
that length from the train split, every half length: the audit's classifiers and training windows
(`genomamba prepare audit`), on other test windows. Intervals are over the loci of `genomamba
evaluate`. With --predictions each window's answers stand in five.4-mers.parquet,
five.repeats.parquet and so on, in the columns of `genomamba evaluate --predictions`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from genomamba.inference.evaluate_metrics import log_probabilities, window_loci
from genomamba.inference.evaluate_predictions import prediction_table, write_predictions
from genomamba_data_prep import splits as splits_file
from genomamba_data_prep.atomic import atomic_file
from genomamba_data_prep.audit.accuracy import score
from genomamba_data_prep.audit.classifiers import lda_scores
from genomamba_data_prep.audit.features import LONGEST_K, Features, read_features
from genomamba_data_prep.audit.windows import AuditWindows, choose_windows
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.kmers import shorter_classes
from genomamba_data_prep.manifest_windows import check_held_out
from genomamba_data_prep.manifests import Manifest, read_manifest
from genomamba_data_prep.progress import Progress
from genomamba_data_prep.species_set import SpeciesSet
from genomamba_data_prep.splits import Interval, Splits

KS = "4,6"


def read_ks(text: str) -> list[int]:
    """Word lengths as 4,6; an argparse type."""
    fields = text.split(",")
    if not all(field.isdecimal() and 1 <= int(field) <= LONGEST_K for field in fields):
        raise argparse.ArgumentTypeError(
            f"expected lengths from 1 to {LONGEST_K} as in {KS}, got {text}"
        )
    return sorted({int(field) for field in fields})


def places(manifest: Manifest) -> AuditWindows:
    """A manifest's windows as the audit reads them: an interval each."""
    rows = manifest.table.to_pylist()
    if {row["strand"] for row in rows} - {"+"}:
        raise InputError("the baselines read the FASTA's strand only", file=manifest.path)
    own = [Interval(r["species"], r["record"], r["start"], r["end"], "test") for r in rows]
    starts = np.array([row["start"] for row in rows])
    nowhere = np.zeros(len(rows), dtype=np.int64)
    length, labels = manifest.length, manifest.labels
    return AuditWindows(length, labels, np.arange(len(rows)), starts, nowhere, own, 0)


REPEATS = "repeats"


def title(baseline: str) -> str:
    """What results call a baseline, such as 4-mers."""
    return "repeat LDA" if baseline == REPEATS else f"{baseline.removesuffix('s')} LDA"


def views(
    features: Sequence[Features], ks: Sequence[int]
) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Each baseline's name and what it sees of every set of windows."""
    for k in ks:
        shares = shorter_classes(LONGEST_K, k).astype(np.float32)
        own = (np.sqrt(f.kmers @ shares if k < LONGEST_K else f.kmers) for f in features)
        yield f"{k}-mers", list(own)
    yield REPEATS, [f.repeats for f in features]


def baselines(
    species_set: SpeciesSet, splits: Splits, manifest: Manifest, args: argparse.Namespace
) -> tuple[dict[str, Any], dict[str, pa.Table]]:
    """Accuracy and interval of each baseline, and its predictions."""
    check_held_out(manifest, splits)
    intervals = splits.intervals("train")
    length, n_classes = manifest.length, len(species_set.classes)
    train = choose_windows(
        species_set,
        intervals,
        length,
        step=max(1, length // 2),
        locus_size=max(interval.end - interval.start for interval in intervals),
        windows=args.train_windows,
        seed=args.seed,
        max_n_fraction=0.1,
    )
    test = places(manifest)
    with Progress(f"{length} bases", (len(train) + len(test)) * length) as progress:
        seen = [read_features(species_set, windows, progress) for windows in (train, test)]
    loci = window_loci(manifest, args.locus)
    tables = {}
    found: dict[str, Any] = {"train_windows": len(train), "test_windows": len(test)}
    for name, (fitted, asked) in views(seen, args.k):
        (scores,) = lda_scores(fitted, train.label, [asked], n_classes, args.seed)
        log_p = log_probabilities(scores, 1.0)
        tables[name] = prediction_table(manifest, log_p, species_set.classes, args.locus)
        result = score(log_p.argmax(axis=1), manifest.labels, loci, n_classes, args.seed)
        found[title(name)] = {
            "accuracy": result.accuracy,
            "low": result.low,
            "high": result.high,
            "recall": dict(zip(species_set.classes, result.recall, strict=True)),
        }
        print(f"{length}\t{title(name)}\t{result.accuracy:.4f}", file=sys.stderr)
    return found, tables


def request(
    species_set: SpeciesSet, manifests: list[Manifest], args: argparse.Namespace
) -> dict[str, Any]:
    """What decides the predictions."""
    return {
        "species_set_digest": species_set.digest,
        "manifests": [{"name": m.path.name, "digest": m.digest} for m in manifests],
        "train_windows": args.train_windows,
        "locus": args.locus,
        "seed": args.seed,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("species_set", type=Path, metavar="TSV")
    parser.add_argument("--splits", type=Path, required=True, metavar="TSV")
    parser.add_argument("--manifest", type=Path, nargs="+", required=True, metavar="PARQUET")
    parser.add_argument("--output", type=Path, required=True, metavar="JSON")
    parser.add_argument(
        "--predictions", metavar="PREFIX", help="also write PREFIX.4-mers.parquet and so on"
    )
    parser.add_argument(
        "--train-windows", type=int, default=32768, help="at most, over all species"
    )
    parser.add_argument(
        "--k", type=read_ks, default=read_ks(KS), metavar="LIST", help=f"of k-mers (default {KS})"
    )
    parser.add_argument("--locus", type=int, help="as in `genomamba evaluate`")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.train_windows < 1 or (args.locus is not None and args.locus < 1):
        parser.error("--train-windows and --locus: expected 1 or more")
    try:
        species_set = SpeciesSet.read(args.species_set)
        splits = splits_file.read(args.splits, species_set)
        manifests = [read_manifest(path, species_set) for path in args.manifest]
        manifests.sort(key=lambda manifest: manifest.length)
        found = {m.length: baselines(species_set, splits, m, args) for m in manifests}
        figures = {str(length): own for length, (own, _) in found.items()}
        with ExitStack() as stack:
            path = stack.enter_context(atomic_file(args.output))
            path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
            names = [f"{k}-mers" for k in args.k] + [REPEATS]
            for name in names if args.predictions is not None else ():
                path = stack.enter_context(atomic_file(f"{args.predictions}.{name}.parquet"))
                tables = [own[name] for _, own in found.values()]
                asked = request(species_set, manifests, args)
                write_predictions(path, tables, title(name), species_set.classes, asked)
    except InputError as error:
        print(f"kmers: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
