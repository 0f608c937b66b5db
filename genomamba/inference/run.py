"""Runs ``genomamba classify``: checks, plans, classifies shard after shard, makes the tables."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from genomamba.inference.classifier import WindowClassifier
from genomamba.inference.finish import DONE, HALVED, PROBLEMS, disk_errors, finish
from genomamba.inference.inputs import Source, find_sources, source_names, spool_pipes
from genomamba.inference.job import Job
from genomamba.inference.options import MAX_BASES, SHARD_BASES, Options
from genomamba.inference.parts import Parts
from genomamba.inference.scan import Record, scan
from genomamba.inference.work import work
from genomamba.models import MambaForClassification
from genomamba.training.checkpoint import check_streams, load_model
from genomamba_data_prep.errors import InputError

LONGER = 4  # a stream's length / training's, beyond which there is a warning


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


def load_classifier(path: Path) -> tuple[MambaForClassification, dict[str, Any]]:
    """A classifier's checkpoint as (model, metadata).

    Raises:
        InputError: not a checkpoint of ours, of another task, or of a mixer without a state.
    """
    model, meta = load_model(path)
    if not isinstance(model, MambaForClassification):
        raise InputError(
            f"a checkpoint of {meta['task']}: it has no classes to predict",
            file=path,
            fix="Fine-tune it first: `genomamba fit --config species/base --model.pretrained CKPT`",
        )
    check_streams(model.config, path)
    return model, meta


def classify_files(args: argparse.Namespace) -> int:
    """Do what ``genomamba classify --help`` says; returns the exit code."""
    parts = Parts(args.output)
    with ExitStack() as stack:
        sources = find_sources(args.fasta, args.samples)
        if args.shard is not None and (pipes := list(source_names(sources))):
            raise InputError("a pipe cannot be read by every task of an array", file=pipes[0])
        sources = spool_pipes(sources, args.output.parent, stack)
        found = scan(sources, args.records or (), args.on_error != "fail")
        for error in found.errors if args.on_error == "report" else ():
            print(f"genomamba: {error}", file=sys.stderr)
        device = choose_device(args.device)
        model, meta = load_classifier(args.checkpoint)
        options = make_options(args, meta["length"], device)
        _check_labels(sources, meta["classes"], args.samples)
        if args.track is not None and args.track.suffix == ".bedgraph":
            _check_names(found.records)
        outputs = {"windows": args.windows_output, "track": args.track}
        outputs = {kind: str(path) for kind, path in outputs.items() if path is not None}
        job = Job.of(options, sources, found, args.checkpoint, meta["classes"], outputs)
        for warning in _warnings(job, meta["length"]):
            print(f"genomamba: warning: {warning}", file=sys.stderr)
        temperature = float(meta.get("temperature", 1.0))
        classifier = WindowClassifier(model, len(meta["classes"]), device, temperature)
        journal = stack.enter_context(parts.open(job.as_dict(), args.shard))
        with disk_errors(parts):
            halved = work(parts, job, found, classifier, journal, args.shard)
            if args.shard is None:
                finish(parts, job)
            else:
                task, tasks = args.shard
                print(
                    f"task {task} of {tasks} is done: `genomamba merge {args.output}` makes the "
                    "table when all are",
                    file=sys.stderr,
                )
    if halved:
        return HALVED
    return PROBLEMS if found.errors and args.on_error == "report" else DONE


def make_options(args: argparse.Namespace, length: int, device: torch.device) -> Options:
    """The options of a command line, with the defaults that depend on the model's length."""
    window = args.window or length
    kind = "cuda" if device.type == "cuda" else "cpu"
    max_bases = args.max_bases or MAX_BASES[kind]
    if args.batch_size:
        max_bases = args.batch_size * window
    return Options(
        mode=args.mode,
        window=window,
        max_bases=max_bases,
        shard_bases=args.shard_bases or SHARD_BASES[kind],
        min_length=args.min_length,
        max_n=args.max_n,
        both_strands=args.both_strands,
        step=args.step if args.track is not None else None,
        abstain=args.abstain,
        on_error=args.on_error,
        records=tuple(sorted(set(args.records or ()))),
        device=device.type,
    )


def _check_labels(sources: Sequence[Source], classes: Sequence[str], sheet: Path | None) -> None:
    """That the sheet's labels are classes of the checkpoint."""
    foreign = sorted({source.label for source in sources} - {"", *classes})
    if foreign:
        raise InputError(
            f"labels that are none of the checkpoint's classes {', '.join(classes)}: "
            f"{', '.join(foreign)}",
            file=sheet,
            fix="Use the checkpoint that knows them, or leave the label empty",
        )


def _check_names(records: Sequence[Record]) -> None:
    """bedGraph has a column for the record's name and none for the sample's."""
    names = Counter(record.name for record in records if not record.reason)
    if names and (most := names.most_common(1)[0])[1] > 1:
        raise InputError(
            "the name is in several samples, which a bedGraph cannot tell apart",
            record=most[0],
            fix="Write --track as .parquet, or each sample to its own",
        )


def _warnings(job: Job, length: int) -> list[str]:
    """What the model was not made for, with the length of its training's windows."""
    if job.options.mode == "windows":
        return []
    records = [record for record in job.plan.records if not record.reason]
    longer = [record for record in records if record.length > LONGER * length]
    if not longer:
        return []
    return [
        f"{len(longer):,} records are more than {LONGER} times as long as the {length:,} bases of "
        f"training, the first is {longer[0].name} with {longer[0].length:,}: whether the model "
        "holds so far nobody has measured; compare --mode windows"
    ]
