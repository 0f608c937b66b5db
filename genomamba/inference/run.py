"""Runs ``genomamba classify``: opens the model, the files and the tables, and reports on stderr."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import nn

from genomamba.inference.classifier import WindowClassifier
from genomamba.inference.cli import BATCH_BASES
from genomamba.inference.progress import Progress
from genomamba.inference.records import Counts, LogProbabilities, Options, RecordClassifier
from genomamba.inference.schema import record_schema, window_schema
from genomamba.inference.writers import table_writer
from genomamba.training.checkpoint import load_model
from genomamba_data_prep.codes import Codes
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.fasta import read_fasta


def choose_device(name: str) -> torch.device:
    """The device of a ``--device`` value; ``auto`` is CUDA where there is a GPU, otherwise the CPU.

    Raises:
        InputError: not a device's name, or no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"--device {name}: expected auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise InputError(f"--device {name}: {found} CUDA devices found", fix="Use --device auto")
    return device


def load_classifier(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """A classifier's checkpoint as (model, metadata).

    Raises:
        InputError: not a checkpoint of ours, or one of another task.
    """
    model, meta = load_model(path)
    if meta["task"] != "classification":
        raise InputError(
            f"a checkpoint of {meta['task']}: it has no classes to predict",
            file=path,
            fix="Fine-tune it first: `genomamba fit --config species/base` with this checkpoint",
        )
    return model, meta


def classify_files(args: argparse.Namespace) -> int:
    """Classify ``args.fasta`` and write the tables; see ``genomamba classify --help``."""
    device = choose_device(args.device)
    model, meta = load_classifier(args.checkpoint)
    classes: list[str] = meta["classes"]
    window = args.window or meta["length"]
    batch_bases = args.batch_size * window if args.batch_size else max(BATCH_BASES, window)
    options = Options(window, batch_bases, args.max_n_fraction, args.both_strands)
    classifier = WindowClassifier(model, len(classes), device)

    with ExitStack() as stack:
        open_table = stack.enter_context
        schema = record_schema(classes, args.both_strands)
        records = open_table(table_writer(args.output, schema))
        windows = None
        if args.windows_output is not None:
            schema = window_schema(classes, args.both_strands)
            windows = open_table(table_writer(args.windows_output, schema))
        progress = open_table(Progress("classified"))

        def classify(batch: Sequence[Codes]) -> LogProbabilities:
            scores = classifier(batch)
            progress.add(len(batch), sum(map(len, batch)))
            return scores

        run = RecordClassifier(classify, classes, options, records, windows)
        _add_all(run, args.fasta, set(args.records or ()))
        counts = run.finish()
    _report(counts, window)
    return 0


def _add_all(run: RecordClassifier, fasta: Iterable[Path], wanted: set[str]) -> None:
    missing = set(wanted)
    for path in fasta:
        for record in read_fasta(path):
            if not wanted or record.name in wanted:
                missing.discard(record.name)
                run.add(str(path), record.name, record.codes)
    if missing:
        raise InputError(
            f"--records: in none of the files: {', '.join(sorted(missing))}",
            fix="`genomamba prepare inspect FASTA` lists the names",
        )


def _report(counts: Counts, window: int) -> None:
    lines = [
        f"{counts.records:,} records, {counts.bases:,} bases: {counts.windows:,} windows of "
        f"{window:,} bases classified, {counts.windows_skipped:,} skipped for N"
    ]
    if counts.records_shorter_than_window:
        lines.append(
            f"{counts.records_shorter_than_window:,} records are shorter than a window: a shorter "
            "sequence tells less than what the model was trained on"
        )
    if counts.records_without_prediction:
        lines.append(
            f"{counts.records_without_prediction:,} records have no prediction; "
            "column reason says why"
        )
    print("\n".join(lines), file=sys.stderr)
