"""The end of a job: tables from shards, what there is to say, and the folder removed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from genomamba.inference.assemble import Counts, assemble
from genomamba.inference.job import Job
from genomamba.inference.journal import read_journal
from genomamba.inference.options import Options
from genomamba.inference.parts import Parts
from genomamba_data_prep.errors import InputError

DONE, HALVED, PROBLEMS = 0, 3, 4  # exit codes


def finish(parts: Parts, job: Job) -> None:
    """Make the tables, say on stderr what they hold, remove the folder.

    Raises:
        InputError: as ``assemble``.
    """
    counts = assemble(parts, job)
    journal = parts.remove()
    _report(counts, job.options)
    print(f"times are in {journal}", file=sys.stderr)


def merge(output: Path) -> int:
    """Make the tables of an array's shards; returns the exit code.

    Raises:
        InputError: there are none, some are missing or damaged, or a task still runs.
    """
    parts = Parts(output)
    with parts.alone(), disk_errors(parts):
        entries = [entry for path in parts.journals() for entry in read_journal(path)]
        finish(parts, Job.from_dict(parts.job()))
    return HALVED if any(entry["event"] == "halved" for entry in entries) else DONE


@contextmanager
def disk_errors(parts: Parts) -> Iterator[None]:
    """Turns the system's errors of writing into what the user can do about them."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"cannot be written: {error.strerror or error}",
            file=error.filename or parts.path,
            fix="Make room or check permissions and run the same command: it goes on from there",
        ) from error


def _report(counts: Counts, options: Options) -> None:
    lines = [f"{counts.records:,} records, {counts.bases:,} bases: "]
    if options.mode == "windows":
        lines[0] += (
            f"{counts.windows:,} windows of {options.window:,} bases classified, "
            f"{counts.windows_skipped:,} skipped for N"
        )
    else:
        lines[0] += f"{counts.windows:,} streams classified"
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
