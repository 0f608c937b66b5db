"""Runs ``genomamba report``: reads what a workflow made, checks that it fits together, writes."""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from genomamba.inference.evaluate_document import read_document
from genomamba.inference.evaluate_report import accuracy_figures, sections
from genomamba.inference.evaluate_results import Evaluation
from genomamba.inference.report.data import data_section
from genomamba.inference.report.prediction_tables import Predictions, read_predictions
from genomamba.inference.report.predictions import predictions_section
from genomamba.inference.report.run_record import RunRecord, read_run
from genomamba.inference.report.tracks import tracks_section
from genomamba.inference.report.training import training_section
from genomamba.training.checkpoint import check_classes
from genomamba_data_prep import splits as splits_file
from genomamba_data_prep.atomic import atomic_file
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.manifests import Manifest, read_manifest
from genomamba_data_prep.report.page import commands, details, key_figures, page, section, table
from genomamba_data_prep.species_set import SpeciesSet
from genomamba_data_prep.splits import Splits

DIGITS = 16  # of the checkpoint's SHA-256 that a table of predictions has
PACKAGES = ("genomamba", "torch", "lightning", "numpy", "pyarrow")


def report_files(args: argparse.Namespace) -> int:
    """Do what ``genomamba report --help`` says; returns the exit code."""
    species_set = SpeciesSet.open(args.species_set)
    splits = splits_file.read(args.splits, species_set)
    manifests = [_manifest(path, species_set) for path in args.manifests]
    run = read_run(args.run, args.checkpoint)
    check_classes(run.meta, species_set.classes, run.checkpoint)
    _check_training(run, species_set, splits)
    evaluation = read_document(args.evaluation)
    _check_evaluation(evaluation, args.evaluation, run, species_set)
    predictions = [read_predictions(path) for path in args.predictions]
    for found in predictions:
        _check_predictions(found, run)

    body = [
        key_figures(accuracy_figures(evaluation) | _figures(predictions)),
        data_section(species_set, splits, manifests),
        training_section(run.curves, run.steps),
        *sections(evaluation),
        *map(predictions_section, predictions),
        *([tracks_section(args.tracks, species_set.classes)] if args.tracks else []),
        _provenance(run, evaluation, species_set, splits, manifests),
        details("The run's config", commands(run.config.splitlines())),
    ]
    lead = (
        f"A Mamba model of {run.parameters:,} parameters that tells "
        f"{', '.join(species_set.classes)} apart: the data that it learned from, how it learned, "
        "what it is worth on frozen windows, and what it made of the records it was given."
    )
    with atomic_file(args.output) as temporary:
        temporary.write_text(page("Report of a classifier", lead, body), encoding="utf-8")
    print(f"{args.output}: written", file=sys.stderr)
    return 0


def _manifest(path: Path, species_set: SpeciesSet) -> Manifest:
    if not path.is_file():
        raise InputError(
            "no such manifest",
            file=path,
            fix="Give the .parquet file that `genomamba prepare manifest` wrote",
        )
    return read_manifest(path, species_set)


def _figures(predictions: Sequence[Predictions]) -> dict[str, str]:
    if not predictions:
        return {}
    return {"records classified": f"{sum(found.all.records for found in predictions):,}"}


def _check_training(run: RunRecord, species_set: SpeciesSet, splits: Splits) -> None:
    """That the model learned from these data.

    Raises:
        InputError: it did not.
    """
    for name, file, digest in (
        ("set_digest", species_set.path, species_set.digest),
        ("splits_digest", splits.file, splits.digest),
    ):
        trained = run.meta["data"].get(name, digest)
        if trained != digest:
            raise InputError(
                f"expected what {run.checkpoint} was trained on, with the digest {trained}; it "
                f"has {digest}",
                file=file,
                fix="Give the files that the run was started with, or train again",
            )


def _check_evaluation(
    evaluation: Evaluation, path: Path, run: RunRecord, species_set: SpeciesSet
) -> None:
    """That the figures are of this checkpoint and these data.

    Raises:
        InputError: they are not.
    """
    request = evaluation.request
    for what, expected, got in (
        (run.checkpoint, run.sha256, request.get("checkpoint_sha256")),
        (species_set.path, species_set.digest, request.get("species_set_digest")),
    ):
        if expected != got:
            raise InputError(
                f"expected an evaluation of {what}, whose digest is {expected}; it is of one with "
                f"{got}",
                file=path,
                fix="Run `genomamba evaluate` again, or name the checkpoint that was evaluated "
                "with --checkpoint",
            )


def _check_predictions(found: Predictions, run: RunRecord) -> None:
    """That a table was made with this checkpoint.

    Raises:
        InputError: it was not.
    """
    other = found.checkpoints - {run.sha256[:DIGITS]}
    if other:
        raise InputError(
            f"expected predictions of {run.checkpoint}, {run.sha256[:DIGITS]}; its column "
            f"checkpoint has {', '.join(sorted(other))}",
            file=found.path,
            fix="Run `genomamba classify` again, or leave the table out",
        )


def _provenance(
    run: RunRecord,
    evaluation: Evaluation,
    species_set: SpeciesSet,
    splits: Splits,
    manifests: Sequence[Manifest],
) -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    evaluated = ", ".join(f"{name} {v}" for name, v in evaluation.request["versions"].items())
    seeds = {
        "of training": run.seed,
        "of the training windows": run.meta["data"].get("seed"),
        **{f"of {manifest.path.name}": manifest.origin.seed for manifest in manifests},
    }
    known = ", ".join(f"{seed} {name}" for name, seed in seeds.items() if seed is not None)
    facts = [
        ("versions, this page", f"{versions}, Python {platform.python_version()}"),
        ("versions, evaluation", f"{evaluated}; device {evaluation.request['device']}"),
        ("seeds", known or "–"),
    ]
    hashes = [
        (run.checkpoint.name, "the file", run.sha256),
        (species_set.path.name, "stores and record names", species_set.digest),
        (splits.file.name if splits.file else "splits", "rows", splits.digest),
        *((manifest.path.name, "rows and origin", manifest.digest) for manifest in manifests),
        *(
            (f"store of {name}", "record names and codes", store.digest)
            for name, store in species_set.stores.items()
        ),
        *(
            (Path(source.path).name, f"FASTA file of {name}", source.sha256)
            for name, store in species_set.stores.items()
            for source in store.manifest.sources
        ),
    ]
    return section(
        "Versions, seeds, hashes",
        "What a second run needs to give the same figures. The checkpoint is the one that was "
        "evaluated and that the tables of predictions name; this was checked.",
        table(("what", "value"), facts, numeric=False),
        table(("file", "digest of", "SHA-256"), hashes, numeric=False, code=["SHA-256"]),
    )
