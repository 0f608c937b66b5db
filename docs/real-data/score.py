"""Accuracy on frozen manifests with an interval over loci, and the baselines on the same windows.

The windows of one locus are orthologous in all species, so whole loci are resampled. Baselines:
shrinkage LDA on square-rooted strand-symmetric k-mer frequencies, and on the fraction of N alone,
which would show a classifier that reads the assembly gaps instead of the sequence.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from genomamba_data_prep import splits as splits_file
from genomamba_data_prep.codes import BASE_BITS, N
from genomamba_data_prep.intervals import cluster_bootstrap
from genomamba_data_prep.kmers import kmer_frequencies
from genomamba_data_prep.manifest_windows import ManifestReader
from genomamba_data_prep.manifests import Manifest, read_manifest
from genomamba_data_prep.species_set import SpeciesSet
from genomamba_data_prep.splits import Interval, Splits
from genomamba_data_prep.windows import WindowSampler

KS = (3, 4, 5)


def n_fraction(codes: np.ndarray) -> np.ndarray:
    """(B, 1)."""
    return ((codes & BASE_BITS) == N).mean(axis=1, keepdims=True)


def word_frequencies(k: int) -> Callable[[np.ndarray], np.ndarray]:
    """Of codes (B, L), the square roots of k-mer frequencies (B, words)."""
    return lambda codes: np.sqrt(kmer_frequencies(codes, k))


FEATURES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    **{f"LDA, {k}-mers": word_frequencies(k) for k in KS},
    "LDA, fraction of N only": n_fraction,
}


@dataclass
class Fold:
    """Test windows of one fold: labels, loci, and every classifier's predictions."""

    labels: np.ndarray
    loci: np.ndarray
    predictions: dict[str, np.ndarray]


def find_loci(manifest: Manifest, splits: Splits, size: int) -> np.ndarray:
    """The locus of each window, (B,): its place in bins from the start of its split interval.

    Interval i of a record is orthologous in all species, wherever it starts in each.
    """
    numbered: dict[tuple[str, str], list[Interval]] = {}
    for interval in splits.intervals(manifest.origin.split):
        numbered.setdefault((interval.species, interval.record), []).append(interval)
    loci = []
    for row in manifest.table.to_pylist():
        own = numbered[row["species"], row["record"]]
        start = row["start"]
        i = next(i for i, place in enumerate(own) if place.start <= start < place.end)
        loci.append(f"{row['record']}, interval {i}, bin {(start - own[i].start) // size}")
    return np.array(loci)


def score_fold(species_set: SpeciesSet, paths: list[str], args: argparse.Namespace) -> Fold:
    splits_path, manifest_path, predictions_path = paths
    manifest = read_manifest(manifest_path, species_set)
    table = pd.read_csv(predictions_path, sep="\t").sort_values("window")
    assert len(table) == len(manifest)
    label = {name: i for i, name in enumerate(species_set.classes)}
    predictions = {"model": np.array([label[name] for name in table["prediction"]])}

    codes = ManifestReader(manifest, species_set).codes(np.arange(len(manifest)))
    splits = splits_file.read(splits_path, species_set)
    sampler = WindowSampler(
        species_set, splits.intervals("train"), manifest.length, seed=args.seed, balanced=True
    )
    drawn = sampler.draw(np.arange(args.train_windows))
    train = sampler.codes(drawn)
    for name, features in FEATURES.items():
        lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
        lda.fit(features(train), drawn.species)
        predictions[name] = np.asarray(lda.predict(features(codes)))

    loci = find_loci(manifest, splits, args.locus)
    return Fold(manifest.labels, loci, predictions)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("species_set")
    parser.add_argument(
        "--fold",
        nargs=3,
        action="append",
        required=True,
        metavar=("SPLITS", "MANIFEST", "PREDICTIONS"),
    )
    parser.add_argument("--locus", type=int, required=True, help="bases that make one locus")
    parser.add_argument("--train-windows", type=int, required=True, help="for the baselines")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    species_set = SpeciesSet.read(args.species_set)
    folds = [score_fold(species_set, paths, args) for paths in args.fold]
    labels = np.concatenate([fold.labels for fold in folds])
    loci = np.concatenate([[f"{i}: {at}" for at in fold.loci] for i, fold in enumerate(folds)])
    n_loci, chance = len(np.unique(loci)), 1 / len(species_set.classes)
    print(f"{len(labels)} windows, {n_loci} loci, chance {chance:.3f}")
    print("classifier\taccuracy\tlow\thigh\t" + "\t".join(species_set.classes))
    for name in folds[0].predictions:
        predicted = np.concatenate([fold.predictions[name] for fold in folds])
        correct = predicted == labels
        low, high = cluster_bootstrap(correct, loci)
        recall = [correct[labels == i].mean() for i in range(len(species_set.classes))]
        figures = [correct.mean(), low, high, *recall]
        print("\t".join([name, *(f"{figure:.3f}" for figure in figures)]))


if __name__ == "__main__":
    main()
