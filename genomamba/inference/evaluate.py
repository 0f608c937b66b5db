"""Runs ``genomamba evaluate``: a classifier on frozen manifests, at every length in one pass.

Letters: B windows, C classes.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from genomamba.inference.budget import Budget
from genomamba.inference.evaluate_logits import Logits, manifest_logits, prefix_lengths
from genomamba.inference.evaluate_metrics import Measurement, measure, window_loci
from genomamba.inference.evaluate_temperature import fit_temperature, log_loss, write_calibrated
from genomamba.inference.run import choose_device, load_classifier
from genomamba.training.checkpoint import check_classes
from genomamba_data_prep.atomic import atomic_file
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.manifest_windows import ManifestReader
from genomamba_data_prep.manifests import Manifest, read_manifest
from genomamba_data_prep.progress import Progress
from genomamba_data_prep.species_set import SpeciesSet

Quantity = Literal["manifest", "prefix"]


@dataclass(frozen=True)
class Result:
    """What was measured at one length.

    Attributes:
        manifest: where the windows are from.
        quantity: "manifest": the windows as drawn; "prefix": their first ``length`` bases.
        length: bases that the model had read.
        measurement: the figures.
    """

    manifest: Manifest
    quantity: Quantity
    length: int
    measurement: Measurement


@dataclass(frozen=True)
class Calibration:
    """The temperature that was fitted, and the log loss without and with it, on the same windows.

    Attributes:
        temperature: divides the logits.
        windows: B.
        log_loss_before: nats, at temperature 1.
        log_loss_after: nats.
    """

    temperature: float
    windows: int
    log_loss_before: float
    log_loss_after: float


@dataclass(frozen=True)
class Evaluation:
    """All of a run.

    Attributes:
        classes: species, in class order.
        temperature: at which the figures hold.
        results: manifests by length, each with its prefixes after it.
        calibration: where one was fitted.
        request: what was asked, of which data, with which versions.
    """

    classes: tuple[str, ...]
    temperature: float
    results: tuple[Result, ...]
    calibration: Calibration | None
    request: dict[str, Any]


def output_files(html: Path) -> tuple[Path, Path, Path]:
    """The page, the table and the document of an --output."""
    return html, html.with_suffix(".parquet"), html.with_suffix(".json")


def evaluate_files(args: argparse.Namespace) -> int:
    """Do what ``genomamba evaluate --help`` says; returns the exit code."""
    device = choose_device(args.device)
    model, meta = load_classifier(args.checkpoint)
    species_set = SpeciesSet.read(args.species_set)
    check_classes(meta, species_set.classes, args.checkpoint)
    manifests = _read_manifests(args.manifest, species_set)
    if args.fit_temperature is not None:
        _check_validation(manifests)
    model = model.to(device)

    stops = [prefix_lengths(m.length) if args.prefixes else [m.length] for m in manifests]
    budget = Budget(args.max_bases, lambda _: None)
    logits: list[Logits] = []
    with Progress("evaluating, bases", sum(len(m) * m.length for m in manifests)) as progress:
        for manifest, lengths in zip(manifests, stops, strict=True):
            reader = ManifestReader(manifest, species_set)
            found = manifest_logits(model, reader, lengths, budget, progress.advance)
            if not np.isfinite(found).all():
                raise InputError(
                    "the model gives logits that are not finite on windows of "
                    f"{manifest.path.name}: its training diverged",
                    file=args.checkpoint,
                )
            logits.append(found)

    calibration = None
    temperature = float(meta.get("temperature", 1.0))
    if args.fit_temperature is not None:
        calibration = _calibrate(logits, manifests)
        temperature = calibration.temperature
    results: list[Result] = []
    with Progress("resampling loci, lengths", sum(map(len, stops))) as progress:
        for manifest, lengths, found in zip(manifests, stops, logits, strict=True):
            loci = window_loci(manifest, args.locus)
            figures = []
            for at in found:
                figures.append(measure(at, manifest.labels, loci, temperature))
                progress.advance(1)
            results.append(Result(manifest, "manifest", manifest.length, figures[-1]))
            if args.prefixes:
                for length, figure in zip(lengths, figures, strict=True):
                    results.append(Result(manifest, "prefix", length, figure))
    evaluation = Evaluation(
        species_set.classes,
        temperature,
        tuple(results),
        calibration,
        _request(args, species_set, manifests, budget),
    )
    _write(args, evaluation)
    _say(args, evaluation)
    return 0


def _read_manifests(paths: Sequence[Path], species_set: SpeciesSet) -> list[Manifest]:
    """Verified, by length."""
    manifests: list[Manifest] = []
    for path in paths:
        manifest = read_manifest(path, species_set)
        check_windows(manifest, species_set)
        for other in manifests:
            if other.digest == manifest.digest:
                raise InputError(f"is the same manifest as {other.path}", file=path)
        manifests.append(manifest)
    return sorted(manifests, key=lambda manifest: manifest.length)


def check_windows(manifest: Manifest, species_set: SpeciesSet) -> None:
    """That every window lies in its record, has the manifest's length and its species' label.

    Raises:
        InputError: one does not, or there is none.
    """
    if not len(manifest):
        raise InputError("the manifest has no windows", file=manifest.path)
    lengths: dict[tuple[str, str], int] = {}
    for row, window in enumerate(manifest.table.to_pylist()):
        species, record = window["species"], window["record"]
        start, end = window["start"], window["end"]
        where = f"the window in row {row}, {species} {record} {start}-{end},"
        if species not in species_set.classes or record not in species_set.records(species):
            raise InputError(f"{where} is of no record of {species_set.path}", file=manifest.path)
        key = (species, record)
        if key not in lengths:
            lengths[key] = species_set.length(species, record)
        if end - start != manifest.length or not 0 <= start < end <= lengths[key]:
            raise InputError(
                f"{where} is not {manifest.length:,} bases of the record's {lengths[key]:,}",
                file=manifest.path,
                fix="Draw it again: genomamba prepare manifest",
            )
        if window["label"] != species_set.classes.index(species):
            raise InputError(f"{where} has the label {window['label']}", file=manifest.path)


def _check_validation(manifests: Sequence[Manifest]) -> None:
    for manifest in manifests:
        if manifest.origin.split != "valid":
            raise InputError(
                f"a temperature is fitted on validation data; this is the {manifest.origin.split} "
                "split",
                file=manifest.path,
                fix="Draw a manifest with `genomamba prepare manifest --split valid`",
            )


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
        "locus": args.locus,
        "max_bases": budget.bases,
        "device": args.device,
        "versions": {name: version(name) for name in ("genomamba", "torch", "numpy")},
    }


def _write(args: argparse.Namespace, evaluation: Evaluation) -> None:
    """All files or none."""
    from genomamba.inference.evaluate_report import html_page
    from genomamba.inference.evaluate_tables import json_document, write_parquet

    html, parquet, document = output_files(args.output)
    page = html_page(evaluation)
    with ExitStack() as stack:
        # Innermost last: a calibrated checkpoint is there only if its report is.
        files = [stack.enter_context(atomic_file(path)) for path in (html, document, parquet)]
        files[0].write_text(page, encoding="utf-8")
        files[1].write_text(json_document(evaluation), encoding="utf-8")
        write_parquet(files[2], evaluation)
        if evaluation.calibration is not None:
            write_calibrated(args.checkpoint, args.fit_temperature, evaluation.temperature)


def _say(args: argparse.Namespace, evaluation: Evaluation) -> None:
    for result in evaluation.results:
        if result.quantity == "prefix":
            continue
        accuracy = result.measurement.accuracy
        interval = "" if accuracy.low is None else f" ({accuracy.low:.3f} to {accuracy.high:.3f})"
        print(
            f"{result.manifest.path.name}: accuracy {accuracy.value:.3f}{interval}, "
            f"{result.measurement.windows:,} windows, {result.measurement.loci:,} loci",
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
    print(f"{args.output}: written, and {names} beside it", file=sys.stderr)
