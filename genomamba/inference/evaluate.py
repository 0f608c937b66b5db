"""Runs ``genomamba evaluate``: a classifier on frozen manifests, at every length in one pass."""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from genomamba.inference.budget import Budget
from genomamba.inference.evaluate_logits import (
    Logits,
    bases_read,
    manifest_logits,
    prefix_lengths,
)
from genomamba.inference.evaluate_manifests import check_validation, read_manifests
from genomamba.inference.evaluate_metrics import (
    count_of_loci,
    log_probabilities,
    measure,
    window_loci,
)
from genomamba.inference.evaluate_predictions import prediction_table, write_predictions
from genomamba.inference.evaluate_results import Calibration, Evaluation, Result, Source
from genomamba.inference.evaluate_temperature import fit_temperature, log_loss, write_calibrated
from genomamba.inference.run import choose_device, load_classifier
from genomamba.inference.strands import disagreement, joined
from genomamba.models import MambaForClassification
from genomamba.training.checkpoint import check_classes
from genomamba_data_prep.atomic import atomic_file
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.manifest_windows import ManifestReader
from genomamba_data_prep.manifests import Manifest
from genomamba_data_prep.progress import Progress
from genomamba_data_prep.species_set import SpeciesSet


def output_files(html: Path) -> tuple[Path, Path, Path]:
    """The page, the table and the document of an --output."""
    return html, html.with_suffix(".parquet"), html.with_suffix(".json")


def evaluate_files(args: argparse.Namespace) -> int:
    """Do what ``genomamba evaluate --help`` says; returns the exit code."""
    device = choose_device(args.device)
    model, meta = load_classifier(args.checkpoint)
    species_set = SpeciesSet.open(args.species_set)
    check_classes(meta, species_set.classes, args.checkpoint)
    manifests = read_manifests(args.manifest, species_set)
    if args.fit_temperature is not None:
        check_validation(manifests)
    model = model.to(device)

    stops = [prefix_lengths(m.length) if args.prefixes else [m.length] for m in manifests]
    budget = Budget(args.max_bases, lambda _: None)
    strands = _read(args, model, species_set, manifests, stops, budget)
    # A temperature may divide them afterwards: what is constant over a strand's classes cancels.
    logits = [joined(found) for found in strands]

    calibration = None
    temperature = float(meta.get("temperature", 1.0))
    if args.fit_temperature is not None:
        calibration = _calibrate(logits, manifests)
        temperature = calibration.temperature
    results: list[Result] = []
    tables: list[pa.Table] = []
    with Progress("resampling loci, lengths", sum(map(len, stops))) as progress:
        for i, manifest in enumerate(manifests):
            apart = disagreement(strands[i] / temperature) if args.both_strands else None
            source = Source(manifest.path.name, manifest.origin.split, manifest.length)
            loci = window_loci(manifest, args.locus)
            own = []
            for at, length in enumerate(stops[i]):
                figures = measure(logits[i][at], manifest.labels, loci, temperature)
                mean = None if apart is None else float(apart[at].mean())
                own.append(Result(source, "prefix", length, figures, mean))
                progress.advance(1)
            results.append(replace(own[-1], quantity="manifest"))
            if args.prefixes:
                results += own
            if args.predictions is not None:
                log_p = log_probabilities(logits[i][-1], temperature)
                last = None if apart is None else apart[-1]
                tables.append(
                    prediction_table(manifest, log_p, species_set.classes, args.locus, last)
                )
    evaluation = Evaluation(
        species_set.classes,
        temperature,
        tuple(results),
        calibration,
        _request(args, species_set, manifests, budget, device),
    )
    _write(args, evaluation, tables)
    _say(args, evaluation)
    return 0


def _read(
    args: argparse.Namespace,
    model: MambaForClassification,
    species_set: SpeciesSet,
    manifests: Sequence[Manifest],
    stops: Sequence[Sequence[int]],
    budget: Budget,
) -> list[Logits]:
    """Logits of every manifest's windows, as `manifest_logits` has them."""
    both = args.both_strands
    pairs = list(zip(manifests, stops, strict=True))
    found: list[Logits] = []
    total = sum(len(manifest) * bases_read(lengths, both) for manifest, lengths in pairs)
    with Progress("evaluating, bases", total) as progress:
        for manifest, lengths in pairs:
            reader = ManifestReader(manifest, species_set)
            logits = manifest_logits(model, reader, lengths, budget, progress.advance, both)
            if not np.isfinite(logits).all():
                raise InputError(
                    "the model gives logits that are not finite on windows of "
                    f"{manifest.path.name}: its training diverged",
                    file=args.checkpoint,
                )
            found.append(logits)
    return found


def _calibrate(logits: Sequence[Logits], manifests: Sequence[Manifest]) -> Calibration:
    """One temperature for the windows of all manifests; prefixes do not count."""
    windows = np.concatenate([found[-1] for found in logits])
    labels = np.concatenate([manifest.labels for manifest in manifests])
    temperature = fit_temperature(windows, labels)
    return Calibration(
        temperature,
        len(labels),
        log_loss(windows, labels, 1.0),
        log_loss(windows, labels, temperature),
    )


def _request(
    args: argparse.Namespace,
    species_set: SpeciesSet,
    manifests: Sequence[Manifest],
    budget: Budget,
    device: torch.device,
) -> dict[str, Any]:
    """What decides the figures. No path and no time: the same data give the same files."""
    with args.checkpoint.open("rb") as file:
        checkpoint = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "checkpoint": args.checkpoint.name,
        "checkpoint_sha256": checkpoint,
        "species_set": args.species_set.name,
        "species_set_digest": species_set.digest,
        "manifests": [
            {
                "name": manifest.path.name,
                "digest": manifest.digest,
                "split": manifest.origin.split,
                "length": manifest.length,
                "windows": len(manifest),
            }
            for manifest in manifests
        ],
        "prefixes": args.prefixes,
        "both_strands": args.both_strands,
        "locus": args.locus,
        "max_bases": budget.bases,
        "device": device.type,
        "versions": {name: version(name) for name in ("genomamba", "torch", "numpy")},
    }


def _write(
    args: argparse.Namespace, evaluation: Evaluation, predictions: Sequence[pa.Table]
) -> None:
    """All files: each is written before any appears under its name."""
    from genomamba.inference.evaluate_report import html_page
    from genomamba.inference.evaluate_tables import json_document, write_parquet

    html, parquet, document = output_files(args.output)
    with ExitStack() as stack:
        page = stack.enter_context(atomic_file(html))
        page.write_text(html_page(evaluation), encoding="utf-8")
        write_parquet(stack.enter_context(atomic_file(parquet)), evaluation)
        text = stack.enter_context(atomic_file(document))
        text.write_text(json_document(evaluation), encoding="utf-8")
        if args.predictions is not None:
            rows = stack.enter_context(atomic_file(args.predictions))
            name, request = args.checkpoint.name, evaluation.request
            write_predictions(rows, predictions, name, evaluation.classes, request)
        if evaluation.calibration is not None:
            new = stack.enter_context(atomic_file(args.fit_temperature))
            write_calibrated(args.checkpoint, new, evaluation.temperature)


def _say(args: argparse.Namespace, evaluation: Evaluation) -> None:
    for result in evaluation.results:
        if result.quantity == "prefix":
            continue
        accuracy = result.measurement.accuracy
        mean = result.strand_disagreement
        apart = "" if mean is None else f", the strands {mean:.3f} apart"
        interval = "" if accuracy.low is None else f" ({accuracy.low:.3f} to {accuracy.high:.3f})"
        print(
            f"{result.manifest.name}: accuracy {accuracy.value:.3f}{interval}, "
            f"{result.measurement.windows:,} windows, "
            f"{count_of_loci(result.measurement.loci)}{apart}",
            file=sys.stderr,
        )
    if evaluation.calibration is not None:
        found = evaluation.calibration
        print(
            f"{args.fit_temperature}: temperature {found.temperature:.4f}; log loss on the "
            f"{found.windows:,} validation windows {found.log_loss_before:.4f} -> "
            f"{found.log_loss_after:.4f}",
            file=sys.stderr,
        )
    names = ", ".join(path.name for path in output_files(args.output)[1:])
    if args.predictions is not None:
        print(f"{args.predictions}: written, a row a window", file=sys.stderr)
    print(f"{args.output}: written, and {names} beside it", file=sys.stderr)
